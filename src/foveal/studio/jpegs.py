"""Images as a page shows them: JPEG of a given size, made once and kept in memory."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from foveal.images.canvas import small_copy
from foveal.images.channels import shown_as_rgb

SMALL, LARGE = 224, 1600
"""Pixels of the long side, of a tile and of an image alone."""
_QUALITY = 85
_KEPT_SMALL, _KEPT_LARGE = 4000, 48  # images in memory: 40 and 20 MB


class Jpeg(NamedTuple):
    """An image to show.

    Attributes:
        content: the bytes of its smaller copy.
        size_hw: of the image itself, (height, width) in pixels.
    """

    content: bytes
    size_hw: tuple[int, int]


def small(file: Path) -> Jpeg:
    """Return a tile of an image.

    Raises:
        ImageError: it cannot be read.
    """
    return _small(file, file.stat().st_mtime_ns)


def large(file: Path) -> Jpeg:
    """Return an image to look at.

    Raises:
        ImageError: it cannot be read.
    """
    return _large(file, file.stat().st_mtime_ns)


@lru_cache(_KEPT_SMALL)
def _small(file: Path, _: int) -> Jpeg:
    return _made(file, SMALL)


@lru_cache(_KEPT_LARGE)
def _large(file: Path, _: int) -> Jpeg:
    return _made(file, LARGE)


def _made(file: Path, side: int) -> Jpeg:
    pixels, size_hw = small_copy(file, side=side)
    image = Image.fromarray(shown_as_rgb(pixels))
    image.thumbnail((side, side))
    written = io.BytesIO()
    image.save(written, "JPEG", quality=_QUALITY)
    return Jpeg(written.getvalue(), size_hw)
