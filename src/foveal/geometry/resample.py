"""Smoothing and bilinear sampling of an image in one call, without the interpreter's lock.

It is done by the library that the build makes of resample.c, whose threads run side by side; without the library, by
`resample_pure`, with the same bits in some fifty times the time. FOVEAL_PURE=1 in the environment takes that anyway.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from foveal.core.errors import InputError
from foveal.geometry import resample_pure
from foveal.geometry.pixels import NO_SMOOTHING, Numbers, PadMode, Pixels, Smoothing, Values

_INTERFACE = 1  # of resample.c; a library that was built of another one is left alone
_PAD_MODES: Mapping[PadMode, int] = {"reflection": 0, "border": 1, "zeros": 2}
_SUFFIXES: Mapping[str, str] = {"win32": "dll", "darwin": "dylib"}
LIBRARY = Path(__file__).with_name(f"libresample.{_SUFFIXES.get(sys.platform, 'so')}")
_NO_MEMORY = -1
_P, _I = ctypes.c_void_p, ctypes.c_int32
_IMAGE = (_P, ctypes.c_int64, _I, _I, _I, _I, _I, _I, _I)  # where, bytes from row to row, H, W, C, smoothing


def is_pure_wanted() -> bool:
    """Return whether the environment asks for NumPy: FOVEAL_PURE is set, and not to 0."""
    return os.environ.get("FOVEAL_PURE", "0") not in {"", "0"}


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the library of resample.c; None where none was built that fits, or it is not wanted."""
    if is_pure_wanted():
        return None
    try:
        found = ctypes.CDLL(str(LIBRARY))
        if found.foveal_interface() != _INTERFACE:
            return None
    except (OSError, AttributeError):
        return None
    found.foveal_resample.argtypes = [*_IMAGE, ctypes.c_char_p, _I, _I, _I, _P, _P, _P]
    return found


def smooth(image: Pixels, smoothing: Smoothing) -> Pixels:
    """Return an image smoothed, uint8 [H, W, C]; itself if there is nothing to do.

    Args:
        image: uint8 [H, W, C].
        smoothing: by how much.
    """
    found = library()
    if found is None or smoothing == NO_SMOOTHING:
        return resample_pure.smooth(image, smoothing)
    image = _in_rows(image)
    out = np.empty_like(image, order="C")
    size = image.shape[:2]
    _check(found.foveal_resample(*_described(image, smoothing), None, 0, *size, _address(out), None, None))
    return out


def resample(
    image: Pixels, smoothing: Smoothing, to_source: Numbers, size_hw: tuple[int, int], pad_mode: PadMode
) -> Pixels:
    """Return an image smoothed and sampled, uint8 [h, w, C]; see `resample_pure.resample`.

    Args:
        image: uint8 [H, W, C].
        smoothing: by how much it is smoothed first.
        to_source: from continuous pixels of the output to those of the image, its depth at the output's centre being 1.
        size_hw: (h, w).
        pad_mode: what stands beyond the image's border.
    """
    found = library()
    if found is None:
        return resample_pure.resample(image, smoothing, to_source, size_hw, pad_mode)
    image = _in_rows(image)
    out = np.empty((*size_hw, image.shape[2]), dtype=np.uint8)
    mode, matrix = _PAD_MODES[pad_mode], struct.pack("9d", *to_source)
    _check(found.foveal_resample(*_described(image, smoothing), matrix, mode, *size_hw, _address(out), None, None))
    return out


def resample_into(
    out: Values, image: Pixels, smoothing: Smoothing, to_source: Numbers, pad_mode: PadMode, table: Values
) -> None:
    """Smooth an image, sample it, and write what its values become: `resample` and a table in one.

    Args:
        out: float32 [h, w, C], contiguous.
        image: uint8 [H, W, C].
        smoothing: by how much it is smoothed first.
        to_source: from continuous pixels of the output to those of the image, its depth at the output's centre being 1.
        pad_mode: what stands beyond the image's border.
        table: float32 [C, 256], contiguous.
    """
    height, width, n_channels = out.shape
    found = library()
    if found is None:
        pixels = resample_pure.resample(image, smoothing, to_source, (height, width), pad_mode)
        resample_pure.look_up(out, pixels, table)
        return
    image = _in_rows(image)
    assert out.dtype == table.dtype == np.float32
    assert out.flags.c_contiguous
    assert table.flags.c_contiguous
    assert table.shape == (n_channels, 256)
    assert image.shape[2] == n_channels
    mode, matrix, target = _PAD_MODES[pad_mode], struct.pack("9d", *to_source), (None, _address(out), _address(table))
    _check(found.foveal_resample(*_described(image, smoothing), matrix, mode, height, width, *target))


def _in_rows(image: Pixels) -> Pixels:
    """Return an image whose rows lie in one piece each; they may lie anywhere."""
    assert image.dtype == np.uint8
    _, pixel, channel = image.strides
    return image if channel == 1 and pixel == image.shape[2] else np.ascontiguousarray(image)


def _described(image: Pixels, smoothing: Smoothing) -> tuple[int, ...]:
    return (_address(image), image.strides[0], *image.shape, *smoothing)


def _address(array: Pixels | Values) -> int:
    address: int = array.__array_interface__["data"][0]  # half the time of `array.ctypes.data`
    return address


def _check(code: int) -> None:
    if code == _NO_MEMORY:
        raise MemoryError("There is no memory left to resample an image in.")
    if code:
        raise InputError("An image has more pixels than can be warped: 4 GiB of them, or 2,097,152 along a side.")
