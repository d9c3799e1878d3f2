"""Files of annotations below a folder, one for each side of a split or one for all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foveal.core.errors import TableError
from foveal.sources.sides import Side, side_in, side_of_path
from foveal.sources.tree import tree_of

_DEPTH = 2  # folders down: data/train/_annotations.coco.json
_OF_SUBSET = re.compile(r"(?:instances|person_keypoints|captions|image_info)_(.+)")  # as COCO and CVAT call them
_USUAL = frozenset(
    {"_annotations.coco.json", "_classes.csv", "metadata.csv", "metadata.jsonl", "instances_default.json"}
)
_MOST_BESIDE = 5  # files in one folder, where there are many in all; chosen by hand
_MOST = 40  # files that are looked into; chosen by hand: more are one for each image


@dataclass(frozen=True, slots=True)
class Part:
    """A file of annotations.

    Attributes:
        file: the file.
        side: of the split that it is for, by its folder's name or its own.
        subset: what its name calls the images, such as "train2017"; empty where it does not.
        name: what messages call it: its path below the folder that was given.
    """

    file: Path
    side: Side | None
    subset: str = ""
    name: str = ""


def parts_at(path: Path, *endings: str, is_one: Callable[[Path], bool], depth: int = _DEPTH) -> list[Part]:
    """Return the files of annotations that a path stands for: itself, or those below a folder.

    Args:
        path: a file or folder.
        endings: of such files, in lower case.
        is_one: whether a file is one.
        depth: how many folders down to look.
    """
    if path.is_file():
        return [Part(path, None, name=path.name)] if path.suffix.lower() in endings and is_one(path) else []
    if not path.is_dir():
        return []
    files = tree_of(path).files(*endings, depth=depth)
    if len(files) > _MOST:  # those with a name that says so, and those with no other beside them
        beside = Counter(file.parent for file in files)
        files = [file for file in files if beside[file.parent] <= _MOST_BESIDE][:_MOST]
    return [Part(file, _side(file, path), _subset(file), str(file.relative_to(path))) for file in files if is_one(file)]


def choose(parts: Sequence[Part], root: Path) -> tuple[list[Part], tuple[str, ...]]:
    """Return the parts to read, and a note on those that are not.

    Of two for one side, that with the usual name of its format is read. One for no side is for training where others
    are for validation or test alone; else those for sides are read.

    Args:
        parts: of one format.
        root: the folder they lie below, for messages.

    Raises:
        TableError: two of them say something of the same side.
    """
    chosen = _usual_ones(parts)
    sides = {part.side for part in chosen}
    without = [part for part in chosen if part.side is None]
    if sides - {None} and "train" not in sides and len(without) == 1:
        chosen = [replace(part, side="train") if part.side is None else part for part in chosen]
    elif sides - {None}:
        chosen = [part for part in chosen if part.side is not None]
    for number, part in enumerate(chosen):
        if any(other.side == part.side for other in chosen[:number]):
            names = ", ".join(str(one.file.relative_to(root)) for one in chosen[:6])
            raise TableError(
                f"`{root}` holds several files of annotations, and nothing says which is meant: {names}. "
                "Name the one to read."
            )
    read = {part.file for part in chosen}
    left = [str(part.file.relative_to(root)) for part in parts if part.file not in read]
    return chosen, (f"Not read: {', '.join(left[:4])}{', …' if len(left) > 4 else ''}.",) if left else ()


def _usual_ones(parts: Sequence[Part]) -> list[Part]:
    """Return all parts but those that lie beside one with the usual name of its format."""
    usual = {(part.file.parent, part.side) for part in parts if part.file.name.lower() in _USUAL}
    return [p for p in parts if p.file.name.lower() in _USUAL or (p.file.parent, p.side) not in usual]


def place_of(parts: Sequence[Part], path: Path) -> str:
    """Return what a source names as read: the files, by their paths below a folder.

    Args:
        parts: that are read.
        path: the file or folder that was given.
    """
    names = [part.file.name if part.file == path else str(part.file.relative_to(path)) for part in parts]
    if len(parts) > 1 and len({part.file.name for part in parts}) == 1:
        folders = [f"{part.file.parent.relative_to(path)}/" for part in parts]
        return f"{parts[0].file.name} in {', '.join(folders[:4])}" + (", …" if len(folders) > 4 else "")
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _side(file: Path, root: Path) -> Side | None:
    return side_of_path(file, root) or side_in(file.name.partition(".")[0])


def _subset(file: Path) -> str:
    match = _OF_SUBSET.match(file.name.partition(".")[0])
    return match[1] if match else ""
