"""Rows to pairs: ids as they are meant, rows that cannot be used, and pairs that stand in several rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from foveal.collab.tables.table import Kind
from foveal.sources.items import Finding

_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})")
_AS_FLOAT = re.compile(r"(-?(?:0|[1-9]\d{0,14}))\.0")
_SHOWN = 3  # lines of a finding
NO_ID = "row without {}"
NO_NUMBER = "rating that is no number"
SKIP = "--on-bad skip leaves such rows out."

Where = Callable[[Sequence[int]], str]
"""Names rows by their positions, for messages."""


@dataclass(frozen=True, slots=True)
class IdColumn:
    """A column of ids.

    Attributes:
        ids: categorical; its categories are whole numbers or texts.
        had_quotes: how many ids stood in quotes of their own.
    """

    ids: pd.Categorical
    had_quotes: int = 0


def read_ids(column: pd.Series) -> IdColumn:
    """Return ids: whole numbers where all are written as such, else texts; spaces and quotes around them are left out.

    Args:
        column: text as a categorical, or values of any kind.
    """
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = column.astype("float64") if column.hasnans else column
        codes, known = pd.factorize(numbers, sort=True)
        is_whole = bool((known == np.round(known)).all())
        return IdColumn(pd.Categorical.from_codes(codes, pd.Index(known).astype("int64") if is_whole else known))
    if not isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype("object").where(column.notna(), None)
        column = pd.Series(pd.Categorical(column.map(lambda cell: None if cell is None else str(cell))))
    cells = [str(cell).strip() for cell in column.cat.categories]
    plain = [cell[1:-1].strip() if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in cells]
    had_quotes = sum(cell != other for cell, other in zip(cells, plain, strict=True))
    if plain and all(len(cell) > 1 and cell[0] == cell[-1] == "'" for cell in plain):
        plain, had_quotes = [cell[1:-1] for cell in plain], len(plain)
    codes, known = pd.factorize(pd.Index(_typed(plain)), sort=False)
    if "" in known:
        blank = list(known).index("")
        codes = np.where(codes == blank, -1, codes - (codes > blank))
        known = known.delete(blank)
        known = pd.Index(_typed([str(one) for one in known]))
    values = pd.Categorical.from_codes(np.append(codes, -1)[column.cat.codes.to_numpy()], categories=known)
    return IdColumn(values, had_quotes)


def _typed(cells: list[str]) -> pd.Index:
    if cells and all(_WHOLE.fullmatch(cell) for cell in cells):
        return pd.Index([int(cell) for cell in cells], dtype="int64")
    if cells and all(_AS_FLOAT.fullmatch(cell) or _WHOLE.fullmatch(cell) for cell in cells):
        return pd.Index([int(cell.removesuffix(".0")) for cell in cells], dtype="int64")
    return pd.Index(cells, dtype=object)


def audit_rows(
    users: pd.Categorical,
    items: pd.Categorical,
    values: np.ndarray | None,
    shown: pd.Series | None,
    where: Where,
) -> tuple[np.ndarray, list[Finding]]:
    """Return which rows can be used, and findings of the others.

    Args:
        users: of each row.
        items: of each row.
        values: the ratings as numbers; None where there is no such column.
        shown: the ratings as they are written.
        where: names rows.
    """
    findings: list[Finding] = []
    usable = np.ones(len(users), bool)
    for ids, what in ((users, "user"), (items, "item")):
        bad = ids.codes < 0
        usable &= ~bad
        if bad.any():
            findings.append(_finding(NO_ID.format(what), bad, where, f"{int(bad.sum()):,} of {len(bad):,} rows"))
    if values is not None:
        bad = np.isnan(values) & usable
        if bad.any():
            some = list(dict.fromkeys(_as_written(cell) for cell in ([] if shown is None else shown[bad].head(1000))))
            value = f"{int(bad.sum()):,} of {len(bad):,} rows: {', '.join(some[:_SHOWN])}"
            findings.append(_finding(NO_NUMBER, bad, where, value))
            usable &= ~bad
    return usable, findings


def _as_written(cell: object) -> str:
    return "blank" if cell is None or cell != cell or not str(cell).strip() else repr(str(cell)[:30])  # noqa: PLR0124


def _finding(rule: str, bad: np.ndarray, where: Where, value: str) -> Finding:
    return Finding("error", rule, where(np.flatnonzero(bad)[:_SHOWN].tolist()), value, SKIP)


def merge_pairs(
    users: pd.Categorical, items: pd.Categorical, values: np.ndarray, times: pd.Series | None, kind: Kind, where: Where
) -> tuple[np.ndarray, np.ndarray, list[Finding]]:
    """Return for each row whether it is kept, one per pair, the values of all, and what was found.

    Counts are added up; of ratings the latest is kept, or without times the last one.

    Args:
        users: of each row.
        items: of each row.
        values: of each row; NaN where a user had the item and did not rate it.
        times: that sort; None where there is no such column.
        kind: of the table.
        where: names rows.
    """
    keys = users.codes.astype(np.int64) * max(1, len(items.categories)) + items.codes
    in_order = np.sort(keys)  # takes half the memory of looking for duplicates at once, and there are rarely any
    if not (in_order[1:] == in_order[:-1]).any():
        return np.ones(len(keys), bool), values, []
    del in_order
    twice = pd.Series(keys).duplicated(keep=False).to_numpy()
    rows = np.flatnonzero(twice)
    by_time = rows if times is None else pd.Series(times).iloc[rows].rank(method="dense", na_option="top").to_numpy()
    # A rating is worth more than a row that says the item was had; of equally late ones the last in the file stays.
    order = np.lexsort((rows, by_time, ~np.isnan(values[rows]), keys[rows]))
    sorted_rows = rows[order]
    last = np.append(keys[sorted_rows][1:] != keys[sorted_rows][:-1], True)
    kept = ~twice
    kept[sorted_rows[last]] = True
    n_pairs, n_rows = int(last.sum()), len(rows)
    merged = values
    if kind == "counts":
        merged = values.copy()
        starts = np.append(0, np.flatnonzero(last)[:-1] + 1)
        merged[sorted_rows[last]] = np.add.reduceat(np.nan_to_num(values[sorted_rows]), starts)
    how = {
        "counts": "Their counts are added up.",
        "seen": "One row of each is kept.",
        "ratings": "The latest is kept." if times is not None else "The last one in the file is kept.",
    }[kind]
    first = where(sorted([int(rows[0]), int(np.flatnonzero(keys == keys[rows[0]])[1])]))
    value = f"{n_pairs:,} pairs in {n_rows:,} rows"
    level = "note" if kind == "seen" else "warning"
    return kept, merged, [Finding(level, "pair of user and item in several rows", first, value, how)]  # type: ignore[arg-type]
