"""The check of seeds; without NumPy, so that settings load quickly."""

from __future__ import annotations

import operator
from typing import SupportsIndex

from foveal.core.errors import InputError

SEEDS = range(-(2**63), 2**63)
"""The whole numbers that are seeds: what NumPy, torch and TOML can all hold."""


def check_seed(seed: SupportsIndex) -> int:
    """Return a seed as a Python integer.

    Raises:
        InputError: it is not a whole number of 64 bits.
    """
    try:
        number = operator.index(seed)
    except TypeError:
        number = SEEDS.stop
    if number not in SEEDS:
        raise InputError(f"A seed is a whole number from -2**63 to 2**63 - 1; got {seed!r}.")
    return number
