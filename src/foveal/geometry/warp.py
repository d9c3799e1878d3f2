"""The warp: the only place where pixels are resampled.

What the canvas is too coarse to show is first taken away from an image (uint8 [H, W, 3]): by a Gaussian where the
map shrinks it a little, by reducing it by area where it shrinks it much or by a whole number; then it is warped once
with bilinear interpolation. Beyond the image's border it is reflected. The warp itself runs on one
image with OpenCV (`warp`), or on an accelerator for a whole batch (`window` for each image, then `warp_batch`):
both see the same reduced pixels through the same map.

Shapes: h, w are the canvas' height and width, B a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from foveal.core import threads
from foveal.geometry.homography import IDENTITY, Homography, corners_of

Pixels = NDArray[np.uint8]

# OpenCV puts pixel centres at whole numbers.
_TO_CENTRES = Homography.translation(-0.5, -0.5)
_FROM_CENTRES = Homography.translation(0.5, 0.5)
_MARGIN = 2
_EXACT = 1e-6
_LARGEST_WINDOW = 3.0
_LEAST_SMOOTHED, _SIGMA, _REACH = 0.4, 0.4, 1.5


def warp(image: Pixels, placement: Homography, input_size_hw: tuple[int, int]) -> Pixels:
    """Return the canvas, uint8 [h, w, 3], that `placement` (image -> canvas) shows of an image."""
    threads.limit_opencv_threads()
    return _warp(*_reduced(image, placement, input_size_hw), input_size_hw)


def window(image: Pixels, placement: Homography, input_size_hw: tuple[int, int]) -> tuple[Pixels, Homography]:
    """Return what `warp_batch` needs of an image: the reduced pixels that the canvas sees, and their map onto it.

    A window that would be more than three times the canvas (a horizon comes near) is warped at once instead.
    """
    threads.limit_opencv_threads()
    part, placement = _reduced(image, placement, input_size_hw)
    seen = placement.inverse(corners_of(input_size_hw))
    largest = _LARGEST_WINDOW * max(input_size_hw)
    if not np.isfinite(seen).all() or np.ptp(seen, axis=0).max() > largest:
        return _warp(part, placement, input_size_hw), IDENTITY
    left, top = np.floor(seen.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(seen.max(axis=0)).astype(int) + 1
    height, width = part.shape[:2]
    beyond = (max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width))
    if any(beyond):
        part = _bytes(cv2.copyMakeBorder(part, *beyond, cv2.BORDER_REFLECT))
    y, x = top + beyond[0], left + beyond[2]
    shown = part[y : y + bottom - top, x : x + right - left]
    return np.ascontiguousarray(shown), Homography.translation(left, top).then(placement)


def stack_windows(windows: Sequence[Pixels]) -> Tensor:
    """Stack images of different sizes into uint8 [B, H, W, 3], each in the top left corner."""
    height, width = (max(one.shape[side] for one in windows) for side in (0, 1))
    stacked = np.zeros((len(windows), height, width, 3), dtype=np.uint8)
    for one, place in zip(windows, stacked, strict=True):
        place[: one.shape[0], : one.shape[1]] = one
    return torch.from_numpy(stacked)


def warp_batch(windows: Tensor, placements: Homography, input_size_hw: tuple[int, int]) -> Tensor:
    """Warp a batch, uint8 [B, H, W, 3], each by its own map [B, 3, 3], to uint8 [B, h, w, 3] on the same device."""
    (canvas_h, canvas_w), (height, width) = input_size_hw, (windows.shape[1], windows.shape[2])
    to_window = placements.inverse.then(Homography.unit_frame((height, width))).matrix
    m = torch.from_numpy(to_window).to(windows.device, torch.float32)[:, :, :, None, None]
    x = torch.arange(canvas_w, device=windows.device)[None, None, :] + 0.5
    y = torch.arange(canvas_h, device=windows.device)[None, :, None] + 0.5
    # Not a matrix product: those may run in reduced precision.
    u, v, w = (m[:, row, 0] * x + m[:, row, 1] * y + m[:, row, 2] for row in range(3))
    grid = torch.stack([u / w, v / w], dim=-1)
    values = windows.permute(0, 3, 1, 2).float()
    shown = F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return shown.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _reduced(image: Pixels, placement: Homography, input_size_hw: tuple[int, int]) -> tuple[Pixels, Homography]:
    return _reduce(*_cut(image, placement, input_size_hw), input_size_hw)


def _warp(part: Pixels, placement: Homography, input_size_hw: tuple[int, int]) -> Pixels:
    height, width = input_size_hw
    matrix = placement.matrix / placement.matrix[2, 2]
    left, top = -matrix[0, 2], -matrix[1, 2]
    whole = abs(left - round(left)) < _EXACT and abs(top - round(top)) < _EXACT
    if whole and np.allclose(matrix[:, :2], np.eye(3)[:, :2], rtol=0, atol=_EXACT):
        x, y = round(left), round(top)
        if x >= 0 and y >= 0 and y + height <= part.shape[0] and x + width <= part.shape[1]:
            return np.ascontiguousarray(part[y : y + height, x : x + width])
    centred = _FROM_CENTRES.then(placement, _TO_CENTRES).matrix
    options: dict[str, Any] = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT}
    if np.array_equal(matrix[2], [0.0, 0.0, 1.0]):
        return _bytes(cv2.warpAffine(part, centred[:2], (width, height), **options))
    return _bytes(cv2.warpPerspective(part, centred, (width, height), **options))


def _cut(image: Pixels, placement: Homography, input_size_hw: tuple[int, int]) -> tuple[Pixels, Homography]:
    """Leave out the parts of the image that the canvas cannot see."""
    height, width = image.shape[:2]
    seen = placement.inverse(corners_of(input_size_hw))
    (left, top), (right, bottom) = seen.min(axis=0), seen.max(axis=0)
    if not np.isfinite(seen).all() or left < 0 or top < 0 or right > width or bottom > height:
        return image, placement
    shrink_x, shrink_y = placement.scales_at((width / 2, height / 2))
    margin_x, margin_y = _MARGIN * max(1.0, 1 / shrink_x), _MARGIN * max(1.0, 1 / shrink_y)
    x0, y0 = max(0, int(left - margin_x)), max(0, int(top - margin_y))
    x1, y1 = min(width, int(right + margin_x) + 1), min(height, int(bottom + margin_y) + 1)
    return image[y0:y1, x0:x1], Homography.translation(x0, y0).then(placement)


def _reduce(image: Pixels, placement: Homography, input_size_hw: tuple[int, int]) -> tuple[Pixels, Homography]:
    """Take away what the canvas is too coarse to show."""
    height, width = image.shape[:2]
    centre = placement.inverse([[input_size_hw[1] / 2, input_size_hw[0] / 2]])[0]
    across, down = placement.scales_at((centre[0], centre[1]))
    new_w = max(1, round(width * min(1.0, across)))
    new_h = max(1, round(height * min(1.0, down)))
    if (new_h, new_w) == (height, width):
        return image, placement
    if min(across, down) > _LEAST_SMOOTHED and (width % new_w or height % new_h):
        return _smoothed(image, across, down), placement
    reduced = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_AREA)
    return _bytes(reduced), Homography.scaling(width / new_w, height / new_h).then(placement)


def _smoothed(image: Pixels, across: float, down: float) -> Pixels:
    """Blur an image by what shrinking adds to the width of a pixel (variances add).

    Of what is too fine less is left than reducing by area leaves, and of what can be shown as much (tested).
    """
    sigma_x, sigma_y = (_SIGMA * math.sqrt(max(0.0, scale**-2 - 1)) for scale in (across, down))
    size = (1 + 2 * math.ceil(_REACH * sigma_x), 1 + 2 * math.ceil(_REACH * sigma_y))
    return _bytes(cv2.GaussianBlur(image, size, sigmaX=sigma_x, sigmaY=sigma_y))


def _bytes(image: Any) -> Pixels:
    return np.asarray(image, dtype=np.uint8)
