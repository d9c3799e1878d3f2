"""An image as a notebook shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from foveal.images.decode import ImageSource, decode
from foveal.images.show import show_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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

    def show(
        self,
        title: str | None = None,
        *,
        ax: Axes | None = None,
        ctx: Axes | None = None,
        figsize: tuple[float, float] | None = None,
        cmap: str | None = None,
    ) -> Any:
        """Draw it with matplotlib; return the axes.

        Args:
            title: above the image.
            ax: is drawn on; new axes by default.
            ctx: another name for `ax`.
            figsize: (width, height) in inches of new axes.
            cmap: see `show_image`.
        """
        return show_image(self, ax or ctx, figsize, title, cmap=cmap)

    def __repr__(self) -> str:
        return f"PILImage mode={self.mode} size={self.width}x{self.height}"
