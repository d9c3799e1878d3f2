"""What the addresses of a studio answer: values for JSON, made of what stands on the desk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from foveal.core.errors import ImageError
from foveal.metrics.bootstrap import Interval
from foveal.studio import jpegs
from foveal.studio.journal import Entry
from foveal.studio.learning import Answers, Score
from foveal.studio.studio import Studio
from foveal.tasks.kinds import kind_of
from foveal.tasks.label_checks import Issue

_ON = 0.5  # the probability from which on a class is taken to be there
_SHOWN_ANSWERS = 5  # classes of an answer, the likeliest first


def state_of(studio: Studio, session: str) -> dict[str, object]:
    """Return all that every view shows.

    Args:
        studio: whose state it is.
        session: that asks.
    """
    desk, score = studio.desk, studio.score
    collection, marks = desk.collection, desk.marks
    counts = Counter[str]()
    there = {one.name for one in collection.images} - marks.left_out
    labelled = {name: label for name, label in list(marks.labels.items()) if name in there}
    if marks.purpose is not None and not marks.purpose.has_points:
        for label in labelled.values():
            counts.update([label] if isinstance(label, str) else map(str, label))
    last, n_issues = desk.last_of(session), len(_open_issues(studio))
    return {
        "version": desk.version,
        "title": collection.given.name,
        "about": collection.about,
        "form": "" if marks.purpose is None else marks.purpose.form,
        "names": [] if marks.purpose is None else list(marks.purpose.names),
        "n": len(collection.images),
        "n_labelled": len(labelled),
        "n_left_out": len(marks.left_out),
        "n_looked": studio.sight.n_looked,
        "refused": desk.refused,
        "counts": counts,
        "learned_from": 0 if studio.answers is None else studio.answers.n_learned,
        "score": None if score is None else _score(score),
        "classes": [] if score is None else _classes(score),
        "n_issues": n_issues,
        "expected_wrong": "" if score is None else _expected(score.n_wrong, n_issues),
        "back": "" if last is None else _in_words(last),
        "written": "" if studio.written is None else str(studio.written.path),
        "why_beside": "" if studio.written is None else studio.written.why_beside,
        "not_written": studio.not_written,
        "failure": studio.failure,
    }


def _score(score: Score) -> dict[str, object]:
    gain = score.gain
    return {
        "metric": score.metric,
        "unit": score.unit,
        "value": score.whole.value,
        "low": score.whole.low,
        "high": score.whole.high,
        "n": score.n,
        "on": "images of the validation side" if score.on_valid else "labelled images, each answered without its label",
        "gain": None if gain is None else {"value": gain.value, "low": gain.low, "high": gain.high},
    }


def _classes(score: Score) -> list[dict[str, object]]:
    return [
        {"name": one.name, "n": one.n} | dict(zip(("value", "low", "high"), one.score or (None,) * 3, strict=True))
        for one in score.classes
    ]


def _expected(n_wrong: Interval, n_named: int) -> str:
    value, low, high = map(round, n_wrong)
    if not value and not n_named:
        return ""
    which = "" if n_named else ", but which cannot be told yet"
    return f"About {value:,} of these labels are expected to be wrong ({low:,} to {high:,}){which}."


def _in_words(entry: Entry) -> str:
    name = entry.images[0].rpartition("/")[2] if entry.images else ""
    match entry.kind:
        case "label":
            label = entry.value
            if label is None:
                return f"no label for {name}"
            points = isinstance(label, list) and (not label or not isinstance(label[0], str)) and label != []
            shown = "points" if points else label if isinstance(label, str) else ", ".join(label) or "nothing"
            return f"{shown} for {name}"
        case "left out":
            return f"{name} {'left out' if entry.value else 'taken in'}"
        case "together":
            return f"{name} and {entry.images[1].rpartition('/')[2]} kept together"
        case _:
            return f"{name} found right"


def image_of(studio: Studio, at: int) -> dict[str, object]:
    """Return an image, its label and what is answered for it.

    Args:
        studio: has the image.
        at: its position.
    """
    desk = studio.desk
    shown, marks = desk.collection.images[at], desk.marks
    return {
        "image": at,
        "name": shown.name,
        "label": desk.label_of(at),
        "left_out": shown.name in marks.left_out,
        "side": {None: "", True: "valid", False: "train"}[shown.is_valid],
        "answer": answer_of(studio, at),
    }


def answer_of(studio: Studio, at: int) -> dict[str, Any] | None:
    """Return what is answered for an image: its label and the likeliest classes, or points and the image's size.

    Args:
        studio: answers.
        at: the image's position.
    """
    purpose = studio.desk.marks.purpose
    if purpose is not None and purpose.has_points:
        return _points_of(studio, at)
    answers = studio.answers
    if not isinstance(answers, Answers) or bool(answers.values[at].isnan().any()):
        return None
    values = answers.values[at]
    order = values.argsort(descending=True)[:_SHOWN_ANSWERS].tolist()
    names = answers.task.names
    on = [name for name, value in zip(names, values.tolist(), strict=True) if value >= _ON]
    label: object = on if kind_of(answers.task).has_thresholds else names[order[0]]
    return {"label": label, "likely": [[names[c], round(float(values[c]), 3)] for c in order]}


def _points_of(studio: Studio, at: int) -> dict[str, Any]:
    try:
        height, width = jpegs.large(studio.desk.collection.images[at].file).size_hw
    except (ImageError, OSError):
        return {"size": None, "points": None}
    return {"size": [width, height], "points": studio.points_of(at)}


def chosen(studio: Studio, show: str, of: str, text: str) -> Sequence[int]:
    """Return the positions of images that a filter lets through.

    Args:
        studio: has them.
        show: "all", "labelled", "open" or "left out".
        of: a class that the label has; any where empty.
        text: that the name holds, in any case; any where empty.
    """
    marks, images = studio.desk.marks, studio.desk.collection.images
    if show == "all" and not of and not text:
        return range(len(images))
    labels, left_out, wanted = dict(marks.labels), set(marks.left_out), text.casefold()

    def passes(name: str) -> bool:
        label = labels.get(name)
        kind = "left out" if name in left_out else "labelled" if label is not None else "open"
        has = not of or (label is not None and (label == of or (not isinstance(label, str) and of in label)))
        return show in {"all", kind} and has and (not wanted or wanted in name.casefold())

    return [at for at, one in enumerate(images) if passes(one.name)]


def _open_issues(studio: Studio) -> list[Issue]:
    """Return the issues of labels that stand as they were, and that nobody has found right."""
    if studio.score is None:
        return []
    desk = studio.desk
    marks, images = desk.marks, desk.collection.images

    def stands(issue: Issue) -> bool:
        is_closed = images[issue.position].name in marks.right | marks.left_out
        return not is_closed and desk.label_of(issue.position) == studio.scored_labels.get(issue.position)

    return [one for one in studio.score.issues if stands(one)]


def issues_of(studio: Studio) -> list[dict[str, object]]:
    """Return labels that are probably wrong: one entry for each image, with what to put in place of its label."""
    found: dict[int, dict[str, Any]] = {}
    for one in _open_issues(studio):
        label = studio.desk.label_of(one.position)
        more: dict[str, Any] = {"issues": [], "instead": label, "like": None}
        entry = found.setdefault(one.position, image_of(studio, one.position) | more)
        entry["issues"].append({"given": one.given, "suggested": one.suggested, "confidence": round(one.confidence, 2)})
        entry["instead"] = _mended(entry["instead"], one)
        if entry["like"] is None and not one.value:
            like = studio.example_of(one.position, one.suggested, one.given)
            entry["like"] = None if like is None else image_of(studio, like)
    return list(found.values())


def _mended(label: Any, issue: Issue) -> Any:
    if isinstance(label, str):
        return issue.suggested
    if issue.value:
        return [issue.value if at == issue.output else point for at, point in enumerate(label)]
    kept = [name for name in label if name != issue.given]
    return [*kept, issue.suggested] if issue.suggested and issue.suggested not in kept else kept


def copies_of(studio: Studio) -> dict[str, object]:
    """Return images that show the same and were not decided about yet, and images unlike the rest."""
    found, marks, images = studio.copies, studio.desk.marks, studio.desk.collection.images
    if found is None:
        return {"state": studio.copies_state, "done": studio.copies_done, "pairs": [], "unlike": []}

    def is_open(*some: int) -> bool:
        return not any(images[at].name in marks.left_out for at in some)

    pairs = [
        {"first": image_of(studio, one.first), "second": image_of(studio, one.second), "how": one.how}
        for one in found.pairs
        if is_open(*one[:2]) and frozenset(images[at].name for at in one[:2]) not in marks.together
    ]
    unlike = [image_of(studio, at) for at in found.unlike if is_open(at) and images[at].name not in marks.right]
    return {"state": studio.copies_state, "done": 1.0, "pairs": pairs, "unlike": unlike}
