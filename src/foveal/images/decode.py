"""The only place that opens images: one strict decoder, whose pixels are upright (EXIF) and sRGB.

An image is accepted as it is or refused with an `ImageError`; it is never repaired, guessed at or replaced.
Pixels come out upright (EXIF orientation applied), as sRGB, transparency over white. JPEG goes through simplejpeg in
strict mode, everything else through Pillow. The header is checked before any pixel is decoded.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from foveal.core import lazy
from foveal.core.errors import ImageError, MissingDependencyError
from foveal.geometry.homography import IDENTITY, Homography, corners_of
from foveal.images.jpeg import JpegHeader, read_jpeg_header
from foveal.images.parquet_rows import row_of

Pixels = NDArray[np.uint8]

MAX_PIXELS = 89_478_485
"""The largest image that is decoded, in pixels: a quarter of a GiB as RGB."""
MAX_BYTES = 1 << 30
"""The largest file that is read, in bytes."""

_COMMON = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff")
_RARE = (".bmp", ".dib", ".ppm", ".pgm", ".avif", ".avifs", ".heic", ".heif", ".mpo")
EXTENSIONS = frozenset({*_COMMON, *_RARE})
_FORMATS = ("PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "AVIF", "PPM")
_HEIC = frozenset({b"ftypheic", b"ftypheix", b"ftypheim", b"ftyphevc", b"ftypmif1"})
_ANIMATED = frozenset({"GIF", "WEBP", "AVIF"})
_ORIENTATION = 0x0112  # the EXIF tag
# What the decoders raise on damaged files, as fuzzing them has shown.
_LOOKUP = (ValueError, TypeError, IndexError, KeyError, OverflowError)
_DAMAGE = (*_LOOKUP, OSError, SyntaxError, EOFError, RuntimeError, MemoryError, struct.error, zlib.error)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Pixels, uint8 [H, W, 3], and the map from the upright source image's pixels to theirs."""

    pixels: Pixels
    source_to_decoded: Homography


@dataclass(frozen=True, slots=True, eq=False)
class OpenedImage:
    """An image whose header has been checked and whose pixels are decoded when they are needed.

    Attributes:
        size_hw: height and width, upright, in source pixels.
        name: where it lies, for messages.
        format: as Pillow names it, "array" or "PIL".
        has_more_frames: whether it is an animation, of which the first frame is used.
    """

    size_hw: tuple[int, int]
    name: str
    format: str
    _decode: Callable[[float], Decoded]
    has_more_frames: bool = False

    def decode(self, scale: float = 1.0) -> Decoded:
        """Return the pixels, at least at `scale` of their size (a JPEG may be decoded at 1/2, 1/4 or 1/8).

        Raises:
            ImageError: the file is damaged.
        """
        return self._decode(scale)


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


ImageSource = str | os.PathLike[str] | bytes | NDArray[np.generic] | Image.Image | StoredImage


def name_of(source: object) -> str:
    """Return what a message calls an image source."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    if isinstance(source, StoredImage):
        return source.name
    return f"<{type(source).__name__}>"


def open_image(source: ImageSource | object) -> OpenedImage:
    """Open a path, the bytes of a file, an array ([H, W] or [H, W, 3], uint8), a Pillow or a stored image.

    Raises:
        ImageError: it cannot be an image that foveal uses; nothing was decoded.
    """
    name = name_of(source)
    source = row_of(source) or source
    if isinstance(source, str | os.PathLike):
        return _open_bytes(_read(Path(source), name), name)
    if isinstance(source, bytes):
        return _open_bytes(source, name)
    if isinstance(source, Image.Image):
        return _wrap_pixels(_turn_upright(_to_rgb(source), source.getexif().get(_ORIENTATION, 1)), name, "PIL")
    if isinstance(source, np.ndarray):
        return _wrap_pixels(_from_array(source, name), name, "array")
    if isinstance(source, StoredImage):
        try:
            return _open_bytes(source.read(), name)
        except OSError as error:
            raise ImageError(name, f"cannot be read ({error}).") from error
    raise ImageError(name, "expected a path, bytes, an array or a PIL image.")


def decode(source: ImageSource) -> Pixels:
    """Return an image's pixels, uint8 [H, W, 3], upright, at full size."""
    return open_image(source).decode().pixels


def _read(path: Path, name: str) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(name, f"the file is larger than {MAX_BYTES >> 20} MiB.")
        return path.read_bytes()
    except FileNotFoundError as error:
        reason = "a link that leads nowhere." if path.is_symlink() else "no such file."
        raise ImageError(name, reason) from error
    except IsADirectoryError as error:
        raise ImageError(name, "a folder, not an image.") from error
    except PermissionError as error:
        raise ImageError(name, "no permission to read it.") from error
    except (OSError, ValueError) as error:
        raise ImageError(name, f"cannot be read ({error}).") from error


def _open_bytes(data: bytes, name: str) -> OpenedImage:
    if not data:
        raise ImageError(name, "the file is empty (0 bytes).")
    if data[:2] == b"\xff\xd8":
        return _open_jpeg(data, name)
    if data[4:12] in _HEIC:
        _register_heif(name)
    image = _pillow_header(data, name)
    _check_size((image.height, image.width), name)
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
        animated = image.format in _ANIMATED and bool(getattr(image, "is_animated", False))
    except _DAMAGE:
        orientation, animated = 1, False
    pixels = partial(_decode_pillow, data, orientation)
    size_hw = _upright_size((image.height, image.width), orientation)
    return OpenedImage(size_hw, name, str(image.format), _name_faults(name, str(image.format), pixels), animated)


def _open_jpeg(data: bytes, name: str) -> OpenedImage:
    try:
        header = read_jpeg_header(data)
    except ValueError as error:
        raise ImageError(name, str(error)) from error
    _check_size(header.size_hw, name)
    size_hw = _upright_size(header.size_hw, header.orientation)
    return OpenedImage(size_hw, name, "JPEG", _name_faults(name, "JPEG", partial(_decode_jpeg, data, header)))


def _pillow_header(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(name, _too_large_reason()) from error
    except UnidentifiedImageError as error:
        raise ImageError(name, _non_image_reason(data)) from error
    except _DAMAGE as error:
        raise ImageError(name, f"damaged: {_sentence(error)}") from error


def _formats() -> tuple[str, ...]:
    return (*_FORMATS, "HEIF") if "HEIF" in Image.OPEN else _FORMATS


def _register_heif(name: str) -> None:
    try:
        lazy.require("pillow_heif", extra="heif", purpose="Reading HEIC images").register_heif_opener()
    except MissingDependencyError as error:
        raise ImageError(name, str(error)) from error


def _check_size(size_hw: tuple[int, int], name: str) -> None:
    if size_hw[0] * size_hw[1] > MAX_PIXELS:
        raise ImageError(name, _too_large_reason(size_hw))


def _name_faults(name: str, kind: str, decode_at: Callable[[float], Decoded]) -> Callable[[float], Decoded]:
    """Return `decode_at` with every fault of the decoders turned into an `ImageError` that names the file."""

    def pixels(scale: float) -> Decoded:
        try:
            return decode_at(scale)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError(name, _too_large_reason()) from error
        except _DAMAGE as error:
            raise ImageError(name, f"damaged {kind} file: {_sentence(error)}") from error

    return pixels


def _wrap_pixels(pixels: Pixels, name: str, kind: str) -> OpenedImage:
    return OpenedImage((pixels.shape[0], pixels.shape[1]), name, kind, lambda _: Decoded(pixels, IDENTITY))


def jpeg_factor(scale: float) -> int:
    """Return by how much a JPEG may be reduced while it is decoded, to be shown at `scale` without being enlarged."""
    return next((factor for factor in (8, 4, 2) if scale * factor <= 1), 1)


def _decode_jpeg(data: bytes, header: JpegHeader, scale: float) -> Decoded:
    factor = jpeg_factor(scale)
    height, width = (math.ceil(side / factor) for side in header.size_hw)
    colours = "CMYK" if header.is_cmyk else "RGB"
    stored = simplejpeg.decode_jpeg(data, colours, min_height=height, min_width=width, strict=True)
    if header.is_cmyk:
        # simplejpeg has checked the file; Pillow knows the ink conventions.
        stored, factor = _to_rgb(Image.open(io.BytesIO(data), formats=("JPEG",))), 1
    elif header.icc_profile and (to_srgb := _srgb_transform(header.icc_profile, "RGB")):
        stored = np.asarray(to_srgb(Image.fromarray(stored)))
    reduction = Homography.scaling(1 / factor, 1 / factor)
    if header.orientation not in _TURNS:
        return Decoded(stored, reduction)
    to_stored = _upright_map(header.orientation, header.size_hw).inverse
    turn = _upright_map(header.orientation, (stored.shape[0], stored.shape[1]))
    return Decoded(_turn_upright(stored, header.orientation), to_stored.then(reduction, turn))


def _decode_pillow(data: bytes, orientation: int, _: float) -> Decoded:
    with Image.open(io.BytesIO(data), formats=_formats()) as check:
        check.verify()
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        image.load()
        return Decoded(_turn_upright(_to_rgb(image), orientation), IDENTITY)


def _to_rgb(image: Image.Image) -> Pixels:
    """Return any mode of Pillow's as RGB pixels, transparency over white."""
    if image.mode in {"F", "I"}:
        return _stretch_to_bytes(np.asarray(image, dtype=np.float64))
    if image.mode.startswith("I;16"):
        return _grey_to_rgb((np.asarray(image, dtype=np.uint32) + 128) // 257)
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    profile = image.info.get("icc_profile")
    to_srgb = _srgb_transform(profile, image.mode) if profile and image.mode in {"RGB", "CMYK"} else None
    return np.asarray(to_srgb(image) if to_srgb else image.convert("RGB"))


def _stretch_to_bytes(values: NDArray[np.float64]) -> Pixels:
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite.")
    low, high = values.min(), values.max()
    return _grey_to_rgb((values - low) * (255 / (high - low) if high > low else 0.0) + 0.5)


def _grey_to_rgb(values: NDArray[np.generic]) -> Pixels:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


def _from_array(array: NDArray[np.generic], name: str) -> Pixels:
    if array.dtype != np.uint8 or array.size == 0:
        raise ImageError(name, f"an array must be uint8 and not empty; got {array.dtype} {array.shape}.")
    if array.ndim == 2:
        return _grey_to_rgb(array)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(name, f"an array must have the shape [H, W] or [H, W, 3]; got {array.shape}.")
    return np.asarray(array, dtype=np.uint8)


@lru_cache(maxsize=32)
def _srgb_transform(profile: bytes, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    """Return what turns a profile's colours into sRGB; None where nothing is to be done, or the profile is broken."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, *_DAMAGE):
        return None

    def apply(image: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None
        return converted

    return apply


# EXIF orientation -> (a mirror first, then quarter turns counter-clockwise) of the stored image.
_TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}


def _turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    if orientation not in _TURNS:
        return pixels
    mirrored, quarters = _TURNS[orientation]
    return np.ascontiguousarray(np.rot90(pixels[:, ::-1] if mirrored else pixels, quarters))


def _upright_size(size_hw: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size_hw[1], size_hw[0]) if orientation in _TURNS and _TURNS[orientation][1] % 2 else size_hw


def _upright_map(orientation: int, size_hw: tuple[int, int]) -> Homography:
    """Return the map from a stored image of `size_hw` to its upright self."""
    mirrored, quarters = _TURNS[orientation]
    corners = corners_of(size_hw)
    if mirrored:
        corners = corners[[1, 0, 3, 2]]
    # A quarter turn counter-clockwise brings the top right corner to the top left.
    return Homography.quadrilateral(
        np.roll(corners, -quarters, axis=0), corners_of(_upright_size(size_hw, orientation))
    )


def _too_large_reason(size_hw: tuple[int, int] | None = None) -> str:
    subject = f"{size_hw[1]} x {size_hw[0]} pixels are" if size_hw else "it has"
    return f"{subject} more than the limit of {MAX_PIXELS:,} pixels."


def _non_image_reason(data: bytes) -> str:
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, not an image (a download that failed?)."
    if start.startswith(b"par1"):
        return "a parquet table; an image in it is named by its row (`...#0`); `foveal predict --out FOLDER` takes all."
    try:
        start.decode("utf-8")
    except UnicodeDecodeError:
        return "not an image, or one whose header is damaged."
    return "text, not an image."


def _sentence(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text if text.endswith(".") else f"{text}."
