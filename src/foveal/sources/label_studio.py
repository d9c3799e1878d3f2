"""Label Studio: choices and regions become labels, keypoints points; predictions go back as pre-annotations."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from foveal.core import storage
from foveal.core.errors import TableError, near_match
from foveal.sources.finder import ImageFinder
from foveal.sources.formats import ANNOTATIONS, Match, ReadOptions, load_json, sniff
from foveal.sources.gather import Entry, NotLabelled, gather
from foveal.sources.items import POINT_TWICE, Finding, Source
from foveal.sources.label_studio_addresses import readings
from foveal.sources.parts import choose, parts_at, place_of
from foveal.sources.tree import is_image_name
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import LabelForm, form_of, kind_of, point_names_of
from foveal.tasks.vocab import names_of

Record = Mapping[str, Any]
"""A task, annotation or result; what it really holds is found out while it is read."""
_NOT_BEGUN = "task without an annotation"
_POINTS, _TAXONOMY = "keypointlabels", "taxonomy"
_WITHOUT_REGIONS = frozenset({"choices", _TAXONOMY})
_OWN_KEYS = frozenset(
    [
        "id",
        "annotator",
        "annotation_id",
        "created_at",
        "updated_at",
        "lead_time",
        "completed_by",
        "agreement",
        "inner_id",
        "file_upload",
        "meta",
        "project",
        "drafts",
        "predictions",
        "annotations",
        "completions",
        "total_annotations",
        "total_predictions",
        "cancelled_annotations",
        "comment_count",
        "unresolved_comment_count",
        "comment_authors",
        "last_comment_updated_at",
    ]
)
"""What the short exports hold besides images and answers."""


class _Task:
    """One task: its image, and what those who worked on it answered."""

    def __init__(self, record: Record, number: int, options: ReadOptions) -> None:
        self.number = number
        data = record["data"] if isinstance(record.get("data"), dict) else record
        self.address, self.keys = _address(data), ", ".join(map(str, data))
        given = [one for one in record.get("annotations", record.get("completions")) or () if isinstance(one, dict)]
        kept = [one for one in given if not (one.get("was_cancelled") or one.get("skipped"))]
        truth = [one for one in kept if one.get("ground_truth")]
        self.annotations = [_results(one) for one in truth or kept]
        self.state = "task that was skipped" if given and not kept else _NOT_BEGUN
        predictions = [_results(one) for one in record.get("predictions") or () if isinstance(one, dict)]
        if not self.annotations and predictions:
            self.state = "task with a model's predictions alone"
            self.annotations = predictions[:1] if options.predictions else []

    @property
    def results(self) -> Iterator[Record]:
        """All results of all who answered."""
        return (result for results in self.annotations for result in results)


def read_label_studio(path: Path, files: Sequence[Path], options: ReadOptions) -> Source:
    """Return an export in the JSON format, whole (with `data` and `annotations`) or short (JSON-MIN), as a source.

    Skipped tasks and those without an annotation are left out; a model's predictions are labels only if the options say
    so. An annotation marked as ground truth is the truth; else that of most annotators is, if there is one.

    Args:
        path: the file or folder that was given.
        files: the exports.
        options: how they should be read.

    Raises:
        TableError: a file is not as Label Studio writes it, or has answers to several questions.
    """
    records = [(file, at, record) for file in files for at, record in enumerate(_records(file), start=1)]
    if records and not isinstance(records[0][2].get("data"), dict):
        records = [(file, at, _from_short(file, record)) for file, at, record in records]
    try:
        tasks = [(file, _Task(record, at, options)) for file, at, record in records]
    except (KeyError, TypeError, AttributeError) as error:
        raise TableError(f"`{path}` is not as Label Studio writes it ({type(error).__name__}: {error}).") from error
    control = options.columns.label if options.columns else None
    results = [result for _, task in tasks for result in task.results]
    chosen = _choose(path, results, control, options.task)
    points = chosen.kind == _POINTS and form_of(options.task, usual="points_xy") == "points_xy"
    names = sorted({name for one in results if chosen.answered_by(one) for name in _names(one)}) if points else []
    findings: list[Finding] = []
    entries = []
    for file, task in tasks:
        origin = f"{file.name}, task {task.number}"
        label = _label(task, chosen, names, points, origin, findings)
        base = options.images or file.parent
        names_of_image = readings(task.address) or (f"(no image in its data: {task.keys})",)
        entries.append(Entry(names=names_of_image, origin=origin, bases=(base, base / "images"), label=label))
    usual: LabelForm = "points_xy" if points else "names"
    labels = [entry.label for entry in entries if not isinstance(entry.label, NotLabelled)]
    one_each = all(isinstance(one, list) and len(one) == 1 for one in labels)
    if chosen.kind in _WITHOUT_REGIONS and options.task == "auto" and one_each:
        usual = "name"
        entries = [replace(one, label=one.label[0]) if isinstance(one.label, list) else one for one in entries]
    finder = ImageFinder(options.images or path if path.is_dir() else path.parent)
    finder.hint = f"Images are looked for under `{options.images or path.parent}`; say where they are with --images."
    source = gather(
        "Label Studio",
        entries,
        finder,
        task=options.task,
        usual=usual,
        empty=options.empty,
        point_names=names,
        findings=findings,
    )
    return replace(source, notes=(chosen.note,)) if chosen.note else source


def _records(file: Path) -> Sequence[Record]:
    data = load_json(file)
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise TableError(f"`{file}` is not as Label Studio writes it: expected a list of tasks.")
    return cast("list[Record]", data)


def _from_short(file: Path, record: Record) -> Record:
    """Return a task of JSON-MIN as one of the whole format: every answer becomes a result.

    Raises:
        TableError: it names no image.
    """
    given = {key: value for key, value in record.items() if key not in _OWN_KEYS}
    images = [key for key, value in given.items() if isinstance(value, str) and _looks_like_image(value)]
    if not images:
        raise TableError(f"`{file}`: a task has no image among {', '.join(record)}.")
    results: list[Record] = []
    for key, value in given.items():
        if key not in images:
            results += _short_results(key, value)
    annotations = [{"result": results, "completed_by": record.get("annotator")}] if results else []
    return {"data": {images[0]: given[images[0]]}, "annotations": annotations}


def _short_results(key: str, value: Any) -> Iterator[Record]:
    if isinstance(value, str) and value:
        yield {"from_name": key, "type": "choices", "value": {"choices": [value]}}
    elif isinstance(value, dict) and isinstance(value.get("choices"), list):
        yield {"from_name": key, "type": "choices", "value": {"choices": value["choices"]}}
    for one in value if isinstance(value, list) else ():
        if isinstance(one, dict):
            kind = next((name for name in one if name.endswith("labels")), None)
            if kind is not None:
                yield {"from_name": key, "type": kind, "value": one, **one}


def _results(annotation: Record) -> list[Record]:
    """Return the results of an annotation that have a value: relations between others have none."""
    return [
        one for one in annotation.get("result") or () if isinstance(one, dict) and isinstance(one.get("value"), dict)
    ]


def _names(result: Record) -> list[str]:
    value = result["value"]
    names = value.get(_kind(result)) or ()
    if _kind(result) == _TAXONOMY:  # paths from the root: the last name is the class
        names = [path[-1] for path in names if path]
    return [str(name) for name in ([names] if isinstance(names, str) else names)]


def _kind(result: Record) -> str:
    keys = (key for key in result["value"] if key in {"choices", _TAXONOMY} or key.endswith("labels"))
    return str(next(keys, ""))


class _Control(NamedTuple):
    """A question that tasks answer.

    Attributes:
        name: of the control.
        kind: of its results.
        note: on other questions, which are not read.
    """

    name: str
    kind: str
    note: str = ""

    def answered_by(self, result: Record) -> bool:
        """Return whether a result is an answer to it."""
        return _kind(result) == self.kind and str(result.get("from_name", self.kind)) == self.name


def _choose(path: Path, results: Sequence[Record], control: str | None, task: str) -> _Control:
    """Return the control whose results are read: the only one, or the one named.

    Raises:
        TableError: none is of a kind that is read or was named, or there are several and none was named.
    """
    by_control: Counter[tuple[str, str]] = Counter()
    for one in results:
        if _kind(one):
            by_control[str(one.get("from_name", _kind(one))), _kind(one)] += 1
    everything = Counter(by_control)
    if control is not None and by_control:
        known = [name for name, _ in by_control]
        if control not in known:
            raise TableError(
                f"`{path}` has no control `{control}`.{near_match(control, known)} It has: {', '.join(known)}."
            )
        by_control = Counter({key: n for key, n in by_control.items() if key[0] == control})
    if task != "auto":
        is_points = form_of(task, usual="names") == "points_xy"
        fitting = {key: n for key, n in by_control.items() if (key[1] == _POINTS) == is_points}
        by_control = Counter(fitting or by_control)
    if points := {key: n for key, n in by_control.items() if key[1] == _POINTS}:
        by_control = Counter(points)
    if len(by_control) > 1:
        named = ", ".join(f"{name} ({kind}, {n:,})" for (name, kind), n in by_control.items())
        raise TableError(
            f"`{path}` answers several questions: {named}. Name the one to learn with --label-column, "
            f"such as --label-column {next(iter(by_control))[0]}."
        )
    if not by_control:
        if others := Counter(str(one.get("type", next(iter(one["value"]), "?"))) for one in results):
            named = ", ".join(f"{kind} ({n:,})" for kind, n in others.items())
            raise TableError(
                f"`{path}` has answers of kinds that are not learned: {named}. Choices, taxonomies, labels of regions "
                "and keypoints are."
            )
        return _Control("", "choices")
    (name, kind), _ = by_control.most_common(1)[0]
    left = [f"{other} ({what}, {n:,})" for (other, what), n in everything.items() if (other, what) != (name, kind)]
    return _Control(name, kind, f"Not read: {', '.join(left)}; --label-column names another." if left else "")


def _label(
    task: _Task, chosen: _Control, names: Sequence[str], points: bool, origin: str, findings: list[Finding]
) -> object:
    answers = [[one for one in results if chosen.answered_by(one)] for results in task.annotations]
    if not answers:
        return NotLabelled(task.state, may_be_nothing=task.state == _NOT_BEGUN)
    if points:
        placed = [_points(one, names, origin, findings) for one in answers]
        if len(placed) > 1:
            off = np.nanmax(np.linalg.norm(placed[-1] - placed[0], axis=1), initial=0)
            value = f"{len(placed)} annotators, points up to {off:.1f} pixels apart"
            hint = "The last is taken; mark the right one as ground truth in Label Studio."
            findings.append(Finding("warning", "several annotators placed points", origin, value, hint))
        return placed[-1]
    if chosen.kind in _WITHOUT_REGIONS:
        answers = [one for one in answers if one]
        if not answers:
            return NotLabelled("task that was submitted without an answer")
    given = [tuple(sorted({name for one in results for name in _names(one)})) for results in answers]
    counted = Counter(given).most_common()
    if len(counted) > 1:
        shown = " / ".join(", ".join(names) or "nothing" for names, _ in counted)
        if counted[0][1] == counted[1][1]:
            return NotLabelled("task on which annotators disagree, without a majority", may_be_nothing=False)
        hint = "The answer of most is taken; mark the right one as ground truth in Label Studio."
        findings.append(Finding("warning", "annotators disagree", origin, shown, hint))
    return list(counted[0][0])


def _points(
    results: Sequence[Record], names: Sequence[str], origin: str, findings: list[Finding]
) -> NDArray[np.float64]:
    points = np.full((len(names), 2), np.nan)
    for result in results:
        value = result["value"]
        size = [result.get(key, value.get(key)) for key in ("original_width", "original_height")]
        for name in _names(result):
            at = names.index(name)
            if not np.isnan(points[at, 0]):
                findings.append(Finding("error", POINT_TWICE, origin, name, "Keep one of a name in each image."))
            try:
                points[at] = np.array([float(value["x"]), float(value["y"])]) / 100 * np.array(size, dtype=float)
            except (KeyError, TypeError, ValueError):
                rule = "point without a place, or without the size of its image"
                findings.append(Finding("error", rule, origin, name))
    return points


def _looks_like_image(value: str) -> bool:
    return is_image_name(value.split("?", maxsplit=1)[0]) or "?d=" in value or is_image_name(value)


def _address(data: Record) -> str:
    texts = [value for value in data.values() if isinstance(value, str)]
    named = [data[key] for key in ("image", "img", "photo") if isinstance(data.get(key), str)]
    like = [value for value in texts if _looks_like_image(value)]
    return str(next(iter([*(one for one in named if _looks_like_image(one)), *like, *named, *texts]), ""))


def write_label_studio(
    path: Path, rows: Iterable[tuple[str, tuple[int, int], Any]], task: AnyTask, *, by_hand: bool = False
) -> int:
    """Write labels (file name, (height, width), label) as tasks with pre-annotations.

    Args:
        path: of the file to be written.
        rows: file name, (height, width) and label of each image; points [N, 2] in source pixels.
        task: of the labels.
        by_hand: whether a person gave them, so that they are annotations.

    Returns:
        The number of tasks.
    """
    tasks = []
    for name, (height, width), label in rows:
        size = {"original_width": width, "original_height": height, "image_rotation": 0}
        if kind_of(task).has_points:
            results = [
                _result("keypointlabels", {"x": 100 * x / width, "y": 100 * y / height, "keypointlabels": [point]})
                | size
                for point, (x, y) in zip(point_names_of(task), label, strict=True)
                if not math.isnan(x)
            ]
        else:
            results = [_result("choices", {"choices": names_of(label)})]
        key, about = ("annotations", {}) if by_hand else ("predictions", {"model_version": "foveal"})
        tasks.append({"data": {"image": name}, key: [about | {"result": results}]})
    storage.write_text(path, json.dumps(tasks, indent=1, ensure_ascii=False))
    return len(tasks)


def _result(kind: str, value: dict[str, object]) -> dict[str, object]:
    return {"from_name": kind, "to_name": "image", "type": kind, "value": value}


def is_label_studio(file: Path) -> bool:
    """Return whether a .json is an export of Label Studio, by its beginning.

    Args:
        file: the .json.
    """
    data = sniff(file)
    if not data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return False
    whole = b'"data"' in data and any(key in data for key in (b'"annotations"', b'"completions"', b'"predictions"'))
    return whole or (b'"annotator"' in data or b'"annotation_id"' in data or b'"lead_time"' in data)


def match_label_studio(path: Path) -> Match | None:
    """Return a match for an export of Label Studio, whole or JSON-MIN, by the keys of its tasks; else None."""
    parts = parts_at(path, ".json", is_one=is_label_studio)
    if path.is_file() and not parts and _is_list_of_tasks(path):
        parts = parts_at(path, ".json", is_one=lambda _: True)
    if not parts:
        return None
    why = f"`{place_of(parts, path)}` holds tasks of Label Studio"

    def read(options: ReadOptions) -> Source:
        chosen, notes = choose(parts, path)
        source = read_label_studio(path, [part.file for part in chosen], options)
        return replace(source, place=place_of(chosen, path), notes=(*notes, *source.notes))

    return Match(0.9, read, ANNOTATIONS | {"label", "predictions"}, why)


def _is_list_of_tasks(path: Path) -> bool:
    data = load_json(path) if path.suffix.lower() == ".json" else None
    return isinstance(data, list) and bool(data) and all(isinstance(one, dict) and "data" in one for one in data)
