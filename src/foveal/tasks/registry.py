"""All kinds of task by name, to rebuild one from a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from foveal.collab.task import ImplicitFeedback, Rating
from foveal.core.errors import InputError, UnknownNameError
from foveal.tasks.base import Task
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.regression import Regression
from foveal.tasks.single_label import SingleLabel

TASKS: dict[str, type[Task[Any]]] = {
    task.kind: task for task in (MultiLabel, SingleLabel, Points, Regression, Rating, ImplicitFeedback)
}

CLASSES = frozenset({MultiLabel.kind, SingleLabel.kind})
"""The tasks whose labels are names of classes."""


def class_counts(task: Task[Any], targets: Tensor) -> dict[str, int]:
    """Return how many encoded labels [n] or [n, C] have each class."""
    n = torch.bincount(targets, minlength=task.n_outputs) if targets.ndim == 1 else (targets == 1).sum(dim=0)
    return dict(zip(task.names, n.tolist(), strict=True))


def of_kind(task: Task[Any], what: str, *kinds: str) -> Task[Any]:
    """Return the task if it is of one of the kinds.

    Raises:
        InputError: it is not; the message begins with `what`.
    """
    if task.kind not in kinds:
        raise InputError(f"{what}; this task is {task.kind}.")
    return task


def task_from_dict(stored: Mapping[str, Any]) -> Task[Any]:
    """Rebuild a task from what its `to_dict` returned.

    Raises:
        UnknownNameError: a kind that this version does not know.
    """
    kind = stored.get("kind")
    if kind not in TASKS:
        raise UnknownNameError.of("task", kind, TASKS, "A newer foveal may know it.")
    return TASKS[kind].from_dict(stored)
