"""Colours as files hold them to RGB of 8 bits: transparency over white, profiles to sRGB, deep grey by its white."""

from __future__ import annotations

import hashlib
import io
import math
import os
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from foveal.core.errors import InputError
from foveal.images.channels import RGB

Pixels = NDArray[np.uint8]
ToSrgb = Callable[[Image.Image], Image.Image]

# Transforms are kept by the hash of their profile, the latest ones, so that what senders send fills no memory.
_TRANSFORMS: OrderedDict[bytes, ToSrgb | None] = OrderedDict()
_LOCK = threading.Lock()
_MOST_TRANSFORMS = 32
_KEPT_PROFILE = 4 << 20  # bytes; those of printers have up to 2 MB, larger ones are read each time
_WHITES = (1.0, 255.0, 65535.0, 4294967295.0)
"""The usual values of white in grey images of 32 bits; that which holds all values of an image is taken."""
_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339  # tags of TIFF 6.0
# What the decoders raise on damaged files, as fuzzing them has shown.
_LOOKUP = (ValueError, TypeError, IndexError, KeyError, OverflowError)
DAMAGE = (*_LOOKUP, OSError, SyntaxError, EOFError, RuntimeError, MemoryError, struct.error, zlib.error)


def to_pixels(image: Image.Image, n_channels: int, tags: Mapping[int, object] | None = None) -> tuple[Pixels, float]:
    """Return any mode of Pillow's as pixels, uint8 [H, W, C], and the value that was guessed to be white.

    Args:
        image: as Pillow decoded it.
        n_channels: C: 1 for the grey (Pillow's mode L) of what `to_rgb` makes, 3 for that, 4 for colours and alpha.
        tags: of a TIFF.

    Raises:
        ValueError: see `to_rgb`.
    """
    if n_channels == 1 and image.mode == "L" and "transparency" not in image.info:
        return np.asarray(image)[..., None], 0.0
    if n_channels > RGB:
        profile = image.info.get("icc_profile") if image.mode in {"RGB", "RGBA", "P"} else None
        return rgba_to_srgb(np.asarray(image.convert("RGBA")), profile), 0.0
    rgb, guessed_white = to_rgb(image, tags)
    return grey_of(rgb) if n_channels == 1 else rgb, guessed_white


def to_rgb(image: Image.Image, tags: Mapping[int, object] | None = None) -> tuple[Pixels, float]:
    """Return any mode of Pillow's as RGB pixels, transparency over white, and the value that was guessed to be white.

    Grey of more than 8 bits is scaled so that white is what the environment's FOVEAL_WHITE says, or the most that the
    bits of a TIFF can hold; for 32 bits and numbers with a point it is the first of `_WHITES` that no value exceeds.

    Args:
        image: as Pillow decoded it.
        tags: of a TIFF.

    Raises:
        ValueError: grey values are not finite, or too large for any usual white.
    """
    tags = tags or {}
    if image.mode in {"F", "I"} or image.mode.startswith("I;16"):
        values = np.asarray(image, dtype=np.float64)
        if image.mode == "I" and _first(tags.get(_BITS)) == 32 and _first(tags.get(_SAMPLE_FORMAT, 1)) == 1:
            values = values % 2**32  # unsigned; Pillow reads them as signed
        stated = _stated_white(tags) or (65535.0 if image.mode.startswith("I;16") else 0.0)
        white = stated or _white_of(values)
        if tags.get(_PHOTOMETRIC) == 0:  # 0 is white; Pillow sees to it for 8 bits alone
            values = white - values
        return _scale_to_bytes(values, white), 0.0 if stated else white
    bits = tags.get(_BITS)
    if tags.get(_PLANAR) == 2 and isinstance(bits, tuple) and max(bits, default=8) > 8:  # Pillow mixes up its planes
        raise ValueError("a TIFF of more than 8 bits with a plane for each colour; save its colours together.")
    profile = image.info.get("icc_profile")
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if image.mode in {"RGB", "RGBA", "P"}:
            rgba = _converted(rgba, profile)
        white_image = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(white_image, rgba).convert("RGB")), 0.0
    if image.mode == "P":
        image = image.convert("RGB")
    to_srgb = srgb_transform(profile, image.mode) if profile and image.mode in {"RGB", "CMYK"} else None
    return np.asarray(to_srgb(image) if to_srgb else image.convert("RGB")), 0.0


def rgba_to_srgb(pixels: Pixels, profile: bytes | None) -> Pixels:
    """Return an image with transparency, uint8 [H, W, 4], whose colours are sRGB.

    Args:
        pixels: uint8 [H, W, 4].
        profile: of ICC, if there is one.
    """
    return np.asarray(_converted(Image.fromarray(pixels), profile)) if profile else pixels


def _converted(rgba: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an image with transparency whose colours are sRGB."""
    to_srgb = srgb_transform(profile, "RGB") if profile else None
    if to_srgb is None:
        return rgba
    converted = to_srgb(rgba.convert("RGB"))
    converted.putalpha(rgba.getchannel("A"))
    return converted


def _first(value: object) -> object:
    return value[0] if isinstance(value, tuple) and value else value


def _stated_white(tags: Mapping[int, object]) -> float | None:
    """Return the value of white that the environment states, or the bits that a TIFF says it uses.

    MaxSampleValue is not read: it is the largest value of this one image, and not to be shown by (TIFF 6.0, section 8).

    Raises:
        InputError: the environment states something else than a number above 0.
    """
    given = os.environ.get("FOVEAL_WHITE", "")
    if given:
        try:
            white = float(given)
        except ValueError:
            white = math.nan
        if not (math.isfinite(white) and white > 0):
            raise InputError(f"FOVEAL_WHITE must be a number above 0; got {given!r}.")
        return white
    bits = _first(tags.get(_BITS))
    return float(2**bits - 1) if isinstance(bits, int) and 8 < bits < 16 else None


def _white_of(values: NDArray[np.float64]) -> float:
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite.")
    most = float(np.abs(values).max())
    white = next((white for white in _WHITES if most <= white), None)
    if white is None:
        raise ValueError(f"it holds values up to {most:g}, and states no value of white.")
    return white


def deep_to_bytes(values: NDArray[np.generic], tags: Mapping[int, object]) -> Pixels:
    """Return numbers of 16 bits, uint16 [...], as pixels: white is FOVEAL_WHITE, or 65535, as for deep grey.

    Args:
        values: of any shape.
        tags: of a TIFF.
    """
    white = _stated_white(tags) or 65535.0
    lut = np.clip(np.arange(65536) * (255 / white) + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(lut[values])


def _scale_to_bytes(values: NDArray[np.float64], white: float) -> Pixels:
    """Return grey pixels; where values are negative, black is the negative of white."""
    black = -white if float(values.min(initial=0.0)) < 0 else 0.0
    return grey_to_rgb(np.clip((values - black) * (255 / (white - black)) + 0.5, 0, 255))


def grey_to_rgb(values: NDArray[np.generic]) -> Pixels:
    """Return grey values, [H, W], as RGB, uint8 [H, W, 3].

    Args:
        values: from 0 to 255.
    """
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


def grey_of(rgb: Pixels) -> Pixels:
    """Return an RGB image in grey, uint8 [H, W, 1]: .299 red, .587 green and .114 blue, as Pillow's mode L.

    Args:
        rgb: uint8 [H, W, 3].
    """
    return np.asarray(Image.fromarray(rgb).convert("L"))[..., None]


def srgb_transform(profile: bytes, mode: str) -> ToSrgb | None:
    """Return what turns a profile's colours into sRGB; None where nothing is to be done, or the profile is broken.

    Args:
        profile: of ICC.
        mode: of Pillow, "RGB" or "CMYK".
    """
    if len(profile) > _KEPT_PROFILE:
        return _make_transform(profile, mode)
    key = hashlib.blake2b(profile, digest_size=16, key=mode.encode()).digest()
    with _LOCK:
        if key in _TRANSFORMS:
            _TRANSFORMS.move_to_end(key)
            return _TRANSFORMS[key]
    made = _make_transform(profile, mode)
    with _LOCK:
        _TRANSFORMS[key] = made
        while len(_TRANSFORMS) > _MOST_TRANSFORMS:
            _TRANSFORMS.popitem(last=False)
    return made


def _make_transform(profile: bytes, mode: str) -> ToSrgb | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, *DAMAGE):
        return None

    def apply(image: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None
        return converted

    return apply
