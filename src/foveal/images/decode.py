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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from foveal.core import lazy
from foveal.core.errors import ImageError, InputError, MissingDependencyError
from foveal.geometry.homography import IDENTITY, Homography, corners_of
from foveal.images.embedded import ENDING as EMBEDDED
from foveal.images.embedded import embedded_image
from foveal.images.exif import orientation_of
from foveal.images.jpeg import JpegHeader, read_jpeg_header
from foveal.images.parquet_rows import row_of
from foveal.images.png import SIGNATURE, split_png
from foveal.images.sniff import reason_of

Pixels = NDArray[np.uint8]

MAX_PIXELS = 89_478_485
"""The most pixels that are decoded, a quarter of a GiB as RGB; the environment's FOVEAL_MAX_PIXELS is another number.

A JPEG that has more is read at 1/2, 1/4 or 1/8 of its size.
"""
MAX_BYTES = 1 << 30
"""The largest file that is read, in bytes."""

_COMMON = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff")
_RARE = (".bmp", ".dib", ".ppm", ".pgm", ".avif", ".avifs", ".heic", ".heif", ".mpo")
EXTENSIONS = frozenset({*_COMMON, *_RARE})
_FORMATS = ("PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "AVIF", "PPM")
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF = frozenset({b"avif", b"avis"})
_TURNED_BY_PILLOW = frozenset({"TIFF", "HEIF"})
_WHITES = (1.0, 255.0, 65535.0, 4294967295.0)
"""The usual values of white in grey images of 32 bits; that which holds all values of an image is taken."""
_MAX_SAMPLE, _MAX_SAMPLE_FLOAT, _BITS, _PHOTOMETRIC = 281, 341, 258, 262  # tags of TIFF 6.0
_FEWEST_BYTES = 256  # pixels that a byte of a JPEG can stand for: a block of 64 takes 2 bits or more
# What the decoders raise on damaged files, as fuzzing them has shown.
_LOOKUP = (ValueError, TypeError, IndexError, KeyError, OverflowError)
_DAMAGE = (*_LOOKUP, OSError, SyntaxError, EOFError, RuntimeError, MemoryError, struct.error, zlib.error)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Pixels, uint8 [H, W, 3], and the map from the upright source image's pixels to theirs.

    `white` is the value in the file that became 255.
    """

    pixels: Pixels
    source_to_decoded: Homography
    white: float = 255.0


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
        orientation = orientation_of(source.info.get("exif") or b"")
        return _wrap_pixels(_turn_upright(_to_rgb(source)[0], orientation), name, "PIL")
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
        data = path.read_bytes()
        return embedded_image(data) if path.suffix.lower() == EMBEDDED else data
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
    if data[4:8] == b"ftyp" and not (brands := _brands(data)) & _AVIF and brands & _HEIC:
        _register_heif(name)
    parts = None
    if data.startswith(SIGNATURE):
        try:
            parts = split_png(data)
        except ValueError as error:
            raise ImageError(name, f"damaged PNG file: {error}") from error
        data = parts.pixels
    image = _pillow_header(data, name)
    _check_size((image.height, image.width), name)
    kind = str(image.format)
    exif = parts.exif if parts is not None else image.info.get("exif") or b""
    orientation = 1 if kind in _TURNED_BY_PILLOW else orientation_of(exif)
    more = parts.has_more_frames if parts is not None else _has_more_frames(image)
    profile = parts.icc_profile if parts is not None else None
    pixels = partial(_decode_pillow, data, orientation, profile)
    size_hw = _upright_size((image.height, image.width), orientation)
    return OpenedImage(size_hw, name, kind, _name_faults(name, kind, pixels), more)


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of a file of the ISO base media format: the main one and those it goes with."""
    box = data[8 : min(int.from_bytes(data[:4]), 256)]
    return {box[:4], *(box[at : at + 4] for at in range(8, len(box), 4))}


def _has_more_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except _DAMAGE:
        return False


def _open_jpeg(data: bytes, name: str) -> OpenedImage:
    try:
        header = read_jpeg_header(data)
    except ValueError as error:
        raise ImageError(name, str(error)) from error
    height, width = header.size_hw
    if header.is_progressive or header.is_cmyk or height * width > 64 * max_pixels():
        _check_size(header.size_hw, name)
    if height * width > _FEWEST_BYTES * max(len(data), 1) and height * width > max_pixels():
        raise ImageError(name, f"{width} x {height} pixels do not fit into its {len(data):,} bytes.")
    size_hw = _upright_size(header.size_hw, header.orientation)
    pixels = _name_faults(name, "JPEG", partial(_decode_jpeg, data, header))
    return OpenedImage(size_hw, name, "JPEG", pixels, header.has_more_frames)


def _pillow_header(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(name, _too_large_reason()) from error
    except UnidentifiedImageError as error:
        raise ImageError(name, reason_of(data)) from error
    except _DAMAGE as error:
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
    n_pixels = header.size_hw[0] * header.size_hw[1]
    factor = next((f for f in (1, 2, 4, 8) if f >= jpeg_factor(scale) and n_pixels <= max_pixels() * f * f), 8)
    height, width = (math.ceil(side / factor) for side in header.size_hw)
    colours = "CMYK" if header.is_cmyk else "RGB"
    stored = simplejpeg.decode_jpeg(data, colours, min_height=height, min_width=width, strict=True)
    if header.is_cmyk:
        # simplejpeg has checked the file; Pillow knows the ink conventions.
        stored, factor = _to_rgb(Image.open(io.BytesIO(data), formats=("JPEG",)))[0], 1
    elif header.icc_profile and (to_srgb := _srgb_transform(header.icc_profile, "RGB")):
        stored = np.asarray(to_srgb(Image.fromarray(stored)))
    reduction = Homography.scaling(1 / factor, 1 / factor)
    if header.orientation not in _TURNS:
        return Decoded(stored, reduction)
    to_stored = _upright_map(header.orientation, header.size_hw).inverse
    turn = _upright_map(header.orientation, (stored.shape[0], stored.shape[1]))
    return Decoded(_turn_upright(stored, header.orientation), to_stored.then(reduction, turn))


def _decode_pillow(data: bytes, orientation: int, profile: bytes | None, _: float) -> Decoded:
    with Image.open(io.BytesIO(data), formats=_formats()) as check:
        check.verify()
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        tags = dict(getattr(image, "tag_v2", {}))  # before they are used up: Pillow turns a TIFF while it loads it
        image.load()
        if profile is not None:
            image.info["icc_profile"] = profile
        pixels, white = _to_rgb(image, tags)
        return Decoded(_turn_upright(pixels, orientation), IDENTITY, white)


def _to_rgb(image: Image.Image, tags: Mapping[int, object] | None = None) -> tuple[Pixels, float]:
    """Return any mode of Pillow's as RGB pixels, transparency over white, and the value that became white.

    Grey of more than 8 bits is scaled so that white is what the tags of a TIFF say (MaxSampleValue, BitsPerSample);
    else 65,535 for 16 bits, and for 32 bits and numbers with a point the first of `_WHITES` that no value exceeds.
    """
    tags = tags or {}
    if image.mode in {"F", "I"} or image.mode.startswith("I;16"):
        values = np.asarray(image, dtype=np.float64)
        white = _stated_white(tags) or (65535.0 if image.mode.startswith("I;16") else _white_of(values))
        if tags.get(_PHOTOMETRIC) == 0:  # 0 is white; Pillow sees to it for 8 bits alone
            values = white - values
        return _scale_to_bytes(values, white), white
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white_image = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(white_image, rgba).convert("RGB")), 255.0
    profile = image.info.get("icc_profile")
    to_srgb = _srgb_transform(profile, image.mode) if profile and image.mode in {"RGB", "CMYK"} else None
    return np.asarray(to_srgb(image) if to_srgb else image.convert("RGB")), 255.0


def _stated_white(tags: Mapping[int, object]) -> float | None:
    """Return the value of white that the tags of a TIFF state, if they do."""
    for tag in (_MAX_SAMPLE, _MAX_SAMPLE_FLOAT):
        value = tags.get(tag)
        value = value[0] if isinstance(value, tuple) and value else value
        if isinstance(value, int | float) and math.isfinite(value) and value > 0:
            return float(value)
    bits = tags.get(_BITS)
    bits = bits[0] if isinstance(bits, tuple) and bits else bits
    return float(2**bits - 1) if isinstance(bits, int) and 8 < bits < 16 else None


def _white_of(values: NDArray[np.float64]) -> float:
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite.")
    most = float(np.abs(values).max())
    white = next((white for white in _WHITES if most <= white), None)
    if white is None:
        raise ValueError(f"it holds values up to {most:g}, and states no value of white.")
    return white


def _scale_to_bytes(values: NDArray[np.float64], white: float) -> Pixels:
    """Return grey pixels; where values are negative, black is the negative of white."""
    black = -white if float(values.min(initial=0.0)) < 0 else 0.0
    return _grey_to_rgb(np.clip((values - black) * (255 / (white - black)) + 0.5, 0, 255))


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
    return f"{subject} more than the limit of {max_pixels():,} pixels (FOVEAL_MAX_PIXELS sets another)."


def _sentence(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text if text.endswith(".") else f"{text}."
