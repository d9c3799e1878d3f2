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

from foveal.core.arguments import check_number, check_probability
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
    """Make an image brighter or darker at random, with probability `p`; black and white hardly change.

    In logit space it adds the logit of a level drawn evenly from 0.5 - `max_lighting` / 2 to 0.5 + `max_lighting` / 2.

    Attributes:
        max_lighting: how far it goes: 0 for no change, below 1.
        p: the probability, from 0 to 1.

    Raises:
        InputError: `max_lighting` is out of its range, or `p` is no probability.

    Examples:
        >>> from foveal.vision.all import *
        >>> curve = Brightness(max_lighting=0.5, p=1).draw(np.random.default_rng(0))
        >>> curve(np.array([0.25, 0.5, 0.75])).round(2)  # values of a pixel, white is 1: this draw makes them darker
        array([0.17, 0.38, 0.65])
    """

    max_lighting: float = 0.2
    p: float = 0.75

    def __post_init__(self) -> None:
        check_number("max_lighting", self.max_lighting, at_least=0, below=1)
        check_probability("p", self.p)

    def draw(self, rng: np.random.Generator) -> Curve | None:
        """Return the curve drawn for one image, a function of values from 0 to 1; None for no change.

        Args:
            rng: the generator of this image and epoch.
        """
        chosen, level = rng.random(), 0.5 + self.max_lighting * (rng.random() - 0.5)
        shift = math.log(level / (1 - level))
        return (lambda value: _sigmoid(_logit(value) + shift)) if chosen < self.p else None


@dataclass(frozen=True, slots=True)
class Contrast:
    """Raise or lower the contrast of an image at random, with probability `p`; middle grey stays.

    In logit space it multiplies by a factor whose logarithm is drawn evenly from ln(1 - `max_lighting`) to its
    negative.

    Attributes:
        max_lighting: how far it goes: 0 for no change, below 1.
        p: the probability, from 0 to 1.

    Raises:
        InputError: `max_lighting` is out of its range, or `p` is no probability.

    Examples:
        >>> from foveal.vision.all import *
        >>> curve = Contrast(max_lighting=0.5, p=1).draw(np.random.default_rng(0))
        >>> curve(np.array([0.25, 0.5, 0.75])).round(2)  # values of a pixel, white is 1: this draw lowers the contrast
        array([0.31, 0.5 , 0.69])
    """

    max_lighting: float = 0.2
    p: float = 0.75

    def __post_init__(self) -> None:
        check_number("max_lighting", self.max_lighting, at_least=0, below=1)
        check_probability("p", self.p)

    def draw(self, rng: np.random.Generator) -> Curve | None:
        """Return the curve drawn for one image, a function of values from 0 to 1; None for no change.

        Args:
            rng: the generator of this image and epoch.
        """
        chosen, exponent = rng.random(), -math.log(1 - self.max_lighting) * (2 * rng.random() - 1)
        factor = math.exp(exponent)
        return (lambda value: _sigmoid(_logit(value) * factor)) if chosen < self.p else None


def draw_lut(tones: Sequence[Tone], rng: np.random.Generator) -> Lut | None:
    """Return the curves drawn for one image, composed, as a lookup table uint8 [256]; None for no change.

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
