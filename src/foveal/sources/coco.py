"""COCO: JSON files with images, annotations and categories; their names become labels, or their keypoints points."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from foveal.core import storage
from foveal.core.errors import TableError
from foveal.sources.finder import ImageFinder
from foveal.sources.formats import ANNOTATIONS, Match, ReadOptions, load_json, sniff
from foveal.sources.gather import Entry, NotLabelled, gather
from foveal.sources.items import Finding, Source
from foveal.sources.parts import Part, choose, parts_at, place_of
from foveal.sources.sides import side_of_path
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import form_of, kind_of, point_names_of
from foveal.tasks.vocab import names_of

Record = Mapping[str, Any]
"""An image, annotation or category of a file; what it really holds is found out while it is read."""
_EMPTY = "image without an annotation"
_HEAD = 64  # bytes in which the first character of a .json stands, after a mark and spaces


class _File:
    """One file of COCO, its ids checked."""

    def __init__(self, part: Part) -> None:
        data = load_json(part.file)
        if not isinstance(data, dict):
            raise TableError(f"`{part.file}` is not as COCO describes it: expected an object with lists.")
        self.part, self.findings = part, list[Finding]()
        self.images = self._list(data, "images", needed=True)
        self.annotations = self._list(data, "annotations")  # of a test side there may be none
        self.categories = {_id(one.get("id")): one for one in self._list(data, "categories")}
        self._refuse_repeated("image", [one.get("id") for one in self.images])
        self._refuse_repeated("category", [one.get("id") for one in self._list(data, "categories")])
        self._note_repeated([one.get("id") for one in self.annotations if one.get("id") is not None])

    def _list(self, data: Record, name: str, *, needed: bool = False) -> list[Record]:
        values = data.get(name)
        if values is None and not needed:
            return []
        if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
            raise TableError(f"`{self.part.file}` is not as COCO describes it: `{name}` must be a list of objects.")
        return values

    def _refuse_repeated(self, what: str, ids: Sequence[object]) -> None:
        repeated = [one for one, n in Counter(map(_id, ids)).items() if n > 1]
        if repeated:
            shown = ", ".join(repeated[:5])
            raise TableError(
                f"`{self.part.file}`: the {what} id {shown} stands for more than one {what}. Ids must differ."
            )

    def _note_repeated(self, ids: Sequence[object]) -> None:
        repeated = [one for one, n in Counter(map(_id, ids)).items() if n > 1]
        if repeated:
            value = f"{len(repeated):,}: {', '.join(repeated[:5])}"
            hint = "Each is used; look whether two files were joined."
            self.findings.append(Finding("warning", "annotation id given twice", self.part.name, value, hint))

    @property
    def point_names(self) -> list[tuple[str, ...]]:
        """The names of each category's keypoints that has any."""
        return [tuple(map(str, one["keypoints"])) for one in self.categories.values() if one.get("keypoints")]

    def names_of(self, annotations: Sequence[Record], origin: str) -> list[str]:
        """Return the class names of an image's annotations; a category that is not known is an error."""
        names = set()
        for one in annotations:
            category = self.categories.get(_id(one.get("category_id")))
            if category is None or category.get("name") in {None, ""}:
                rule, value = "annotation of an unknown category", f"category_id {one.get('category_id')!r}"
                self.findings.append(Finding("error", rule, origin, value, "Give it a category of the list."))
            else:
                names.add(str(category["name"]))
        return sorted(names)


def read_coco(path: Path, parts: Sequence[Part], options: ReadOptions) -> Source:
    """Return the annotations of every image as a source.

    Labels are the categories that an image has annotations of (those marked `iscrowd` count too). For points, an
    image has the keypoints of its largest annotated object; visibility 0 is a missing point.

    Args:
        path: the file or folder that was given.
        parts: the files below it.
        options: how it should be read.

    Raises:
        TableError: a file is not as COCO describes it.
    """
    chosen, notes = _choose(path, parts, options.task)
    files = [_File(part) for part in chosen]
    layouts = list(dict.fromkeys(names for file in files for names in file.point_names))
    form = form_of(options.task, usual="points_xy" if layouts else "names")
    points = form == "points_xy"
    if points and len(layouts) != 1:
        what = "; ".join(", ".join(names[:4]) for names in layouts) or "none"
        raise TableError(
            f"`{path}` must have categories with one list of keypoints to learn points from; it has: {what}."
        )
    entries: list[Entry] = []
    n_without = 0
    for file in files:
        by_image: dict[str, list[Record]] = defaultdict(list)
        for annotation in file.annotations:
            by_image[_id(annotation.get("image_id"))].append(annotation)
        for image in file.images:
            key = _id(image.get("id"))
            origin = f"{file.part.name}, image {key}"
            found = by_image.pop(key, [])
            label: object = NotLabelled(_EMPTY)
            if found:
                label = _keypoints(found, len(layouts[0]), origin) if points else file.names_of(found, origin)
            name = str(image.get("file_name") or str(image.get("coco_url") or "").rpartition("/")[2])
            side = file.part.side or side_of_path(Path(name.replace("\\", "/")))
            bases = _bases(file.part, options.images)
            if side == "test" and not found:
                n_without += 1
                continue
            entries.append(Entry(names=(name,), origin=origin, side=side, bases=bases, label=label))
        if by_image:
            value = f"{sum(map(len, by_image.values())):,} annotations, image_id {', '.join(list(by_image)[:5])}"
            file.findings.append(Finding("warning", "annotation of an unknown image", file.part.name, value))
    source = gather(
        "COCO keypoints" if points else "COCO",
        entries,
        ImageFinder(options.images or (path if path.is_dir() else path.parent), "Say where they are with --images."),
        task=options.task,
        usual="points_xy" if points else "names",
        empty=options.empty,
        point_names=layouts[0] if points else (),
        findings=[finding for file in files for finding in file.findings],
        place=place_of(chosen, path),
    )
    if n_without:
        notes = (*notes, f"{n_without:,} images of the test side have no annotation.")
    return replace(source, notes=notes)


def _choose(path: Path, parts: Sequence[Part], task: str) -> tuple[list[Part], tuple[str, ...]]:
    """Return the files to read, of one for objects, one for keypoints and one for captions of the same images.

    Returns:
        The parts that are read, and a note on those that are not.
    """
    if path.is_file():
        return list(parts), ()
    points = task != "auto" and form_of(task, usual="names") == "points_xy"
    by_kind: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        name = part.file.name.lower()
        by_kind["captions" if "caption" in name else "keypoints" if "keypoint" in name else "objects"].append(part)
    first, second = ("keypoints", "objects") if points else ("objects", "keypoints")
    kind = first if by_kind[first] else second
    chosen, notes = choose(by_kind[kind], path)
    left = [str(part.file.relative_to(path)) for other, some in by_kind.items() if other != kind for part in some]
    hint = " --task points reads keypoints." if by_kind["keypoints"] and kind == "objects" else ""
    return chosen, (
        *notes,
        f"Not read: {', '.join(left[:4])}{', …' if len(left) > 4 else ''}.{hint}",
    ) if left else notes


def _bases(part: Part, images: Path | None) -> tuple[Path, ...]:
    """Return the folders in which COCO, CVAT and Roboflow put the images of a file."""
    here = part.file.parent
    places = (images,) if images is not None else (here, here / "images", here.parent, here.parent / "images")
    below = tuple(place / part.subset for place in places) if part.subset else ()
    return (*below, *places) if part.subset and part.side else (*places, *below)


def _id(value: object) -> str:
    """Return an id as text: 7, "7" and 7.0 are one."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _keypoints(annotations: Sequence[Record], n_points: int, origin: str) -> NDArray[np.float64] | NotLabelled:
    posed = [one for one in annotations if one.get("keypoints")]
    if not posed:
        return NotLabelled("image without keypoints")
    largest = max(posed, key=_area)
    try:
        triples = np.asarray(largest["keypoints"], dtype=float).reshape(n_points, 3)
    except (TypeError, ValueError) as error:
        n = len(largest["keypoints"])
        raise TableError(f"{origin}: expected {3 * n_points} numbers for {n_points} keypoints, got {n}.") from error
    return np.where(triples[:, 2:] > 0, triples[:, :2], np.nan)


def _area(annotation: Record) -> float:
    if annotation.get("area"):
        return float(annotation["area"])
    box = annotation.get("bbox") or (0, 0, 0, 0)
    return float(box[2]) * float(box[3])


def write_coco(
    path: Path, rows: Iterable[tuple[str, tuple[int, int], Any]], task: AnyTask, *, by_hand: bool = False
) -> int:
    """Write predictions (file name, (height, width), label) as COCO annotations.

    Labels become annotations of the whole image, points the keypoints of one category.

    Args:
        path: of the file to be written.
        rows: file name, (height, width) and label of each image; points [N, 2] in source pixels.
        task: of the labels.
        by_hand: whether a person gave them, which COCO does not tell from answers.

    Returns:
        The number of images.
    """
    points = kind_of(task).has_points
    names = ["object"] if points else list(task.names)
    categories: list[dict[str, object]] = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
    if points:
        categories[0]["keypoints"] = list(point_names_of(task))
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, (name, (height, width), label) in enumerate(rows, start=1):
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        whole = {"image_id": number, "bbox": [0, 0, width, height], "area": height * width, "iscrowd": 0}
        if points:
            there = [not math.isnan(x) for x, _ in label]  # a point that is not there is 0, 0, 0
            pairs = zip(there, label, strict=True)
            triples = [part for seen, (x, y) in pairs for part in ((float(x), float(y), 2) if seen else (0, 0, 0))]
            found = [{"category_id": 1, "keypoints": triples, "num_keypoints": sum(there)}]
        else:
            found = [{"category_id": names.index(one) + 1} for one in names_of(label)]
        annotations += [{"id": len(annotations) + at + 1} | whole | one for at, one in enumerate(found)]
    storage.write_text(path, json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return len(images)


def is_coco(file: Path) -> bool:
    """Return whether a .json has the lists of COCO, by its beginning and its end.

    Args:
        file: the .json.
    """
    data = sniff(file)
    start = data[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n")
    keys = sum(f'"{name}"'.encode() in data for name in ("images", "annotations", "categories"))
    return start.startswith(b"{") and keys >= 2 and b'"_via_' not in data and b'"shapes"' not in data


def match_coco(path: Path) -> Match | None:
    """Return a match for COCO, recognised by its lists, in a file or in those below a folder; else None."""
    parts = parts_at(path, ".json", is_one=is_coco)
    if path.is_file() and parts and not {"images"} <= set(cast("Record", load_json(path))):
        return None
    if not parts:
        return None
    why = f"the lists images, annotations and categories in {place_of(parts, path)}"
    return Match(0.9, lambda options: read_coco(path, parts, options), ANNOTATIONS, why)
