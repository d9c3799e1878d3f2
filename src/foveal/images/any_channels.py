"""Opening images where it is not known with how many channels they are meant: for their size, or to look at them."""

from __future__ import annotations

from foveal.core.errors import ImageError
from foveal.images.bands import N_BANDS
from foveal.images.decode import ImageSource, OpenedImage, open_image


def open_any(source: ImageSource) -> OpenedImage:
    """Return an image opened as RGB; a TIFF of four bands that are no colours with four, see `images.channels`.

    Args:
        source: a path, bytes, an array, a Pillow or a stored image.

    Raises:
        ImageError: it can be read as neither.
    """
    try:
        return open_image(source)
    except ImageError as error:
        try:
            return open_image(source, N_BANDS)
        except ImageError:
            raise error from None
