"""Contract suites: the laws that every implementation of a protocol must fulfil, foveal's own and yours.

A check raises `AssertionError` at the first law that does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch

from foveal.geometry.homography import Homography
from foveal.tasks.base import Task
from foveal.tasks.kinds import require_protocol, task_from_dict

Label = TypeVar("Label")


def check_task(task: Task[Label], labels: Sequence[Label]) -> None:
    """Check a task with some labels that it should understand.

    Args:
        task: the implementation.
        labels: as a person would write them down; points in source pixels.

    Raises:
        InputError: a member of the protocol `Task` is missing, or has its old name.
        AssertionError: a law does not hold; the message says which.

    Examples:
        >>> from foveal.testing import check_task
        >>> from foveal.tasks.regression import Regression
        >>> class Rounded(Regression):
        ...     def encode(self, label): return super().encode(label).round() + 1
        >>> check_task(Rounded(("age",)), [(30.5,), (41.0,)])
        Traceback (most recent call last):
        AssertionError: encode undoes decode for (30.5,)...
    """
    require_protocol(type(task))
    targets = torch.stack([task.encode(label) for label in labels])
    missing = task.missing_target
    assert (missing.shape, missing.dtype) == (targets.shape[1:], targets.dtype), "a missing target looks like any other"
    source_to_target = Homography.unit_frame((90, 120))
    moved = torch.stack([task.move(target, source_to_target) for target in targets])
    assert len(task.names) == task.n_outputs, "one name per output"
    for label, target in zip(labels, targets, strict=True):
        again = task.encode(task.decode_target(target))
        assert torch.equal(again.nan_to_num(-1e9), target.nan_to_num(-1e9)), f"encode undoes decode for {label!r}"

    generator = torch.Generator().manual_seed(0)
    output = torch.randn(len(labels), task.n_outputs, generator=generator).requires_grad_()
    loss = task.loss(output, moved)
    assert loss.ndim == 0, "the loss is one number"
    assert bool(loss.isfinite()), "the loss is finite"
    torch.autograd.backward(loss)
    assert output.grad is not None
    assert bool(output.grad.isfinite().all()), "gradients are finite, also where a target is unknown"

    prediction = task.activate(output.detach())
    target_to_source = Homography.stack([source_to_target.inverse] * len(labels))
    answers = task.decode(prediction, target_to_source)
    assert len(answers) == len(labels), "one answer per image"
    for name, metric in task.metrics().items():
        assert np.isscalar(float(metric(output.detach(), moved))), f"{name} is a number"
    for row, answer in zip(prediction, answers, strict=True):
        assert set(task.names) <= set(task.to_row(row, answer)), "a row holds every output by name"
    comparable = task.comparable(prediction, answers)
    per_sample_error = task.per_sample_error(comparable, targets)
    assert per_sample_error.shape == (len(labels),), "one error per answer"
    assert bool((per_sample_error >= 0).all()), "which is never negative, and 0 where nothing is known"
    assert task.report_metrics(), "there are headline metrics"
    assert all(np.isscalar(float(metric(comparable, targets))) for metric in task.report_metrics().values()), (
        "each a number"
    )
    assert all(set(kind) for kind in task.metrics_by_output(comparable, targets).values()), (
        "metrics by output name their rows"
    )

    rebuilt = task_from_dict(task.to_dict())
    assert rebuilt.to_dict() == task.to_dict(), "a task survives to_dict and from_dict"
    assert torch.equal(rebuilt.activate(output.detach()), prediction), "and gives the same predictions"
