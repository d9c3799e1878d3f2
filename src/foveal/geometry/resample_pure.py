"""Smoothing and bilinear sampling in NumPy: the definition, in whole numbers; resample.c gives the same bits quicker.

Smoothing goes down the columns with weights in 1/256, then along the rows with weights in 1/65536, whose products are
cut off to whole 1/128 of a grey level; at its border the image is mirrored about its last pixel. Sampling has positions
and weights in 1/128 of a pixel; the four products are summed exactly and rounded once.

Shapes: H, W are an image's height and width, h, w those of the output, C the channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.geometry.pixels import NO_SMOOTHING, Numbers, PadMode, Pixels, Smoothing, Values

_REACH = 2  # pixels to either side that smoothing reads
_BAND = 16  # rows that are smoothed at once, for the processor's cache: twice as fast as all at once
_SHIFT = 7
ONE = 1 << _SHIFT  # positions and weights of sampling: 1/128 of a pixel, a quarter of OpenCV's step
_ROUND = 1 << (2 * _SHIFT - 1)
_FAR = float(1 << 30)  # 1/128 of a pixel; farther positions lie there, and those that are no number at -_FAR
CENTRE = 63.5  # 1/128 of a pixel: of the first pixel's centre, less 1/2, for the nearest whole number
_HORIZON = 1e-6  # of the centre's depth: what lies farther, or behind, is seen as if it lay there

Lines = NDArray[np.uint16]
Whole = NDArray[np.int32]


def smooth(image: Pixels, smoothing: Smoothing) -> Pixels:
    """Return an image smoothed, uint8 [H, W, C].

    Args:
        image: uint8 [H, W, C].
        smoothing: by how much.
    """
    if smoothing == NO_SMOOTHING:
        return image
    height, width = image.shape[:2]
    around = image[_mirrored(height)][:, _mirrored(width)]
    out = np.empty_like(image, order="C")
    for top in range(0, height, _BAND):
        lines = _down(around[top : top + _BAND + 2 * _REACH], smoothing.down_1, smoothing.down_2)
        out[top : top + _BAND] = _across(lines, smoothing.across_1, smoothing.across_2)
    return out


def resample(
    image: Pixels, smoothing: Smoothing, to_source: Numbers, size_hw: tuple[int, int], pad_mode: PadMode
) -> Pixels:
    """Return an image smoothed and sampled, uint8 [h, w, C].

    Args:
        image: uint8 [H, W, C].
        smoothing: by how much it is smoothed first.
        to_source: from continuous pixels of the output to those of the image, its depth at the output's centre being 1.
        size_hw: (h, w).
        pad_mode: what stands beyond the image's border.
    """
    smoothed = smooth(image, smoothing)
    if pad_mode == "zeros":
        smoothed = np.pad(smoothed, ((1, 1), (1, 1), (0, 0)))
    x, y = _located(to_source, size_hw)
    left, right, next_is = _weighed(_brought_inside(x, image.shape[1], pad_mode), smoothed.shape[1])
    upper, lower, below_is = _weighed(_brought_inside(y, image.shape[0], pad_mode), smoothed.shape[0])
    flat = smoothed.reshape(-1, smoothed.shape[2])
    at = upper * smoothed.shape[1] + left
    under = at + below_is * smoothed.shape[1]

    def mixed(row: NDArray[np.intp]) -> Whole:
        here = flat[row].astype(np.int32)
        return here * (ONE - right)[..., None] + flat[row + next_is] * right[..., None]

    sums = mixed(at) * (ONE - lower)[..., None] + mixed(under) * lower[..., None]
    return ((sums + _ROUND) >> (2 * _SHIFT)).astype(np.uint8)


def look_up(out: Values, pixels: Pixels, table: Values) -> None:
    """Write what the values of pixels become.

    Args:
        out: float32 [h, w, C].
        pixels: uint8 [h, w, C].
        table: float32 [C, 256].
    """
    for channel, values in enumerate(table):
        out[..., channel] = values[pixels[..., channel]]


def _mirrored(n: int) -> NDArray[np.intp]:
    """Return which of `n` pixels in a row stand there and two beyond either end, mirrored about the last ones."""
    if n == 1:
        return np.zeros(1 + 2 * _REACH, np.intp)
    at = np.abs(np.arange(-_REACH, n + _REACH)) % (2 * n - 2)
    return np.where(at < n, at, 2 * n - 2 - at)


def _down(around: Pixels, w1: int, w2: int) -> Lines:
    """Return rows smoothed down their columns, in 1/128 of a grey level; two rows fewer at either end."""
    rows = around.astype(np.uint16)
    sums = rows[2:-2] * np.uint16(256 - 2 * w1 - 2 * w2)
    if w1:
        sums += (rows[1:-3] + rows[3:-1]) * np.uint16(w1)
    if w2:
        sums += (rows[:-4] + rows[4:]) * np.uint16(w2)
    return sums >> np.uint16(1)


def _across(lines: Lines, w1: int, w2: int) -> Pixels:
    """Return pixels of lines in 1/128 of a grey level, smoothed along them; two fewer at either end."""
    if not w1 and not w2:
        return ((lines[:, 2:-2] + np.uint16(64)) >> 7).astype(np.uint8)
    sums = _high(lines[:, 2:-2], 65536 - 2 * w1 - 2 * w2)
    if w1:
        sums += _high(lines[:, 1:-3] + lines[:, 3:-1], w1)
    if w2:
        sums += _high(lines[:, :-4] + lines[:, 4:], w2)
    return ((sums + np.uint16(65)) >> 7).astype(np.uint8)


def _high(values: Lines, weight: int) -> Lines:
    """Return products in 1/65536, cut off to whole numbers."""
    return ((values * np.uint32(weight)) >> 16).astype(np.uint16)


def _located(to_source: Numbers, size_hw: tuple[int, int]) -> tuple[Whole, Whole]:
    """Return where pixels lie in the source, x and y [h, w] each, in 1/128 of a pixel from its first centre."""
    m = to_source
    across, down = np.arange(size_hw[1]) + 0.5, np.arange(size_hw[0])[:, None] + 0.5
    with np.errstate(all="ignore"):  # what is no number, or too large for one, is put somewhere below
        depth = m[6] * across + (m[7] * down + m[8])
        near = 1.0 / np.where(depth > _HORIZON, depth, _HORIZON)
        x, y = (_nearest(((m[row] * ONE) * across + (m[row + 1] * down + m[row + 2]) * ONE) * near) for row in (0, 3))
    return x, y


def _nearest(at: NDArray[np.float64]) -> Whole:
    at = np.where(at > ONE - _FAR, at, ONE - _FAR)
    at = np.where(at < _FAR - ONE, at, _FAR - ONE)
    return (at + (_FAR - CENTRE)).astype(np.int32) - np.int32(_FAR)


def _brought_inside(at: Whole, n: int, pad_mode: PadMode) -> Whole:
    """Return positions along a side of `n` pixels, brought into it; with a ring of black about the image if zeros."""
    last, ring = (n - 1) * ONE, ONE if pad_mode == "zeros" else 0
    if pad_mode == "reflection":
        at = at % (2 * n * ONE)
        at = np.where(at > last, 2 * last + ONE - at, at)
    return np.clip(at + ring, 0, last + 2 * ring).astype(np.int32)


def _weighed(at: Whole, n: int) -> tuple[NDArray[np.intp], Whole, int]:
    """Return the first of the two pixels that positions lie between, the second's weight, and how far on it is."""
    if n == 1:
        return np.zeros(at.shape, np.intp), at, 0
    first = np.minimum(at >> _SHIFT, n - 2)
    return first.astype(np.intp), at - first * ONE, 1
