"""Pixels in memory, what stands beyond an image's border, and by how much neighbours are mixed."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""An image, uint8 [H, W, C], or one of another size as its place says."""
Values = NDArray[np.float32]
"""An image as a model takes it, or a table of what the 256 values of a pixel become."""
PadMode = Literal["reflection", "border", "zeros"]
"""What stands beyond an image's border: its mirror image, its last pixels again, or black."""
Numbers = tuple[float, float, float, float, float, float, float, float, float]
"""A 3 x 3 matrix, row by row."""


class Smoothing(NamedTuple):
    """The weights of a smoothing in whole numbers; the pixel itself has what they leave, and 0 leaves a neighbour out.

    Attributes:
        down_1: of the neighbours above and below, in 1/256.
        down_2: of those beyond them, in 1/256.
        across_1: of the neighbours to the left and right, in 1/65536.
        across_2: of those beyond them, in 1/65536.
    """

    down_1: int = 0
    down_2: int = 0
    across_1: int = 0
    across_2: int = 0


NO_SMOOTHING = Smoothing()


def as_pixels(image: MatLike) -> Pixels:
    """Return what OpenCV made of an image as uint8 [H, W, C]: it drops the last axis of a single channel."""
    return np.asarray(image if image.ndim == 3 else image[..., None], dtype=np.uint8)
