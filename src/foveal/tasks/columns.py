"""What the columns of a table of answers are called, where a class or a number has the name of another column."""

from __future__ import annotations

from collections.abc import Sequence

OWN = frozenset({"fname", "predicted", "prediction_set", "known", "truth", "unknown", "loss"})
"""Columns that every table of answers has."""


def columns_for_points(names: Sequence[str]) -> tuple[str, ...]:
    """Return the two columns of each named point.

    Examples:
        >>> columns_for_points(["nose"])
        ('nose_x', 'nose_y')
    """
    return tuple(f"{name}_{axis}" for name in names for axis in "xy")


def columns_for(names: Sequence[str]) -> list[str]:
    """Return a column for each name: the name itself or, where that is another column, with `class` before it.

    >>> columns_for(["cat", "fname", "class fname"])
    ['cat', 'class class fname', 'class fname']
    """
    taken = OWN | set(names)
    found = []
    for name in names:
        column = name
        while column in OWN or (column != name and column in taken):
            column = f"class {column}"
        found.append(column)
    return found
