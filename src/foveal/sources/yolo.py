"""YOLO: a text file for each image, one object per line, coordinates as shares of the image's size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.core.errors import ImageError, TableError
from foveal.images.any_channels import open_any
from foveal.sources.finder import ImageFinder
from foveal.sources.formats import ANNOTATIONS, Match, ReadOptions, sniff
from foveal.sources.gather import Entry, NotLabelled, gather, left_out
from foveal.sources.items import BAD_ANNOTATION, Finding, Source
from foveal.sources.sides import side_of, side_of_path
from foveal.sources.tree import Tree, tree_of
from foveal.sources.yolo_data import NAMES, YoloData, data_of, is_data, load_yaml, side_in_data
from foveal.tasks.kinds import form_of

_BOX = 5  # values of a box: class, centre x and y, width, height
_CORNERS = 9  # values of an oriented box: class, four corners
_LOOKED_INTO = 5  # label files that a folder is recognised by; chosen by hand
_INSIDE = 0.9  # of the objects: their keypoints lie in their box, which corners of polygons do by accident only
_LINE = re.compile(r"\s*\d+(?:\.0*)?(?:[ ,\t]+[-+]?(?:\d*\.?\d+(?:[eE][-+]?\d+)?|nan))+\s*", re.IGNORECASE)
_NOT_LABELS = frozenset({*NAMES, "train.txt", "val.txt", "test.txt", "valid.txt", "requirements.txt"})
Row = NDArray[np.float64]


def read_yolo(folder: Path, options: ReadOptions | None = None) -> Source:
    """Return keypoints of the largest object of every image, or of boxes and polygons the names of their classes.

    Keypoints come out in the image's pixels; visibility 0 is a missing point. `kpt_shape: [points, 2 or 3]` is read
    from the data's .yaml where there is one; without it, all lines decide what they hold.

    Args:
        folder: of the data set.
        options: how it should be read.

    Raises:
        TableError: the .yaml cannot be read, or lines of several kinds are mixed.
    """
    options, tree = options or ReadOptions(), tree_of(folder)
    data = data_of(folder)
    findings: list[Finding] = []
    images = _images_of(tree, data, findings)
    pairs = [(image, file) for image in images if (file := _label_file(tree, image)) is not None]
    known = {_label_file(tree, image) for image in tree.images}
    lone = [file.relative_to(folder) for file in _label_files(tree) if file not in known]
    if lone:
        findings.append(left_out("label file without an image", list(map(str, lone)), len(lone)))
    read: list[tuple[Path, Path, list[Row] | None]] = []
    for image, file in pairs:
        try:
            read.append((image, file, list(_rows(file)) if file.is_file() else None))
        except (ValueError, OSError) as error:
            origin = str(file.relative_to(folder))
            findings.append(Finding("error", BAD_ANNOTATION, origin, f"{error}", "", (image,)))
    kind, shape = _kind(folder, [row for *_, rows in read for row in rows or ()], data)
    points = form_of(options.task, usual="points_xy" if shape else "names") == "points_xy"
    if points and shape is None:
        raise TableError(f"`{folder}` holds no keypoints: its lines are {kind}.")
    entries, names, notes = [], data.names, set[str]()
    if data.repeated:
        notes.add("The .yaml names one folder for two sides: no split is given.")
    for image, file, rows in read:
        origin = str(file.relative_to(folder))
        try:
            label = _label(image, rows, shape if points else None, names, notes)
        except TableError as error:
            findings.append(Finding("error", BAD_ANNOTATION, origin, str(error), "", (image,)))
            continue
        inside = image.relative_to(folder)
        side = None if data.repeated else side_in_data(image, data) or side_of_path(inside)
        entries.append(Entry(names=(str(inside),), origin=origin, side=side, bases=(folder,), label=label))
    source = gather(
        f"YOLO {kind}",
        entries,
        ImageFinder(folder),
        task=options.task,
        usual="points_xy" if points else "names",
        empty=options.empty,
        point_names=data.point_names if shape and len(data.point_names) == shape[0] else (),
        findings=findings,
    )
    return replace(source, notes=tuple(sorted(notes)))


def _label(
    image: Path, rows: list[Row] | None, shape: tuple[int, int] | None, names: Mapping[int, str], notes: set[str]
) -> object:
    """Return the keypoints of an image, in the shape that they have, or without one the names of its classes."""
    if shape is not None:
        return _points(image, rows or [], shape)
    if rows is None:
        return NotLabelled("image without a label file")
    return sorted({_name(int(row[0]), names, notes) for row in rows})


def _images_of(tree: Tree, data: YoloData, findings: list[Finding]) -> list[Path]:
    """Return the images in the folders that the .yaml names; all of them where it names none that is there."""
    named = [image for image in tree.images if side_in_data(image, data) is not None] if data.sides else []
    if not named or len(named) == len(tree.images):
        return tree.images
    known = set(named)
    left = [str(image.relative_to(tree.root)) for image in tree.images if image not in known]
    findings.append(left_out("image in no folder that the .yaml names", left, len(left), level="note"))
    return named


def _kind(folder: Path, rows: Sequence[Row], data: YoloData) -> tuple[str, tuple[int, int] | None]:
    """Return what all lines hold, in words, and the shape of their keypoints if they are that."""
    shape = data.shape or _guess_shape(rows)
    return ("pose" if shape else _kind_of_objects(folder, rows)), shape


def _guess_shape(rows: Sequence[Row]) -> tuple[int, int] | None:
    lengths = set(map(len, rows))
    if len(lengths) != 1 or (n := lengths.pop()) <= _BOX:
        return None
    # Keypoints with a visibility that is 0, 1 or 2 throughout, or such that lie in the boxes before them.
    if (n - _BOX) % 3 == 0 and np.isin([row[_BOX + 2 :: 3] for row in rows], (0, 1, 2)).all():
        return (n - _BOX) // 3, 3
    if (n - _BOX) % 2 == 0 and np.mean([_lie_inside(row) for row in rows]) >= _INSIDE:
        return (n - _BOX) // 2, 2
    return None


def _kind_of_objects(folder: Path, rows: Sequence[Row]) -> str:
    lengths = Counter(map(len, rows))
    if set(lengths) <= {_BOX, _BOX + 1}:
        return "boxes"
    if set(lengths) == {_CORNERS}:
        return "oriented boxes"
    if all(length == _BOX or (length > _BOX and length % 2) for length in lengths):
        return "polygons" if lengths[_BOX] < len(rows) / 2 else "boxes and polygons"
    shown = ", ".join(str(length) for length, _ in lengths.most_common(4))
    raise TableError(
        f"`{folder}`: lines have {shown} values, which are neither boxes (5), oriented boxes (9), polygons (1 + 2 per "
        "corner) nor keypoints. Say `kpt_shape: [points, 2 or 3]` in the data's .yaml if they are keypoints."
    )


def _lie_inside(row: Row) -> bool:
    centre, size = row[1:3], row[3:5]
    points = row[_BOX:].reshape(-1, 2)
    given = points[(points != 0).any(axis=1)]
    return bool(len(given) and (np.abs(given - centre) <= size / 2 * 1.1 + 0.01).all())


def _points(image: Path, rows: list[Row], shape: tuple[int, int]) -> NDArray[np.float64]:
    n_points, n_values = shape
    if not rows:
        return np.full((n_points, 2), np.nan)
    for row in rows:
        if len(row) != _BOX + n_points * n_values:
            raise TableError(f"expected {_BOX + n_points * n_values} values per line, got {len(row)}.")
    row = max(rows, key=lambda values: float(values[3] * values[4]))
    points = row[_BOX:].reshape(n_points, n_values)
    missing = points[:, 2] == 0 if n_values == 3 else (points == 0).all(axis=1)
    if not np.isfinite(points[~missing]).all():
        raise TableError("a coordinate that is not a finite number.")
    try:
        height, width = open_any(image).size_hw
    except ImageError:  # the audit names it
        return np.full((n_points, 2), np.nan)
    return np.where(missing[:, None], np.nan, points[:, :2] * (width, height))


def _rows(file: Path) -> Iterator[Row]:
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.strip():
            try:
                row = np.array(line.replace(",", " ").split(), dtype=float)
            except ValueError as error:
                raise ValueError(f"line {number} must hold numbers: `{line.strip()[:60]}`.") from error
            if len(row) < _BOX or not float(row[0]).is_integer() or row[0] < 0:
                raise ValueError(f"line {number} must be a class number and at least a box: `{line.strip()[:60]}`.")
            yield row


def _name(number: int, names: Mapping[int, str], notes: set[str]) -> str:
    if not names:
        notes.add("The names of the classes are not given: they are called by their numbers.")
        return str(number)
    if number not in names:
        raise TableError(f"class {number} has no name; there are {len(names)} names.")
    return names[number]


def _label_file(tree: Tree, image: Path) -> Path | None:
    """Return where the labels of an image are, or would be; None for an image that is not part of the set."""
    parts = image.relative_to(tree.root).parts
    folders = [at for at, part in enumerate(parts[:-1]) if part.lower() == "images"]
    if folders:
        at = folders[-1]
        beside = tree.folders(Path(tree.root, *parts[:at]))
        labels = next((one.name for one in beside if one.name.lower() == "labels"), "labels")
        return Path(tree.root, *parts[:at], labels, *parts[at + 1 :]).with_suffix(".txt")
    for folder in (image.parent, image.parent / "labels"):
        if f"{image.stem}.txt" in tree.names.get(folder, ()):
            return folder / f"{image.stem}.txt"
    return image.with_suffix(".txt") if any(n.endswith(".txt") for n in tree.names[image.parent]) else None


def _label_files(tree: Tree) -> list[Path]:
    """Return the label files in the folders that are called so."""
    return [
        folder / name
        for folder, names in tree.names.items()
        if "labels" in (part.lower() for part in folder.relative_to(tree.root).parts)
        for name in names
        if name.lower().endswith(".txt") and name.lower() not in _NOT_LABELS
    ]


def _holds_labels(tree: Tree, folder: Path) -> bool:
    """Return whether a folder holds label files: most lines of the first ones are numbers after a whole one."""
    files = [file for file in tree.files(".txt", of=folder) if file.name.lower() not in _NOT_LABELS][:_LOOKED_INTO]
    texts = [sniff(file).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace") for file in files]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return sum(_LINE.fullmatch(line) is not None for line in lines) > len(lines) / 2


def match_yolo(path: Path) -> Match | None:
    """Return a match for YOLO, by labels/ beside images/ at the top or below each side, or text files beside images."""
    if path.suffix.lower() in {".yaml", ".yml"} and path.is_file() and is_data(path):
        base = Path(str(load_yaml(path).get("path") or "."))
        folder = path.parent / base if (path.parent / base).is_dir() else path.parent
        return Match(
            1.0, lambda options: read_yolo(folder, options), ANNOTATIONS, f"`{path.name}` describes a YOLO data set"
        )
    if not path.is_dir():
        return None
    tree = tree_of(path)
    places = [path, *(folder for folder in tree.folders() if side_of(folder.name))]
    for place in places:
        labels = [folder for folder in tree.folders(place) if folder.name.lower() == "labels"]
        below = [inner for folder in labels for inner in (folder, *tree.folders(folder))]
        with_images = any(folder.name.lower() == "images" for folder in tree.folders(place))
        with_images = with_images or any(image.parent == place for image in tree.images)
        if with_images and any(_holds_labels(tree, folder) for folder in below):
            why = f"folders images and labels in `{place.name}`"
            return Match(0.9, lambda options: read_yolo(path, options), ANNOTATIONS - {"images"}, why)
    for place in (*places, *(f for f in tree.folders() if f.name.lower() in {"obj_train_data", "data", "images"})):
        stems = {image.stem for image in tree.images if image.parent == place}
        beside = {file.stem for file in tree.files(".txt", of=place)}
        if stems & beside and _holds_labels(tree, place):
            why = f"a text file of numbers beside each image in `{place.name}`"
            return Match(0.8, lambda options: read_yolo(path, options), ANNOTATIONS - {"images"}, why)
    return None
