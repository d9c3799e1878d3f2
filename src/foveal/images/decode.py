"""The only place that opens images: one strict decoder, whose pixels are upright (EXIF) and sRGB.

An image is accepted as it is or refused with an `ImageError`; it is never repaired, guessed at or replaced.
Pixels come out upright (EXIF orientation applied), as sRGB, transparency over white; grey is made of these. Four
channels (see `channels`) are read as they are. JPEG goes through simplejpeg in strict mode, everything else through
Pillow. The header is checked before any pixel is decoded.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from foveal.core import lazy
from foveal.core.errors import ImageError, InputError, MissingDependencyError
from foveal.geometry.homography import IDENTITY, Homography
from foveal.images.arrays import pixels_of_array
from foveal.images.avif import AVIF, HEIC, brands_of, without_exif
from foveal.images.bands import N_BANDS, read_bands
from foveal.images.channels import RGB, require_fourth
from foveal.images.colours import DAMAGE, Pixels, grey_of, srgb_transform, to_pixels
from foveal.images.exif import orientation_of
from foveal.images.files import read_image_file
from foveal.images.jpeg import JpegHeader, read_jpeg_header
from foveal.images.means import means_of_squares, reduction_factor
from foveal.images.parquet_rows import row_of
from foveal.images.png import SIGNATURE, PngParts, split_png
from foveal.images.sniff import reason_of
from foveal.images.tiff import TIFF, without_descriptions
from foveal.images.upright import TURNS, turn_upright, upright_map, upright_size

MAX_PIXELS = 89_478_485
"""The most pixels that are decoded, a quarter of a GiB as RGB; the environment's FOVEAL_MAX_PIXELS is another number.

A JPEG that has more is read at 1/2, 1/4 or 1/8 of its size.
"""

_COMMON = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff")
_RARE = (".bmp", ".dib", ".ppm", ".pgm", ".avif", ".avifs", ".heic", ".heif", ".mpo")
EXTENSIONS = frozenset({*_COMMON, *_RARE})
_FORMATS = ("PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "AVIF", "PPM")
_TURNED_BY_PILLOW = frozenset({"TIFF", "HEIF"})
_REDUCTIONS = {1: IDENTITY, **{factor: Homography.scaling(1 / factor, 1 / factor) for factor in (2, 4, 8)}}
_MOST_SCANNED = 3_000_000_000  # pixels times scans of a progressive JPEG: some 30 s; usual files have 10 scans
_FEWEST_BYTES = 256  # pixels that a byte of a JPEG can stand for: a block of 64 takes 2 bits or more


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Pixels, uint8 [H, W, C], and the map from the upright source image's pixels to theirs.

    `guessed_white` is the value in the file that became 255, where nothing in the file states it; else 0. `factor` is
    by how much the sides were reduced.
    """

    pixels: Pixels
    source_to_decoded: Homography
    guessed_white: float = 0.0
    factor: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class OpenedImage:
    """An image whose header has been checked and whose pixels are decoded when they are needed.

    Attributes:
        size_hw: height and width, upright, in source pixels.
        name: where it lies, for messages.
        format: as Pillow names it, "array" or "PIL".
        has_more_frames: whether it is an animation, of which the first frame is used.
        n_scans: how often its decoder goes over all of it.
    """

    size_hw: tuple[int, int]
    name: str
    format: str
    _decode: Callable[[float, bool], Decoded]
    has_more_frames: bool = False
    n_scans: int = 1

    def decode(self, scale: float = 1.0, *, quick: bool = False) -> Decoded:
        """Return the pixels, at least at `scale` of their size: all of them, or means of 2 x 2, 4 x 4 or 8 x 8.

        Which of these it is does not depend on the format, nor do the means: they are those of the upright image, from
        its top left on, so that whoever has the same pixels has the same means.

        Args:
            scale: 1 for all pixels.
            quick: take what a JPEG's scaled DCT makes for means: in half the time, and half a grey level off on
                average, 38 at the worst (photographs at 1/2).

        Raises:
            ImageError: the file is damaged.
        """
        return self._decode(scale, quick)


@runtime_checkable
class StoredImage(Protocol):
    """An image that is read when it is needed, from wherever it is stored.

    Attributes:
        name: what a message calls it.
    """

    @property
    def name(self) -> str:
        """What a message calls it."""

    def read(self) -> bytes:
        """Return the bytes of its file.

        Raises:
            OSError: it cannot be read.
        """


class NamedPixels(NamedTuple):
    """The pixels of an image with a name, uint8 [H, W, 3]: a frame of a video."""

    name: str
    pixels: Pixels


ImageSource = str | os.PathLike[str] | bytes | NDArray[np.generic] | Image.Image | StoredImage | NamedPixels


def name_of(source: object) -> str:
    """Return what a message calls an image source."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    if isinstance(source, StoredImage | NamedPixels):
        return source.name
    return f"<{type(source).__name__}>"


def open_image(source: ImageSource | object, n_channels: int = RGB) -> OpenedImage:
    """Return an image opened: a path, the bytes of a file, an array, or an image of Pillow's or of a table.

    Args:
        source: what is opened.
        n_channels: that its pixels are to have, 1, 3 or 4; see `channels`.

    Raises:
        ImageError: it cannot be an image that foveal uses; nothing was decoded.
    """
    name = name_of(source)
    source = row_of(source) or source
    if isinstance(source, str | os.PathLike):
        return _open_bytes(read_image_file(Path(source), name), name, n_channels)
    if isinstance(source, bytes):
        return _open_bytes(source, name, n_channels)
    if isinstance(source, Image.Image):
        require_fourth(n_channels, source.mode, name, has_alpha=source.has_transparency_data)
        orientation = orientation_of(source.info.get("exif") or b"")
        return _wrap_pixels(to_pixels(source, n_channels)[0], orientation, name, "PIL")
    if isinstance(source, np.ndarray):
        return _wrap_pixels(pixels_of_array(source, name, n_channels), 1, name, "array")
    if isinstance(source, NamedPixels):
        return _wrap_pixels(pixels_of_array(source.pixels, name, n_channels), 1, name, "array")
    if isinstance(source, StoredImage):
        try:
            return _open_bytes(source.read(), name, n_channels)
        except OSError as error:
            raise ImageError(name, f"cannot be read ({error}).") from error
    raise ImageError(name, "expected a path, bytes, an array or a PIL image.")


def decode(source: ImageSource, n_channels: int = RGB) -> Pixels:
    """Return an image's pixels, uint8 [H, W, C], upright, at full size.

    Args:
        source: a path, bytes, an array, a Pillow or a stored image.
        n_channels: C: 1, 3 or 4; see `channels`.
    """
    return open_image(source, n_channels).decode().pixels


def _open_bytes(data: bytes, name: str, n_channels: int) -> OpenedImage:
    if not data:
        raise ImageError(name, "the file is empty (0 bytes).")
    if data[:2] == b"\xff\xd8":
        return _open_jpeg(data, name, n_channels)
    if n_channels == N_BANDS and data[:4] in TIFF and (opened := _open_bands(data, name)) is not None:
        return opened
    data, parts = _without_metadata(data, name)
    image = _pillow_header(data, name)
    require_fourth(n_channels, image.mode, name, has_alpha=image.has_transparency_data)
    _check_size((image.height, image.width), name)
    kind = str(image.format)
    exif = parts.exif if parts is not None else image.info.get("exif") or b""
    orientation = 1 if kind in _TURNED_BY_PILLOW else orientation_of(exif)
    more = parts.has_more_frames if parts is not None else _has_more_frames(image)
    profile = parts.icc_profile if parts is not None else None
    pixels = partial(_decode_pillow, data, orientation, profile, n_channels)
    size_hw = upright_size((image.height, image.width), orientation)
    return OpenedImage(size_hw, name, kind, _name_faults(name, kind, pixels), more)


def _without_metadata(data: bytes, name: str) -> tuple[bytes, PngParts | None]:
    """Return a file without what could keep Pillow from its pixels, and the parts of a PNG.

    Raises:
        ImageError: a PNG is damaged.
    """
    if data[4:8] == b"ftyp":
        brands = brands_of(data)
        if brands & AVIF:
            return without_exif(data), None
        if brands & HEIC:
            _register_heif(name)
    if data[:4] in TIFF:
        return without_descriptions(data), None
    if not data.startswith(SIGNATURE):
        return data, None
    try:
        parts = split_png(data)
    except ValueError as error:
        raise ImageError(name, f"damaged PNG file: {error}") from error
    return parts.pixels, parts


def _open_bands(data: bytes, name: str) -> OpenedImage | None:
    """Return a TIFF of four bands opened; None where it has fewer.

    Raises:
        ImageError: it is damaged, has more bands, or four of a kind that is not read.
    """
    try:
        bands = read_bands(without_descriptions(data))
    except DAMAGE as error:
        reason = str(error) if isinstance(error, ValueError) else f"damaged TIFF file: {_sentence(error)}"
        raise ImageError(name, reason) from error
    if bands is None:
        return None
    _check_size(bands.size_hw, name)
    pixels = _name_faults(name, "TIFF", lambda _: _stand_upright(bands.pixels(), bands.orientation))
    return OpenedImage(upright_size(bands.size_hw, bands.orientation), name, "TIFF", pixels, bands.has_more_frames)


def _has_more_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except DAMAGE:
        return False


def _open_jpeg(data: bytes, name: str, n_channels: int) -> OpenedImage:
    try:
        header = read_jpeg_header(data)
    except ValueError as error:
        raise ImageError(name, str(error)) from error
    mode = "CMYK" if header.is_cmyk else "L" if header.is_grey else "RGB"
    require_fourth(n_channels, mode, name, has_alpha=False)
    height, width = header.size_hw
    if header.is_progressive or header.is_cmyk or height * width > 64 * max_pixels():
        _check_size(header.size_hw, name)
    if header.n_scans > 1 and height * width * header.n_scans > _MOST_SCANNED:
        raise ImageError(
            name, f"its {width} x {height} pixels come in {header.n_scans} scans, which would take minutes."
        )
    if height * width > _FEWEST_BYTES * max(len(data), 1) and height * width > max_pixels():
        raise ImageError(name, _too_large_reason(header.size_hw))
    size_hw = upright_size(header.size_hw, header.orientation)
    pixels = _name_faults(name, "JPEG", partial(_decode_jpeg, header, n_channels))
    return OpenedImage(size_hw, name, "JPEG", pixels, header.has_more_frames, header.n_scans)


def _pillow_header(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(name, _too_large_reason()) from error
    except UnidentifiedImageError as error:
        raise ImageError(name, reason_of(data)) from error
    except DAMAGE as error:
        raise ImageError(name, f"damaged: {_sentence(error)}") from error


def _formats() -> tuple[str, ...]:
    return (*_FORMATS, "HEIF") if "HEIF" in Image.OPEN else _FORMATS


def _register_heif(name: str) -> None:
    try:
        lazy.require("pillow_heif", extra="heif", purpose="Reading HEIC images").register_heif_opener()
    except MissingDependencyError as error:
        raise ImageError(name, str(error)) from error


def max_pixels() -> int:
    """Return the most pixels that are decoded: `MAX_PIXELS`, or what the environment's FOVEAL_MAX_PIXELS says.

    Raises:
        InputError: it is no whole number above 0.
    """
    given = os.environ.get("FOVEAL_MAX_PIXELS", "")
    if not given:
        return MAX_PIXELS
    if not given.isascii() or not given.replace("_", "").isdigit() or int(given) < 1:
        raise InputError(f"FOVEAL_MAX_PIXELS must be a whole number above 0; got {given!r}.")
    return int(given)


def _check_size(size_hw: tuple[int, int], name: str) -> None:
    if size_hw[0] * size_hw[1] > max_pixels():
        raise ImageError(name, _too_large_reason(size_hw))


def _name_faults(name: str, kind: str, decode_at: Callable[[float], Decoded]) -> Callable[[float, bool], Decoded]:
    """Return what decodes and reduces; every fault of the decoders becomes an `ImageError` that names the file."""

    def pixels(scale: float, quick: bool) -> Decoded:
        try:
            return _reduce(decode_at(scale if quick else 1.0), reduction_factor(scale))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError(name, _too_large_reason()) from error
        except DAMAGE as error:
            raise ImageError(name, f"damaged {kind} file: {_sentence(error)}") from error

    return pixels


def _wrap_pixels(stored: Pixels, orientation: int, name: str, kind: str) -> OpenedImage:
    size_hw = upright_size((stored.shape[0], stored.shape[1]), orientation)

    def pixels(scale: float, quick: bool) -> Decoded:
        del quick
        return _reduce(_stand_upright(stored, orientation), reduction_factor(scale))

    return OpenedImage(size_hw, name, kind, pixels)


def _reduce(decoded: Decoded, factor: int) -> Decoded:
    """Return an image reduced by what is left of a factor."""
    left = max(1, factor // decoded.factor)
    if left == 1:
        return decoded
    to_reduced = decoded.source_to_decoded.then(_REDUCTIONS[left])
    return Decoded(means_of_squares(decoded.pixels, left), to_reduced, decoded.guessed_white, factor)


def _decode_jpeg(header: JpegHeader, n_channels: int, scale: float) -> Decoded:
    n_pixels = header.size_hw[0] * header.size_hw[1]
    factor = next((f for f in (1, 2, 4, 8) if f >= reduction_factor(scale) and n_pixels <= max_pixels() * f * f), 8)
    height, width = (math.ceil(side / factor) for side in header.size_hw)
    # A profile may be one of colours, and change grey: then it is read as them.
    is_grey = n_channels == 1 and header.is_grey and not header.icc_profile
    colours = "CMYK" if header.is_cmyk else "GRAY" if is_grey else "RGB"
    stored = simplejpeg.decode_jpeg(header.pixels, colours, min_height=height, min_width=width, strict=True)
    if header.is_cmyk:
        # simplejpeg has checked the file; Pillow knows the ink conventions.
        inks = Image.open(io.BytesIO(header.pixels), formats=("JPEG",))
        return _stand_upright(to_pixels(inks, n_channels)[0], header.orientation)
    if header.icc_profile and (to_srgb := srgb_transform(header.icc_profile, "RGB")):
        stored = np.asarray(to_srgb(Image.fromarray(stored)))
    if n_channels == 1 and not is_grey:
        stored = grey_of(stored)
    return _stand_upright(stored, header.orientation, factor, header.size_hw)


def _decode_pillow(data: bytes, orientation: int, profile: bytes | None, n_channels: int, _: float) -> Decoded:
    with Image.open(io.BytesIO(data), formats=_formats()) as check:
        check.verify()
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        tags = dict(getattr(image, "tag_v2", {}))  # before they are used up: Pillow turns a TIFF while it loads it
        image.load()
        if profile is not None:
            image.info["icc_profile"] = profile
        pixels, guessed_white = to_pixels(image, n_channels, tags)
        return replace(_stand_upright(pixels, orientation), guessed_white=guessed_white)


def _stand_upright(
    stored: Pixels, orientation: int, factor: int = 1, size_hw: tuple[int, int] | None = None
) -> Decoded:
    """Return an image turned upright; it may have been stored at `size_hw` and reduced by `factor`."""
    reduction = _REDUCTIONS[factor]
    if orientation not in TURNS:
        return Decoded(stored, reduction, factor=factor)
    reduced_hw = (stored.shape[0], stored.shape[1])
    to_stored, turn = upright_map(orientation, size_hw or reduced_hw).inverse, upright_map(orientation, reduced_hw)
    return Decoded(turn_upright(stored, orientation), to_stored.then(reduction, turn), factor=factor)


def _too_large_reason(size_hw: tuple[int, int] | None = None) -> str:
    subject = f"{size_hw[1]} x {size_hw[0]} pixels are" if size_hw else "it has"
    return f"{subject} more than the limit of {max_pixels():,} pixels (FOVEAL_MAX_PIXELS sets another)."


def _sentence(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text if text.endswith(".") else f"{text}."
