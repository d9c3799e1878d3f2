"""The labels in a table: of one column or of several, or points and numbers, with what is wrong in which row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from foveal.core.errors import InputError, TableError
from foveal.sources.cells import NO_NUMBER, SEVERAL, is_blank, read_cells, text_of
from foveal.sources.columns import (
    BOX_COLUMNS,
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    VALID_COLUMNS,
    Columns,
    expanded,
    is_numeric,
    names_of_points,
    numbered_columns,
    only_text,
    point_columns,
    zero_one_columns,
)
from foveal.sources.delimited import DECIMAL_COMMA, LINES
from foveal.sources.formats import TableColumns
from foveal.sources.frames import STORED
from foveal.sources.gather import left_out
from foveal.sources.items import Finding
from foveal.sources.sides import Side
from foveal.tasks.kinds import LabelForm
from foveal.tasks.label_lists import PartialLabels

NO_LABEL = "no label"
_OF_A_BOX = 4  # columns of numbers beside a label, where an image is in several rows
_FIRST_ROW = 2  # the first row below the header, counted as an editor counts lines


@dataclass(slots=True)
class TableRows:
    """Rows of one table, or of one for each side, and what is found in them; a row with an error is not used.

    Attributes:
        frame: the cells.
        origins: where each row stands, for findings.
        bases: the folders that its image's name is relative to.
        sides: that a table is for as a whole.
    """

    frame: pd.DataFrame
    origins: list[str]
    bases: list[tuple[Path, ...]]
    sides: list[Side | None]

    @classmethod
    def of(cls, frame: pd.DataFrame, name: str, bases: tuple[Path, ...], side: Side | None = None) -> TableRows:
        """Return the rows of one table.

        Args:
            frame: the cells.
            name: of the table.
            bases: the folders that names are relative to.
            side: of the split that the table is for.
        """
        lines = frame.attrs.get(LINES) or range(_FIRST_ROW, len(frame) + _FIRST_ROW)
        return cls(frame, [f"{name}, row {line}" for line in lines], [bases] * len(frame), [side] * len(frame))

    @classmethod
    def joined(cls, tables: Sequence[TableRows]) -> TableRows:
        """Return the rows of several tables as those of one.

        Args:
            tables: one or more.
        """
        if len(tables) == 1:
            return tables[0]
        frame = pd.concat([table.frame.astype(object) for table in tables], ignore_index=True)
        frame.attrs = {DECIMAL_COMMA: any(table.frame.attrs.get(DECIMAL_COMMA) for table in tables)}
        return cls(
            frame,
            [origin for table in tables for origin in table.origins],
            [bases for table in tables for bases in table.bases],
            [side for table in tables for side in table.sides],
        )


class RowFindings:
    """Collects what is wrong, row by row; a row with an error is not used."""

    def __init__(self, rows: TableRows) -> None:
        """Begin without findings.

        Args:
            rows: of the table.
        """
        self.origins = rows.origins
        self.findings: list[Finding] = []
        self.unusable: set[int] = set()

    def error(self, rule: str, row: int, value: object, hint: str = "") -> None:
        """Add an error; the row is not used.

        Args:
            rule: see `Finding`.
            row: its number, from 0.
            value: see `Finding`.
            hint: see `Finding`.
        """
        self.findings.append(Finding("error", rule, self.origins[row], str(value)[:200], hint))
        self.unusable.add(row)

    def warning(self, rule: str, row: int, value: object, hint: str) -> None:
        """Add a warning; see `error`."""
        self.findings.append(Finding("warning", rule, self.origins[row], str(value)[:200], hint))

    def note(self, rule: str, value: str, hint: str = "") -> None:
        """Add a note on the whole table; see `error`."""
        self.findings.append(Finding("note", rule, "", value, hint))


@dataclass(frozen=True, slots=True)
class TableLabels:
    """The labels of all rows.

    Attributes:
        form: what they are.
        of_rows: one per row.
        note: what was guessed, in words.
        point_names: of points, where columns name them.
        one_per_object: whether a row is an object, and an image has several.
    """

    form: LabelForm
    of_rows: Sequence[object]
    note: str = ""
    point_names: tuple[str, ...] = ()
    one_per_object: bool = False


def read_labels(
    rows: TableRows, columns: TableColumns, form: LabelForm | None, usual: Columns, image: str, found: RowFindings
) -> TableLabels:
    """Return the labels in the columns that were named, else in those with usual names, else in those that fit.

    Args:
        rows: of the table.
        columns: which columns hold what, as the user named them.
        form: the form of the labels; None to find it out.
        usual: finds columns.
        image: the column of the images' names.
        found: takes what is wrong.

    Raises:
        InputError: no column holds labels, or what was named cannot be read as them.
    """
    frame = rows.frame
    if columns.points or form == "points_xy":
        names = point_columns(usual, columns.points)
        if not names:
            raise InputError(
                "A point task needs the columns of its points: --points x,y or --points x1,y1,x2,y2, "
                "--points 'x*,y*' or --points FIRST..LAST."
            )
        return _points_of(names, usual, found)
    if columns.targets or form == "numbers":
        if not columns.targets:
            raise InputError("A regression needs the columns of its numbers: --targets age or --targets age,weight.")
        return TableLabels("numbers", list(_numbers(frame, columns.targets, "--targets", usual, found)))
    if columns.labels:
        return TableLabels("names", _label_columns(frame, columns.labels, usual, found))
    column = usual.named(columns.label, "--label-column") if columns.label else usual.usual(LABEL_COLUMNS)
    if column is None and (guessed := _guessed(usual, image, found)) is not None:
        return guessed
    if column is not None:
        return _of_column(rows, column, columns, form, image)
    column = only_text(usual, image)
    read = _of_column(rows, column, columns, form, image)
    rest = [name for name in usual.others(image, column, STORED) if name not in {*VALID_COLUMNS, *SPLIT_COLUMNS}]
    numbers = [name for name in rest if is_numeric(frame[name])]
    note = f"Column `{column}` is taken for labels"
    note += f"; not used: {', '.join(rest[:6])}{', …' if len(rest) > 6 else ''}" if rest else ""
    note += f". Numbers are learned with --targets {','.join(numbers[:3])}" if numbers else ""
    return replace(read, note=f"{note}. {read.note}".strip())


def _guessed(usual: Columns, image: str, found: RowFindings) -> TableLabels | None:
    """Return the labels in columns that are not called so, where cells or names can mean nothing else."""
    if names := zero_one_columns(usual, image):
        note = f"Columns of 0 and 1 are classes: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}."
        return TableLabels("names", _label_columns(usual.frame, names, usual, found), note)
    if pairs := point_columns(usual, ()):
        note = f"Columns of points: {', '.join(pairs[:6])}{', …' if len(pairs) > 6 else ''}."
        return replace(_points_of(pairs, usual, found), note=note)
    if names := numbered_columns(usual, image):
        note = f"Columns {names[0]} to {names[-1]} are x and y of {len(names) // 2} points in turn."
        return replace(_points_of(names, usual, found), note=note)
    return None


def _points_of(names: Sequence[str], usual: Columns, found: RowFindings) -> TableLabels:
    values = _points(usual.frame, names, usual, found)
    return TableLabels("points_xy", values, point_names=names_of_points(names))


def _of_column(rows: TableRows, column: str, columns: TableColumns, form: LabelForm | None, image: str) -> TableLabels:
    """Return the labels in one column: a name in each row, names in each, or a row for each object of an image."""
    frame, cells = rows.frame, rows.frame[column].tolist()
    lower = {str(name).lower() for name in frame.columns}
    numbers = [name for name in frame.columns if name not in {image, column} and is_numeric(frame[name])]
    are_boxes = any(box <= lower for box in BOX_COLUMNS) or len(numbers) >= _OF_A_BOX
    if are_boxes and bool(frame[image].duplicated().any()):
        note = f"A row is an object: the labels of an image are those of its rows in column `{column}`."
        return TableLabels("names", [None if is_blank(c) else [text_of(c)] for c in cells], note, one_per_object=True)
    several = True if form == "names" or columns.label_delimiter or columns.empty == "none" else None
    words = set(re.findall(r"[a-z]+", column.lower()))
    several = False if form == "name" else several
    read = read_cells(cells, several=several, delimiter=columns.label_delimiter, plural=bool(words & SEVERAL))
    is_usual = columns.label is not None or bool(words & {*LABEL_COLUMNS})
    if read.several and several is None and not is_usual and not any(f"`{mark}`" in read.note for mark in "|;"):
        read = read_cells(cells, several=False, delimiter=None, plural=False)  # a column that was only guessed
    note = f"Column `{column}`: {read.note}." if read.note else ""
    return TableLabels("names" if read.several else "name", read.labels, note)


def without_blank(
    rows: TableRows, labels: TableLabels, columns: TableColumns, is_test: Sequence[bool], found: RowFindings, name: str
) -> TableLabels:
    """Return labels without blanks: their rows are left out, have nothing in the image, or are errors.

    Args:
        rows: of the table.
        labels: as `read_labels` returns them.
        columns: the options.
        is_test: whether a row is of the test side, which needs no label.
        found: takes what is wrong.
        name: of the table, for messages.

    Raises:
        TableError: no row has a label, or blanks cannot mean nothing.
    """
    if labels.form not in {"names", "name"} or columns.labels:
        return labels
    blank = [row for row, one in enumerate(labels.of_rows) if one is None and not is_test[row]]
    hint = "If it means that nothing is in the image, say --empty none." if labels.form == "names" else ""
    if columns.empty == "none":
        if labels.form == "name":
            raise TableError("--empty none needs images with several labels: here each image has one.")
        return replace(labels, of_rows=[[] if one is None else one for one in labels.of_rows])
    if columns.empty == "error":
        for row in blank:
            found.error(NO_LABEL, row, "(empty)", hint)
        return labels
    if blank:
        found.findings.append(left_out(NO_LABEL, [rows.origins[row] for row in blank], len(blank), hint))
        found.unusable.update(blank)
        if len(blank) == len(labels.of_rows):
            raise TableError(f"`{name}`: no row has a label.")
    return labels


def _label_columns(
    frame: pd.DataFrame, names: Sequence[str], usual: Columns, found: RowFindings
) -> list[PartialLabels | list[str]]:
    """Return the labels of one 0/1 column per class; blank or -1 is unknown."""
    columns = [usual.named(column, "--label-columns") for column in expanded(usual, names)]
    values = pd.DataFrame({column: pd.to_numeric(_marks(frame[column]), errors="coerce") for column in columns})
    for column in columns:
        odd = (~frame[column].map(is_blank) & values[column].isna()) | ~values[column].isin([0, 1, -1, np.nan])
        for row in np.flatnonzero(odd):
            rule = f"`{column}` must be 0, 1, or blank or -1 for unknown"
            found.error(rule, int(row), repr(frame[column].iloc[row]))
    if not (values == 0).any().any() and (values == -1).any().any() and values.notna().all().all():
        found.note("columns hold 1 and -1 alone", "-1 is read as absent", "Unknown is a blank cell, or -1 beside 0.")
        values = values.replace(-1, 0)
    labels: list[PartialLabels | list[str]] = []
    for marks in values.fillna(-1).to_numpy().tolist():
        present = [column for column, mark in zip(columns, marks, strict=True) if mark == 1]
        unknown = [column for column, mark in zip(columns, marks, strict=True) if mark == -1]
        labels.append(PartialLabels(tuple(present), tuple(unknown)) if unknown else present)
    return labels


def _marks(column: pd.Series) -> pd.Series:
    """Return a column with truth values, as text or not, as 1 and 0."""
    words = {"true": 1, "false": 0, "yes": 1, "no": 0}
    return column.map(lambda cell: words.get(str(cell).strip().lower(), cell))


def _points(frame: pd.DataFrame, names: Sequence[str], usual: Columns, found: RowFindings) -> list[np.ndarray]:
    if len(names) % 2:
        raise InputError(f"Points are pairs of columns x,y; got {len(names)}: {', '.join(names)}.")
    points = _numbers(frame, names, "--points", usual, found).reshape(len(frame), -1, 2)
    for row in np.flatnonzero((np.isnan(points).sum(axis=2) == 1).any(axis=1)):
        hint = "Leave both blank where a point is missing."
        found.error("a point with only one of its coordinates", int(row), points[row].tolist(), hint)
    return list(points)


def _numbers(frame: pd.DataFrame, names: Sequence[str], option: str, usual: Columns, found: RowFindings) -> np.ndarray:
    """Return columns of numbers [rows, columns], NaN where a cell is blank."""
    columns = [usual.named(column, option) for column in names]
    values = np.empty((len(frame), len(columns)))
    for at, column in enumerate(columns):
        cells = frame[column]
        if (
            frame.attrs.get(DECIMAL_COMMA)
            and cells.dtype == object
            and not cells.astype(str).str.contains(".", regex=False).any()
        ):
            cells = cells.map(lambda cell: cell.replace(",", ".") if isinstance(cell, str) else cell)
        blank = cells.map(lambda cell: is_blank(cell) or str(cell).strip().lower() in NO_NUMBER).to_numpy()
        numbers = pd.to_numeric(cells.astype(object), errors="coerce")
        for row in np.flatnonzero(numbers.isna() & ~blank):
            found.error(f"column `{column}` must hold numbers", int(row), repr(frame[column].iloc[row]))
        for row in np.flatnonzero(np.isinf(numbers)):
            found.error(f"a number in column `{column}` that is not finite", int(row), numbers.iloc[row])
        values[:, at] = numbers.to_numpy(dtype=float, na_value=np.nan)
    return values
