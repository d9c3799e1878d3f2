"""What the numbers of a table mean: a scale, how often, or that somebody had something; and what is no rating."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from foveal.collab.tables.table import Kind
from foveal.collab.tables.words import is_amount, is_rating
from foveal.core.errors import InputError

NotRated = float | Literal["none"] | None
"""The number that stands for "had, not rated"; "none": there is no such number; None: it is found out."""

_FAR_MORE = 3.0
"""Zeros by the most frequent of 1 and 2. Of recipes with reviews alone 4.3, of books that were only owned 260; on a
scale from 0 it is about 1."""
_ODD_ONES = (99.0, -99.0, 999.0, -999.0, 9999.0, -9999.0, 99999.0)
_BEYOND = 3.0  # spans of the scale between it and a number that is not on it; jokes: 99 beside -10 to 10
_LONGEST_SCALE = 101  # steps: 0 to 100
_FEWEST_STEPS = 3  # of a scale besides the number that is not on it
_LONG_TAIL = 10.0
"""The largest by the median: plays of artists 1,356, pieces ordered 27,000; a scale of 1 to 5 1.25, one to 100 1.4."""
_BEYOND_SCALES = 20.0  # the largest of an unnamed count is above it, or it may be a scale; chosen by hand
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?")
_IN_WORDS = re.compile(
    r"(?:rated\s+)?([-+]?\d+(?:[.,]\d+)?)\s*"
    r"(?:stars?|sterne?|etoiles?|estrellas?|points?|/\s*\d+|(?:out of|of|von|sur|de)\s+\d+.*)",
    re.IGNORECASE,
)
_TRUTHS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of ratings as numbers.

    Attributes:
        rows: a number per row; NaN where the cell is no number.
        written: how they are written, where that is unusual.
    """

    rows: np.ndarray
    written: str = ""


def read_numbers(column: pd.Series) -> Numbers:
    """Return a column's numbers; decimal commas, "4 out of 5" and "5 stars" are read as people mean them.

    Args:
        column: numbers, or text as a categorical.
    """
    if not isinstance(column.dtype, pd.CategoricalDtype):
        values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        return Numbers(np.where(np.isfinite(values), values, np.nan))
    cells = [str(cell).strip().strip('"').strip() for cell in column.cat.categories]
    known, written = _of_texts(cells)
    return Numbers(np.append(known, np.nan)[column.cat.codes.to_numpy()], written)


def _of_texts(cells: list[str]) -> tuple[np.ndarray, str]:
    plain = np.array([_number(cell) for cell in cells], dtype=float)
    left = [cell for cell, value in zip(cells, plain, strict=True) if np.isnan(value) and cell]
    if not left:
        return plain, ""
    if all(_THOUSANDS.fullmatch(cell) for cell in left) and not any("." in cell for cell in cells if cell not in left):
        return np.array([_number(cell.replace(",", "")) for cell in cells]), "thousands separated by commas"
    if any(_DECIMAL_COMMA.fullmatch(cell) for cell in left) and not any("." in cell for cell in cells):
        return np.array([_number(cell.replace(",", ".")) for cell in cells]), "decimal commas"
    matches = {cell: match[1].replace(",", ".") for cell in left if (match := _IN_WORDS.fullmatch(cell))}
    if matches and len(matches) >= len(left) / 2:
        example = next(iter(matches))
        return np.array([_number(matches.get(cell, cell)) for cell in cells]), f'written like "{example[:20]}"'
    if all(cell.lower() in _TRUTHS for cell in left):
        return np.array([_TRUTHS.get(cell.lower(), _number(cell)) for cell in cells]), "true and false as 1 and 0"
    return plain, ""


def _number(cell: str) -> float:
    try:
        value = float(cell) if "_" not in cell else np.nan
    except ValueError:
        return float("nan")
    return value if np.isfinite(value) else float("nan")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What numbers mean.

    Attributes:
        kind: see `RatingTable`.
        not_rated: the number that stands for "had, not rated".
        share: of the rows that hold it.
        low, high: of the others.
        is_constant: whether all others are one number.
    """

    kind: Kind
    not_rated: float | None
    share: float
    low: float
    high: float
    is_constant: bool = False

    def __str__(self) -> str:
        shown = f"{self.low:,g} to {self.high:,g}"
        if self.is_constant:
            shown = f"always {self.low:,g}: taken as seen"
        elif self.kind == "counts":
            shown += ": taken as counts, not as ratings"
        if self.not_rated is not None:
            shown += f', {_percent(self.share)} are {self.not_rated:g}: taken as "had, not rated"'
        return shown


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def find_meaning(values: np.ndarray, name: str, not_rated: NotRated = None) -> Meaning:
    """Return what the numbers of a column mean.

    Args:
        values: of all rows; NaN where a row has no number.
        name: of the column, which says whether something is counted or rated.
        not_rated: as a person says it; see `NotRated`.

    Raises:
        InputError: a number was named that no row has.
    """
    steps, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    number = None
    if isinstance(not_rated, float | int):
        number = float(not_rated)
        if len(steps) and number not in steps:
            raise InputError(
                f"--not-rated {number:g}: no row of `{name}` has it; its numbers run from {steps[0]:,g} to "
                f"{steps[-1]:,g}."
            )
    elif not_rated is None:
        number = _not_on_the_scale(steps, counts, name)
    rest, n_rest = (steps, counts) if number is None else (steps[steps != number], counts[steps != number])
    share = 0.0 if number is None else 1 - n_rest.sum() / max(1, counts.sum())
    if not len(rest):
        return Meaning("seen", number, share, number or 0.0, number or 0.0, is_constant=True)
    low, high = float(rest[0]), float(rest[-1])
    if len(rest) == 1 and number is None:
        return Meaning("seen", None, 0.0, low, high, is_constant=True)
    kind: Kind = "counts" if _are_counts(rest, n_rest, name) else "ratings"
    return Meaning(kind, number, float(share), low, high)


def _not_on_the_scale(steps: np.ndarray, counts: np.ndarray, name: str) -> float | None:
    """Return the number that stands for "had, not rated" by what the others are."""
    if len(steps) <= _FEWEST_STEPS:
        return None
    for at in (0, -1):
        others = np.delete(steps, at)
        span = max(float(others[-1] - others[0]), 1.0)
        gap = min(abs(float(steps[at]) - float(others[0])), abs(float(steps[at]) - float(others[-1])))
        if steps[at] in _ODD_ONES and gap > _BEYOND * span:
            return float(steps[at])
    if len(steps) > _LONGEST_SCALE + 1:
        return None
    is_whole = bool((steps * 2 == np.round(steps * 2)).all())
    if steps[0] == -1 and steps[1] >= 0 and steps[-1] >= _FEWEST_STEPS and is_whole:
        return -1.0
    if steps[0] == 0 and steps[1] >= 0.5 and is_whole and not _are_counts(steps[1:], counts[1:], name):
        neighbours = counts[(steps > 0) & (steps <= 2)]
        if len(neighbours) and counts[0] > _FAR_MORE * neighbours.max():
            return 0.0
    return None


def _are_counts(steps: np.ndarray, counts: np.ndarray, name: str) -> bool:
    """Return whether numbers say how often or how long: from 0 on with a long tail, or amounts by their name."""
    if steps[0] < 0 or len(steps) < 2:
        return False
    is_whole = bool((steps == np.round(steps)).all())
    order = np.cumsum(counts)
    median = float(steps[np.searchsorted(order, order[-1] / 2)])
    has_tail = float(steps[-1]) >= _LONG_TAIL * max(median, 1.0)
    if is_amount(name) and (is_whole or has_tail):
        return True
    if is_rating(name) and steps[-1] < _LONGEST_SCALE:
        return False
    return has_tail and steps[-1] > (_BEYOND_SCALES if is_whole else _LONGEST_SCALE)
