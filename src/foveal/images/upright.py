"""How a stored image is turned upright: EXIF's orientations as turns of pixels, of sizes and of coordinates."""

from __future__ import annotations

import numpy as np

from foveal.geometry.homography import Homography, corners_of
from foveal.images.colours import Pixels

# EXIF orientation -> (a mirror first, then quarter turns counter-clockwise) of the stored image.
TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return an image upright, uint8 [H, W, C].

    Args:
        pixels: as stored.
        orientation: of EXIF.
    """
    if orientation not in TURNS:
        return pixels
    mirrored, quarters = TURNS[orientation]
    return np.ascontiguousarray(np.rot90(pixels[:, ::-1] if mirrored else pixels, quarters))


def upright_size(size_hw: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return the (height, width) of an image once it is upright.

    Args:
        size_hw: as stored.
        orientation: of EXIF.
    """
    return (size_hw[1], size_hw[0]) if orientation in TURNS and TURNS[orientation][1] % 2 else size_hw


def upright_map(orientation: int, size_hw: tuple[int, int]) -> Homography:
    """Return the map from a stored image to its upright self.

    Args:
        orientation: of EXIF, one of `TURNS`.
        size_hw: (height, width) as stored.
    """
    mirrored, quarters = TURNS[orientation]
    corners = corners_of(size_hw)
    if mirrored:
        corners = corners[[1, 0, 3, 2]]
    # A quarter turn counter-clockwise brings the top right corner to the top left.
    return Homography.quadrilateral(np.roll(corners, -quarters, axis=0), corners_of(upright_size(size_hw, orientation)))
