"""Channels: the numbers of a pixel. One is grey, three are red, green and blue, four are colour and a fourth number.

How many there are is decided once, by `ImageBlock`, and then belongs to the preparation of images: datasets, loaders,
model, bundle and service have it from there. Whatever an image is, one channel makes it grey and three make it RGB.
Four are read as they are, so an image must have them: colour with alpha, or a TIFF of four bands.
"""

from __future__ import annotations

import numpy as np

from foveal.core.errors import ImageError, InputError
from foveal.geometry.pixels import Pixels

RGB = 3
CHANNELS = {"grey": 1, "rgb": RGB, "rgba": 4}
"""The numbers of channels by the names that settings have for them."""


def check_channels(n_channels: int) -> int:
    """Return a number of channels that images can be read with.

    Raises:
        InputError: it is another one.
    """
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
    return np.repeat(pixels, RGB, axis=2) if pixels.shape[2] == 1 else pixels[..., :RGB]


def require_fourth(n_channels: int, mode: str, name: str, *, has_alpha: bool) -> None:
    """Refuse an image without a fourth channel where four are wanted.

    Args:
        n_channels: that it is to be read with.
        mode: as Pillow names it.
        name: for messages.
        has_alpha: whether it has transparency, in whatever form its file stores that.

    Raises:
        ImageError: it has no fourth channel.
    """
    if n_channels > RGB and not has_alpha:
        raise ImageError(
            name,
            f"it has no fourth channel (its mode is {mode}), and four are read as they are: save it with alpha (as "
            "RGBA), or as a TIFF of four bands.",
        )
