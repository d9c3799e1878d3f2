"""Tables that are read: CSV, TSV and parquet files, and data frames, with one image per row."""

from __future__ import annotations

import codecs
import io
import math
import os
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foveal import _moved
from foveal.core.errors import InputError, TableError, near_match
from foveal.images.parquet_rows import StoredRow, bytes_column, open_table, row_of
from foveal.sources.formats import Match, ReadOptions, TableColumns
from foveal.sources.items import NO_IMAGE, Finding, Item, Source
from foveal.tasks.kinds import TASKS, LabelForm, kind_for
from foveal.tasks.multi_label import PartialLabels

IMAGE_COLUMNS = ("fname", "filename", "file_name", "file", "image", "image_id", "path", "picture")
LABEL_COLUMNS = ("labels", "label", "tags", "classes", "class", "category")
VALID_COLUMNS = ("is_valid", "valid", "is_validation")
_STORED, _PARTS = "stored_image", "*.parquet"
_SEVERAL = frozenset({"labels", "tags", "classes"})
_HEAD = 1 << 16
TABLES = frozenset({".csv", ".tsv", ".tab", ".parquet", ".pq"})
_TRUE, _FALSE = frozenset({"true", "1", "1.0", "yes"}), frozenset({"false", "0", "0.0", "no"})


def is_parquet(folder: Path) -> bool:
    """Return whether a folder holds parquet files and, but for what begins with `_` or `.`, nothing else."""
    shown = {file for file in folder.iterdir() if not file.name.startswith(("_", "."))}
    return bool(shown) and shown == set(folder.glob(_PARTS))


def load_frame(path: str | os.PathLike[str]) -> tuple[pd.DataFrame, list[Finding]]:
    """Read a .csv, .tsv or .parquet file, or a folder of the latter; text stays text and only an empty cell is missing.

    Of a parquet file with images' bytes the bytes stay where they are: column `image` has the paths of its rows.

    Raises:
        TableError: there is no such file, or it cannot be read as a table.
    """
    file = Path(path)
    if file.is_dir():
        return pd.concat([load_frame(part)[0] for part in sorted(file.glob(_PARTS))], ignore_index=True), []
    if not file.is_file():
        beside = [other.name for other in file.parent.glob("*")] if file.parent.is_dir() else []
        raise TableError(f"There is no table `{file}`.{near_match(file.name, beside)}")
    try:
        if file.suffix.lower() in {".parquet", ".pq"}:
            return _without_bytes(file), []
        data = file.read_bytes()
        encoding, notes = _encoding(data, file.name)
        separator = "\t" if file.suffix.lower() in {".tsv", ".tab"} else ","
        options: dict[str, Any] = {"sep": separator, "keep_default_na": False, "na_values": [""]}
        return pd.read_csv(io.BytesIO(data), encoding=encoding, **options), notes
    except (ValueError, OSError) as error:
        raise TableError(f"`{file}` cannot be read as a table: {error}") from error


def _without_bytes(file: Path) -> pd.DataFrame:
    with open_table(str(file)) as table:
        names, column = table.schema_arrow.names, bytes_column(table.schema_arrow)
    if column is None:
        return pd.read_parquet(file)
    frame = pd.read_parquet(file, columns=[name for name in names if name != column])
    frame[_STORED] = pd.Series([StoredRow(str(file), number).path for number in range(len(frame))], frame.index, object)
    return frame


def _encoding(data: bytes, name: str) -> tuple[str, list[Finding]]:
    notes = []
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", [Finding("note", "table in UTF-16", name, "", "Save it as UTF-8 to be read everywhere.")]
    if data.startswith(codecs.BOM_UTF8):
        notes.append(Finding("note", "byte order mark at the start of the table", name, "", "It is left out."))
    if b"\r\n" in data[:_HEAD]:
        notes.append(Finding("note", "lines end as on Windows", name, "CRLF", "They are read as usual."))
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "It is read as latin-1: look at names with accents, and save it as UTF-8."
        return "latin-1", [*notes, Finding("warning", "table is not UTF-8", f"{name}, line {line}", "", hint)]
    return "utf-8-sig", notes


def read_table(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    columns: TableColumns | None = None,
    task: str = "auto",
) -> Source:
    """Read a table whose rows name images under `images` (by default the table's own folder).

    Args:
        path: a .csv, .tsv or .parquet file, or a folder of parquet files.
        images: the folder of the images.
        columns: which columns hold what.
        task: what the labels should be read for, or "auto".

    Raises:
        TableError: the file cannot be read, or a column is missing. What is wrong with rows stands in the findings.
    """
    folder = Path(images) if images is not None else Path(path).parent
    frame, notes = load_frame(path)
    source = read_frame(frame, images=folder, columns=columns, task=task, name=Path(path).name)
    return replace(source, findings=(*notes, *source.findings))


def read_frame(
    frame: pd.DataFrame,
    *,
    images: Path,
    columns: TableColumns | None = None,
    task: str = "auto",
    name: str = "table",
) -> Source:
    """Read a data frame as `read_table` reads a file.

    Args:
        frame: a row per image.
        images: the folder of the images.
        columns: which columns hold what.
        task: what the labels should be read for, or "auto".
        name: what messages call the table.

    Returns:
        The items of the rows that can be used, and findings about the others.
    """
    columns = columns or TableColumns()
    if not images.is_dir():
        raise InputError(f"There is no folder `{images}` with the images. Say where they are with --images.")
    if not len(frame):
        raise TableError(f"`{name}` has no rows.")
    found = _Findings(name)
    stored = _STORED in frame and row_of(frame[_STORED].iloc[0]) is not None
    image = _column(frame, columns.image or (_STORED if stored else None), IMAGE_COLUMNS, "--image-column", name)
    files = _files(frame, image, images, found)
    valid = _valid(frame, columns.valid, name, found)
    kind, labels = _labels(frame, columns, task, name, found)
    form = TASKS[kind].label_form
    groups: list[Hashable] = [None] * len(frame)
    if columns.group is not None:
        groups = frame[_column(frame, columns.group, (), "--group-column", name)].tolist()
    about = [(column, frame[_column(frame, column, (), "--by", name)].tolist()) for column in columns.about]
    items = [
        Item(file, label, side, f"{name}, row {row + 2}", group, tuple((column, cells[row]) for column, cells in about))
        for row, (file, label, side, group) in enumerate(zip(files, labels, valid, groups, strict=True))
        if row not in found.unusable
    ]
    names = columns.targets if form == "numbers" else ()
    return Source("table", kind, items, target_names=names, findings=tuple(found.findings))


class _Findings:
    """Collects what is wrong, row by row; a row with an error is not used."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.findings: list[Finding] = []
        self.unusable: set[int] = set()

    def error(self, rule: str, row: int, value: object, hint: str = "") -> None:
        self.findings.append(Finding("error", rule, f"{self.name}, row {row + 2}", str(value), hint))
        self.unusable.add(row)

    def warning(self, rule: str, row: int, value: object, hint: str) -> None:
        self.findings.append(Finding("warning", rule, f"{self.name}, row {row + 2}", str(value), hint))


def _column(frame: pd.DataFrame, given: str | None, usual: Iterable[str], option: str, name: str) -> str:
    known = [str(column) for column in frame.columns]
    if given is not None:
        if given in known:
            return given
        raise TableError(
            f"`{name}` has no column `{given}`.{near_match(given, known)} Its columns: {', '.join(known)}."
        )
    for candidate in usual:
        if candidate in known:
            return candidate
    raise TableError(
        f"`{name}` has none of the columns {', '.join(usual)}. Its columns: {', '.join(known)}. "
        f"Name the right one with {option}."
    )


def _files(frame: pd.DataFrame, column: str, images: Path, found: _Findings) -> list[Path]:
    # One listing of each folder is quicker than a question for every file.
    present: dict[Path, set[str]] = {}
    files = []
    for row, value in enumerate(frame[column].tolist()):
        if isinstance(value, Path) and row_of(value) is not None:
            files.append(value)
            continue
        file = images / str(value)
        files.append(file)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            found.error(f"no file name in column `{column}`", row, "(empty)")
            continue
        if Path(str(value)).is_absolute():
            found.warning("absolute path", row, value, "The table works on this machine only; say --images instead.")
        elif ".." in Path(str(value)).parts:
            found.warning("path that leaves the folder of the images", row, value, "Name a folder above both.")
        if file.parent not in present:
            present[file.parent] = {one.name for one in file.parent.iterdir()} if file.parent.is_dir() else set()
        if file.name not in present[file.parent]:
            found.error(NO_IMAGE, row, file, near_match(file.name, present[file.parent]).strip())
    return files


def _valid(frame: pd.DataFrame, given: str | None, name: str, found: _Findings) -> list[bool | None]:
    if given is None and not any(column in frame.columns for column in VALID_COLUMNS):
        return [None] * len(frame)
    column = _column(frame, given, VALID_COLUMNS, "--valid-column", name)
    sides: list[bool | None] = []
    for row, value in enumerate(frame[column].tolist()):
        text = str(value).strip().lower()
        if text not in _TRUE | _FALSE:
            shown = "(empty)" if pd.isna(value) else repr(value)
            found.error(f"`{column}` must be true or false, or 1 or 0", row, shown)
        sides.append(text in _TRUE)
    return sides


def _labels(
    frame: pd.DataFrame, columns: TableColumns, task: str, name: str, found: _Findings
) -> tuple[str, Sequence[object]]:
    form = None if task == "auto" else TASKS[task].label_form

    def kind(found_form: LabelForm) -> str:
        return task if form == found_form else kind_for(found_form)

    if columns.points or form == "points_xy":
        if not columns.points:
            raise InputError("A point task needs the columns of its points: --points x,y or --points x1,y1,x2,y2.")
        return kind("points_xy"), _points(frame, columns.points, name, found)
    if columns.targets or form == "numbers":
        if not columns.targets:
            raise InputError("A regression needs the columns of its numbers: --targets age or --targets age,weight.")
        return kind("numbers"), list(_numbers(frame, columns.targets, "--targets", name, found))
    if columns.labels:
        return kind("names"), _label_columns(frame, columns.labels, name, found)
    column = _column(frame, columns.label, LABEL_COLUMNS, "--label-column", name)
    cells = [None if pd.isna(value) else str(value) for value in frame[column].tolist()]
    several = form == "names" or (form is None and _looks_several(column, cells, columns))
    hint = "If it means that nothing is in the image, say --empty none." if several else ""
    for row, cell in enumerate(cells):
        if (cell is None or not cell.strip()) and not (several and columns.empty == "none"):
            found.error(f"no label in column `{column}`", row, "(empty)", hint)
    if not several:
        return kind("name"), [cell.strip() if cell else cell for cell in cells]
    return kind("names"), [split_labels(cell or "", columns.label_delimiter or " ") for cell in cells]


def _label_columns(
    frame: pd.DataFrame, names: Sequence[str], name: str, found: _Findings
) -> list[PartialLabels | list[str]]:
    """Read one 0/1 column per class; blank or -1 is unknown."""
    columns = [_column(frame, column, (), "--label-columns", name) for column in names]
    values = frame[columns].apply(pd.to_numeric, errors="coerce")
    for column in columns:
        odd = (frame[column].notna() & values[column].isna()) | ~values[column].isin([0, 1, -1, np.nan])
        for row in np.flatnonzero(odd):
            rule = f"`{column}` must be 0, 1, or blank or -1 for unknown"
            found.error(rule, int(row), repr(frame[column].iloc[row]))
    labels: list[PartialLabels | list[str]] = []
    for row in values.fillna(-1).to_numpy():
        present = [column for column, value in zip(columns, row, strict=True) if value == 1]
        unknown = [column for column, value in zip(columns, row, strict=True) if value == -1]
        labels.append(PartialLabels(tuple(present), tuple(unknown)) if unknown else present)
    return labels


def split_labels(cell: str, delimiter: str) -> list[str]:
    """Split a cell at a delimiter; double and stray delimiters never make an empty name, nor a name twice.

    Args:
        cell: of a table.
        delimiter: what separates names.

    >>> split_labels(" cat  dog dog ", " ")
    ['cat', 'dog']
    """
    return list(dict.fromkeys(name for part in cell.split(delimiter) if (name := part.strip())))


def _looks_several(column: str, cells: Sequence[str | None], columns: TableColumns) -> bool:
    """Decide whether cells hold several labels: by the options, the column's name, or names that recur in parts."""
    if columns.label_delimiter is not None or columns.empty == "none" or column.lower() in _SEVERAL:
        return True
    whole = {cell for cell in cells if cell}
    parts = {name for cell in whole for name in split_labels(cell, " ")}
    return len(parts) < len(whole)


def _points(frame: pd.DataFrame, names: Sequence[str], name: str, found: _Findings) -> list[np.ndarray]:
    if len(names) % 2:
        raise InputError(f"Points are pairs of columns x,y; got {len(names)}: {', '.join(names)}.")
    points = _numbers(frame, names, "--points", name, found).reshape(len(frame), -1, 2)
    for row in np.flatnonzero((np.isnan(points).sum(axis=2) == 1).any(axis=1)):
        hint = "Leave both blank where a point is missing."
        found.error("a point with only one of its coordinates", int(row), points[row].tolist(), hint)
    return list(points)


def _numbers(frame: pd.DataFrame, names: Sequence[str], option: str, name: str, found: _Findings) -> np.ndarray:
    """Return columns of numbers [rows, columns], NaN where a cell is blank."""
    columns = [_column(frame, column, (), option, name) for column in names]
    values = np.empty((len(frame), len(columns)))
    for at, column in enumerate(columns):
        numbers = pd.to_numeric(frame[column], errors="coerce")
        for row in np.flatnonzero(numbers.isna() & frame[column].notna()):
            found.error(f"column `{column}` must hold numbers", int(row), repr(frame[column].iloc[row]))
        for row in np.flatnonzero(np.isinf(numbers)):
            found.error(f"a number in column `{column}` that is not finite", int(row), numbers.iloc[row])
        values[:, at] = numbers.to_numpy(dtype=float)
    return values


def match_table(path: Path) -> Match | None:
    """Recognise a table by its ending, or a folder of parquet files."""
    if path.suffix.lower() not in TABLES and not (path.is_dir() and is_parquet(path)):
        return None

    def read(options: ReadOptions) -> Source:
        return read_table(path, images=options.images, columns=options.columns, task=options.task)

    return Match(0.5, read)


def __getattr__(name: str) -> object:
    return _moved.from_home(__name__, name)
