"""Balance: how rare classes are, and what weight that gives to items and classes.

Shapes: n items, C classes. Encoded labels are class indices [n], or 0 and 1 [n, C], as of every kind of task that has
classes; what is unknown does not count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError
from foveal.losses import FlattenedLoss
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import require
from foveal.tasks.vocab import ClassLabel

ClassWeights = Mapping[str, float] | Mapping[ClassLabel, float] | Literal["balanced"]
"""A weight per class by name, 1 for those not named; or `balanced`, by their frequency."""


def membership(task: AnyTask, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return which items have which class, and of which that is known, both bool [n, C].

    Args:
        task: with C classes.
        targets: encoded labels [n] or [n, C].
    """
    if targets.ndim == 1:
        present = targets[:, None] == torch.arange(task.n_outputs)
        return present, present.any(dim=1, keepdim=True).expand_as(present)
    return targets == 1, ~targets.isnan()


def class_frequencies(task: AnyTask, targets: Tensor) -> Tensor:
    """Return the share of items that have each class, of those of which it is known, float64 [C].

    Args:
        task: with C classes.
        targets: encoded labels [n] or [n, C].
    """
    present, known = membership(task, targets)
    return present.sum(dim=0).double() / known.sum(dim=0).clamp(min=1)


def inverse_frequency(task: AnyTask, targets: Tensor, *, power: float = 1.0) -> Tensor:
    """Return a weight per item, float64 [n]: 1 / frequency of its class, of several the mean.

    An item that has no class, or of which nothing is known, shows nothing rare: it weighs as much as the most frequent
    class.

    Args:
        task: with C classes.
        targets: encoded labels [n] or [n, C].
        power: of 1 / frequency; 0.5 is its square root.
    """
    present, _ = membership(task, targets)
    frequency = class_frequencies(task, targets)
    occurs = frequency > 0
    if not bool(occurs.any()):
        return torch.ones(len(targets), dtype=torch.float64)
    rarity = torch.where(occurs, frequency, 1.0) ** -power
    weights = (present.double() @ rarity) / present.sum(dim=1).clamp(min=1)
    return torch.where(present.any(dim=1), weights, rarity[occurs].min())


def balanced_weights(task: AnyTask, targets: Tensor) -> tuple[float, ...]:
    """Return 1 / (C x frequency) per class: of one label what scikit-learn calls `class_weight="balanced"`.

    A class that does not occur counts as if one item had it.

    Args:
        task: with C classes.
        targets: encoded labels [n] or [n, C].
    """
    present, known = membership(task, targets)
    frequency = present.sum(dim=0).clamp(min=1).double() / known.sum(dim=0).clamp(min=1)
    return tuple((1 / (task.n_outputs * frequency)).tolist())


def class_weights(task: AnyTask, given: ClassWeights, targets: Tensor) -> tuple[float, ...]:
    """Return a weight per class, in the order of the task's names.

    Args:
        task: with C classes.
        given: by name, or `balanced`.
        targets: encoded labels of the training side, [n] or [n, C].

    Raises:
        UnknownNameError: there is no such class.
        InputError: the task has no classes, or a weight is not positive and finite.
    """
    require("A weight per class", task, has="weighted_loss")
    if isinstance(given, str):
        if given != "balanced":
            raise UnknownNameError.of("class weights", given, ["balanced"], 'Or give them by name: {"dog": 2.0}.')
        return balanced_weights(task, targets)
    weights = dict.fromkeys(task.names, 1.0)
    for label, value in _entries(given):
        if str(label) not in weights:
            raise UnknownNameError.of("class", str(label), task.names)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise InputError(f"The weight of a class is a positive number; `{label}` has {value!r}.")
        weights[str(label)] = float(value)
    return tuple(weights.values())


def _entries(given: object) -> list[tuple[object, object]]:
    if not isinstance(given, Mapping) or not given:
        raise InputError(
            f'`class_weights` is `balanced`, or a weight by name, {{"dog": 2.0}}; got {given!r}. Weights in the order '
            "of the classes go into the loss: loss_func=CrossEntropyLossFlat(weight=...)."
        )
    return list(given.items())


def weighted_loss(task: AnyTask, weights: Sequence[float]) -> FlattenedLoss:
    """Return the task's loss with a weight per class.

    Args:
        task: with C classes.
        weights: in the order of its names, [C].

    Raises:
        InputError: the task has no classes.
    """
    make = require("A weight per class", task, has="weighted_loss").weighted_loss
    assert make is not None
    return make(weights)
