"""The check that numbers can be learned in 32 bits."""

from __future__ import annotations

import numpy as np

from foveal.core.errors import NothingToLearnError

LARGEST = 1e37
"""Numbers up to here leave room in 32 bits (3.4e38) for ranges that are wider than the numbers."""

_MIN_STEPS = 16
"""Neighbouring 32-bit numbers within one spread; with fewer, rounding is a good part of the error. Chosen by hand."""


def check_single_precision(name: str, low: float, high: float, spread: float) -> None:
    """Refuse numbers that lie so close together, far from 0, that 32 bits cannot tell them apart.

    Args:
        name: what the numbers are called.
        low: the smallest of them, at least -`LARGEST`.
        high: the largest, at most `LARGEST`.
        spread: their standard deviation, 0 where they are all the same.

    Raises:
        NothingToLearnError: they lie too close together.
    """
    size = max(abs(low), abs(high))
    step = float(np.spacing(np.float32(size)))
    if 0 < spread < _MIN_STEPS * step:
        raise NothingToLearnError(
            f"`{name}` spreads by {spread:.3g} around {size:.3g}, where 32-bit numbers lie {step:.3g} apart. Subtract "
            "its mean in the table, or take another unit."
        )
