"""Channels: the numbers of a pixel. One is grey, three are red, green and blue, four are colour and a fourth number.

How many there are is said once, by `ImageBlock`, and then belongs to the preparation of images: datasets, loaders,
model, bundle and service have it from there. Whatever an image is, one channel makes it grey and three make it RGB.
Four are read as they are, so an image must have them: colour with alpha, or a TIFF of four bands.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.core.errors import ImageError, InputError
from foveal.images.colours import Pixels, grey_of, grey_to_rgb

RGB = 3
CHANNELS = {"grey": 1, "rgb": RGB, "rgba": 4}
"""The numbers of channels by the names that settings have for them."""
_MODES = {1: "grey", 2: "grey and alpha", 3: "RGB"}


def check_channels(n_channels: int) -> int:
    """Return a number of channels that images can be read with.

    Raises:
        InputError: it is another one.
    """
    if n_channels == CHANNELS["rgba"]:
        raise InputError("Images of four channels cannot be read yet: `n_channels` must be 1 (grey) or 3 (RGB).")
    if n_channels not in CHANNELS.values():
        raise InputError(
            f"`n_channels` must be 1 (grey), 3 (RGB) or 4 (colour with alpha, or four bands); got {n_channels!r}."
        )
    return n_channels


def require_channels(n_channels: int, wanted: int) -> None:
    """Refuse loaders whose images have other channels than a model was made for.

    Args:
        n_channels: of the loaders.
        wanted: of the model.

    Raises:
        InputError: they differ.
    """
    if n_channels != wanted:
        raise InputError(
            f"These loaders read images with n_channels={n_channels}, and the model was made for {wanted}: build them "
            f"with {block_of(wanted)}."
        )


def block_of(n_channels: int) -> str:
    """Return how a data block says that images have so many channels."""
    return {1: "ImageBlock(cls=PILImageBW)", RGB: "ImageBlock"}.get(n_channels, f"ImageBlock(n_channels={n_channels})")


def shown_as_rgb(pixels: Pixels) -> Pixels:
    """Return an image as it is shown, uint8 [H, W, 3]: grey in grey, of four channels the first three.

    Args:
        pixels: uint8 [H, W, C].
    """
    return grey_to_rgb(pixels[..., 0]) if pixels.shape[2] == 1 else pixels[..., :RGB]


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
