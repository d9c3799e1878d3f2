"""Tables: text, parquet files, workbooks and data frames, with one image per row, or one object of an image."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import os
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from foveal import _moved
from foveal.core.errors import InputError, MissingDependencyError, TableError, near_match
from foveal.images.parquet_rows import StoredRow, bytes_column, open_table, row_of
from foveal.sources.cells import SEVERAL, is_blank, read_cells, text_of
from foveal.sources.delimited import DECIMAL_COMMA, LINES, read_delimited
from foveal.sources.finder import ImageFinder, Wanted, clean_name
from foveal.sources.formats import Match, ReadOptions, TableColumns
from foveal.sources.gather import left_out
from foveal.sources.items import Finding, Item, Source
from foveal.sources.label_studio import readings
from foveal.sources.parts import Part, choose, parts_at, place_of
from foveal.sources.sides import FALSE, TRUE, Side, set_aside_test, side_in, side_of_cell, side_of_path
from foveal.sources.tree import is_image_name, tree_of
from foveal.tasks.kinds import TASKS, LabelForm, kind_for
from foveal.tasks.multi_label import PartialLabels

IMAGE_COLUMNS = (
    *(
        "fname",
        "filename",
        "file_name",
        "file",
        "image",
        "image_id",
        "path",
        "picture",
        "img",
        "image_path",
        "img_path",
    ),
    *("image_name", "img_name", "imagename", "filepath", "file_path", "image_file", "photo", "id_code", "imageid"),
)
LABEL_COLUMNS = (
    "labels",
    "label",
    "tags",
    "classes",
    "class",
    "category",
    "categories",
    "target",
    "class_name",
    "choice",
)
VALID_COLUMNS = ("is_valid", "valid", "is_validation")
SPLIT_COLUMNS = ("split", "set", "subset", "partition", "phase", "data_split", "dataset_split")
_BOX_COLUMNS = ({"xmin", "xmax"}, {"x_min", "x_max"}, {"xmin", "width"}, {"bbox_x", "bbox_y"}, {"bbox"})
_STORED, _PARTS = "stored_image", "*.parquet"
_TEXTS = (".csv", ".tsv", ".tab", ".txt", ".gz")
_BOOKS = (".xlsx", ".xls", ".ods")
_LINES = (".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")
TABLES = frozenset({".csv", ".tsv", ".tab", *_PARQUET, *_BOOKS, *_LINES})
_IN_FOLDERS = (".csv", ".tsv", *_LINES, *_PARQUET, ".xlsx")
_ADDRESS = re.compile(r"://|%[0-9A-Fa-f]{2}|[?]|/data/upload/")  # in a cell that may not name a file as it stands
_PROBED = 50  # rows by which a column is judged
_SHOWN_COLUMNS = 12
_FIRST_ROW = 2  # the first row below the header, counted as an editor counts lines
_FEWEST_NUMBERED = 4  # columns that are called by their numbers, so that they are points; chosen by hand
_LARGEST = 1 << 26  # bytes of a table that is looked into to recognise a folder


def is_parquet(folder: Path) -> bool:
    """Return whether a folder holds parquet files and, but for what begins with `_` or `.`, nothing else."""
    shown = {file for file in folder.iterdir() if not file.name.startswith(("_", "."))}
    return bool(shown) and shown == set(folder.glob(_PARTS))


def load_frame(path: str | os.PathLike[str], encoding: str | None = None) -> tuple[pd.DataFrame, list[Finding]]:
    """Read a table, or a folder of parquet files; text stays text, and only an empty cell is missing.

    Of a parquet file with images' bytes the bytes stay where they are: column `image` has the paths of its rows.

    Args:
        path: text (.csv, .tsv, .txt, with or without .gz), .parquet, .jsonl, .xlsx, or a folder of .parquet.
        encoding: of a text; found out by default.

    Raises:
        TableError: there is no such file, or it cannot be read as a table.
    """
    file = Path(path)
    if file.is_dir():
        return pd.concat([load_frame(part)[0] for part in sorted(file.glob(_PARTS))], ignore_index=True), []
    if not file.is_file():
        beside = [other.name for other in file.parent.glob("*")] if file.parent.is_dir() else []
        raise TableError(f"There is no table `{file}`.{near_match(file.name, beside)}")
    ending = file.suffix.lower()
    try:
        if ending in _PARQUET:
            return _without_bytes(file), []
        if ending in _LINES:
            return pd.DataFrame(_json_lines(file)), []
        if ending in _BOOKS:
            return _workbook(file), []
        return read_delimited(file, encoding)
    except TableError:
        raise
    except (ValueError, OSError) as error:
        raise TableError(f"`{file}` cannot be read as a table: {error}") from error


def _json_lines(file: Path) -> list[dict[str, object]]:
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise TableError(f"`{file}`, line {number}: {error}") from error
            if not isinstance(row, dict):
                raise TableError(f"`{file}`, line {number}: expected an object, got {line.strip()[:40]}")
            rows.append(row)
    return rows


def _workbook(file: Path) -> pd.DataFrame:
    if file.suffix.lower() == ".xlsx" and importlib.util.find_spec("openpyxl") is None:
        raise MissingDependencyError(
            f"Reading `{file.name}` needs openpyxl: pip install openpyxl. Or save the sheet as CSV (UTF-8)."
        )
    try:
        frame = pd.read_excel(file, dtype=str, keep_default_na=False, na_values=[""])
    except ImportError as error:
        raise MissingDependencyError(f"Reading `{file.name}`: {error} Or save the sheet as CSV (UTF-8).") from error
    frame.columns = pd.Index([clean_name(str(name)) for name in frame.columns])
    return frame


def _without_bytes(file: Path) -> pd.DataFrame:
    with open_table(str(file)) as table:
        schema = table.schema_arrow
        names, column = schema.names, bytes_column(schema)
    frame = pd.read_parquet(file, columns=[name for name in names if name != column])
    for name, values in _class_names(schema.metadata or {}).items():
        if name in frame:
            frame[name] = [None if pd.isna(at) or int(at) < 0 else values[int(at)] for at in frame[name]]
    if column is not None:
        rows = [StoredRow(str(file), number).path for number in range(len(frame))]
        frame[_STORED] = pd.Series(rows, frame.index, object)
    return frame


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return what numbers of a column stand for, as data sets of Hugging Face write it into their schema."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {name: one["names"] for name, one in features.items() if one.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def read_table(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    columns: TableColumns | None = None,
    task: str = "auto",
    encoding: str | None = None,
) -> Source:
    """Read a table whose rows name images under `images` (by default the table's own folder).

    Args:
        path: a table, or a folder of parquet files; see `load_frame`.
        images: the folder of the images.
        columns: which columns hold what.
        task: what the labels should be read for, or "auto".
        encoding: of a text; found out by default.

    Raises:
        TableError: the file cannot be read, or a column is missing. What is wrong with rows stands in the findings.
    """
    file = Path(path)
    frame, notes = load_frame(file, encoding)
    folder = Path(images) if images is not None else file.parent
    bases = (folder,) if images is not None else _bases(file)
    rows = _Rows.of(frame, file.name, bases)
    source = _read(rows, columns or TableColumns(), task, ImageFinder(folder), file.name)
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
    return _read(_Rows.of(frame, name, (images,)), columns or TableColumns(), task, ImageFinder(images), name)


def _bases(file: Path) -> tuple[Path, ...]:
    """Return the folders that the names in a table are usually relative to."""
    here, stem = file.parent, file.name.partition(".")[0]
    beside = (here / stem, here / f"{stem}_images", here / "images", here / "imgs", here / "img")
    above = (here.parent / "images", here.parent) if is_table_folder(here.name) else ()
    return (here, *(place for place in (*beside, *above) if place.is_dir()))


def is_table_folder(name: str) -> bool:
    """Return whether a folder is by its name one of tables beside that of the images.

    Args:
        name: of the folder.
    """
    return name.lower() in {"annotations", "annotation", "labels", "csv", "tables", "metadata"}


@dataclass(slots=True)
class _Rows:
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
    def of(cls, frame: pd.DataFrame, name: str, bases: tuple[Path, ...], side: Side | None = None) -> _Rows:
        lines = frame.attrs.get(LINES) or range(_FIRST_ROW, len(frame) + _FIRST_ROW)
        return cls(frame, [f"{name}, row {line}" for line in lines], [bases] * len(frame), [side] * len(frame))

    @classmethod
    def joined(cls, tables: Sequence[_Rows]) -> _Rows:
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


class _Findings:
    """Collects what is wrong, row by row; a row with an error is not used."""

    def __init__(self, rows: _Rows) -> None:
        self.origins = rows.origins
        self.findings: list[Finding] = []
        self.unusable: set[int] = set()

    def error(self, rule: str, row: int, value: object, hint: str = "") -> None:
        self.findings.append(Finding("error", rule, self.origins[row], str(value)[:200], hint))
        self.unusable.add(row)

    def warning(self, rule: str, row: int, value: object, hint: str) -> None:
        self.findings.append(Finding("warning", rule, self.origins[row], str(value)[:200], hint))

    def note(self, rule: str, value: str, hint: str = "") -> None:
        self.findings.append(Finding("note", rule, "", value, hint))


def _read(rows: _Rows, columns: TableColumns, task: str, finder: ImageFinder, name: str) -> Source:
    if not finder.root.is_dir():
        raise InputError(f"There is no folder `{finder.root}` with the images. Say where they are with --images.")
    if not len(rows.frame):
        raise TableError(f"`{name}` has no rows.")
    frame, found = rows.frame, _Findings(rows)
    stored = _STORED in frame and row_of(frame[_STORED].iloc[0]) is not None
    usual = _Usual(frame, name, rows.bases[0])
    image = usual.image(columns.image or (_STORED if stored else None))
    sides, is_valid = _sides(rows, columns.valid, usual, found)
    form = None if task == "auto" else TASKS[task].label_form
    labels = _labels(rows, columns, form, usual, image, found)
    labels = _without_blank(rows, labels, columns, [side == "test" for side in sides], found, name)
    files = _files(rows, image, finder, sides, found)
    found.findings += finder.findings
    groups: list[Hashable] = [None] * len(frame)
    if columns.group is not None:
        cells = frame[usual.named(columns.group, "--group-column")].tolist()
        groups = [None if is_blank(cell) else text_of(cell) for cell in cells]
    about = [(column, frame[usual.named(column, "--by")].tolist()) for column in columns.about]
    items, kept_sides = [], []
    for row, file in enumerate(files):
        if file is not None and row not in found.unusable:
            more = tuple((column, cells[row]) for column, cells in about)
            items.append(Item(file, labels.of_rows[row], None, rows.origins[row], groups[row], more))
            kept_sides.append(sides[row])
    if labels.one_per_object:
        items, kept_sides = _merged(items, kept_sides)
    if is_valid is None:
        items, test, wrong = set_aside_test(items, kept_sides)
    else:
        items = [replace(item, is_valid=side == "valid") for item, side in zip(items, kept_sides, strict=True)]
        test, wrong = (), ()
    return Source(
        "table",
        task if form == labels.form else kind_for(labels.form),
        items,
        point_names=labels.point_names,
        target_names=columns.targets if labels.form == "numbers" else (),
        notes=(labels.note,) if labels.note else (),
        findings=(*found.findings, *wrong),
        test=test,
        n_left_out=0 if labels.one_per_object else len(files) - len(items) - len(test),
    )


def _merged(items: Sequence[Item], sides: Sequence[Side | None]) -> tuple[list[Item], list[Side | None]]:
    """Join the rows of one image, each of which is an object in it."""
    names: dict[Path, dict[str, None]] = {}
    first: dict[Path, tuple[Item, Side | None]] = {}
    for item, side in zip(items, sides, strict=True):
        first.setdefault(item.image, (item, side))
        assert isinstance(item.label, list)
        names.setdefault(item.image, {}).update(dict.fromkeys(item.label))
    merged = [replace(item, label=sorted(names[item.image])) for item, _ in first.values()]
    return merged, [side for _, side in first.values()]


class _Usual:
    """Finds columns: by the name that was given, by a usual one, or by what the cells hold."""

    def __init__(self, frame: pd.DataFrame, name: str, bases: tuple[Path, ...]) -> None:
        self.frame, self.name, self.bases = frame, name, bases
        self.known = [str(column) for column in frame.columns]
        self.by_lower = {clean_name(column).lower(): column for column in reversed(self.known)}

    @property
    def listed(self) -> str:
        """The columns, for messages."""
        more = f", … ({len(self.known)})" if len(self.known) > _SHOWN_COLUMNS else ""
        return ", ".join(self.known[:_SHOWN_COLUMNS]) + more

    def named(self, given: str, option: str) -> str:
        """Return a column that was named; case and spaces around it may differ."""
        if given in self.known:
            return given
        if (other := self.by_lower.get(clean_name(given).lower())) is not None:
            return other
        near = near_match(given, self.known)
        raise TableError(f"`{self.name}` has no column `{given}` ({option}).{near} Its columns: {self.listed}.")

    def usual(self, names: Iterable[str]) -> str | None:
        """Return the first of the usual names that is there."""
        return next((self.by_lower[name] for name in names if name in self.by_lower), None)

    def image(self, given: str | None) -> str:
        """Return the column of the images' names."""
        if given is not None:
            return self.named(given, "--image-column")
        named = self.usual(IMAGE_COLUMNS)
        if named is not None and self.names_images(named) is not False:
            return named
        content = next((column for column in self.known if self.names_images(column)), None)
        if content is not None or named is not None:
            return content or str(named)
        raise TableError(
            f"`{self.name}` has none of the columns {', '.join(IMAGE_COLUMNS[:7])}, …, and none that names images. "
            f"Its columns: {self.listed}. Name the right one with --image-column."
        )

    def names_images(self, column: str) -> bool | None:
        """Return whether most cells of a column name images; None where they are text that may."""
        cells = [cell for cell in self.frame[column].head(_PROBED).tolist() if not is_blank(cell)]
        if not cells:
            return False
        if isinstance(cells[0], Path) and row_of(cells[0]) is not None:
            return True
        names = [text_of(cell) for cell in cells if not isinstance(cell, list | dict)]
        if sum(is_image_name(name.split("?")[0]) for name in names) > len(names) / 2:
            return True
        stems = {stem for base in self.bases for stem in _stems(base)}
        n_there = sum(name in stems for name in names)
        return True if n_there > len(names) / 2 else (None if n_there or not stems else False)

    def others(self, *used: str | None) -> list[str]:
        """Return the columns that are not used and hold anything."""
        return [one for one in self.known if one not in used and not one.startswith("Unnamed: ")]


@lru_cache(maxsize=64)
def _stems(folder: Path) -> frozenset[str]:
    try:
        return frozenset(file.stem for file in folder.iterdir() if is_image_name(file.name))
    except OSError:
        return frozenset()


def _files(
    rows: _Rows, column: str, finder: ImageFinder, sides: Sequence[Side | None], found: _Findings
) -> list[Path | None]:
    files: list[Path | None] = [None] * len(rows.frame)
    wanted: list[tuple[int, Wanted]] = []
    for row, value in enumerate(rows.frame[column].tolist()):
        if isinstance(value, Path) and row_of(value) is not None:
            files[row] = value
            continue
        if is_blank(value):
            found.error(f"no file name in column `{column}`", row, "(empty)")
            continue
        name = str(value) if isinstance(value, str) else text_of(value)
        if name.lstrip().lower().startswith("data:"):
            hint = "Save the images as files, and name them here."
            found.error("image inside the table, as a data: address", row, f"{name[:40]}…", hint)
            continue
        path = Path(name)
        if path.is_absolute() and rows.bases[row][0].joinpath(name).is_file():
            found.warning("absolute path", row, value, "The table works on this machine only; say --images instead.")
        elif ".." in path.parts:
            found.warning("path that leaves the folder of the images", row, value, "Name a folder above both.")
        names = (name, *readings(name)) if _ADDRESS.search(name) else (name,)
        wanted.append((row, Wanted(names=names, origin=rows.origins[row], side=sides[row], bases=rows.bases[row])))
    for (row, _), file in zip(wanted, finder.resolve([one for _, one in wanted]), strict=True):
        files[row] = file
    return files


def _sides(rows: _Rows, given: str | None, usual: _Usual, found: _Findings) -> tuple[list[Side | None], bool | None]:
    """Return the side of each row, and whether a column says of each whether it is for validation."""
    column = usual.named(given, "--valid-column") if given is not None else usual.usual(VALID_COLUMNS)
    guessed = column is None
    column = column or usual.usual(SPLIT_COLUMNS)
    if column is None:
        return list(rows.sides), None
    cells = rows.frame[column].tolist()
    sides = [None if is_blank(cell) else side_of_cell(cell) for cell in cells]
    if guessed and not any(sides):
        shown = ", ".join(dict.fromkeys(str(cell) for cell in cells[:3]))
        found.note(f"column `{column}` names no sides of a split", shown, "It is not used.")
        return list(rows.sides), None
    for row, side in enumerate(sides):
        if side is None:
            shown = "(empty)" if is_blank(cells[row]) else repr(cells[row])
            found.error(f"`{column}` must be true or false, or 1 or 0, or name a side such as train", row, shown)
    truths = {str(cell).strip().lower() for cell in cells}
    is_boolean = bool(truths & (TRUE | FALSE)) and not any(side == "test" for side in sides)
    return sides, True if is_boolean else None


@dataclass(frozen=True, slots=True)
class _Labels:
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


def _labels(
    rows: _Rows, columns: TableColumns, form: LabelForm | None, usual: _Usual, image: str, found: _Findings
) -> _Labels:
    """Read the columns that were named, else those with usual names, else those whose cells can only be labels."""
    frame = rows.frame
    if columns.points or form == "points_xy":
        names = _point_columns(usual, columns.points)
        if not names:
            raise InputError(
                "A point task needs the columns of its points: --points x,y or --points x1,y1,x2,y2, "
                "--points 'x*,y*' or --points FIRST..LAST."
            )
        return _points_of(names, usual, found)
    if columns.targets or form == "numbers":
        if not columns.targets:
            raise InputError("A regression needs the columns of its numbers: --targets age or --targets age,weight.")
        return _Labels("numbers", list(_numbers(frame, columns.targets, "--targets", usual, found)))
    if columns.labels:
        return _Labels("names", _label_columns(frame, columns.labels, usual, found))
    column = usual.named(columns.label, "--label-column") if columns.label else usual.usual(LABEL_COLUMNS)
    if column is None and (guessed := _guessed(usual, image, found)) is not None:
        return guessed
    return _of_column(rows, column or _only_text(usual, image), columns, form, image)


def _guessed(usual: _Usual, image: str, found: _Findings) -> _Labels | None:
    """Return the labels in columns that are not called so, where their cells or names leave no doubt."""
    if names := _zero_one_columns(usual, image):
        note = f"Columns of 0 and 1 are classes: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}."
        return _Labels("names", _label_columns(usual.frame, names, usual, found), note)
    if pairs := _point_columns(usual, ()):
        note = f"Columns of points: {', '.join(pairs[:6])}{', …' if len(pairs) > 6 else ''}."
        return replace(_points_of(pairs, usual, found), note=note)
    if names := _numbered_columns(usual, image):
        note = f"Columns {names[0]} to {names[-1]} are x and y of {len(names) // 2} points in turn."
        return replace(_points_of(names, usual, found), note=note)
    return None


def _points_of(names: Sequence[str], usual: _Usual, found: _Findings) -> _Labels:
    values = _points(usual.frame, names, usual, found)
    return _Labels("points_xy", values, point_names=_names_of_points(names))


def _of_column(rows: _Rows, column: str, columns: TableColumns, form: LabelForm | None, image: str) -> _Labels:
    """Return the labels in one column: a name in each row, names in each, or a row for each object of an image."""
    frame, cells = rows.frame, rows.frame[column].tolist()
    lower = {str(name).lower() for name in frame.columns}
    if any(box <= lower for box in _BOX_COLUMNS) and bool(frame[image].duplicated().any()):
        note = f"A row is an object: the labels of an image are those of its rows in column `{column}`."
        return _Labels("names", [None if is_blank(c) else [text_of(c)] for c in cells], note, one_per_object=True)
    several = True if form == "names" or columns.label_delimiter or columns.empty == "none" else None
    read = read_cells(
        cells,
        several=False if form == "name" else several,
        delimiter=columns.label_delimiter,
        plural=column.lower() in SEVERAL,
    )
    note = f"Column `{column}`: {read.note}." if read.note else ""
    return _Labels("names" if read.several else "name", read.labels, note)


def _without_blank(
    rows: _Rows, labels: _Labels, columns: TableColumns, is_test: Sequence[bool], found: _Findings, name: str
) -> _Labels:
    """Leave out rows that are not labelled, or do what the options say."""
    if labels.form not in {"names", "name"} or columns.labels:
        return labels
    blank = [row for row, one in enumerate(labels.of_rows) if one is None and not is_test[row]]
    if columns.empty == "none":
        if labels.form == "name":
            raise TableError("--empty none needs images with several labels: here each image has one.")
        return replace(labels, of_rows=[[] if one is None else one for one in labels.of_rows])
    if columns.empty == "error":
        for row in blank:
            found.error("no label", row, "(empty)")
        return labels
    if blank:
        hint = "If it means that nothing is in the image, say --empty none." if labels.form == "names" else ""
        found.findings.append(left_out("no label", [rows.origins[row] for row in blank], len(blank), hint))
        found.unusable.update(blank)
        if len(blank) == len(labels.of_rows):
            raise TableError(f"`{name}`: no row has a label.")
    return labels


def _only_text(usual: _Usual, image: str) -> str:
    """Return the one column besides the image that may hold labels; else say what there is."""
    split = usual.usual((*VALID_COLUMNS, *SPLIT_COLUMNS))
    others = usual.others(image, split, _STORED)
    texts = [one for one in others if not _is_numeric(usual.frame[one]) and not usual.names_images(one)]
    few = [one for one in texts if usual.frame[one].astype(str).nunique() <= max(1, len(usual.frame) // 2)]
    if len(texts) == 1:
        return texts[0]
    if len(others) == 1 or len(few) == 1:
        return (others if len(others) == 1 else few)[0]
    numbers = [one for one in others if _is_numeric(usual.frame[one])]
    hint = f" Numbers to predict are named with --targets, such as --targets {numbers[0]}." if numbers else ""
    raise TableError(
        f"`{usual.name}` has none of the columns {', '.join(LABEL_COLUMNS[:6])}. Its columns: {usual.listed}. "
        f"Name the right one with --label-column, or 0/1 columns with --label-columns.{hint}"
    )


def _is_numeric(column: pd.Series) -> bool:
    values = column.dropna().head(_PROBED)
    return bool(len(values)) and bool(pd.to_numeric(values.astype(str), errors="coerce").notna().all())


def _zero_one_columns(usual: _Usual, image: str) -> list[str]:
    """Return the columns that hold 0, 1, -1 and blanks alone, where two or more do, and half of all or more."""
    split = usual.usual((*VALID_COLUMNS, *SPLIT_COLUMNS))
    others = usual.others(image, split, _STORED)
    marks = {"0", "1", "-1", "0.0", "1.0", "-1.0", "true", "false", "", "none", "nan"}
    names = [one for one in others if {str(cell).strip().lower() for cell in usual.frame[one].unique()} <= marks]
    return names if len(names) >= 2 and len(names) >= len(others) / 2 else []


def _label_columns(
    frame: pd.DataFrame, names: Sequence[str], usual: _Usual, found: _Findings
) -> list[PartialLabels | list[str]]:
    """Read one 0/1 column per class; blank or -1 is unknown."""
    columns = [usual.named(column, "--label-columns") for column in _expanded(usual, names)]
    values = pd.DataFrame({column: pd.to_numeric(_marks(frame[column]), errors="coerce") for column in columns})
    for column in columns:
        odd = (~frame[column].map(is_blank) & values[column].isna()) | ~values[column].isin([0, 1, -1, np.nan])
        for row in np.flatnonzero(odd):
            rule = f"`{column}` must be 0, 1, or blank or -1 for unknown"
            found.error(rule, int(row), repr(frame[column].iloc[row]))
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


def _expanded(usual: _Usual, names: Sequence[str]) -> list[str]:
    """Return names of columns, with patterns such as `x*` and ranges such as `first..last` written out."""
    columns: list[str] = []
    for name in names:
        if name not in usual.known and ".." in name:
            first, last = (usual.named(part, "a range of columns") for part in name.split("..", 1))
            start, stop = usual.known.index(first), usual.known.index(last)
            columns += usual.known[min(start, stop) : max(start, stop) + 1]
        elif name not in usual.known and "*" in name:
            matches = fnmatch.filter(usual.known, name)
            if not matches:
                raise TableError(f"`{usual.name}` has no column like `{name}`. Its columns: {usual.listed}.")
            columns += matches
        else:
            columns.append(name)
    return columns


def _point_columns(usual: _Usual, given: Sequence[str]) -> tuple[str, ...]:
    """Return the columns x, y of each point: those given, with patterns written out, or those whose names are pairs."""
    if len(given) == 2 and all("*" in name for name in given):
        across, down = (_expanded(usual, [name]) for name in given)
        if len(across) != len(down):
            raise InputError(
                f"Points are pairs of columns x,y: {len(across)} are like {given[0]}, {len(down)} like {given[1]}."
            )
        return tuple(column for pair in zip(across, down, strict=True) for column in pair)
    if given:
        return tuple(_expanded(usual, given))
    if {"w", "h"} <= set(usual.by_lower) or any(box <= set(usual.by_lower) for box in _BOX_COLUMNS):
        return ()
    pairs = []
    for column in usual.known:
        words = re.split(r"([^A-Za-z]+)", column)
        for at, word in enumerate(words):
            other = "".join([*words[:at], {"x": "y", "X": "Y"}.get(word, ""), *words[at + 1 :]])
            if word in {"x", "X"} and other in usual.known and _is_numeric(usual.frame[column]):
                pairs.append((column, other))
    return tuple(column for pair in pairs for column in pair)


def _numbered_columns(usual: _Usual, image: str) -> list[str]:
    """Return the columns besides the image if they are numbers 0 to n, or 1 to n, as tables of landmarks have them."""
    others = usual.others(image)
    numbers = [int(one) if one.isascii() and one.isdigit() else -1 for one in others]
    is_run = len(numbers) >= _FEWEST_NUMBERED and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return others if is_run and numbers[0] in {0, 1} and len(others) % 2 == 0 else []


def _names_of_points(columns: Sequence[str]) -> tuple[str, ...]:
    """Return what points are called, by their columns' names without x or y; nothing for mere numbers."""
    names = [
        re.sub(r"[ _.-]+", " ", re.sub(r"(?i)(^|[^a-z])x([^a-z]|$)", r"\1\2", one)).strip() for one in columns[::2]
    ]
    usable = all(re.search("[A-Za-z]", name) for name in names) and len(set(names)) == len(names)
    return tuple(names) if usable and len(names) > 1 else ()


def _points(frame: pd.DataFrame, names: Sequence[str], usual: _Usual, found: _Findings) -> list[np.ndarray]:
    if len(names) % 2:
        raise InputError(f"Points are pairs of columns x,y; got {len(names)}: {', '.join(names)}.")
    points = _numbers(frame, names, "--points", usual, found).reshape(len(frame), -1, 2)
    for row in np.flatnonzero((np.isnan(points).sum(axis=2) == 1).any(axis=1)):
        hint = "Leave both blank where a point is missing."
        found.error("a point with only one of its coordinates", int(row), points[row].tolist(), hint)
    return list(points)


def _numbers(frame: pd.DataFrame, names: Sequence[str], option: str, usual: _Usual, found: _Findings) -> np.ndarray:
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
        blank = cells.map(is_blank).to_numpy()
        numbers = pd.to_numeric(cells, errors="coerce")
        for row in np.flatnonzero(numbers.isna() & ~blank):
            found.error(f"column `{column}` must hold numbers", int(row), repr(frame[column].iloc[row]))
        for row in np.flatnonzero(np.isinf(numbers)):
            found.error(f"a number in column `{column}` that is not finite", int(row), numbers.iloc[row])
        values[:, at] = numbers.to_numpy(dtype=float)
    return values


def match_table(path: Path) -> Match | None:
    """Recognise a table by its ending, a folder of parquet files, or a folder with tables that name its images."""
    if path.is_dir():
        return _match_folder(path)
    name = path.name.lower().removesuffix(".gz")
    if Path(name).suffix not in TABLES and not (name.endswith(".txt") and path.is_file()):
        return None

    def read(options: ReadOptions) -> Source:
        return read_table(
            path, images=options.images, columns=options.columns, task=options.task, encoding=options.encoding
        )

    return Match(0.5, read, frozenset({"images", "columns", "encoding"}), f"the ending of `{path.name}`")


def _match_folder(path: Path) -> Match | None:
    uses = frozenset({"images", "columns", "encoding"})
    parquet = [Part(file, side_in(file.stem)) for file in tree_of(path).files(*_PARQUET, depth=1)]
    if parquet and not tree_of(path).images:
        sided = [part for part in parquet if part.side is not None] or parquet
        return Match(0.5, lambda options: _read_parts(path, sided, options, ()), uses, "parquet files")
    parts = parts_at(path, *_IN_FOLDERS, ".gz", is_one=_names_images_beside)
    if not parts:
        return None

    def read(options: ReadOptions) -> Source:
        chosen, notes = choose(parts, path)
        return _read_parts(path, chosen, options, notes)

    return Match(0.7, read, uses, f"`{place_of(parts, path)}` names images of this folder")


def _read_parts(path: Path, parts: Sequence[Part], options: ReadOptions, notes: tuple[str, ...]) -> Source:
    """Read one table for each side as one."""
    tables, findings = [], list[Finding]()
    for part in parts:
        frame, more = load_frame(part.file, options.encoding)
        name = str(part.file.relative_to(path))
        bases = (options.images,) if options.images is not None else _bases(part.file)
        tables.append(_Rows.of(frame, name, bases, part.side))
        findings += more
    names = [str(column) for table in tables for column in table.frame.columns]
    for part, table in zip(parts, tables, strict=True):
        lacking = [name for name in dict.fromkeys(names) if name not in set(map(str, table.frame.columns))]
        if lacking and part.side != "test":
            value = f"{', '.join(lacking[:5])}{', …' if len(lacking) > 5 else ''}"
            findings.append(Finding("warning", "column of another table that is not there", str(part.file), value))
    columns, finder = options.columns or TableColumns(), ImageFinder(options.images or path)
    source = _read(_Rows.joined(tables), columns, options.task, finder, place_of(parts, path))
    return replace(
        source,
        findings=(*findings, *source.findings),
        notes=(*notes, *source.notes),
        place=place_of(parts, path),
    )


def _names_images_beside(file: Path) -> bool:
    """Return whether a table in a folder names images that are there, and says something else of them."""
    if file.stat().st_size > _LARGEST or (file.suffix == ".gz" and Path(file.stem).suffix.lower() not in TABLES):
        return False
    try:
        frame, _ = load_frame(file)
    except (InputError, MissingDependencyError):
        return False
    if not len(frame) or len(frame.columns) < 2:
        return False
    usual = _Usual(frame, file.name, _bases(file))
    try:
        image = usual.image(None)
    except TableError:
        return False
    rows = _Rows.of(frame.head(_PROBED), file.name, _bases(file))
    rows.frame.attrs.clear()
    side = side_of_path(file) or side_in(file.name.partition(".")[0])
    wanted = [
        Wanted(names=(text_of(cell),), origin="", side=side, bases=bases)
        for cell, bases in zip(rows.frame[image].tolist(), rows.bases, strict=False)
        if not is_blank(cell)
    ]
    found = ImageFinder(file.parent).resolve(wanted) if wanted else []
    return sum(one is not None for one in found) > len(found) / 2


def __getattr__(name: str) -> object:
    return _moved.from_home(__name__, name)
