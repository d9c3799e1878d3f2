"""The warp: the only place where pixels are resampled, but for means of whole squares as they are decoded.

Detail that the input size is too coarse to show is first removed from an image (uint8 [H, W, C]): by a Gaussian where
the map shrinks it a little, by reducing it by area where it shrinks it much or by a whole number. Then it is warped
once with bilinear interpolation; beyond the image's border it is reflected, or as told. On the CPU one image is
smoothed and warped in one call (`warp`, or `warp_into` with a table of what its values become); on an accelerator a
batch is warped (`window` for each image, then `warp_batch`): both see the same reduced pixels through the same map.

What stands between an image and that call is computed with numbers: arrays of nine take six times as long.

Shapes: H, W are an image's height and width, h, w those of the input, C the channels, B a batch. Maps are in
continuous pixels, as `geometry.homography` says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from foveal.core import threads
from foveal.geometry.homography import IDENTITY, Homography
from foveal.geometry.pixels import NO_SMOOTHING, Numbers, PadMode, Pixels, Smoothing, Values, as_pixels
from foveal.geometry.resample import resample, resample_into, smooth

_BORDERS: Mapping[PadMode, int] = {
    "reflection": cv2.BORDER_REFLECT,
    "border": cv2.BORDER_REPLICATE,
    "zeros": cv2.BORDER_CONSTANT,
}
MARGIN = 2  # pixels of the input around what it shows: interpolation and the Gaussian read beyond it
_LEAST_SCALE = 1e-9  # a map to less than that of an image cannot be undone; chosen by hand, far below any use
_MAX_WINDOW = 3.0  # times the input's longer side; chosen by hand
MIN_GAUSSIAN_SCALE = 0.4  # below it images are reduced by area: 1 / 2.5 (ARCHITECTURE.md: rings of a zone plate)
SIGMA = 0.4  # pixels of the input, of the Gaussian that goes with a pixel's width; as above
REACH = 1.5  # standard deviations that the Gaussian's kernel reaches to either side; as above
DOWN, ACROSS = 256, 65536  # the whole of the weights of `Smoothing`


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the input sees of an image.

    Attributes:
        pixels: the part that it sees, reduced by area if it shrinks much.
        smoothing: what is left to remove from them.
        to_pixels: the map from the input to them.
        left_top: (x, y) of their first one in the image.
        factors_xy: by how much they were reduced.
    """

    pixels: Pixels
    smoothing: Smoothing
    to_pixels: Numbers
    left_top: tuple[int, int] = (0, 0)
    factors_xy: tuple[float, float] = (1.0, 1.0)

    def to_input(self, source_to_input: Homography) -> Homography:
        """Return the map from the pixels to the input."""
        steps = [Homography.scaling(*self.factors_xy)] if self.factors_xy != (1.0, 1.0) else []
        return IDENTITY.then(*steps, Homography.translation(*self.left_top), source_to_input)


def warp(
    image: Pixels, source_to_input: Homography, input_size_hw: tuple[int, int], pad_mode: PadMode = "reflection"
) -> Pixels:
    """Return what the input shows of an image, uint8 [h, w, C].

    Where the map has a horizon, what lies on or beyond it is what lies far away: the border, or black. A map that
    cannot be undone shows something of the image, and which part of it is not defined.

    Args:
        image: uint8 [H, W, C].
        source_to_input: the map from the image's pixels to the input's.
        input_size_hw: (h, w).
        pad_mode: what stands beyond the image's border.
    """
    seen = _seen(image, source_to_input, input_size_hw)
    return resample(seen.pixels, seen.smoothing, seen.to_pixels, input_size_hw, pad_mode)


def warp_into(out: Values, image: Pixels, source_to_input: Homography, pad_mode: PadMode, table: Values) -> None:
    """Write what the input shows of an image, its values looked up in a table: `warp` and the table in one.

    Args:
        out: float32 [h, w, C], contiguous.
        image: uint8 [H, W, C].
        source_to_input: the map from the image's pixels to the input's.
        pad_mode: what stands beyond the image's border.
        table: float32 [C, 256], what the values of each channel become.
    """
    seen = _seen(image, source_to_input, (out.shape[0], out.shape[1]))
    resample_into(out, seen.pixels, seen.smoothing, seen.to_pixels, pad_mode, table)


def window(
    image: Pixels, source_to_input: Homography, input_size_hw: tuple[int, int], pad_mode: PadMode = "reflection"
) -> tuple[Pixels, Homography]:
    """Return what `warp_batch` needs of an image: the reduced pixels that the input sees, and their map onto it.

    A window that would be more than three times the input (a horizon comes near), or lie as far from the image, is
    warped at once instead.

    Args:
        image: uint8 [H, W, C].
        source_to_input: the map from the image's pixels to the input's.
        input_size_hw: (h, w).
        pad_mode: what stands beyond the image's border.
    """
    seen = _seen(image, source_to_input, input_size_hw)
    corners = _corners(seen.to_pixels, input_size_hw)
    if corners is None or _too_far(corners, seen.pixels, _MAX_WINDOW * max(input_size_hw)):
        return resample(seen.pixels, seen.smoothing, seen.to_pixels, input_size_hw, pad_mode), IDENTITY
    left, top = math.floor(corners[0]) - 1, math.floor(corners[1]) - 1
    right, bottom = math.ceil(corners[2]) + 1, math.ceil(corners[3]) + 1
    pixels = smooth(seen.pixels, seen.smoothing)
    height, width = pixels.shape[:2]
    beyond = (max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width))
    if any(beyond):
        pixels = as_pixels(cv2.copyMakeBorder(pixels, *beyond, _BORDERS[pad_mode]))
    y, x = top + beyond[0], left + beyond[2]
    visible = pixels[y : y + bottom - top, x : x + right - left]
    to_input = Homography.translation(left, top).then(seen.to_input(source_to_input))
    return np.ascontiguousarray(visible), to_input


def stack_windows(windows: Sequence[Pixels]) -> Tensor:
    """Return images of different sizes as one tensor uint8 [B, H, W, C], each in the top left corner."""
    height, width = (max(pixels.shape[side] for pixels in windows) for side in (0, 1))
    stacked = np.zeros((len(windows), height, width, windows[0].shape[2]), dtype=np.uint8)
    for pixels, target in zip(windows, stacked, strict=True):
        target[: pixels.shape[0], : pixels.shape[1]] = pixels
    return torch.from_numpy(stacked)


def warp_batch(windows: Tensor, windows_to_input: Homography, input_size_hw: tuple[int, int]) -> Tensor:
    """Return a batch warped, each image by its own map: uint8 [B, h, w, C] on the same device.

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


def _seen(image: Pixels, source_to_input: Homography, input_size_hw: tuple[int, int]) -> _Seen:
    """Return what the input sees of an image: without the parts that it cannot see, and reduced if it shrinks much."""
    threads.limit_opencv_threads()
    to_source = _inverse(source_to_input, input_size_hw)
    scales = _scales(source_to_input, to_source, input_size_hw)
    if scales is None:
        return _Seen(image, NO_SMOOTHING, to_source)
    x0, y0, x1, y1 = _part((image.shape[0], image.shape[1]), _corners(to_source, input_size_hw), scales)
    height, width, (scale_x, scale_y) = y1 - y0, x1 - x0, scales
    if (height, width) != image.shape[:2]:
        image, to_source = image[y0:y1, x0:x1], _moved(to_source, x0, y0)
    new_w, new_h = max(1, round(width * min(1.0, scale_x))), max(1, round(height * min(1.0, scale_y)))
    if (new_h, new_w) == (height, width):
        return _Seen(image, NO_SMOOTHING, to_source, (x0, y0))
    if min(scales) > MIN_GAUSSIAN_SCALE and (width % new_w or height % new_h):
        smoothing = Smoothing(*_weights(scale_y, DOWN), *_weights(scale_x, ACROSS))
        return _Seen(image, smoothing, to_source, (x0, y0))
    reduced = as_pixels(cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_AREA))
    factors = (width / new_w, height / new_h)
    return _Seen(reduced, NO_SMOOTHING, _scaled(to_source, *factors), (x0, y0), factors)


def _inverse(source_to_input: Homography, input_size_hw: tuple[int, int]) -> Numbers:
    """Return the map from the input to the source, its depth at the input's centre being 1."""
    (a, b, c), (d, e, f), (g, h, i) = source_to_input.matrix.tolist()
    top, left, corner = e * i - f * h, f * g - d * i, d * h - e * g
    depths = (corner, b * g - a * h, a * e - b * d)
    depth = depths[0] * input_size_hw[1] / 2 + depths[1] * input_size_hw[0] / 2 + depths[2]
    unit = 1.0 if depth == 0 else depth  # it cannot be undone, and whatever is shown is as good
    across = (top / unit, (c * h - b * i) / unit, (b * f - c * e) / unit)
    down = (left / unit, (a * i - c * g) / unit, (c * d - a * f) / unit)
    return (*across, *down, depths[0] / unit, depths[1] / unit, depths[2] / unit)


def _moved(to_source: Numbers, x0: int, y0: int) -> Numbers:
    """Return a map to what is left of a source whose first pixel becomes that at (x0, y0)."""
    a, b, c, d, e, f, g, h, i = to_source
    return a - x0 * g, b - x0 * h, c - x0 * i, d - y0 * g, e - y0 * h, f - y0 * i, g, h, i


def _scaled(to_source: Numbers, factor_x: float, factor_y: float) -> Numbers:
    """Return a map to a source that is smaller by two factors."""
    a, b, c, d, e, f, g, h, i = to_source
    return a / factor_x, b / factor_x, c / factor_x, d / factor_y, e / factor_y, f / factor_y, g, h, i


def _scales(
    source_to_input: Homography, to_source: Numbers, input_size_hw: tuple[int, int]
) -> tuple[float, float] | None:
    """Return the scales along the source's x and y at the input's centre; None for a map that cannot be undone."""
    a, b, c, d, e, f = to_source[:6]
    x, y = input_size_hw[1] / 2, input_size_hw[0] / 2
    try:
        scales = source_to_input.scales_at((a * x + b * y + c, d * x + e * y + f))
    except ZeroDivisionError:
        return None
    return scales if min(scales) > _LEAST_SCALE and max(scales) < math.inf else None


def _corners(to_source: Numbers, input_size_hw: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Return the box of the source that the input sees, (left, top, right, bottom); None if it has no bounds."""
    a, b, c, d, e, f, g, h, i = to_source
    xs, ys = list[float](), list[float]()
    for x, y in ((0, 0), (input_size_hw[1], 0), (input_size_hw[1], input_size_hw[0]), (0, input_size_hw[0])):
        depth = g * x + h * y + i
        if not depth > 0:
            return None
        xs.append((a * x + b * y + c) / depth)
        ys.append((d * x + e * y + f) / depth)
    return (min(xs), min(ys), max(xs), max(ys)) if math.isfinite(sum(xs) + sum(ys)) else None


def _too_far(box: tuple[float, float, float, float], pixels: Pixels, most: float) -> bool:
    """Return whether a box has a side of more than so many pixels, or reaches farther beyond an image."""
    left, top, right, bottom = box
    beyond = max(-left, -top, right - pixels.shape[1], bottom - pixels.shape[0])
    return bool(max(right - left, bottom - top, beyond) > most)


def _part(
    size_hw: tuple[int, int], box: tuple[float, float, float, float] | None, scales: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Return what to keep of a source of which a box is seen: all of it, if the box reaches beyond it."""
    height, width = size_hw
    if box is None or not (box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height):
        return 0, 0, width, height
    margin_x, margin_y = (MARGIN * max(1.0, 1 / scale) for scale in scales)
    x0, y0 = max(0, int(box[0] - margin_x)), max(0, int(box[1] - margin_y))
    return x0, y0, min(width, int(box[2] + margin_x) + 1), min(height, int(box[3] + margin_y) + 1)


def _weights(scale: float, whole: int) -> tuple[int, int]:
    """Return the weights of a pixel's neighbours, smoothed by what shrinking adds to its width (variances add).

    Less is left of detail that is too fine than reducing by area leaves, and as much of detail that can be shown
    (tested). The Gaussian reaches two pixels at most, as the scale is above `MIN_GAUSSIAN_SCALE`.
    """
    variance = SIGMA**2 * max(0.0, scale**-2 - 1)
    reach = math.ceil(REACH * math.sqrt(variance))
    if not reach:
        return 0, 0
    first = math.exp(-0.5 / variance)
    second = first**4 if reach > 1 else 0.0
    total = 1 + 2 * (first + second)
    return round(whole * first / total), round(whole * second / total)
