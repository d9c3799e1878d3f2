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
    """A Pillow image that prints its mode and size, shows itself in a notebook, and knows its shape.

    Attributes:
        n_channels: how many channels `create` reads; `ImageBlock(PILImage)` reads as many.

    Examples:
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))
        >>> image = PILImage.create(files[0])
        >>> image, image.shape, np.asarray(image).dtype
        (PILImage mode=RGB size=280x280, (280, 280), dtype('uint8'))
    """

    n_channels: ClassVar[int] = RGB

    @classmethod
    def create(cls, source: ImageSource) -> Self:
        """Return the image of a path, bytes, an array or another image, upright as its EXIF orientation says, as RGB.

        `PILImageBW.create` returns it in grey.

        Args:
            source: a path, the bytes of a file, an array uint8 [H, W] or [H, W, C], or an image of Pillow.

        Raises:
            ImageError: it is no image, is damaged, or cannot be read with these channels; the message names the file.

        Examples:
            >>> from foveal.vision.all import *
            >>> PILImage.create(np.zeros((40, 60, 3), dtype=np.uint8))
            PILImage mode=RGB size=60x40
        """
        return _as(cls, source, cls.n_channels)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels.

        Examples:
            >>> from foveal.vision.all import *
            >>> PILImage.create(np.zeros((40, 60), dtype=np.uint8)).shape
            (40, 60)
        """
        return self.height, self.width

    def to_thumb(self, height: int, width: int | None = None) -> PILImage:
        """Return a smaller copy with the same aspect; an image that is small enough keeps its size.

        Args:
            height: the most pixels down.
            width: the most pixels across; `height` by default.

        Examples:
            >>> from foveal.vision.all import *
            >>> PILImage.create(np.zeros((40, 60, 3), dtype=np.uint8)).to_thumb(30)
            PILImage mode=RGB size=30x20
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
        """Draw the image with matplotlib.

        Args:
            title: above the image.
            ax: is drawn on; new axes by default.
            ctx: another name for `ax`.
            figsize: (width, height) in inches of new axes.
            cmap: matplotlib's name of a map of colours, for an image in grey.

        Returns:
            The axes.

        Examples:
            >>> from foveal.vision.all import *
            >>> axes = PILImage.create(np.zeros((40, 60, 3), dtype=np.uint8)).show(title="nothing")
            >>> axes.get_title()
            'nothing'
            >>> plt.close()
        """
        return show_image(self, ax or ctx, figsize, title, cmap=cmap)

    def __repr__(self) -> str:
        return f"{type(self).__name__} mode={self.mode} size={self.width}x{self.height}"


class PILImageBW(PILImage):
    """A `PILImage` in grey, of Pillow's mode L; `ImageBlock(PILImageBW)` reads images with one channel.

    Examples:
        >>> from foveal.vision.all import *
        >>> PILImageBW.create(np.full((40, 60, 3), 200, dtype=np.uint8))
        PILImageBW mode=L size=60x40
    """

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
