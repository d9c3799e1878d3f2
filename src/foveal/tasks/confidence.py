"""Answers with a radius: what a task's `Confidence` says of them, for any task; without one, what the task says alone.

A *spread* is how wide the model itself is about an answer; its unit is that of the error. A *radius* is the spread
times a factor of the decision, which is chosen on images that the model was not trained on, so that it holds the truth
in `COVERAGE` of new ones. Shapes: n images, N answers per image.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.geometry.homography import Homography
from foveal.images.canvas import Canvas
from foveal.metrics.conformal import COVERAGE
from foveal.tasks.base import AnyTask, Task
from foveal.tasks.kinds import AnyConfidence, kind_of, require
from foveal.tasks.prediction_sets import prediction_set

Label = TypeVar("Label")
Radius = NDArray[np.float64]
"""[N], NaN for an answer without a radius."""


def spread_of(task: AnyTask, output: Tensor, prediction: Tensor, target_to_source: Homography) -> Tensor | None:
    """Return the spread of each answer, float64 [n, N]; None of a task without.

    Args:
        task: of the answers.
        output: what the model returned, [n, ...].
        prediction: the same, activated.
        target_to_source: [n, 3, 3], from [-1, 1] on the input to source pixels.
    """
    confidence = kind_of(task).confidence
    return None if confidence is None else confidence.spread(task, output, prediction, target_to_source)


def radius_of(task: AnyTask, spread: Tensor | None) -> Tensor | None:
    """Return the radius of each answer, float64 [n, N], NaN for none; None where the decision has no factors.

    Args:
        task: with the decision in force.
        spread: [n, N], see `spread_of`.
    """
    factors = task.decision.radius_factors
    if spread is None or not factors:
        return None
    return spread * torch.tensor([torch.nan if one is None else one for one in factors], dtype=torch.float64)


def row_of(
    task: Task[Label], prediction: Tensor, label: Label, radius: Radius | None, is_known: bool | None = None
) -> dict[str, object]:
    """Return one answer as columns of a table, those of radii last.

    Args:
        task: of the answer.
        prediction: of one image, [...].
        label: what was decoded of it.
        radius: [N] in source pixels, where there is one.
        is_known: whether the image is like those that the model knows, where that can be told.
    """
    row = task.to_row(prediction, label)
    if task.decision.set_threshold is not None:
        joint = ";" if any(" " in name for name in task.names) else " "
        row |= {"prediction_set": joint.join(prediction_set(task, prediction))}
    row |= {} if is_known is None else {"known": is_known}
    return row if radius is None else row | confidence_of(task).to_row(task, radius)


def json_of(
    task: Task[Label], prediction: Tensor, label: Label, radius: Radius | None, is_known: bool | None = None
) -> dict[str, object]:
    """Return one answer as the service gives it.

    Args:
        task: of the answer.
        prediction: of one image, [...].
        label: what was decoded of it.
        radius: [N] in source pixels, where there is one.
        is_known: whether the image is like those that the model knows, where that can be told.
    """
    answer = task.to_json(prediction, label)
    if task.decision.set_threshold is not None:
        answer = answer | {"prediction_set": prediction_set(task, prediction)}
    answer = answer if is_known is None else answer | {"known": is_known}
    return answer if radius is None else answer | confidence_of(task).to_json(task, label, radius)


def draw_answer(task: Task[Label], canvas: Canvas, label: Label, truth: Label | None, radius: Radius | None) -> None:
    """Draw an answer, beside the truth where that is given, and under it its radius.

    Args:
        task: of the answer.
        canvas: the image.
        label: the answer, coordinates in the canvas's pixels.
        truth: what it should have been, where that is known.
        radius: [N] in the canvas's pixels, where there is one.
    """
    if radius is not None:
        confidence_of(task).draw(canvas, label, radius)
    task.draw(canvas, label, truth)


def legend_of(task: AnyTask) -> str:
    """Return how to read what `draw_answer` draws."""
    confidence = kind_of(task).confidence
    if confidence is None or not task.decision.radius_factors:
        return task.legend
    return f"{task.legend}; {confidence.legend.format(percent=f'{100 * COVERAGE:g}')}"


def radius_note(task: AnyTask, coverage: float | None = None) -> str:
    """Return what the radii of a task mean, in a sentence or two; nothing where it has none.

    Args:
        task: with the decision in force.
        coverage: the share of images in which radii held the truth that were chosen on others, where that is known.
    """
    confidence, factors = kind_of(task).confidence, task.decision.radius_factors
    if confidence is None or not factors:
        return ""
    without = [name for name, one in zip(confidence.names(task), factors, strict=True) if one is None]
    note = f"The radius of a point holds the truth in {100 * COVERAGE:g} of 100 new images like those of validation."
    if coverage is not None and not math.isnan(coverage):
        held = f"{100 * coverage:.1f} of 100"
        note += f" Chosen on one half of the validation images, it held the truth in {held} images of the other."
    return note + (
        f" Without a radius, for too few images with a known place: {', '.join(without)}." if without else ""
    )


def confidence_of(task: Task[Any]) -> AnyConfidence:
    """Return the confidence of a task that has one.

    Raises:
        InputError: it has none.
    """
    confidence = require("A radius", task, has="confidence").confidence
    assert confidence is not None
    return confidence
