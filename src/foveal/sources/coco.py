"""COCO: one JSON file with images, annotations and categories; their names become labels, or their keypoints points."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from foveal.core import storage
from foveal.core.errors import TableError
from foveal.sources.formats import ONLY_IMAGES, Match, load_json
from foveal.sources.items import Item, Source, missing_image
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import form_of, kind_for, kind_of, point_names_of


class _Category(TypedDict):
    id: int
    name: str
    keypoints: NotRequired[list[str]]


class _Image(TypedDict):
    id: int
    file_name: str


class _Annotation(TypedDict):
    image_id: int
    category_id: int
    keypoints: NotRequired[list[float]]
    """x, y and visibility of each, in pixels; 0 is not labelled."""
    area: NotRequired[float]


class CocoFile(TypedDict):
    """What is read of a file as COCO describes it; what a file really holds is found out while it is read."""

    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco(path: Path, data: CocoFile, images: Path, task: str = "auto") -> Source:
    """Read the annotations of every image.

    Labels are the categories that an image has annotations of (those marked `iscrowd` count too). For points, a
    image has the keypoints of its largest annotated object; visibility 0 is a missing point.

    Args:
        path: of the file, for messages.
        data: what it holds.
        images: the folder of the images.
        task: what the labels should be read for, or "auto".

    Raises:
        TableError: the file is not as COCO describes it.
    """
    try:
        categories = {int(c["id"]): c for c in data["categories"]}
        by_image: dict[int, list[_Annotation]] = defaultdict(list)
        for annotation in data["annotations"]:
            by_image[int(annotation["image_id"])].append(annotation)
        keypoints = any("keypoints" in c for c in categories.values())
        points = form_of(task, usual="points_xy" if keypoints else "names") == "points_xy"
        names = tuple(next((c["keypoints"] for c in categories.values() if "keypoints" in c), ())) if points else ()
        items = []
        for image in data["images"]:
            found = by_image[int(image["id"])]
            label: object = sorted({str(categories[int(a["category_id"])]["name"]) for a in found})
            if points:
                label = _keypoints(found, len(names))
            items.append(Item(images / str(image["file_name"]), label, None, f"{path.name}, image {image['id']}"))
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(f"`{path}` is not as COCO describes it ({type(error).__name__}: {error}).") from error
    missing = [missing_image(item.origin, item.image) for item in items if not item.image.is_file()]
    there = [item for item in items if item.image.is_file()]
    kind = kind_for("points_xy" if points else "names")
    return Source("COCO", kind, there, point_names=names, findings=tuple(missing))


def write_coco(path: Path, rows: Iterable[tuple[str, tuple[int, int], Any]], task: AnyTask) -> int:
    """Write predictions (file name, (height, width), label) as COCO annotations; return how many images.

    Labels become annotations of the whole image, points the keypoints of one category.

    Args:
        path: of the file to be written.
        rows: file name, (height, width) and label of each image; points [N, 2] in source pixels.
        task: of the labels.
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
            triples = [part for x, y in label for part in (float(x), float(y), 2)]
            found = [{"category_id": 1, "keypoints": triples, "num_keypoints": len(label)}]
        else:
            found = [{"category_id": names.index(one) + 1} for one in ([label] if isinstance(label, str) else label)]
        annotations += [{"id": len(annotations) + at + 1} | whole | one for at, one in enumerate(found)]
    storage.write_text(path, json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return len(images)


def _keypoints(annotations: list[_Annotation], n_points: int) -> NDArray[np.float64]:
    posed = [a for a in annotations if a.get("keypoints")]
    if not posed:
        return np.full((n_points, 2), np.nan)
    largest = max(posed, key=lambda a: float(a.get("area", 0)))
    triples = np.asarray(largest["keypoints"], dtype=float).reshape(n_points, 3)
    return np.where(triples[:, 2:] > 0, triples[:, :2], np.nan)


def match_coco(path: Path) -> Match | None:
    """Recognise COCO by its three lists."""
    data = load_json(path)
    if not (isinstance(data, dict) and {"images", "annotations", "categories"} <= set(data)):
        return None
    file = cast("CocoFile", data)
    return Match(
        0.9,
        lambda options: read_coco(path, file, options.images or path.parent, options.task),
        ONLY_IMAGES,
    )
