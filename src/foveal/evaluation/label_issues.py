"""Labels that are probably wrong, and how they leave for a labelling tool.

Source: Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from foveal.core.tables import write_table
from foveal.evaluation.predictions import Predictions
from foveal.evaluation.writers import check_target, write_labels
from foveal.images.decode import ImageSource, name_of, open_image
from foveal.tasks.kinds import Issue, kind_of, require


class LabelIssue(NamedTuple):
    """A label that is probably wrong.

    Attributes:
        image: as in the dataset.
        given: the label in question; empty where one is missing.
        suggested: what the model says instead; empty where nothing takes its place.
        confidence: the probability of the suggestion, or against the label given.
    """

    image: ImageSource
    given: str
    suggested: str
    confidence: float

    def __str__(self) -> str:
        if not self.given:
            return f"{self.suggested} missing? ({self.confidence:.2f})"
        if not self.suggested:
            return f"no {self.given}? ({self.confidence:.2f})"
        return f"{self.given}, or {self.suggested}? ({self.confidence:.2f})"


def label_issues_of(predictions: Predictions) -> list[LabelIssue]:
    """Return labels that are probably wrong, the most certain first; the task's file decides which.

    Raises:
        InputError: the task has no classes.
    """
    task = predictions.task
    label_issues = require("A search for wrong labels", task, has="label_issues").label_issues
    assert label_issues is not None
    issues = label_issues.find(task, predictions.values, predictions.targets)
    rows = [
        LabelIssue(predictions.images[issue.position], issue.given, issue.suggested, issue.confidence)
        for issue in issues
    ]
    return sorted(rows, key=lambda issue: -issue.confidence)


def write_label_issues(
    path: str | os.PathLike[str],
    label_issues: Sequence[LabelIssue],
    found: Predictions,
    *,
    layout: str = "label-studio",
) -> int:
    """Write label issues as a table (.csv, .jsonl, .parquet), or the labels they suggest as a .json; return how many.

    Args:
        path: the file; its ending says what is written.
        label_issues: about labels of `found`.
        found: the predictions that they come from.
        layout: of a .json, `coco` or `label-studio`: each image with an issue once, with the suggested labels.
    """
    target = Path(path)
    check_target(target, layout)
    if target.suffix == ".json":
        n_channels = found.n_channels
        labelled = (
            (str(image), open_image(image, n_channels).size_hw, label)
            for image, label in _corrected(label_issues, found)
        )
        return write_labels(target, layout, labelled, found.task)
    return write_table(target, ({"fname": name_of(issue.image)} | _columns(issue) for issue in label_issues))


def _columns(issue: LabelIssue) -> dict[str, object]:
    return {"given": issue.given, "suggested": issue.suggested, "confidence": issue.confidence}


def _corrected(label_issues: Sequence[LabelIssue], found: Predictions) -> Iterator[tuple[ImageSource, object]]:
    kind = kind_of(found.task)
    assert kind.label_issues is not None
    by_image: dict[str, list[LabelIssue]] = {}
    for issue in label_issues:
        by_image.setdefault(name_of(issue.image), []).append(issue)
    for index, (image, target) in enumerate(zip(found.images, found.targets, strict=True)):
        if raised := by_image.get(name_of(image)):
            yield image, kind.label_issues.mend(found.task, target, [Issue(index, *issue[1:]) for issue in raised])
