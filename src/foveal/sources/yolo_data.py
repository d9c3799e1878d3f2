"""What the .yaml of a YOLO data set says: its classes, its keypoints, and the folders or lists of its sides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from foveal.core.errors import TableError
from foveal.sources.formats import sniff
from foveal.sources.sides import Side, side_of
from foveal.sources.tree import tree_of

NAMES = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt")
"""Files that list the names of classes."""


@dataclass(frozen=True, slots=True)
class YoloData:
    """What the .yaml of a data set says.

    Attributes:
        names: of classes, by number.
        shape: (points, values of each); None without keypoints.
        point_names: of keypoints.
        sides: the side of a folder, or of an image that a list names.
        repeated: whether one folder is named for two sides.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    shape: tuple[int, int] | None = None
    point_names: tuple[str, ...] = ()
    sides: Mapping[Path, Side] = field(default_factory=dict)
    repeated: bool = False


def data_of(folder: Path) -> YoloData:
    """Return what the .yaml of a data set says, and where it names no classes a list of names beside it.

    Args:
        folder: of the data set.

    Raises:
        TableError: the .yaml cannot be read.
    """
    files = [file for file in tree_of(folder).files(".yaml", ".yml", depth=1) if is_data(file)]
    if not files:
        return YoloData(_names_beside(folder))
    file = files[0]
    values = load_yaml(file)
    points = values.get("kpt_names")
    points = next(iter(points.values()), None) if isinstance(points, dict) else points
    sides, repeated = _sides(file, values)
    return YoloData(
        _names(file, values.get("names") or {}) or _names_beside(folder),
        _shape(file, values.get("kpt_shape")),
        tuple(map(str, points)) if isinstance(points, list) else (),
        {} if repeated else sides,
        repeated,
    )


def _names(file: Path, names: object) -> dict[int, str]:
    if not isinstance(names, dict | list):
        raise TableError(f"`{file}`: names must be a list, or a table by number; got {names!r}.")
    numbered = names if isinstance(names, dict) else dict(enumerate(names))
    if not all(str(key).isdigit() for key in numbered):  # name: number
        numbered = {number: name for name, number in numbered.items()}
    return {int(number): str(name) for number, name in numbered.items()}


def _shape(file: Path, shape: object) -> tuple[int, int] | None:
    if shape is None:
        return None
    if isinstance(shape, list) and len(shape) == 2 and str(shape[0]).isdigit() and shape[1] in {"2", "3"}:
        return int(shape[0]), int(shape[1])
    raise TableError(f"`{file}`: kpt_shape must be [points, 2 or 3]; got {shape!r}.")


def _sides(file: Path, values: Mapping[str, object]) -> tuple[dict[Path, Side], bool]:
    """Return the side of every folder and image that is named, and whether one is named for two."""
    sides: dict[Path, Side] = {}
    repeated = False
    base = file.parent / str(values.get("path") or ".")
    for name in ("train", "val", "valid", "test"):
        side, given = side_of(name), values.get(name)
        for one in given if isinstance(given, list) else [given]:
            if not (isinstance(one, str) and one.strip() and side):
                continue
            places = (base / one, file.parent / one, file.parent / one.lstrip("./"))
            for inside in _listed(next((place for place in places if place.exists()), None)):
                repeated = repeated or sides.get(inside, side) != side
                sides[inside] = side
    return sides, repeated


def _names_beside(folder: Path) -> dict[int, str]:
    for name in NAMES:
        for file in (folder / name, folder / "labels" / name, folder / "train" / name):
            if file.is_file():
                lines = file.read_text(encoding="utf-8-sig").splitlines()
                return {at: line.strip() for at, line in enumerate(lines) if line.strip()}
    return {}


def _listed(place: Path | None) -> list[Path]:
    """Return a folder, or the images that a list names, each by its path or the last part of it that is there."""
    if place is None or place.is_dir():
        return [] if place is None else [place.resolve()]
    lines = place.read_text(encoding="utf-8-sig").split("\n")
    names = [line.strip().replace("\\", "/") for line in lines if line.strip()]
    found = []
    for name in names:
        parts = Path(name).parts
        tails = (place.parent.joinpath(*parts[at:]) for at in range(len(parts)) if parts[at] not in {"/", "."})
        found += [file.resolve() for file in tails if file.is_file()][:1]
    return found


def is_data(file: Path) -> bool:
    """Return whether a .yaml describes a data set, by its keys.

    Args:
        file: the .yaml.
    """
    data = sniff(file)
    return bool(re.search(rb"^\s*(train|val|kpt_shape|names)\s*:", data, re.MULTILINE))


def load_yaml(file: Path) -> Mapping[str, object]:
    """Return what a .yaml says, every value as its text.

    Args:
        file: the .yaml.

    Raises:
        TableError: it cannot be read.
    """
    try:
        # Text stays text: to YAML, `no` is false and 1.10 is 1.1.
        values = yaml.BaseLoader(file.read_text(encoding="utf-8-sig")).get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise TableError(f"`{file}` cannot be read as YAML: {error}") from error
    return values if isinstance(values, dict) else {}


def side_in_data(image: Path, data: YoloData) -> Side | None:
    """Return the side of an image by the folders and lists that are named.

    Args:
        image: the image.
        data: of its data set.
    """
    file = image.resolve()
    return next((data.sides[place] for place in (file, *file.parents) if place in data.sides), None)
