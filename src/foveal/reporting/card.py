"""The card of a model: what its bundle says of itself, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foveal.inference.manifest import Manifest, MetricPart, ModelPart, OwnPart
from foveal.inference.store import bundle_name
from foveal.tasks.base import AnyTask
from foveal.tasks.confidence import radius_note
from foveal.tasks.kinds import AnyKind, kind_of, task_from_dict

_CHANNELS = {1: "1: whatever an image is, it is made grey", 4: "4, which an image must have"}
_POOLS = {
    "own": "what the backbone's own classifier reads",
    "class": "the class token",
    "mean": "the mean of the map",
    "max": "the maximum of the map",
    "finer": "both of the map of twice its size",
}
_MOST_WEIGHTS = 10  # weights of classes that a line holds; chosen by hand
_FEW = 10  # training images of a class, below which the card says so; chosen by hand


@dataclass(frozen=True, slots=True)
class Section:
    """A table under a heading; a column of `head` may be empty."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]


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
            parts += [_line([format_cell(cell) for cell in row]) for row in section.rows]
        return "\n".join(parts) + "\n"

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON values, every cell as text."""
        sections = [
            {
                "title": one.title,
                "head": list(one.head),
                "rows": [[format_cell(cell) for cell in row] for row in one.rows],
            }
            for one in self.sections
        ]
        return {"title": self.title, "lead": self.lead, "sections": sections}


def card_of(manifest: Manifest, path: Path) -> Card:
    """Return the card of a model.

    Args:
        manifest: of the bundle.
        path: of the bundle.
    """
    trained, task = manifest.training, task_from_dict(manifest.task)
    kind = kind_of(task)
    unit = kind.unit
    measured = f"How well it does: {trained.n_valid:,} validation {unit}" if trained.n_valid else "How well it does"
    sections = [
        Section("What to know first", ("",), [(line,) for line in what_to_know(manifest, task, kind)]),
        Section(measured, ("metric", "value", "95% interval"), _metrics(trained.figures)),
        _classes(manifest, kind),
        Section("How it was made", ("", ""), _training(manifest, kind)),
        Section("Input and model", ("", ""), _model(manifest)),
        Section("How to ask it", ("", ""), [(name, text.format(file=path.name)) for name, text in kind.ask.items()]),
        Section("Versions", ("", ""), list(manifest.versions.items())),
    ]
    return Card(
        bundle_name(path),
        kind.describe(task),
        tuple(section for section in sections if section.rows),
    )


def format_cell(cell: object) -> str:
    """Return a cell as text: numbers with four digits, what is not defined in words."""
    if cell is None:
        return "not defined"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def format_weights(weights: Mapping[str, float]) -> str:
    """Return weights per class in words, those of 1 and many of them left out."""
    other = [f"{name} {format_cell(weight)}" for name, weight in weights.items() if weight != 1.0]
    return ", ".join(other[:_MOST_WEIGHTS]) + (" and others" if len(other) > _MOST_WEIGHTS else "")


def _metrics(figures: dict[str, MetricPart]) -> list[tuple[object, ...]]:
    return [
        (
            name.replace("_", " "),
            one.value,
            "" if one.low is None else f"{format_cell(one.low)} to {format_cell(one.high)}",
        )
        for name, one in figures.items()
    ]


def _classes(manifest: Manifest, kind: AnyKind) -> Section:
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
    return Section("Classes" if kind.has_classes else "Each of them", head, rows)


def _training(manifest: Manifest, kind: AnyKind) -> list[tuple[object, ...]]:
    trained = manifest.training
    facts = [
        ("trained on", f"{trained.n_train:,} {kind.unit}" if trained.n_train is not None else ""),
        ("evaluated on", f"{trained.n_valid:,} other {kind.unit}" if trained.n_valid is not None else ""),
        ("split", trained.split),
        ("epochs", trained.epochs),
        ("seed", trained.seed),
        ("source", trained.source),
        ("data", f"SHA-256 {trained.data}" if trained.data else ""),
        ("sampling", trained.sampling),
        ("weights in the loss", format_weights(trained.class_weights)),
        ("weights began as", trained.weights),
        ("hardware", trained.hardware),
        ("day", trained.made),
        ("validation loss", trained.valid_loss),
    ]
    return [(name, value) for name, value in facts if value not in ("", None)]


def _model(manifest: Manifest) -> list[tuple[object, ...]]:
    part, prepared = manifest.model, manifest.preparation
    rows: list[tuple[object, ...]] = [("task", manifest.task["kind"]), ("bundle format", manifest.format)]
    if isinstance(part, ModelPart):
        rows.append(("model", f"{part.arch}, {part.head} head"))
        if part.pooling:
            rows.append(("the head reads", " and ".join(_POOLS[one] for one in part.pooling)))
    elif isinstance(part, OwnPart):
        rows.append(("model", f"your own class {part.module}, whose code is not in the file"))
    else:
        rows += [
            (name.replace("_", " "), _plain_value(value)) for name, value in part.items() if value not in (None, ())
        ]
    if prepared is not None:
        height, width = prepared.fit.size_hw
        rows.append(("image", f"brought to {height} x {width} pixels ({prepared.fit.method})"))
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (prepared.mean, prepared.std))
        rows.append(("pixels", f"from 0 to 1, less {mean}, over {std}"))
        if (channels := _CHANNELS.get(prepared.n_channels)) is not None:
            rows.append(("channels", channels))
    decision = manifest.task.get("decision") or {}
    if decision.get("temperature", 1.0) != 1.0:
        rows.append(("temperature", decision["temperature"]))
    return rows


def what_to_know(manifest: Manifest, task: AnyTask, kind: AnyKind) -> list[str]:
    """Return sentences about what decides whether a model may be used: the most serious first.

    Args:
        manifest: of the bundle.
        task: that it describes.
        kind: of the task.
    """
    trained, found = manifest.training, list[str]()
    figures = {name: one.value for name, one in trained.figures.items()}
    if kind.verdict is not None and figures:
        found += kind.verdict(task, figures)
    found += trained.first
    found += _unproven_classes(trained.parts)
    few = [name for name, n in trained.counts.items() if n < _FEW]
    if few:
        found.append(f"Fewer than {_FEW} training images: {_listed(few)}. Do not rely on these classes.")
    if trained.tuned_on_validation:
        found.append(_tuned(figures, trained.on_others))
    found += kind.limits
    if kind.confidence is not None:
        found += filter(None, [radius_note(task, figures.get("radius_coverage"))])
    if trained.figures:
        other = "other cameras or places" if kind.unit == "images" else "other people, things or times"
        found.append(f"The metrics hold for {kind.unit} like those of validation; {other} may do worse.")
    else:
        found.append("The file holds no metrics: it was exported without validation.")
    return found


def _unproven_classes(parts: Mapping[str, Mapping[str, float | None]]) -> Iterator[str]:
    """Yield which classes were not in validation, which were not found there, and what their means leave out."""
    if not any("positives" in row for row in parts.values()):
        return
    unseen = [name for name, row in parts.items() if not row["positives"]]
    missed = [name for name, row in parts.items() if row["positives"] and row.get("recall") == 0]
    if unseen:
        found = "nothing is known of how well they are found"
        yield f"Never seen in validation, so {found}: {_listed(unseen)}."
    if missed:
        yield f"In validation, but never found there: {_listed(missed)}."
    columns = dict.fromkeys(name for row in parts.values() for name in row)
    left_out = {name: sum(row.get(name) is None for row in parts.values()) for name in columns}
    counts = [f"{name.replace('_', ' ')} {len(parts) - n} of {len(parts)}" for name, n in left_out.items() if n]
    if counts:
        yield f"Means are over the classes for which a metric is defined: {', '.join(counts)}."


def _tuned(figures: Mapping[str, float | None], on_others: Mapping[str, float]) -> str:
    """Return that thresholds were tuned on the images that the metrics are of, and what to expect on others."""
    expected = [
        f"{name} {format_cell(value)} (here {format_cell(figures.get(name))})" for name, value in on_others.items()
    ]
    text = "Thresholds were chosen on the validation images, so metrics that need thresholds flatter."
    return f"{text} Expect on other images: {', '.join(expected)}." if expected else text


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} others" if len(names) > 10 else "")


def _plain_value(value: object) -> str:
    """Return a value of another kind's model as a person reads it: a list without brackets."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _plain(text: str) -> str:
    """Return the text in such a form that it is not read as Markdown or HTML."""
    return "".join(f"&#{ord(char)};" if char in "<>&|`*_[]#\\" else char for char in text.replace("\n", " "))
