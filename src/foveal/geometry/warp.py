"""The warp: the only place where pixels are resampled, but for means of whole squares as they are decoded.

Detail that the input size is too coarse to show is first removed from an image (uint8 [H, W, C]): by a Gaussian where
the map shrinks it a little, by reducing it by area where it shrinks it much or by a whole number. Then it is warped
once with bilinear interpolation; beyond the image's border it is reflected, or as told. The warp itself runs on one
image with OpenCV (`warp`), or on an accelerator for a batch (`window` for each image, then `warp_batch`): both see
the same reduced pixels through the same map.

Shapes: H, W are an image's height and width, h, w those of the input, C the channels, B a batch. Maps are in
continuous pixels, as `geometry.homography` says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from foveal.core import threads
from foveal.geometry.homography import IDENTITY, Homography, corners_of

Pixels = NDArray[np.uint8]
PadMode = Literal["reflection", "border", "zeros"]
"""What stands beyond an image's border: its mirror image, its last pixels again, or black."""
_BORDERS: Mapping[str, int] = {
    "reflection": cv2.BORDER_REFLECT,
    "border": cv2.BORDER_REPLICATE,
    "zeros": cv2.BORDER_CONSTANT,
}

# OpenCV puts pixel centres at whole numbers.
_TO_CENTRES = Homography.translation(-0.5, -0.5)
_FROM_CENTRES = Homography.translation(0.5, 0.5)
_MARGIN = 2  # pixels of the input around what it shows: interpolation and the Gaussian read beyond it
_EXACT = 1e-6  # by how much a shift by whole pixels may differ from one; chosen by hand: far below a grey level
_MAX_WINDOW = 3.0  # times the input's longer side; chosen by hand
_MIN_GAUSSIAN_SCALE = 0.4  # below it images are reduced by area: 1 / 2.5 (ARCHITECTURE.md: rings of a zone plate)
_SIGMA = 0.4  # pixels of the input, of the Gaussian that goes with a pixel's width; as above
_REACH = 1.5  # standard deviations that the Gaussian's kernel reaches to either side; as above


def warp(
    image: Pixels, source_to_input: Homography, input_size_hw: tuple[int, int], pad_mode: PadMode = "reflection"
) -> Pixels:
    """Return what the input shows of an image, uint8 [h, w, C].

    Args:
        image: uint8 [H, W, C].
        source_to_input: the map from the image's pixels to the input's.
        input_size_hw: (h, w).
        pad_mode: what stands beyond the image's border.
    """
    threads.limit_opencv_threads()
    return _warp_reduced(*_crop_and_reduce(image, source_to_input, input_size_hw), input_size_hw, pad_mode)


def window(
    image: Pixels, source_to_input: Homography, input_size_hw: tuple[int, int], pad_mode: PadMode = "reflection"
) -> tuple[Pixels, Homography]:
    """Return what `warp_batch` needs of an image: the reduced pixels that the input sees, and their map onto it.

    A window that would be more than three times the input (a horizon comes near) is warped at once instead.

    Args:
        image: uint8 [H, W, C].
        source_to_input: the map from the image's pixels to the input's.
        input_size_hw: (h, w).
        pad_mode: what stands beyond the image's border.
    """
    threads.limit_opencv_threads()
    pixels, to_input = _crop_and_reduce(image, source_to_input, input_size_hw)
    corners = to_input.inverse(corners_of(input_size_hw))
    if not np.isfinite(corners).all() or np.ptp(corners, axis=0).max() > _MAX_WINDOW * max(input_size_hw):
        return _warp_reduced(pixels, to_input, input_size_hw, pad_mode), IDENTITY
    left, top = np.floor(corners.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 1
    height, width = pixels.shape[:2]
    beyond = (max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width))
    if any(beyond):
        pixels = as_pixels(cv2.copyMakeBorder(pixels, *beyond, _BORDERS[pad_mode]))
    y, x = top + beyond[0], left + beyond[2]
    visible = pixels[y : y + bottom - top, x : x + right - left]
    return np.ascontiguousarray(visible), Homography.translation(left, top).then(to_input)


def stack_windows(windows: Sequence[Pixels]) -> Tensor:
    """Stack images of different sizes into uint8 [B, H, W, C], each in the top left corner."""
    height, width = (max(pixels.shape[side] for pixels in windows) for side in (0, 1))
    stacked = np.zeros((len(windows), height, width, windows[0].shape[2]), dtype=np.uint8)
    for pixels, target in zip(windows, stacked, strict=True):
        target[: pixels.shape[0], : pixels.shape[1]] = pixels
    return torch.from_numpy(stacked)


def warp_batch(windows: Tensor, windows_to_input: Homography, input_size_hw: tuple[int, int]) -> Tensor:
    """Warp a batch, each image by its own map; return uint8 [B, h, w, C] on the same device.

    Args:
        windows: uint8 [B, H, W, C].
        windows_to_input: a stack of maps, [B, 3, 3], from the windows' pixels to the input's.
        input_size_hw: (h, w).
    """
    (input_h, input_w), (height, width) = input_size_hw, (windows.shape[1], windows.shape[2])
    to_window = windows_to_input.inverse.then(Homography.unit_frame((height, width))).matrix
    m = torch.from_numpy(to_window).to(windows.device, torch.float32)[:, :, :, None, None]
    x = torch.arange(input_w, device=windows.device)[None, None, :] + 0.5
    y = torch.arange(input_h, device=windows.device)[None, :, None] + 0.5
    # Not a matrix product: those may run in reduced precision.
    u, v, w = (m[:, row, 0] * x + m[:, row, 1] * y + m[:, row, 2] for row in range(3))
    grid = torch.stack([u / w, v / w], dim=-1)
    values = windows.permute(0, 3, 1, 2).float()
    sampled = F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _crop_and_reduce(
    image: Pixels, source_to_input: Homography, input_size_hw: tuple[int, int]
) -> tuple[Pixels, Homography]:
    return _reduce(*_crop(image, source_to_input, input_size_hw), input_size_hw)


def _warp_reduced(pixels: Pixels, to_input: Homography, input_size_hw: tuple[int, int], pad_mode: PadMode) -> Pixels:
    height, width = input_size_hw
    matrix = to_input.matrix / to_input.matrix[2, 2]
    left, top = -matrix[0, 2], -matrix[1, 2]
    is_whole = abs(left - round(left)) < _EXACT and abs(top - round(top)) < _EXACT
    if is_whole and np.allclose(matrix[:, :2], np.eye(3)[:, :2], rtol=0, atol=_EXACT):
        x, y = round(left), round(top)
        if x >= 0 and y >= 0 and y + height <= pixels.shape[0] and x + width <= pixels.shape[1]:
            return np.ascontiguousarray(pixels[y : y + height, x : x + width])
    centred = _FROM_CENTRES.then(to_input, _TO_CENTRES).matrix
    flags, border = cv2.INTER_LINEAR, _BORDERS[pad_mode]
    if np.array_equal(matrix[2], [0.0, 0.0, 1.0]):
        return as_pixels(cv2.warpAffine(pixels, centred[:2], (width, height), flags=flags, borderMode=border))
    return as_pixels(cv2.warpPerspective(pixels, centred, (width, height), flags=flags, borderMode=border))


def _crop(image: Pixels, source_to_input: Homography, input_size_hw: tuple[int, int]) -> tuple[Pixels, Homography]:
    """Leave out the parts of the image that the input cannot see."""
    height, width = image.shape[:2]
    corners = source_to_input.inverse(corners_of(input_size_hw))
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    if not np.isfinite(corners).all() or left < 0 or top < 0 or right > width or bottom > height:
        return image, source_to_input
    scale_x, scale_y = source_to_input.scales_at((width / 2, height / 2))
    margin_x, margin_y = _MARGIN * max(1.0, 1 / scale_x), _MARGIN * max(1.0, 1 / scale_y)
    x0, y0 = max(0, int(left - margin_x)), max(0, int(top - margin_y))
    x1, y1 = min(width, int(right + margin_x) + 1), min(height, int(bottom + margin_y) + 1)
    return image[y0:y1, x0:x1], Homography.translation(x0, y0).then(source_to_input)


def _reduce(image: Pixels, source_to_input: Homography, input_size_hw: tuple[int, int]) -> tuple[Pixels, Homography]:
    """Remove detail that the input is too coarse to show."""
    height, width = image.shape[:2]
    centre = source_to_input.inverse([[input_size_hw[1] / 2, input_size_hw[0] / 2]])[0]
    scale_x, scale_y = source_to_input.scales_at((centre[0], centre[1]))
    new_w = max(1, round(width * min(1.0, scale_x)))
    new_h = max(1, round(height * min(1.0, scale_y)))
    if (new_h, new_w) == (height, width):
        return image, source_to_input
    if min(scale_x, scale_y) > _MIN_GAUSSIAN_SCALE and (width % new_w or height % new_h):
        return _blur(image, scale_x, scale_y), source_to_input
    reduced = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_AREA)
    return as_pixels(reduced), Homography.scaling(width / new_w, height / new_h).then(source_to_input)


def _blur(image: Pixels, scale_x: float, scale_y: float) -> Pixels:
    """Blur an image by what shrinking adds to the width of a pixel (variances add).

    Less is left of detail that is too fine than reducing by area leaves, and as much of detail that can be shown
    (tested).
    """
    sigma_x, sigma_y = (_SIGMA * math.sqrt(max(0.0, scale**-2 - 1)) for scale in (scale_x, scale_y))
    size = (1 + 2 * math.ceil(_REACH * sigma_x), 1 + 2 * math.ceil(_REACH * sigma_y))
    return as_pixels(cv2.GaussianBlur(image, size, sigmaX=sigma_x, sigmaY=sigma_y))


def as_pixels(image: cv2.typing.MatLike) -> Pixels:
    """Return what OpenCV made of an image as uint8 [H, W, C]: it drops the last axis of a single channel."""
    return np.asarray(image if image.ndim == 3 else image[..., None], dtype=np.uint8)
