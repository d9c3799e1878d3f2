"""Means of whole squares: the first step of showing an image much smaller."""

from __future__ import annotations

import cv2

from foveal.geometry.pixels import Pixels, as_pixels


def reduction_factor(scale: float) -> int:
    """Return by how much an image may be reduced while it is decoded, to be shown at `scale` without being enlarged.

    Args:
        scale: of the image as it is shown, 1 for its own size.
    """
    return next((factor for factor in (8, 4, 2) if scale * factor <= 1), 1)


def means_of_squares(pixels: Pixels, factor: int) -> Pixels:
    """Return the means of squares from an image's top left on, uint8 [ceil(H / factor), ceil(W / factor), C].

    The last squares may reach beyond the image; they are filled up with its last pixels.

    Args:
        pixels: uint8 [H, W, C].
        factor: pixels of a side of the squares; 1 returns the image itself.
    """
    if factor == 1:
        return pixels
    height, width = pixels.shape[:2]
    filled = cv2.copyMakeBorder(pixels, 0, -height % factor, 0, -width % factor, cv2.BORDER_REPLICATE)
    reduced_wh = (filled.shape[1] // factor, filled.shape[0] // factor)
    return as_pixels(cv2.resize(filled, reduced_wh, interpolation=cv2.INTER_AREA))
