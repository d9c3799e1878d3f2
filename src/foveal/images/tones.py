"""Tones: operations that change colours and leave every pixel in its place.

An operation that treats all pixels alike is a curve: a function of the pixel value on [0, 1]. Curves compose, so
however many are drawn for an image, they become one lookup table (LUT) of 256 entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.core.errors import InputError
from foveal.geometry.pixels import as_pixels
from foveal.images.colours import Pixels

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Lut = NDArray[np.uint8]
"""The new values of the 256 values of a pixel, uint8 [256]."""
_VALUES = np.arange(256) / 255
_EDGE = 1e-3  # distance from 0 and 1 at which logits stop growing: fastai's `logit` clamps so too


@runtime_checkable
class Tone(Protocol):
    """Draws a curve for one image, or None for no change."""

    def draw(self, rng: np.random.Generator) -> Curve | None:
        """Return the curve drawn."""


@dataclass(frozen=True, slots=True)
class Brightness:
    """Add the logit of U(.5 - max_lighting / 2, .5 + max_lighting / 2) in logit space, with probability `p`."""

    max_lighting: float = 0.2
    p: float = 0.75

    def __post_init__(self) -> None:
        _check_lighting(self.max_lighting)

    def draw(self, rng: np.random.Generator) -> Curve | None:
        """Return the curve drawn."""
        chosen, level = rng.random(), 0.5 + self.max_lighting * (rng.random() - 0.5)
        shift = math.log(level / (1 - level))
        return (lambda value: _sigmoid(_logit(value) + shift)) if chosen < self.p else None


@dataclass(frozen=True, slots=True)
class Contrast:
    """Multiply logits by exp(U(ln(1 - max_lighting), -ln(1 - max_lighting))), with probability `p`."""

    max_lighting: float = 0.2
    p: float = 0.75

    def __post_init__(self) -> None:
        _check_lighting(self.max_lighting)

    def draw(self, rng: np.random.Generator) -> Curve | None:
        """Return the curve drawn."""
        chosen, exponent = rng.random(), -math.log(1 - self.max_lighting) * (2 * rng.random() - 1)
        factor = math.exp(exponent)
        return (lambda value: _sigmoid(_logit(value) * factor)) if chosen < self.p else None


def draw_lut(tones: Sequence[Tone], rng: np.random.Generator) -> Lut | None:
    """Draw all curves and return their composition as a lookup table; None for no change.

    Args:
        tones: in the order in which they are applied.
        rng: the generator of this image and epoch.
    """
    curves = [curve for tone in tones if (curve := tone.draw(rng)) is not None]
    if not curves:
        return None
    values = _VALUES
    for curve in curves:
        values = curve(values)
    return np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8)


def apply_lut(pixels: Pixels, lut: Lut | None) -> Pixels:
    """Return an image, uint8 [h, w, C], with its values looked up in a table.

    Args:
        pixels: uint8 [h, w, C].
        lut: uint8 [256]; None for no change.
    """
    return pixels if lut is None else as_pixels(cv2.LUT(pixels, lut))


def apply_luts(pixels: Tensor, luts: Sequence[Lut | None]) -> Tensor:
    """Return a batch, uint8 [B, h, w, C], with each image's values looked up in its own table.

    Args:
        pixels: uint8 [B, h, w, C] on any device.
        luts: uint8 [256] per image; None for no change.
    """
    if all(lut is None for lut in luts):
        return pixels
    identity = np.arange(256, dtype=np.uint8)
    stacked = torch.from_numpy(np.stack([identity if lut is None else lut for lut in luts])).to(pixels.device)
    return stacked.gather(1, pixels.flatten(1).long()).reshape(pixels.shape)


def _logit(value: NDArray[np.float64]) -> NDArray[np.float64]:
    if value is _VALUES:
        return _LOGITS
    inside = np.clip(value, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)))


_LOGITS = _logit(np.array(_VALUES))  # of what every curve begins with


def _sigmoid(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-value)))


def _check_lighting(max_lighting: float) -> None:
    if not 0 <= max_lighting < 1:
        raise InputError(f"`max_lighting` must be at least 0 and below 1; got {max_lighting!r}.")
