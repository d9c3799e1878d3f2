"""TIFF of four numbers a pixel: each is read as it is stored, whatever the file says of colours and of transparency.

Pillow reads such files by what they say, and drops the fourth number, or the lower byte, of most. Here it is shown the
same bytes as images of one number a pixel: pixel after pixel as one image that is four times as wide, plane after plane
as four images (TIFF 6.0, section 8, PlanarConfiguration).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from foveal.images.colours import Pixels, deep_to_bytes, rgba_to_srgb

N_BANDS = 4
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_ORIENTATION, _SAMPLES, _ROWS, _PLANAR, _PREDICTOR, _SAMPLE_FORMAT, _ICC = 274, 277, 278, 284, 317, 339, 34675
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_KEPT = (_HEIGHT, _COMPRESSION, _FILL_ORDER, _ROWS, _PREDICTOR, _TILE_HEIGHT)
_PLACES = (273, 279, 324, 325)
"""Where the strips, or the tiles, lie: their offsets and their sizes."""
_RGB, _INKS = 2, 5
"""Photometric interpretations."""
_BY_PLANE, _DIFFERENCES = 2, 2
_LOSSLESS = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})
"""None, LZW, deflate (two numbers), PackBits, LZMA, Zstandard."""


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """A TIFF of four bands whose header was read.

    Attributes:
        size_hw: height and width in pixels, as stored.
        orientation: as EXIF's, 1 to 8.
        has_more_frames: whether it has other pages.
    """

    size_hw: tuple[int, int]
    orientation: int
    has_more_frames: bool
    _data: bytes
    _tags: Mapping[int, Any]

    def pixels(self) -> Pixels:
        """Return the four bands, uint8 [H, W, 4]; numbers of 16 bits by the rule for deep images.

        Raises:
            ValueError, OSError, ...: one of `DAMAGE`; the file is damaged.
        """
        height, width = self.size_hw
        planes = [np.asarray(image) for image in _as_single(self._data, self._tags)]
        if len(planes) == 1:
            values = planes[0].reshape(height, width, N_BANDS)
            if self._tags.get(_PREDICTOR) == _DIFFERENCES:
                values = _summed(values, self._tags.get(_TILE_WIDTH, width))
        else:
            values = np.stack(planes, axis=2)
        pixels = values if values.dtype == np.uint8 else deep_to_bytes(values, self._tags)
        profile = self._tags.get(_ICC)
        return rgba_to_srgb(pixels, profile) if profile and self._tags.get(_PHOTOMETRIC) == _RGB else pixels


def read_bands(data: bytes) -> Bands | None:
    """Return the header of a TIFF of four bands; None where it has fewer than four numbers per pixel.

    Args:
        data: of the file.

    Raises:
        ValueError: it has more, or four of a kind that is not read; the message says what to do.
    """
    tags = ImageFileDirectory_v2(data[:8])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    n_samples = tags.get(_SAMPLES, 1)
    if n_samples < N_BANDS:
        return None
    if n_samples > N_BANDS:
        raise ValueError(f"a TIFF of {n_samples} bands, and four are read: save the four that are meant.")
    bits, formats = set(tags.get(_BITS, (1,))), set(tags.get(_SAMPLE_FORMAT, (1,)))
    if tags.get(_PHOTOMETRIC) == _INKS:
        raise ValueError("a TIFF of four inks (CMYK), which are no channels: convert it to RGBA.")
    if formats != {1} or bits not in ({8}, {16}):
        raise ValueError("a TIFF of four bands that are no whole numbers of 8 or 16 bits: save it as uint8 or uint16.")
    if tags.get(_COMPRESSION, 1) not in _LOSSLESS or tags.get(_PREDICTOR, 1) not in {1, _DIFFERENCES}:
        raise ValueError("a TIFF of four bands that are compressed with loss: save it with LZW or deflate.")
    size_hw = int(tags[_HEIGHT]), int(tags[_WIDTH])  # a damaged file may say anything
    return Bands(size_hw, int(tags.get(_ORIENTATION, 1)), tags.next != 0, data, dict(tags))


def _as_single(data: bytes, tags: Mapping[int, Any]) -> Iterator[Image.Image]:
    """Yield images of one number a pixel that lie in the same bytes."""
    n_images, n_each = (N_BANDS, 1) if tags.get(_PLANAR) == _BY_PLANE else (1, N_BANDS)
    data += b"\0" * (len(data) % 2)
    for number in range(n_images):
        single = {tag: (tags[tag],) for tag in _KEPT if tag in tags}
        single |= {_BITS: (tags[_BITS][0],), _PHOTOMETRIC: (1,), _SAMPLES: (1,)}
        single |= {tag: (tags[tag] * n_each,) for tag in (_WIDTH, _TILE_WIDTH) if tag in tags}
        for tag in (tag for tag in _PLACES if tag in tags):
            n = len(tags[tag]) // n_images
            single[tag] = tags[tag][number * n : (number + 1) * n]
        if n_each > 1:  # differences are between pixels, which have four numbers: they are summed later
            single.pop(_PREDICTOR, None)
        order = "<" if data[:2] == b"II" else ">"
        header = struct.pack(f"{order}I", len(data))
        file = io.BytesIO(data[:4] + header + data[8:] + _directory(single, order, len(data)))
        image = TiffImageFile(file)  # not Image.open: it would warn of an image four times as large
        image.load()
        yield image


def _directory(entries: Mapping[int, tuple[int, ...]], order: str, start: int) -> bytes:
    """Return a directory of a TIFF with whole numbers of 32 bits (TIFF 6.0, section 2).

    Args:
        entries: the numbers of each tag.
        order: of bytes, as `struct` writes it.
        start: where in the file the directory will lie.
    """
    head, behind = struct.pack(f"{order}H", len(entries)), b""
    start += 2 + 12 * len(entries) + 4
    for tag, numbers in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            packed, behind = struct.pack(f"{order}I", start + len(behind)), behind + packed
        head += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed
    return head + b"\0" * 4 + behind


def _summed(values: NDArray[np.generic], tile_width: int) -> NDArray[np.generic]:
    """Return what values are the differences of, from pixel to pixel within each tile (TIFF 6.0, section 14)."""
    summed = values.astype(values.dtype.newbyteorder("="))
    for left in range(0, values.shape[1], tile_width):
        tile = summed[:, left : left + tile_width]
        np.cumsum(tile, axis=1, dtype=tile.dtype, out=tile)
    return summed
