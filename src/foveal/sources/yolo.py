"""YOLO: a text file for each image, one object per line, coordinates as shares of the image's size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from foveal.core.errors import ImageError, TableError
from foveal.images.decode import open_image
from foveal.sources.finder import ImageFinder
from foveal.sources.formats import ANNOTATIONS, Match, ReadOptions, sniff
from foveal.sources.gather import Entry, NotLabelled, gather, left_out
from foveal.sources.items import BAD_ANNOTATION, Finding, Source
from foveal.sources.sides import Side, side_of, side_of_path
from foveal.sources.tree import Tree, tree_of
from foveal.tasks.kinds import form_of

_BOX = 5  # values of a box: class, centre x and y, width, height
_CORNERS = 9  # values of an oriented box: class, four corners
_LOOKED_INTO = 5  # label files that a folder is recognised by; chosen by hand
_INSIDE = 0.9  # of the objects: their keypoints lie in their box, which corners of polygons do by accident only
_LINE = re.compile(r"\s*\d+(?:[ ,\t]+[-+]?(?:\d*\.?\d+(?:[eE][-+]?\d+)?|nan))+\s*", re.IGNORECASE)
_NAMES = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt")
_NOT_LABELS = frozenset({*_NAMES, "train.txt", "val.txt", "test.txt", "valid.txt", "requirements.txt"})
Row = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Data:
    """What the .yaml of a data set says.

    Attributes:
        names: of classes, by number.
        shape: (points, values of each); None without keypoints.
        point_names: of keypoints.
        sides: the side of a folder or list of images.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    shape: tuple[int, int] | None = None
    point_names: tuple[str, ...] = ()
    sides: Mapping[Path, Side] = field(default_factory=dict)


def read_yolo(folder: Path, options: ReadOptions | None = None) -> Source:
    """Read keypoints of the largest object of every image, or of boxes and polygons the names of their classes.

    Keypoints come out in the image's pixels; visibility 0 is a missing point. `kpt_shape: [points, 2 or 3]` is read
    from the data's .yaml where there is one; without it, all lines decide what they hold.

    Args:
        folder: of the data set.
        options: how it should be read.

    Raises:
        TableError: the .yaml cannot be read, or lines of several kinds are mixed.
    """
    options, tree = options or ReadOptions(), tree_of(folder)
    data = _data_of(folder)
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
    entries, names, notes = [], data.names or _names_beside(folder), set[str]()
    for image, file, rows in read:
        origin = str(file.relative_to(folder))
        label: object = NotLabelled("image without a label file")
        try:
            if rows is not None and points and shape is not None:
                label = _points(image, rows, shape)
            elif rows is not None:
                label = sorted({_name(int(row[0]), names, notes) for row in rows})
        except TableError as error:
            findings.append(Finding("error", BAD_ANNOTATION, origin, str(error), "", (image,)))
            continue
        inside = image.relative_to(folder)
        side = _side(image, data) or side_of_path(inside)
        if points and isinstance(label, NotLabelled) and shape is not None:
            label = np.full((shape[0], 2), np.nan)
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


def _images_of(tree: Tree, data: _Data, findings: list[Finding]) -> list[Path]:
    """Return the images in the folders that the .yaml names; all of them where it names none that is there."""
    named = [image for image in tree.images if _side(image, data) is not None] if data.sides else []
    if not named or len(named) == len(tree.images):
        return tree.images
    known = set(named)
    left = [str(image.relative_to(tree.root)) for image in tree.images if image not in known]
    findings.append(left_out("image in no folder that the .yaml names", left, len(left), level="note"))
    return named


def _kind(folder: Path, rows: Sequence[Row], data: _Data) -> tuple[str, tuple[int, int] | None]:
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
        return "polygons"
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
        height, width = open_image(image).size_hw
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
        return Path(tree.root, *parts[:at], "labels", *parts[at + 1 :]).with_suffix(".txt")
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


def _names_beside(folder: Path) -> dict[int, str]:
    for name in _NAMES:
        for file in (folder / name, folder / "labels" / name, folder / "train" / name):
            if file.is_file():
                lines = file.read_text(encoding="utf-8-sig").splitlines()
                return {at: line.strip() for at, line in enumerate(lines) if line.strip()}
    return {}


def _data_of(folder: Path) -> _Data:
    files = [file for file in tree_of(folder).files(".yaml", ".yml", depth=1) if _is_data(file)]
    if not files:
        return _Data()
    file = files[0]
    values = _load_yaml(file)
    names = values.get("names") or {}
    if not isinstance(names, dict | list):
        raise TableError(f"`{file}`: names must be a list, or a table by number; got {names!r}.")
    numbered = names if isinstance(names, dict) else dict(enumerate(names))
    shape = values.get("kpt_shape")
    if shape is not None and not (
        isinstance(shape, list) and len(shape) == 2 and all(isinstance(n, int) for n in shape) and shape[1] in {2, 3}
    ):
        raise TableError(f"`{file}`: kpt_shape must be [points, 2 or 3]; got {shape!r}.")
    points = values.get("kpt_names")
    points = next(iter(points.values()), None) if isinstance(points, dict) else points
    point_names = tuple(map(str, points)) if isinstance(points, list) else ()
    sides: dict[Path, Side] = {}
    base = file.parent / str(values.get("path") or ".")
    for name in ("train", "val", "valid", "test"):
        side = side_of(name)
        given = values.get(name)
        for one in given if isinstance(given, list) else [given]:
            if isinstance(one, str) and one.strip() and side is not None:
                for place in (base / one, file.parent / one, file.parent / one.lstrip("./")):
                    if place.exists():
                        sides[place.resolve()] = side
                        break
    shape = (int(shape[0]), int(shape[1])) if shape else None
    return _Data({int(k): str(v) for k, v in numbered.items()}, shape, point_names, sides)


def _is_data(file: Path) -> bool:
    data = sniff(file)
    return bool(re.search(rb"^\s*(train|val|kpt_shape|names)\s*:", data, re.MULTILINE))


def _load_yaml(file: Path) -> Mapping[str, object]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise TableError(f"`{file}` cannot be read as YAML: {error}") from error
    return values if isinstance(values, dict) else {}


def _side(image: Path, data: _Data) -> Side | None:
    return next((data.sides[parent] for parent in image.resolve().parents if parent in data.sides), None)


def _holds_labels(tree: Tree, folder: Path) -> bool:
    """Return whether a folder holds label files: most lines of the first ones are numbers after a whole one."""
    files = [file for file in tree.files(".txt", of=folder) if file.name.lower() not in _NOT_LABELS][:_LOOKED_INTO]
    texts = [sniff(file).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace") for file in files]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return sum(_LINE.fullmatch(line) is not None for line in lines) > len(lines) / 2


def match_yolo(path: Path) -> Match | None:
    """Recognise YOLO by labels/ beside images/, at the top or below each side, or by text files beside the images."""
    if path.suffix.lower() in {".yaml", ".yml"} and path.is_file() and _is_data(path):
        base = Path(str(_load_yaml(path).get("path") or "."))
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
