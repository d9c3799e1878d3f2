"""Label Studio's JSON: choices become labels, keypoint labels become points; predictions go back as pre-annotations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NotRequired, TypedDict, cast
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from foveal.core import storage
from foveal.core.errors import TableError
from foveal.sources.formats import ONLY_IMAGES, Match, load_json
from foveal.sources.items import Item, Source, missing_image
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import form_of, kind_for, kind_of, point_names_of


class _Value(TypedDict, total=False):
    choices: list[str]
    keypointlabels: list[str]
    x: float
    """In percent of the width, as y of the height."""
    y: float


class _Result(TypedDict):
    value: _Value
    original_width: NotRequired[int]
    original_height: NotRequired[int]


class _Annotation(TypedDict):
    result: list[_Result]
    was_cancelled: NotRequired[bool]


class LabelStudioTask(TypedDict):
    """What is read of a task; what a file really holds is found out while it is read."""

    data: dict[str, str]
    annotations: NotRequired[list[_Annotation]]
    predictions: NotRequired[list[_Annotation]]


def read_label_studio(path: Path, tasks: Sequence[LabelStudioTask], images: Path, task: str = "auto") -> Source:
    """Read an export in the JSON format; images are looked for by name under `images`.

    Args:
        path: of the file, for messages.
        tasks: what it holds.
        images: the folder of the images.
        task: what the labels should be read for, or "auto".

    Raises:
        TableError: the file is not as Label Studio writes it.
    """
    try:
        found = [(_file_of(one["data"]), _results(one)) for one in tasks]
        names = sorted({name for _, results in found for r in results for name in r["value"].get("keypointlabels", ())})
        form = form_of(task, usual="points_xy" if names else "names")
        points = form == "points_xy"
        labels: list[Any] = [_points(results, names) if points else _choices(results) for _, results in found]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise TableError(f"`{path}` is not as Label Studio writes it ({type(error).__name__}: {error}).") from error
    if task == "auto" and not points and all(len(label) == 1 for label in labels):
        form = "name"
    if form == "name":
        labels = [label[0] if label else None for label in labels]
    items, findings = [], []
    for number, ((name, _), label) in enumerate(zip(found, labels, strict=True), start=1):
        image = _find(images, name)
        origin = f"{path.name}, task {number}"
        if image is None:
            findings.append(missing_image(origin, name, f"Images are looked for under `{images}`."))
        else:
            items.append(Item(image, label, None, origin))
    kind = kind_for(form) if task == "auto" else task
    point_names = tuple(names) if points else ()
    return Source("Label Studio", kind, items, point_names=point_names, findings=tuple(findings))


def write_label_studio(path: Path, rows: Iterable[tuple[str, tuple[int, int], Any]], task: AnyTask) -> int:
    """Write predictions (file name, (height, width), label) as tasks with pre-annotations; return how many.

    Args:
        path: of the file to be written.
        rows: file name, (height, width) and label of each image; points [N, 2] in source pixels.
        task: of the labels.
    """
    tasks = []
    for name, (height, width), label in rows:
        size = {"original_width": width, "original_height": height, "image_rotation": 0}
        if kind_of(task).has_points:
            results = [
                _result("keypointlabels", {"x": 100 * x / width, "y": 100 * y / height, "keypointlabels": [point]})
                | size
                for point, (x, y) in zip(point_names_of(task), label, strict=True)
            ]
        else:
            results = [_result("choices", {"choices": [label] if isinstance(label, str) else list(label)})]
        tasks.append({"data": {"image": name}, "predictions": [{"model_version": "foveal", "result": results}]})
    storage.write_text(path, json.dumps(tasks, indent=1, ensure_ascii=False))
    return len(tasks)


def _result(kind: str, value: dict[str, object]) -> dict[str, object]:
    return {"from_name": kind, "to_name": "image", "type": kind, "value": value}


def _results(task: LabelStudioTask) -> list[_Result]:
    """Return the results of the first annotation that was not cancelled, or else of the first prediction."""
    kept = [a for a in task.get("annotations", ()) if not a.get("was_cancelled")] or list(task.get("predictions", ()))
    return list(kept[0]["result"]) if kept else []


def _file_of(data: Mapping[str, str]) -> str:
    """Return the file name in a task's data: a path, an upload, or a local-files address."""
    address = str(data.get("image") or next(iter(data.values())))
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    return unquote(local[0] if local else parts.path or address)


def _find(images: Path, name: str) -> Path | None:
    """Find an image by its path under `images`, its name, or its name without the prefix of an upload."""
    base = PurePosixPath(name).name
    for candidate in (name.lstrip("/"), base, base.split("-", 1)[-1]):
        if ".." not in PurePosixPath(candidate).parts and (images / candidate).is_file():
            return images / candidate
    return None


def _choices(results: Iterable[_Result]) -> list[str]:
    return [str(name) for result in results for name in result["value"].get("choices", ())]


def _points(results: Iterable[_Result], names: Sequence[str]) -> NDArray[np.float64]:
    points = np.full((len(names), 2), np.nan)
    for result in results:
        for name in result["value"].get("keypointlabels", ()):
            size = (float(result["original_width"]), float(result["original_height"]))
            points[names.index(name)] = np.array([result["value"]["x"], result["value"]["y"]]) / 100 * size
    return points


def match_label_studio(path: Path) -> Match | None:
    """Recognise an export of Label Studio by the `data` of its tasks."""
    data = load_json(path)
    if not (isinstance(data, list) and data and all(isinstance(one, dict) and "data" in one for one in data)):
        return None
    tasks = cast("list[LabelStudioTask]", data)
    return Match(
        0.9,
        lambda options: read_label_studio(path, tasks, options.images or path.parent, options.task),
        ONLY_IMAGES,
    )
