"""Numbers as people read them: one rule for pages, the terminal and the model card.

Whole numbers (`int`) are written in full. Other numbers have `digits` decimals below 10 and one from 10 on, so that a
metric keeps its precision and a pixel distance does not pretend to any. Where that would show nothing (below 0.001) or
too much (from a million on), they have `digits` significant digits. NaN and None are "not defined".
"""

from __future__ import annotations

import math

DIGITS = 3
"""Decimals of a metric unless told otherwise; chosen by hand: an interval of 1,000 images is about 0.02 wide."""
_SMALLEST = 1e-3  # of a number that 3 decimals still show
_LARGEST = 1e6  # from which on a number is longer than its exponent form
_ONE_DECIMAL_FROM = 10.0


def format_number(value: float | None, digits: int = DIGITS) -> str:
    """Return a number as people read it; the module says by which rule.

    >>> format_number(0.5), format_number(12.34), format_number(1.6e-10), format_number(7), format_number(None)
    ('0.500', '12.3', '1.6e-10', '7', 'not defined')

    Args:
        value: an `int`, a `float`, or None where a metric is not defined.
        digits: decimals below 10, and significant digits of very small and very large numbers.
    """
    if value is None or math.isnan(value):
        return "not defined"
    if isinstance(value, int):
        return str(value)
    if value != 0 and not _SMALLEST <= abs(value) < _LARGEST:
        return f"{value:.{digits}g}"
    return f"{value:.{digits if abs(value) < _ONE_DECIMAL_FROM else 1}f}"
