"""An image as a notebook shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from PIL import Image

from foveal.images.channels import CHANNELS, RGB
from foveal.images.decode import ImageSource, decode
from foveal.images.show import show_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Kind = TypeVar("_Kind", bound="PILImage")


class PILImage(Image.Image):
    """A Pillow image that prints its mode and size and knows its shape.

    Attributes:
        n_channels: that `create` reads, and that `ImageBlock(cls=...)` takes the images of a set to have.
    """

    n_channels: ClassVar[int] = RGB

    @classmethod
    def create(cls, source: ImageSource) -> Self:
        """Decode a path, bytes, an array or another image, upright, as RGB; `PILImageBW` as grey."""
        return _as(cls, source, cls.n_channels)

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
        # A copy is of no file, whatever the image is of: it has not what Pillow's classes of files have.
        small.__class__ = next(kind for kind in type(self).__mro__ if kind.__module__ == __name__)
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
        return f"{type(self).__name__} mode={self.mode} size={self.width}x{self.height}"


class PILImageBW(PILImage):
    """A `PILImage` in grey, Pillow's mode L."""

    n_channels = CHANNELS["grey"]


def pil_image(source: ImageSource, n_channels: int) -> PILImage:
    """Return an image as a notebook shows it, of mode L, RGB or RGBA.

    Args:
        source: a path, bytes, an array or another image.
        n_channels: 1, 3 or 4.
    """
    return _as(PILImageBW if n_channels == PILImageBW.n_channels else PILImage, source, n_channels)


def _as(cls: type[_Kind], source: ImageSource, n_channels: int) -> _Kind:
    pixels = decode(source, n_channels)
    image = Image.fromarray(pixels[..., 0] if n_channels == 1 else pixels)
    image.__class__ = cls
    assert isinstance(image, cls)
    return image
