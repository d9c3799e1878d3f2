"""Names of the course for words that foveal writes as text, and second names."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from foveal.geometry.moves import Dihedral, Flip


class ResizeMethod:
    """How `Resize` brings an image to size: names for the texts "squish", "crop" and "pad".

    Examples:
        >>> from foveal.vision.all import *
        >>> Resize(224, ResizeMethod.Squish)
        Resize(size=224, method='squish', pad_mode='reflection')
    """

    Squish = "squish"
    Crop = "crop"
    Pad = "pad"


class PadMode:
    """What stands where an image does not reach: names for the texts "zeros", "border" and "reflection".

    Examples:
        >>> from foveal.vision.all import *
        >>> Resize(224, ResizeMethod.Pad, pad_mode=PadMode.Zeros)
        Resize(size=224, method='pad', pad_mode='zeros')
    """

    Zeros = "zeros"
    Border = "border"
    Reflection = "reflection"


class FlipItem(Flip):
    """`Flip` by the course's name."""


class DihedralItem(Dihedral):
    """`Dihedral` by the course's name."""


def test_eq(a: object, b: object) -> None:
    """Raise unless two values are equal.

    Args:
        a: one value.
        b: the other one.

    Raises:
        AssertionError: they differ.
    """
    same: object = a == b
    if not (bool(same.all()) if isinstance(same, Tensor | np.ndarray) else same):
        raise AssertionError(f"==:\n{a}\n{b}")
