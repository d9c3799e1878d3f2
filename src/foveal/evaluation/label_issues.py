"""Labels that are probably wrong, and how they leave for a labelling tool.

Source: Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from foveal.core.tables import write_table
from foveal.evaluation.predictions import Predictions
from foveal.evaluation.writers import check_target, write_labels
from foveal.images.decode import name_of, open_image
from foveal.metrics.several_labels import average_precision
from foveal.tasks.multi_label import MultiLabel

_FEWEST, _COMPETENT = 5, 0.5
_ROUNDING = 1e-6


class LabelIssue(NamedTuple):
    """A label that is probably wrong.

    Attributes:
        image: as in the dataset.
        given: the label in question; empty where one is missing.
        suggested: what the model says instead; empty where nothing takes its place.
        confidence: the probability of the suggestion, or against the label given.
    """

    image: Any
    given: str
    suggested: str
    confidence: float

    def __str__(self) -> str:
        if not self.given:
            return f"{self.suggested} missing? ({self.confidence:.2f})"
        if not self.suggested:
            return f"no {self.given}? ({self.confidence:.2f})"
        return f"{self.given}, or {self.suggested}? ({self.confidence:.2f})"


def label_issues_of(found: Predictions) -> list[LabelIssue]:
    """Return labels that are probably wrong, the most certain first; `found.task` has classes.

    A class is believed where its probability is at least as high as in the images that carry it, on average; a label
    is doubted where another class is believed (one label), or where its probability is at most that of images without
    it (several labels, and only classes with an average precision of at least 0.5).
    """
    rows = _of_several(found) if found.task.kind == MultiLabel.kind else _of_one(found)
    return sorted(rows, key=lambda doubt: -doubt.confidence)


def write_label_issues(
    path: str | os.PathLike[str],
    label_issues: Sequence[LabelIssue],
    found: Predictions,
    *,
    layout: str = "label-studio",
) -> int:
    """Write doubts as a table (.csv, .jsonl, .parquet), or the labels that they suggest as a .json; return how many.

    Args:
        path: the file; its ending says what is written.
        label_issues: about labels of `found`.
        found: the predictions that they come from.
        layout: of a .json, `coco` or `label-studio`: each doubted image once, with what it should be called.
    """
    target = Path(path)
    check_target(target, layout)
    if target.suffix == ".json":
        labelled = ((str(image), open_image(image).size_hw, label) for image, label in _corrected(label_issues, found))
        return write_labels(target, layout, labelled, found.task)
    return write_table(target, ({"fname": name_of(doubt.image)} | _columns(doubt) for doubt in label_issues))


def _columns(doubt: LabelIssue) -> dict[str, Any]:
    return {"given": doubt.given, "suggested": doubt.suggested, "confidence": doubt.confidence}


def _corrected(label_issues: Sequence[LabelIssue], found: Predictions) -> Iterator[tuple[Any, Any]]:
    by_image: dict[str, list[LabelIssue]] = {}
    for doubt in label_issues:
        by_image.setdefault(name_of(doubt.image), []).append(doubt)
    for image, target in zip(found.images, found.targets, strict=True):
        if not (raised := by_image.get(name_of(image))):
            continue
        if found.task.kind != MultiLabel.kind:
            yield image, raised[0].suggested
            continue
        wrong, missing = {doubt.given for doubt in raised}, [doubt.suggested for doubt in raised if doubt.suggested]
        yield image, [*(name for name in found.task.decode_target(target) if name not in wrong), *missing]


def _of_one(found: Predictions) -> list[LabelIssue]:
    names, values, targets = found.task.names, found.values, found.targets
    usual = torch.stack(
        [values[targets == c, c].mean() if (targets == c).any() else torch.tensor(1.0) for c in range(len(names))]
    )
    believed = torch.where(values >= usual - _ROUNDING, values, 0.0)
    rows = []
    for image, row, given in zip(found.images, believed, targets.tolist(), strict=True):
        best = int(row.argmax())
        if given >= 0 and row[best] > 0 and best != given:
            rows.append(LabelIssue(image, names[given], names[best], float(row[best])))
    return rows


def _of_several(found: Predictions) -> list[LabelIssue]:
    precision, rows = average_precision(found.values, found.targets), []
    for c, name in enumerate(found.task.names):
        values, targets = found.values[:, c], found.targets[:, c]
        there, absent = values[targets == 1], values[targets == 0]
        if len(there) < _FEWEST or len(absent) < _FEWEST or float(precision[c]) < _COMPETENT:
            continue
        for at, (value, target) in enumerate(zip(values.tolist(), targets.tolist(), strict=True)):
            if target == 0 and value >= float(there.mean()):
                rows.append(LabelIssue(found.images[at], "", name, value))
            elif target == 1 and value <= float(absent.mean()):
                rows.append(LabelIssue(found.images[at], name, "", 1 - value))
    return rows
