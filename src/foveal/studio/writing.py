"""Labels on their way out of a studio: into the table that was given, or one beside it, and as every other writer."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from foveal.core.errors import InputError
from foveal.core.grouping import by_any_name
from foveal.core.tables import FORMATS, write_rows, write_table
from foveal.evaluation.writers import LAYOUTS, write_labels
from foveal.images.decode import open_image
from foveal.serve.admission import RequestRefusedError
from foveal.serve.collect import DELIMITER, held
from foveal.serve.collect import TABLE as CORRECTIONS
from foveal.sources.cells import joint_for, split_labels
from foveal.sources.columns import IMAGE_COLUMNS, LABEL_COLUMNS
from foveal.studio.collection import TABLE, Collection, Label, Purpose, Shown
from foveal.studio.marks import Marks, groups_of
from foveal.tasks.columns import columns_for_points

TOGETHER, SIDE = "together", "is_valid"
"""Columns: what stays on one side of a split, and which side that is."""
_IMAGE, _LABELS = "fname", "labels"
_SEPARATORS = (";", "|", ",")  # in the order in which they are looked for in the cells of a table
BEFORE = ".before-studio"
"""What the copy of a table that was there before is called by."""


class Written(NamedTuple):
    """A table that was written.

    Attributes:
        path: of the table.
        n: its labelled images.
        why_beside: why it is not the table that was given; empty where it is.
    """

    path: Path
    n: int
    why_beside: str = ""


def write_marks(collection: Collection, marks: Marks) -> Written:
    """Write all labels: into the table that was given where it can be kept as it is otherwise, else beside it.

    A table that was there before is copied once, as NAME.before-studio.csv.

    Args:
        collection: says where.
        marks: the labels.

    Returns:
        Where the labels are, how many images have some, and why that is not the table that was given, if it is not.
    """
    path, why = collection.target, ""
    n = sum(1 for _ in _labelled(collection, marks))
    if path.is_file() and not is_plain(path, marks.purpose):
        if not (why := _write_into(path, collection, marks)):
            return Written(path, n)
        path = collection.given.with_name(f"{path.stem}.{TABLE}")
    elif collection.had_table:
        _keep_copy(path)
    if n:
        write_rows(path, rows_of(collection, marks))
    elif path.is_file() and path != collection.given:
        path.unlink()
    return Written(path, n, why)


def _write_into(path: Path, collection: Collection, marks: Marks) -> str:
    """Write labels into a table that has more than them.

    Returns:
        Why that cannot be done; nothing where it was.

    Raises:
        InputError: a service that writes corrections holds the table.
    """
    if path.suffix.lower() != ".csv":
        return f"a {path.suffix} is not written"
    try:
        with held(path.parent) if path.name == CORRECTIONS else nullcontext():  # a service may write them as well
            found = _merged(path, collection, marks)
            if isinstance(found, str):
                return found
            _keep_copy(path)
            write_rows(path, found)
            return ""
    except RequestRefusedError as error:
        raise InputError(f"`{path}` is held by a service that writes corrections ({error.reason})") from error


def read_own(path: Path, purpose: Purpose) -> dict[str, Label | None]:
    """Return the labels of a table that a studio wrote, by name of the image, also where somebody has edited it.

    Args:
        path: of the table.
        purpose: what is to be known of each image; classes that it does not know are added to the label as they are.

    Raises:
        InputError: a number of a point cannot be read.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        return {line[_IMAGE]: _label_of(line, purpose, path) for line in csv.DictReader(file) if line.get(_IMAGE)}


def _label_of(line: Mapping[str, str], purpose: Purpose, path: Path) -> Label | None:
    if purpose.has_points:
        try:
            pairs = [(line.get(f"{name}_x", ""), line.get(f"{name}_y", "")) for name in purpose.names]
            return tuple((float(x), float(y)) if x and y else None for x, y in pairs)
        except ValueError as error:
            raise InputError(f"`{path}`, {line[_IMAGE]}: {error}.") from error
    cell = line.get(_LABELS) or ""
    if not purpose.has_several:
        return cell or None
    joint = ";" if ";" in cell else joint_for(purpose.names)
    return tuple(split_labels(cell, joint))


def is_plain(path: Path, purpose: Purpose | None) -> bool:
    """Return whether a table has no column but those that a studio writes, and so nothing else to keep.

    Args:
        path: of the table.
        purpose: names the points, whose columns are a studio's as well.
    """
    if path.suffix.lower() != ".csv":
        return False
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = set(next(csv.reader(file), []))
    points = set(_columns(purpose)) if purpose is not None and purpose.has_points else set[str]()
    return path.name == TABLE and header <= {_IMAGE, _LABELS, SIDE, TOGETHER} | points


def _keep_copy(path: Path) -> None:
    copy = path.with_name(f"{path.stem}{BEFORE}{path.suffix}")
    if not copy.exists():
        shutil.copyfile(path, copy)


def rows_of(collection: Collection, marks: Marks) -> Iterator[dict[str, object]]:
    """Yield a row for each labelled image that is not left out: name, label and, where stated, side and group.

    Args:
        collection: of the images.
        marks: the labels.
    """
    has_sides = any(one.is_valid is not None for one in collection.images)
    groups = groups_of(marks.together)
    joint = _joint(marks)
    for one in _labelled(collection, marks):
        row: dict[str, object] = {_IMAGE: one.name} | _cells(marks, marks.labels[one.name], joint)
        if has_sides:
            row[SIDE] = _side(one, collection, marks, groups)
        if groups:
            row[TOGETHER] = groups.get(one.name, one.name)
        yield row


def export(path: Path, layout: str, collection: Collection, marks: Marks) -> int:
    """Write labels as a table (.csv, .jsonl, .parquet) or a .json in a layout.

    Args:
        path: its ending is the format.
        layout: of a .json, see `LAYOUTS`.
        collection: of the images.
        marks: the labels.

    Returns:
        How many images were written.

    Raises:
        InputError: the ending or the layout is not known.
        ImageError: an image cannot be read, whose size the layout needs.
    """
    assert marks.purpose is not None
    if path.suffix in FORMATS:
        return write_table(path, rows_of(collection, marks))
    if path.suffix != ".json" or layout not in LAYOUTS:
        raise InputError(f"`{path.name}` must end in {', '.join(FORMATS)}, or in .json as {' or '.join(LAYOUTS)}.")
    task = marks.purpose.task()
    labelled = (
        (one.name, open_image(one.file).size_hw, task.decode_target(task.encode(_encodable(marks.labels[one.name]))))
        for one in _labelled(collection, marks)
    )
    return write_labels(path, layout, labelled, task, by_hand=True)


def training_options(collection: Collection, marks: Marks) -> dict[str, str]:
    """Return the options with which `foveal train` reads the rows of `rows_of`, by name.

    Args:
        collection: of the images.
        marks: the labels.
    """
    assert marks.purpose is not None
    options = {"--task": marks.purpose.kind}
    if marks.purpose.has_points:
        options["--points"] = ",".join(_columns(marks.purpose))
        options["--point-names"] = ",".join(marks.purpose.names)
    if marks.purpose.has_several:
        options |= {"--empty": "none", "--label-delimiter": _joint(marks)}
    if marks.together and not any(one.is_valid is not None for one in collection.images):
        options["--group-column"] = TOGETHER
    return options


def _labelled(collection: Collection, marks: Marks) -> Iterator[Shown]:
    return (one for one in collection.images if one.name in marks.labels and one.name not in marks.left_out)


def _encodable(label: Label) -> object:
    if isinstance(label, str):
        return label
    return [one if isinstance(one, str) else (float("nan"),) * 2 if one is None else one for one in label]


def _joint(marks: Marks) -> str:
    """Return what stands between the names of several classes: a space where no name has one."""
    assert marks.purpose is not None
    return joint_for(marks.purpose.names)


def _joint_of(
    lines: Sequence[Mapping[str, str]], own: Mapping[str, str | None], collection: Collection, marks: Marks
) -> str:
    """Return what stands between names in the cells of a table; where no cell has several, what a studio writes."""
    if collection.given.name == CORRECTIONS:
        return DELIMITER
    cells = [line[column] for line in lines if (column := own.get(_LABELS)) is not None]
    return next((one for one in _SEPARATORS if any(one in cell for cell in cells)), _joint(marks))


def _columns(purpose: Purpose) -> tuple[str, ...]:
    return columns_for_points(purpose.names)


def _cells(marks: Marks, label: Label | None, joint: str) -> dict[str, object]:
    """Return the cells of a label, all of them empty where it has no label."""
    assert marks.purpose is not None
    if marks.purpose.has_points:
        points = label or (None,) * len(marks.purpose.names)
        pairs = ((None, None) if one is None else (round(float(one[0]), 2), round(float(one[1]), 2)) for one in points)
        return dict(zip(_columns(marks.purpose), (cell for pair in pairs for cell in pair), strict=True))
    return {_LABELS: label if isinstance(label, str) else joint.join(map(str, label or ()))}


def _side(one: Shown, collection: Collection, marks: Marks, groups: Mapping[str, str]) -> object:
    """Return the side of an image: its own, of images that stay together that of the first; without one, to train."""
    first = groups.get(one.name, one.name)
    if first == one.name:
        return bool(one.is_valid)
    return any(other.is_valid for other in collection.images if other.name == first)


def _merged(path: Path, collection: Collection, marks: Marks) -> list[dict[str, object]] | str:
    """Return the rows of a table with the labels in their cells, or in words why it cannot be kept as it is."""
    assert marks.purpose is not None
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        return "it is not UTF-8"
    lines = list(csv.DictReader(io.StringIO(text, newline=""), restkey="", restval=""))
    if not lines or any("" in line for line in lines):
        return "it is no table separated by commas, with a name above each column"
    lower = {column.lower(): column for column in lines[0]}
    named = collection.columns
    image = named.get("image") or next((lower[name] for name in IMAGE_COLUMNS if name in lower), None)
    label = named.get("label") or next((lower[name] for name in LABEL_COLUMNS if name in lower), None)
    usual = _columns(marks.purpose) if marks.purpose.has_points else (_LABELS,)
    points = [named.get(at, column) for at, column in enumerate(usual)]
    own = dict(zip(usual, points if marks.purpose.has_points else [label], strict=True))
    if image not in lines[0] or any(column not in lines[0] for column in own.values()):
        return "its columns of images and labels have other names"
    assert image is not None
    by_text = _by_text(collection.images)
    shown = [by_text.get(line[image].strip()) for line in lines]
    if why := _unlike(shown, lines[0], collection, marks):
        return why
    return list(_rows_with(lines, shown, collection, marks, image=image, own=own))


def _unlike(shown: Sequence[Shown | None], columns: Iterable[str], collection: Collection, marks: Marks) -> str:
    """Return why rows that name such images cannot hold all labels; nothing where they can."""
    there = [one.name for one in shown if one is not None]
    has_sides = any(one.is_valid is not None for one in collection.images)
    if marks.together and TOGETHER in columns:
        return f"it has a column `{TOGETHER}` of its own"
    if has_sides and SIDE not in columns and {one.name for one in _labelled(collection, marks)} - set(there):
        return f"it has no column `{SIDE}` for the sides of further images"
    if len(set(there)) < len(there):
        return "it names an image in several rows"
    if lacking := {one.name for one in collection.images if one.label is not None} - set(there):
        return f"not all of its images are found by their names, such as {min(lacking)}"
    labelled = {one.name for one in _labelled(collection, marks)}
    if set(there) - labelled - marks.left_out and any(marks.labels[name] == () for name in labelled):
        return "an empty cell cannot say both that nothing is in an image and that nobody has looked at it"
    return ""


def _rows_with(
    lines: Sequence[dict[str, str]],
    shown: Sequence[Shown | None],
    collection: Collection,
    marks: Marks,
    *,
    image: str,
    own: Mapping[str, str | None],
) -> Iterator[dict[str, object]]:
    joint, groups, there = _joint_of(lines, own, collection, marks), groups_of(marks.together), set[str]()
    has_sides = any(one.is_valid is not None for one in collection.images)
    empty: dict[str, object] = {}

    def filled(line: Mapping[str, object], one: Shown) -> dict[str, object]:
        row = dict(line)
        if one.name in marks.decided:
            cells = _cells(marks, marks.labels.get(one.name), joint)
            row |= {own[column] or column: cell for column, cell in cells.items()}
        if groups:
            row[TOGETHER] = groups.get(one.name, one.name)
            if SIDE in row and has_sides:
                row[SIDE] = _side(one, collection, marks, groups)
        return row

    for line, one in zip(lines, shown, strict=True):
        empty = dict.fromkeys(line, "")
        if one is None:
            yield {**line, **({TOGETHER: line[image]} if groups else {})}
            continue
        there.add(one.name)
        if one.name not in marks.left_out:
            yield filled(line, one)
    for one in _labelled(collection, marks):
        if one.name not in there:
            side = {SIDE: _side(one, collection, marks, groups)} if SIDE in empty and has_sides else {}
            yield filled(empty | {image: one.name} | side, one)


def _by_text(images: Iterable[Shown]) -> dict[str, Shown]:
    """Return images by what a table may call them: the name, and that of the file, with its ending or without."""

    def short(one: Shown) -> tuple[str, ...]:
        return one.file.name, one.file.stem, Path(one.name).with_suffix("").as_posix()

    return by_any_name((one, (one.name,), short(one)) for one in images)
