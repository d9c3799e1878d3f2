"""The card of a model: what its bundle says of itself, for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.inference.manifest import CollabPart, Manifest, MetricPart, ModelPart
from foveal.tasks.points import Points
from foveal.tasks.registry import CLASSES

_FEW = 10


@dataclass(frozen=True, slots=True)
class Section:
    """A table under a heading; a column of `head` may be empty."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Card:
    """Sections, after a title and a line on what the model does."""

    title: str
    lead: str
    sections: tuple[Section, ...]

    def markdown(self) -> str:
        """Return it as Markdown."""
        parts = [f"# {_plain(self.title)}", "", _plain(self.lead)]
        for section in self.sections:
            parts += ["", f"## {section.title}", "", _line(section.head), "|" + "---|" * len(section.head)]
            parts += [_line([said(cell) for cell in row]) for row in section.rows]
        return "\n".join(parts) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, every cell as text."""
        sections = [
            {"title": one.title, "head": list(one.head), "rows": [[said(cell) for cell in row] for row in one.rows]}
            for one in self.sections
        ]
        return {"title": self.title, "lead": self.lead, "sections": sections}


def card_of(manifest: Manifest, path: Path) -> Card:
    """Return the card of a model; it is called like its file, or where that is just `model`, like its folder."""
    trained, kind = manifest.training, str(manifest.task["kind"])
    sections = [
        Section("Figures on validation data", ("figure", "value", "95% interval"), _figures(trained.figures)),
        _classes(manifest, kind),
        Section("Training", ("", ""), _training(manifest)),
        Section("Input and model", ("", ""), _model(manifest)),
        Section("Versions", ("", ""), list(manifest.versions.items())),
        Section("What to know", ("",), [(line,) for line in _limits(manifest, kind)]),
    ]
    return Card(
        path.stem if path.stem != "model" else path.absolute().parent.name,
        _lead(manifest, kind),
        tuple(section for section in sections if section.rows),
    )


def said(cell: object) -> str:
    """Return a cell as text: numbers with four digits, what is not defined in words."""
    if cell is None:
        return "not defined"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _lead(manifest: Manifest, kind: str) -> str:
    task = manifest.task
    if kind in CLASSES:
        what = "any number" if kind == "multi-label" else "one"
        return f"Finds {what} of {len(task['vocab'])} classes in an image."
    if kind == Points.kind:
        what = "a point" if task["n_points"] == 1 else ", ".join(map(str, task["point_names"]))
        return f"Finds {what} in an image, in its pixels."
    if "columns" in task:
        user, item, rating = task["columns"]
        return f"Answers with the {rating} that a {user} would give a {item}, and recommends."
    return f"Answers with {', '.join(map(str, task.get('names', ())))} for an image."


def _figures(figures: dict[str, MetricPart]) -> list[tuple[Any, ...]]:
    return [
        (name.replace("_", " "), one.value, "" if one.low is None else f"{said(one.low)} to {said(one.high)}")
        for name, one in figures.items()
    ]


def _classes(manifest: Manifest, kind: str) -> Section:
    trained = manifest.training
    columns = list(next(iter(trained.parts.values()), {}))
    if not columns:
        thresholds = manifest.task["decision"]["thresholds"] or [None] * len(trained.counts)
        rows = [(name, n, at) for (name, n), at in zip(trained.counts.items(), thresholds, strict=False)]
        return Section("Classes", ("class", "training images", "threshold"), rows)
    counted = bool(trained.counts)
    head = ("", *(("training images",) if counted else ()), *(name.replace("_", " ") for name in columns))
    rows = [
        (name, *((trained.counts.get(name),) if counted else ()), *(row.get(column) for column in columns))
        for name, row in trained.parts.items()
    ]
    return Section("Classes" if kind in CLASSES else "Each of them", head, rows)


def _training(manifest: Manifest) -> list[tuple[Any, ...]]:
    trained = manifest.training
    what = "rows" if "columns" in manifest.task else "images"
    facts = [
        ("trained on", f"{trained.n_train:,} {what}" if trained.n_train is not None else ""),
        ("judged on", f"{trained.n_valid:,} other {what}" if trained.n_valid is not None else ""),
        ("source", trained.source),
        ("weights began as", trained.weights),
        ("day", trained.made),
        ("validation loss", trained.valid_loss),
    ]
    return [(name, value) for name, value in facts if value not in ("", None)]


def _model(manifest: Manifest) -> list[tuple[Any, ...]]:
    part, prepared = manifest.model, manifest.preparation
    rows: list[tuple[Any, ...]] = [("task", manifest.task["kind"]), ("bundle format", manifest.format)]
    if isinstance(part, ModelPart):
        rows.append(("model", f"{part.arch}, {part.head} head"))
    elif isinstance(part, CollabPart):
        layers = f", layers of {', '.join(map(str, part.layers))}" if part.layers else ""
        rows.append(("model", f"{part.n_users:,} x {part.n_items:,} ids, {part.n_factors[0]} factors{layers}"))
    else:
        rows.append(("model", f"your own class {part.module}, whose code is not in the file"))
    if prepared is not None:
        height, width = prepared.fit.size_hw
        rows.append(("image", f"brought to {height} x {width} pixels ({prepared.fit.method})"))
    decision = manifest.task.get("decision") or {}
    if decision.get("temperature", 1.0) != 1.0:
        rows.append(("temperature", decision["temperature"]))
    return rows


def _limits(manifest: Manifest, kind: str) -> list[str]:
    trained, found = manifest.training, []
    few = [name for name, n in trained.counts.items() if n < _FEW]
    if few:
        shown = ", ".join(few[:10]) + (" and others" if len(few) > 10 else "")
        found.append(f"Fewer than {_FEW} training images: {shown}. Do not rely on these classes.")
    if kind == "single-label":
        found.append("It names one of its classes for every image, also for one that shows none of them.")
    if kind == "multi-label":
        found.append("Where no class passes its threshold, it answers that nothing was found.")
    if trained.figures:
        found.append("The figures hold for images like those of validation; other cameras or places may do worse.")
    else:
        found.append("The file holds no figures: it was exported without validation.")
    return found


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _plain(text: str) -> str:
    """Keep text from being read as Markdown or HTML."""
    return "".join(f"&#{ord(char)};" if char in "<>&|`*_[]#\\" else char for char in text.replace("\n", " "))
