"""The warp: the only place where pixels are resampled.

A picture (uint8 [H, W, 3]) is first reduced by area as far as the map shrinks it, which antialiases exactly, and
then warped once with bilinear interpolation. Beyond the picture's border it is reflected.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from foveal.geometry.homography import Homography, corners_of

Pixels = NDArray[np.uint8]

# OpenCV puts pixel centres at whole numbers.
_TO_CENTRES = Homography.translation(-0.5, -0.5)
_FROM_CENTRES = Homography.translation(0.5, 0.5)
_MARGIN = 2
_EXACT = 1e-6


def warp(picture: Pixels, placement: Homography, canvas_hw: tuple[int, int]) -> Pixels:
    """Return the canvas, uint8 [canvas_h, canvas_w, 3], that `placement` (picture -> canvas) shows of a picture."""
    part, placement = _cut(picture, placement, canvas_hw)
    part, placement = _reduce(part, placement, canvas_hw)
    height, width = canvas_hw
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


def _cut(picture: Pixels, placement: Homography, canvas_hw: tuple[int, int]) -> tuple[Pixels, Homography]:
    """Leave out the parts of the picture that the canvas cannot see."""
    height, width = picture.shape[:2]
    seen = placement.inverse(corners_of(canvas_hw))
    (left, top), (right, bottom) = seen.min(axis=0), seen.max(axis=0)
    if not np.isfinite(seen).all() or left < 0 or top < 0 or right > width or bottom > height:
        return picture, placement
    shrink_x, shrink_y = placement.scales_at((width / 2, height / 2))
    margin_x, margin_y = _MARGIN * max(1.0, 1 / shrink_x), _MARGIN * max(1.0, 1 / shrink_y)
    x0, y0 = max(0, int(left - margin_x)), max(0, int(top - margin_y))
    x1, y1 = min(width, int(right + margin_x) + 1), min(height, int(bottom + margin_y) + 1)
    return picture[y0:y1, x0:x1], Homography.translation(x0, y0).then(placement)


def _reduce(picture: Pixels, placement: Homography, canvas_hw: tuple[int, int]) -> tuple[Pixels, Homography]:
    """Shrink by area to about the scale at which the canvas shows the picture."""
    height, width = picture.shape[:2]
    centre = placement.inverse([[canvas_hw[1] / 2, canvas_hw[0] / 2]])[0]
    across, down = placement.scales_at((centre[0], centre[1]))
    new_w = max(1, round(width * min(1.0, across)))
    new_h = max(1, round(height * min(1.0, down)))
    if (new_h, new_w) == (height, width):
        return picture, placement
    reduced = cv2.resize(picture, (new_w, new_h), interpolation=cv2.INTER_AREA)
    return _bytes(reduced), Homography.scaling(width / new_w, height / new_h).then(placement)


def _bytes(picture: Any) -> Pixels:
    return np.asarray(picture, dtype=np.uint8)
