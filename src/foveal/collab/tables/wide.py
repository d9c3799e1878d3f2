"""Wide tables: a row per user and a column per item (or the other way round), with a rating where they meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from foveal.collab.tables.meaning import read_numbers
from foveal.collab.tables.words import claim_of

_FEWEST_NAMED = 4  # columns besides the users', where their name says so; chosen by hand
_FEWEST = 8  # columns without names; a long table rarely has so many numbers side by side; chosen by hand
_SPAN = 100.0  # from the lowest to the highest rating; a scale is not wider
_MOST_STEPS = 0.5  # of the cells: with more different values they are no ratings, but measurements
_RATED = 0.9  # of the rows in which the first column counts the ratings; the others were written by hand
_NONE = (99.0, 999.0, -99.0, -999.0)
_MOST_VALUES = 20  # of a scale of whole or half steps: where the cells of a table have more, they may be measurements


@dataclass(frozen=True, slots=True)
class Wide:
    """How a wide table lies.

    Attributes:
        first: the column of ids, or of counts.
        cells: the columns of ratings.
        counts_ratings: whether the first column says how many ratings a row has; rows are then numbered.
        is_transposed: whether rows are items and columns users.
    """

    first: str
    cells: tuple[str, ...]
    counts_ratings: bool
    is_transposed: bool


def find_wide(  # noqa: PLR0911 -- each return is another reason
    sample: pd.DataFrame, *, has_header: bool
) -> Wide | None:
    """Return how a wide table lies; None for a table with a row per rating.

    Args:
        sample: the first rows as texts.
        has_header: whether its columns have names of their own.
    """
    names = [str(name) for name in sample.columns]
    if len(names) <= _FEWEST_NAMED or len(sample) < 2:
        return None
    claims = [claim_of(name) for name in names]
    first = claims[0]
    rest = [claim for claim in claims[1:] if claim is not None]
    if has_header and {claim.role for claim in rest} & {"rating", "time"}:
        return None
    is_user = (
        has_header
        and first is not None
        and first.role == "user"
        and not any(c.role == "item" for c in rest[:1] if len(rest) < len(names) / 2)
    )
    is_transposed = (
        has_header
        and first is not None
        and first.role == "item"
        and len(rest) == len(names) - 1
        and all(claim.role == "user" for claim in rest)
    )
    is_blank = has_header and (names[0].startswith(("column 1", "Unnamed")))
    if not (is_user or is_transposed) and len(names) <= _FEWEST:
        return None
    if has_header and not (is_user or is_transposed or is_blank):
        return None
    texts = sample[names[1:]].map(
        lambda cell: None if cell is None or not str(cell).strip() else str(cell).replace(",", ".")
    )
    cells = texts.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    if (np.isnan(cells) & texts.notna().to_numpy()).any():
        return None
    given = cells[~np.isnan(cells) & ~np.isin(cells, _NONE)]
    if not len(given) or np.ptp(given) > _SPAN or np.abs(given).max() > _SPAN or len(np.unique(given)) < 2:
        return None
    counts = pd.to_numeric(sample[names[0]], errors="coerce").to_numpy(dtype=float)
    n_rated = (~np.isnan(cells) & ~np.isin(cells, _NONE)).sum(axis=1)
    counts_ratings = not is_transposed and not is_user and float((counts == n_rated).mean()) >= _RATED
    if not (is_user or is_transposed or counts_ratings) and not _is_scale(given, cells):
        return None
    if not counts_ratings and not sample[names[0]].is_unique:
        return None
    return Wide(names[0], tuple(names[1:]), counts_ratings, is_transposed)


def _is_scale(given: np.ndarray, cells: np.ndarray) -> bool:
    """Return whether unnamed cells are ratings: few different steps, or many gaps."""
    steps = np.unique(given)
    return bool(
        (steps * 2 == np.round(steps * 2)).all()
        and len(steps) <= _MOST_VALUES
        and (np.isnan(cells) | np.isin(cells, _NONE)).any()
    )


def to_long(frame: pd.DataFrame, wide: Wide) -> tuple[pd.DataFrame, np.ndarray, str]:
    """Return (a row per cell that is not blank, the row of the wide table of each, how the numbers are written).

    Args:
        frame: the wide table; its cells are numbers, or text as a categorical.
        wide: how it lies.
    """
    columns = [read_numbers(frame[name]) for name in wide.cells]
    cells = np.stack([column.rows for column in columns], axis=1)
    written = next((column.written for column in columns if column.written), "")
    rows, at = np.nonzero(~np.isnan(cells))
    if wide.counts_ratings:
        ids = pd.Categorical.from_codes(rows, categories=pd.Index(np.arange(1, len(frame) + 1)))
    else:
        texts = pd.Series(pd.Categorical(frame[wide.first].astype(object)))
        ids = pd.Categorical.from_codes(texts.cat.codes.to_numpy()[rows], categories=texts.cat.categories)
    is_numbered = all(name == f"column {k}" for k, name in enumerate(wide.cells, start=2))
    heads = [str(k) for k in range(1, len(wide.cells) + 1)] if is_numbered else list(wide.cells)
    others = pd.Categorical.from_codes(at, categories=pd.Index(heads, dtype=object))
    users, items = (others, ids) if wide.is_transposed else (ids, others)
    return pd.DataFrame({"user": users, "item": items, "rating": cells[rows, at]}), rows, written
