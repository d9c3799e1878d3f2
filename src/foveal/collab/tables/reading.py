"""A table of ratings as people have it, to pairs of users and items with what their numbers mean."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from foveal.collab.tables import catalogue as catalogues
from foveal.collab.tables.describe import describe
from foveal.collab.tables.folders import ratings_file
from foveal.collab.tables.loading import open_table
from foveal.collab.tables.meaning import Meaning, NotRated, find_meaning
from foveal.collab.tables.pairs import SKIP, audit_rows, merge_pairs
from foveal.collab.tables.roles import Roles
from foveal.collab.tables.rows import Rows, read_rows
from foveal.collab.tables.table import Catalogue, RatingTable
from foveal.core.errors import InputError, TableError, UnknownNameError
from foveal.sources.items import Finding, listed

OnBad = Literal["stop", "skip"]
SEEN = "seen"
"""What the rating is called where there is no column of ratings."""
_ONE_EACH = 20  # rows from which on a user for every row is odd; chosen by hand
_SHOWN = 3  # lines of a finding


def read_ratings(
    source: str | os.PathLike[str] | pd.DataFrame,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time: str | None = None,
    items: str | os.PathLike[str] | None = None,
    not_rated: NotRated = None,
    on_bad: OnBad = "stop",
    implicit: bool = False,
    valid: str | None = None,
    encoding: str | None = None,
) -> RatingTable:
    """Read a table of ratings, and find out which column is what and what the numbers mean.

    Rows that cannot be used are left out of the result in any case. Unless `on_bad` is "skip" they stand in its
    findings as errors: `RatingTable.require_usable` refuses them.

    Args:
        source: a table in a file, a folder with one, or a data frame.
        user: the column of users; found by its name, place and content by default, as are the others.
        item: the column of items.
        rating: the column of ratings.
        time: the column of times.
        items: a table with titles and features of the items; "none" for none; found beside the ratings by default.
        not_rated: the number that stands for "had, not rated", or "none"; found by how often it occurs by default.
        on_bad: "stop", or "skip" to leave out rows without a user, an item or a number.
        implicit: there are no ratings: a row says what a user had.
        valid: the column that marks validation.
        encoding: of a text; found out by default.

    Returns:
        The table with its columns named, what its values mean, and the findings.

    Raises:
        InputError: it cannot be read at all, or something that was given does not fit.
        UnknownNameError: there is no such way with bad rows.
    """
    if on_bad not in get_args(OnBad):
        raise UnknownNameError.of("way to treat bad rows", on_bad, get_args(OnBad))
    place = source if isinstance(source, pd.DataFrame) else Path(source)
    if isinstance(place, Path) and place.is_dir():
        place = ratings_file(place)
    opened = open_table(place, encoding)
    given = {"user": user, "item": item, "rating": rating, "time": time}
    rows = read_rows(opened, given, implicit=implicit, valid=valid)  # type: ignore[arg-type]  # these are the roles
    rows, findings = _usable(rows, on_bad)
    findings += _audit_columns(rows)
    rows, values, meaning, notes = _understood(rows, not_rated)
    kept, values, repeated = merge_pairs(rows.users, rows.items, values, rows.times, meaning.kind, rows.where)
    rows, values = rows.take(kept), values[kept]
    names = _final_names(rows)
    sides = rows.column_of_sides(valid)
    catalogue, unused, about = _catalogue_of(rows, names.item, items, sides)
    columns = (names.user, names.item, names.rating or SEEN)
    return RatingTable(
        _frame(rows, values, columns, names.time, sides),
        columns,
        names.time,
        meaning.kind,
        [*opened.notes, *findings, *notes, *repeated, *about],
        describe(rows, meaning, catalogue, unused),
        catalogue,
        sides,
    )


def _usable(rows: Rows, on_bad: OnBad) -> tuple[Rows, list[Finding]]:
    """Return the rows that have a user, an item and a number, and findings of the others.

    Raises:
        TableError: there are no such rows.
    """
    usable, findings = audit_rows(rows.users, rows.items, rows.numbers, rows.shown, rows.where)
    opened = rows.opened
    if broken := opened.broken():
        lines = ", ".join(str(line) for line, _ in broken[:_SHOWN])
        n = len(opened.sample.columns)
        value = f"{len(broken):,} rows; the first has {broken[0][1]} cells, where {n} are expected"
        where = f"{opened.name}, line {lines}"
        findings.append(Finding("error", "row with another number of cells", where, value, SKIP))
    if on_bad == "skip":
        findings = [replace(finding, level="warning", hint="Left out.") for finding in findings]
    if rows.n_blank:
        findings.append(Finding("note", "blank rows", opened.name, f"{rows.n_blank:,}", "They are left out."))
    if not usable.any():
        raise TableError("\n".join((f"`{opened.name}` has no row that can be used.", *listed(findings))))
    return rows.take(usable), findings


def _understood(rows: Rows, not_rated: NotRated) -> tuple[Rows, np.ndarray, Meaning, list[Finding]]:
    """Return the rows that say something, their values, what these mean, and findings.

    Raises:
        InputError: `not_rated` is a number, and no column has any.
    """
    if rows.numbers is None or rows.roles.rating is None:
        if isinstance(not_rated, float | int):
            raise InputError("--not-rated is a number among the ratings, and no column has any: leave it out.")
        return rows, np.ones(len(rows)), Meaning("seen", None, 0.0, 1.0, 1.0), []
    values = rows.numbers
    meaning = find_meaning(values, rows.roles.rating, not_rated)
    if meaning.not_rated is not None:
        values = np.where(values == meaning.not_rated, np.nan, values)
    if rows.wide is not None:  # there every user meets every item: a cell that is not rated says nothing
        filled = ~np.isnan(values)
        return rows.take(filled), values[filled], meaning, []
    none = (values <= 0) if meaning.kind == "counts" else np.zeros(len(values), bool)
    if not none.any():
        return rows, values, meaning, []
    where, value = rows.where(np.flatnonzero(none)[:_SHOWN].tolist()), f"{int(none.sum()):,} of {len(values):,} rows"
    finding = Finding("warning", "count of 0 or less", where, value, "Such rows are left out.")
    return rows.take(~none), values[~none], meaning, [finding]


def _audit_columns(rows: Rows) -> list[Finding]:
    """Return findings on whether there are several users and items, and some of them come again."""
    findings, roles = [], rows.roles
    for ids, what, name in ((rows.users, "user", roles.user), (rows.items, "item", roles.item)):
        n = len(np.unique(ids.codes))
        if n == 1:
            hint = f"Name another column with --{what}."
            findings.append(Finding("error", f"every row has the same {what}", "", f"{name}: {ids[0]}", hint))
        elif n == len(ids) >= _ONE_EACH:
            hint = f"Name another column with --{what} if `{name}` numbers the rows."
            findings.append(Finding("warning", f"every row has another {what}", "", f"{name}: {n:,}", hint))
    if rows.had_quotes:
        value = f"{rows.had_quotes:,} ids"
        findings.append(Finding("note", "ids in quotes of their own", "", value, "The quotes are left out."))
    if roles.rating is None:
        findings.append(Finding("note", "no column of ratings", "", "a row is taken to say what a user had"))
    elif rows.numbers is not None and rows.numbers.min() == rows.numbers.max():
        value = f"{roles.rating} is always {rows.numbers[0]:g}"
        findings.append(Finding("note", "all ratings are the same: taken as seen", "", value))
    return findings


def _final_names(rows: Rows) -> Roles:
    """Return the names that the result's columns have: the usual words where the table has none of its own."""
    roles, time = rows.roles, None
    if roles.time is not None and rows.times is not None and rows.times.min() != rows.times.max():
        time = roles.time
    if rows.opened.has_header:
        return replace(roles, time=time)
    return Roles("user", "item", roles.rating and "rating", time and "time", 0)


def _catalogue_of(
    rows: Rows, item: str, given: str | os.PathLike[str] | None, sides: str | None
) -> tuple[Catalogue | None, list[str], list[Finding]]:
    """Return titles and features of the items, the columns that are not used, and findings."""
    ids = rows.items.categories[np.unique(rows.items.codes)]
    own, unused = catalogues.from_columns(rows.items, rows.others.drop(columns=[sides] if sides else []))
    unused = [*unused, *rows.unread]
    if given is not None and str(given) != "none":
        beside, notes = catalogues.read_given(Path(given), item, ids)
        return beside, unused, notes
    folder = rows.opened.folder
    if given is not None or folder is None or (own is not None and own.titles):
        return (own if given is None else None), unused, []
    found, notes = catalogues.find_beside(folder, rows.opened.name, item, ids)
    return (own if found is None else found), unused, notes


def _frame(
    rows: Rows, values: np.ndarray, columns: tuple[str, str, str], time: str | None, sides: str | None
) -> pd.DataFrame:
    user, item, rating = columns
    parts: dict[str, object] = {
        user: rows.users.remove_unused_categories(),
        item: rows.items.remove_unused_categories(),
        rating: values,
    }
    if time is not None and rows.times is not None:
        parts[time] = rows.times.to_numpy()
    if sides is not None:
        parts[sides] = rows.others[sides].astype(object).to_numpy()
    return pd.DataFrame(parts)
