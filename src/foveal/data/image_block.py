"""The block of images: that the input is one, and with which channels it is read."""

from __future__ import annotations

from dataclasses import dataclass

from foveal.core.errors import InputError
from foveal.images.channels import RGB, check_channels
from foveal.images.pil import PILImage, PILImageBW


@dataclass(frozen=True, slots=True, init=False)
class ImageBlock:
    """The first block of a `DataBlock`: the input is an image, a path, bytes, an array or a PIL image.

    Attributes:
        n_channels: how many channels images are read with: 1 is grey, 3 RGB, 4 what the file has: colour and alpha, or
            four bands.

    Examples:
        >>> from foveal.vision.all import *
        >>> ImageBlock(), ImageBlock(PILImageBW), ImageBlock(n_channels=4)
        (ImageBlock(n_channels=3), ImageBlock(n_channels=1), ImageBlock(n_channels=4))
    """

    n_channels: int

    def __init__(self, cls: type[PILImage] | None = None, *, n_channels: int | None = None) -> None:
        """Choose how images are read; as RGB by default.

        Args:
            cls: `PILImage` for RGB, `PILImageBW` for grey.
            n_channels: 1, 3 or 4, in place of `cls`.

        Raises:
            InputError: there is no such kind of image, or `cls` and `n_channels` contradict each other.
        """
        if cls is not None and cls is not PILImage and cls is not PILImageBW:
            raise InputError(
                "`cls` is `PILImage` (RGB) or `PILImageBW` (grey); four channels are "
                f"ImageBlock(n_channels=4). Got {cls!r}."
            )
        if cls is not None and n_channels not in {None, cls.n_channels}:
            raise InputError(f"`cls` means n_channels={cls.n_channels}, and `n_channels` is {n_channels!r}: give one.")
        if cls is not None:
            n_channels = cls.n_channels
        object.__setattr__(self, "n_channels", check_channels(RGB if n_channels is None else n_channels))
