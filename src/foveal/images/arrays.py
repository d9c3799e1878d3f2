"""Arrays as images: uint8, in the shapes that are taken for each number of channels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.core.errors import ImageError
from foveal.images.channels import RGB
from foveal.images.colours import Pixels, grey_of, grey_to_rgb


def pixels_of_array(array: NDArray[np.generic], name: str, n_channels: int) -> Pixels:
    """Return an array as pixels, uint8 [H, W, C].

    Args:
        array: of an image, [H, W] or [H, W, channels].
        name: for messages.
        n_channels: C.

    Raises:
        ImageError: it is no image of C channels, and cannot be made one.
    """
    if array.dtype != np.uint8 or array.size == 0:
        raise ImageError(name, f"an array must be uint8 and not empty; got {array.dtype} {array.shape}.")
    n_stored = array.shape[2] if array.ndim == 3 else 1 if array.ndim == 2 else 0
    if n_channels == n_stored:
        return np.asarray(array, dtype=np.uint8).reshape(*array.shape[:2], n_channels)
    if n_channels == 1 and n_stored == RGB:
        return grey_of(np.asarray(array, dtype=np.uint8))
    if n_channels == RGB and array.ndim == 2:
        return grey_to_rgb(array)
    shapes = {1: "[H, W], [H, W, 1] or [H, W, 3]", RGB: "[H, W] or [H, W, 3]"}.get(n_channels, "[H, W, 4]")
    raise ImageError(name, f"an array must have the shape {shapes}; got {array.shape}.")
