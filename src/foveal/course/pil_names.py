"""Pillow's `Image` as the course uses it: what it opens shows itself and makes thumbnails; Pillow stays as it is."""

from __future__ import annotations

from typing import Any

from PIL import Image as PillowImage

from foveal.images.pil import PILImage


class _Image:
    """The module `PIL.Image`, but for `open`, whose image also has what `PILImage` has: `show`, `to_thumb`, `shape`.

    Examples:
        >>> from foveal.vision.all import *
        >>> file = get_image_files(untar_data(URLs.SAMPLE_PETS))[0]
        >>> with Image.open(file) as image: image.shape, image.to_thumb(64).size
        ((280, 280), (64, 64))
    """

    def open(self, fp: Any, *args: Any, **options: Any) -> PILImage:
        """Return an image that Pillow has opened, which also has what `PILImage` has: `show`, `to_thumb`, `shape`.

        Args:
            fp: a path or an open file.
            args: of `PIL.Image.open`.
            options: of `PIL.Image.open`.
        """
        opened: Any = PillowImage.open(fp, *args, **options)
        opened.__class__ = _with_methods(type(opened))
        made: PILImage = opened
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(PillowImage, name)

    def __dir__(self) -> list[str]:
        return dir(PillowImage)


_MADE: dict[type, type] = {}


def _with_methods(kind: type) -> type:
    """Return a class of Pillow's with the methods of `PILImage`; one for each."""
    if kind not in _MADE:
        _MADE[kind] = type(kind.__name__, (PILImage, kind), {})
    return _MADE[kind]


Image = _Image()
