"""Labels that are probably wrong, and how they leave for a labelling tool."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from foveal.core.tables import write_table
from foveal.evaluation.predictions import Predictions
from foveal.evaluation.writers import check_target, write_labels
from foveal.images.decode import ImageSource, name_of, open_image
from foveal.tasks.kinds import kind_of, require
from foveal.tasks.label_checks import Issue, LabelCheck
from foveal.tasks.vocab import ClassLabel, classes_of

PROBABLE = 0.5
"""From this probability of being wrong on a label is probably wrong."""
_COLUMNS = ("fname", "given", "suggested", "confidence")


class LabelIssue(NamedTuple):
    """A label that may be wrong.

    Attributes:
        image: as in the dataset.
        given: the label in question, a class as in the vocab; "" where one is missing.
        suggested: what the model says instead; "" where nothing takes its place.
        confidence: the probability that the label is wrong.
    """

    image: ImageSource
    given: ClassLabel
    suggested: ClassLabel
    confidence: float

    def __str__(self) -> str:
        if self.given == "":  # which 0 and False are not
            return f"{self.suggested} missing? ({self.confidence:.2f})"
        if self.suggested == "":
            return f"no {self.given}? ({self.confidence:.2f})"
        return f"{self.given}, or {self.suggested}? ({self.confidence:.2f})"


def check_labels(predictions: Predictions) -> LabelCheck:
    """Return how probably each label is wrong, and how many are expected to be.

    Args:
        predictions: of a model that did not learn from these labels.

    Raises:
        InputError: labels of the task cannot be checked.
    """
    label_issues = require("A search for wrong labels", predictions.task, has="label_issues").label_issues
    assert label_issues is not None
    return label_issues.find(predictions.task, predictions.comparable, predictions.targets, predictions.spread)


def label_issues_of(predictions: Predictions, *, least: float = PROBABLE, most: int | None = None) -> list[LabelIssue]:
    """Return labels that are probably wrong, the likeliest first.

    Args:
        predictions: of a model that did not learn from these labels.
        least: the probability of being wrong; 0 sorts all labels.
        most: at most so many.

    Raises:
        InputError: labels of the task cannot be checked.
    """
    images, found = predictions.images, check_labels(predictions).likeliest(least, most)
    value = dict(zip(predictions.task.names, classes_of(predictions.task), strict=True))
    return [
        LabelIssue(
            images[one.position],
            value.get(one.given, one.given),
            value.get(one.suggested, one.suggested),
            one.confidence,
        )
        for one in found
    ]


def write_label_issues(
    path: str | os.PathLike[str],
    found: Predictions,
    *,
    layout: str = "label-studio",
) -> int:
    """Write label issues as a table (.csv, .jsonl, .parquet), or the labels they suggest as a .json.

    Args:
        path: the file; its ending says what is written.
        found: the predictions that they come from.
        layout: of a .json, `coco` or `label-studio`: each image with an issue once, with the suggested labels.

    Returns:
        How many rows, or images, were written.
    """
    target = Path(path)
    check_target(target, layout)
    if target.suffix == ".json":
        n_channels = found.n_channels
        labelled = ((str(image), open_image(image, n_channels).size_hw, label) for image, label in _mended(found))
        return write_labels(target, layout, labelled, found.task)
    rows = (  # as text, for a column of parquet has one type
        dict(zip(_COLUMNS, (name_of(one.image), str(one.given), str(one.suggested), one.confidence), strict=True))
        for one in label_issues_of(found)
    )
    return write_table(target, rows, _COLUMNS)


def _mended(found: Predictions) -> Iterator[tuple[ImageSource, object]]:
    kind = kind_of(found.task)
    assert kind.label_issues is not None
    by_image: dict[int, list[Issue]] = {}
    for issue in check_labels(found).likeliest(PROBABLE, None):
        by_image.setdefault(issue.position, []).append(issue)
    for at, raised in sorted(by_image.items()):
        yield found.images[at], kind.label_issues.mend(found.task, found.targets[at], raised)
