"""An image as a notebook shows it."""

from __future__ import annotations

from PIL import Image

from foveal.images.decode import ImageSource, decode


class PILImage(Image.Image):
    """A Pillow image that prints its mode and size and knows its shape."""

    @classmethod
    def create(cls, source: ImageSource) -> PILImage:
        """Decode a path, bytes, an array or another image, upright, as RGB."""
        image = Image.fromarray(decode(source))
        image.__class__ = cls
        assert isinstance(image, PILImage)
        return image

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def to_thumb(self, height: int, width: int | None = None) -> PILImage:
        """Return a copy that is no larger, with its aspect kept.

        Args:
            height: the most pixels down.
            width: the most pixels across; `height` by default.
        """
        small = self.copy()
        small.thumbnail((width or height, height))
        small.__class__ = PILImage
        assert isinstance(small, PILImage)
        return small

    def __repr__(self) -> str:
        return f"PILImage mode={self.mode} size={self.width}x{self.height}"
