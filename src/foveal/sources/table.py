"""Tables as sources: a row per image, or per object in an image, in one file or in one for each side."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from foveal import _moved
from foveal.core.errors import InputError, MissingDependencyError, TableError
from foveal.images.parquet_rows import row_of
from foveal.sources.cells import is_blank, text_of
from foveal.sources.columns import SPLIT_COLUMNS, VALID_COLUMNS, Columns
from foveal.sources.finder import ImageFinder, Wanted
from foveal.sources.formats import Match, ReadOptions, TableColumns
from foveal.sources.frames import JSON_LINES, PARQUET, STORED, TABLES, load_frame, records_of
from foveal.sources.gather import of_test_side
from foveal.sources.items import Finding, Item, Source
from foveal.sources.label_studio_addresses import readings
from foveal.sources.parts import Part, choose, parts_at, place_of
from foveal.sources.sides import (
    FALSE,
    TRUE,
    Side,
    set_aside_test,
    side_in,
    side_of,
    side_of_cell,
    side_of_word,
    sides_by_folders,
)
from foveal.sources.table_labels import RowFindings, TableRows, read_labels, without_blank
from foveal.sources.tree import is_image_name, tree_of
from foveal.tasks.kinds import TASKS, kind_for

_IN_FOLDERS = (".csv", ".tsv", *JSON_LINES, *PARQUET, ".xlsx")
_ADDRESS = re.compile(r"://|%[0-9A-Fa-f]{2}|[?]|/data/upload/")  # in a cell that may not name a file as it stands
_MAY_BE_ABSOLUTE = re.compile(r"[/\\]|\w:")  # quicker than a path for every row
_PROBED = 50  # rows by which a table in a folder is recognised
_FEWEST_FOUND = 0.2  # of the images that a table names: with fewer, another table or folder is meant; chosen by hand
_LARGEST = 1 << 26  # bytes of a table that is looked into to recognise a folder


def read_table(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    columns: TableColumns | None = None,
    task: str = "auto",
    encoding: str | None = None,
) -> Source:
    """Return a table as a source; its rows name images under `images` (by default the table's own folder).

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
    rows = TableRows.of(frame, file.name, bases)
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
    return _read(TableRows.of(frame, name, (images,)), columns or TableColumns(), task, ImageFinder(images), name)


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


def _read(rows: TableRows, columns: TableColumns, task: str, finder: ImageFinder, name: str) -> Source:
    if not finder.root.is_dir():
        raise InputError(f"There is no folder `{finder.root}` with the images. Say where they are with --images.")
    if not len(rows.frame):
        raise TableError(f"`{name}` has no rows.")
    frame, found = rows.frame, RowFindings(rows)
    stored = STORED in frame and row_of(frame[STORED].iloc[0]) is not None
    usual = Columns(frame, name, rows.bases[0], finder.root)
    image = usual.image(columns.image or (STORED if stored else None))
    sides, is_marked = _sides(rows, columns.valid, usual, found)
    form = None if task == "auto" else TASKS[task].label_form
    labels = read_labels(rows, columns, form, usual, image, found)
    labels = without_blank(rows, labels, columns, [side == "test" for side in sides], found, name)
    files = _files(rows, image, finder, sides, found)
    found.findings = finder.findings + found.findings
    groups: list[Hashable] = [None] * len(frame)
    if columns.group is not None:
        cells = frame[usual.named(columns.group, "--group-column")].tolist()
        groups = [None if is_blank(cell) else text_of(cell) for cell in cells]
    about = [(column, frame[usual.named(column, "--by")].tolist()) for column in columns.about]
    items: list[Item] = []
    kept_sides: list[Side | None] = []
    for row, file in enumerate(files):
        if file is not None and row not in found.unusable:
            more = tuple((column, cells[row]) for column, cells in about)
            is_valid = sides[row] == "valid" if is_marked else None
            items.append(Item(file, labels.of_rows[row], is_valid, rows.origins[row], groups[row], more))
            kept_sides.append(sides[row])
    if labels.one_per_object:
        items, kept_sides = _merged(items, kept_sides)
    split: tuple[Finding, ...] = ()
    if not is_marked:
        kept_sides, split = sides_by_folders(items, kept_sides, finder.root)
    kept, test, wrong = set_aside_test(items, [None] * len(items) if is_marked else kept_sides)
    return Source(
        "table",
        task if form == labels.form else kind_for(labels.form),
        kept,
        point_names=labels.point_names,
        target_names=columns.targets if labels.form == "numbers" else (),
        notes=(labels.note,) if labels.note else (),
        findings=(*of_test_side(found.findings, rows.origins, sides), *split, *wrong),
        test=test,
        n_left_out=0 if labels.one_per_object else len(files) - len(kept) - len(test),
    )


def _merged(items: Sequence[Item], sides: Sequence[Side | None]) -> tuple[list[Item], list[Side | None]]:
    """Return items and their sides, the rows of one image, each of which is an object in it, as one item."""
    names: dict[Path, dict[str, None]] = {}
    first: dict[Path, tuple[Item, Side | None]] = {}
    for item, side in zip(items, sides, strict=True):
        first.setdefault(item.image, (item, side))
        assert isinstance(item.label, list)
        names.setdefault(item.image, {}).update(dict.fromkeys(item.label))
    merged = [replace(item, label=sorted(names[item.image])) for item, _ in first.values()]
    return merged, [side for _, side in first.values()]


def _files(
    rows: TableRows, column: str, finder: ImageFinder, sides: Sequence[Side | None], found: RowFindings
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
        if _MAY_BE_ABSOLUTE.match(name) and Path(name).is_absolute() and Path(name).is_file():
            found.warning("absolute path", row, value, "The table works on this machine only; say --images instead.")
        elif ".." in name and ".." in Path(name).parts:
            found.warning("path that leaves the folder of the images", row, value, "Name a folder above both.")
        names = (name, *readings(name)) if _ADDRESS.search(name) else (name,)
        wanted.append((row, Wanted(names=names, origin=rows.origins[row], side=sides[row], bases=rows.bases[row])))
    for (row, _), file in zip(wanted, finder.resolve([one for _, one in wanted]), strict=True):
        files[row] = file
    return files


def _sides(rows: TableRows, given: str | None, usual: Columns, found: RowFindings) -> tuple[list[Side | None], bool]:
    """Return the side of each row, and whether a column says of each whether it is for validation."""
    named = usual.named(given, "--valid-column") if given is not None else usual.usual(VALID_COLUMNS)
    column = named or usual.usual(SPLIT_COLUMNS)
    if column is not None and named is None and not any(map(_names_side, rows.frame[column].tolist())):
        shown = ", ".join(dict.fromkeys(str(cell) for cell in rows.frame[column].head(3).tolist()))
        found.note(f"column `{column}` names no sides of a split", shown, "It is not used.")
        column = None
    column = column or _column_of_sides(rows, usual, found)
    if column is None:
        return _marked_sides(rows, usual, found), False
    cells = rows.frame[column].tolist()
    sides = [None if is_blank(cell) else side_of_cell(cell) for cell in cells]
    for row, side in enumerate(sides):
        if side is None:
            shown = "(empty)" if is_blank(cells[row]) else repr(cells[row])
            found.error(f"`{column}` must be true or false, or 1 or 0, or name a side such as train", row, shown)
    other = usual.usual(SPLIT_COLUMNS) if given is None and named is not None else None
    if other not in {None, column}:  # beside a mark of validation, another column may set rows aside
        tests = [side_of_cell(cell) == "test" and _names_side(cell) for cell in rows.frame[other].tolist()]
        sides = ["test" if is_test else side for is_test, side in zip(tests, sides, strict=True)]
    truths = {str(cell).strip().lower() for cell in cells}
    return sides, bool(truths & (TRUE | FALSE)) and "test" not in sides


def _names_side(cell: object) -> bool:
    return isinstance(cell, str) and side_of_word(cell) is not None


def _column_of_sides(rows: TableRows, usual: Columns, found: RowFindings) -> str | None:
    """Return a column of any name in which every cell names a side, and not all the same."""
    for column in usual.known:
        if not all(map(_names_side, rows.frame[column].head(_PROBED).tolist())):
            continue
        cells = rows.frame[column].unique().tolist()  # a table may be sorted by side
        if len(cells) > 1 and all(map(_names_side, cells)):
            found.note("column that names the sides of a split", column, "It is used; --valid-column names another.")
            return column
    return None


_MARKS: tuple[tuple[tuple[str, ...], Side, Side], ...] = (
    (("is_test", "test"), "test", "train"),
    (("is_train", "train"), "train", "valid"),
)
"""Names of columns of truth values, and what true and false mean in them."""


def _marked_sides(rows: TableRows, usual: Columns, found: RowFindings) -> list[Side | None]:
    """Return the sides of tables as a whole, or those that a column such as `is_test` marks."""
    for names, marked, other in _MARKS:
        column = usual.usual(names)
        texts = [] if column is None else [str(cell).strip().lower() for cell in rows.frame[column].tolist()]
        if texts and set(texts) <= TRUE | FALSE and len(set(texts)) > 1:
            found.note("column that marks a side of a split", str(column), "It is used; --valid-column names another.")
            return [marked if text in TRUE else other for text in texts]
    return list(rows.sides)


def match_table(path: Path) -> Match | None:
    """Return a match for a table by its ending, a folder of parquet files, or tables that name its images, or None."""
    if path.is_dir():
        return _match_folder(path)
    name = path.name.lower().removesuffix(".gz")
    is_text = name.endswith(".txt") and path.is_file()
    # A .json is a table where its first object names an image; annotations of a known format go before it.
    rows = records_of(path)[:1] if name.endswith(".json") else []
    is_list = any(isinstance(value, str) and is_image_name(value) for row in rows for value in row.values())
    if Path(name).suffix not in TABLES and not is_text and not is_list:
        return None

    def read(options: ReadOptions) -> Source:
        return read_table(
            path, images=options.images, columns=options.columns, task=options.task, encoding=options.encoding
        )

    return Match(0.5, read, frozenset({"images", "columns", "encoding"}), f"the ending of `{path.name}`")


def _match_folder(path: Path) -> Match | None:
    uses = frozenset({"images", "columns", "encoding"})
    parquet = [Part(file, side_in(file.stem)) for file in tree_of(path).files(*PARQUET, depth=1)]
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
    """Return one table for each side as one source."""
    tables, findings = [], list[Finding]()
    for part in parts:
        frame, more = load_frame(part.file, options.encoding)
        name = str(part.file.relative_to(path))
        bases = (options.images,) if options.images is not None else _bases(part.file)
        tables.append(TableRows.of(frame, name, bases, part.side))
        findings += more
    names = [str(column) for table in tables for column in table.frame.columns]
    for part, table in zip(parts, tables, strict=True):
        lacking = [name for name in dict.fromkeys(names) if name not in set(map(str, table.frame.columns))]
        if lacking and part.side != "test":
            value = f"{', '.join(lacking[:5])}{', …' if len(lacking) > 5 else ''}"
            findings.append(Finding("warning", "column of another table that is not there", str(part.file), value))
    columns, finder = options.columns or TableColumns(), ImageFinder(options.images or path)
    source = _read(TableRows.joined(tables), columns, options.task, finder, place_of(parts, path))
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
    usual = Columns(frame, file.name, _bases(file), file.parent)
    try:
        image = usual.image(None)
    except TableError:
        return False
    rows = TableRows.of(frame.iloc[:: -(-len(frame) // _PROBED)], file.name, _bases(file))
    rows.frame.attrs.clear()
    side = side_of(file.parent.name) or side_in(file.name.partition(".")[0])
    wanted = [
        Wanted(names=(text_of(cell),), origin="", side=side, bases=bases)
        for cell, bases in zip(rows.frame[image].tolist(), rows.bases, strict=False)
        if not is_blank(cell)
    ]
    found = ImageFinder(file.parent).resolve(wanted) if wanted else []
    return sum(one is not None for one in found) > len(found) * _FEWEST_FOUND


def __getattr__(name: str) -> object:
    return _moved.from_home(__name__, name)
