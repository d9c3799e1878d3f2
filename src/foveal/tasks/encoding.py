"""Encoding: every label of a side becomes a target, once, with a warning for classes in validation only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError
from foveal.core.warn import warn
from foveal.tasks.base import Task
from foveal.tasks.label_lists import PartialLabels, check_labels

Label = TypeVar("Label")
_COMPARED = {str, int, bool, np.int64}
"""Types of labels that are equal where their values are, so that each value is encoded once."""
Namer = Callable[[int], object]
"""Position of an item to what a message calls it."""


def encode_all(labels: Sequence[object], name: Namer, task: Task[Label]) -> Tensor:
    """Return every label of a training side as a target, [n, ...].

    Args:
        labels: as a person would write them down, one per item.
        name: returns what a message calls the item at a position.
        task: encodes them.

    Raises:
        InputError: a label is of the wrong form; the message names the item.
    """
    return _encode_each(labels, name, lambda label, _: task.encode(label), task)


def encode_known(labels: Sequence[object], name: Namer, task: Task[Label]) -> Tensor:
    """Return the labels of a validation side as targets, [n, ...].

    A class that training never saw is left out of its item, with one warning per class.

    Args:
        labels: as a person would write them down, one per item.
        name: returns what a message calls the item at a position.
        task: encodes them.

    Raises:
        InputError: a label is of the wrong form; the message names the item.
    """
    unseen: Counter[str] = Counter()

    def encode(label: object, n_items: int) -> Tensor:
        try:
            return task.encode(label)
        except UnknownNameError:
            known, missing = _without_unknown(label, task)
            unseen.update(dict.fromkeys(missing, n_items))
            return task.missing_target if known is None else task.encode(known)

    targets = _encode_each(labels, name, encode, task)
    for label, count in sorted(unseen.items()):
        rows = f"{count} item{'s' if count > 1 else ''}"
        warn(f"The label `{label}` occurs in validation only ({rows}); they are scored without it.")
    return targets


def _encode_each(
    labels: Sequence[object], name: Namer, encode: Callable[[object, int], Tensor], task: Task[Label]
) -> Tensor:
    """Return a target per label, [n, ...]; equal labels are encoded once: `encode(label, number of its items)`.

    Raises:
        UnknownNameError: a label names a class that the task does not know.
        InputError: a label is of the wrong form; the message names the item.
    """
    n, types = len(labels), set(map(type, labels))
    recurring = len(types) == 1 and types <= _COMPARED
    keys = np.array(labels, dtype=object) if recurring else np.fromiter(map(id, labels), dtype=np.int64, count=n)
    which, distinct = pd.factorize(keys)
    firsts = np.empty(len(distinct), dtype=np.int64)
    firsts[which[::-1]] = np.arange(n)[::-1]
    counts = np.bincount(which, minlength=len(distinct))
    targets = task.missing_target.expand(len(distinct), *task.missing_target.shape).clone()
    for index, (first, count) in enumerate(zip(firsts.tolist(), counts.tolist(), strict=True)):
        try:
            targets[index] = encode(labels[first], count)
        except UnknownNameError:
            raise
        except InputError as error:
            raise InputError(f"{name(first)}: {error}") from error
    return targets if len(distinct) == n else targets[which]


def _without_unknown(label: object, task: Task[Label]) -> tuple[PartialLabels | None, list[str]]:
    """Return the classes of a label that the task knows, None for a single label that it does not, and the others."""
    known = set(task.names)
    if isinstance(label, str | int | float | np.generic):
        return None, [str(label)]
    unsure = label.unknown if isinstance(label, PartialLabels) else ()
    present = check_labels(label)
    partial = PartialLabels(tuple(n for n in present if str(n) in known), tuple(n for n in unsure if str(n) in known))
    return partial, [str(name) for name in (*present, *unsure) if str(name) not in known]


def no_labels(n: int, task: Task[Label]) -> Tensor:
    """Return targets that are unknown throughout, for images to be answered only.

    Args:
        n: the number of images.
        task: of the targets.
    """
    return task.missing_target.expand(n, *task.missing_target.shape)


def class_counts(task: Task[Label], targets: Tensor) -> dict[str, int]:
    """Return how many encoded labels have each class.

    Args:
        task: with C classes.
        targets: [n] indices, or [n, C] with 1 where a label is present.
    """
    n = torch.bincount(targets, minlength=task.n_outputs) if targets.ndim == 1 else (targets == 1).sum(dim=0)
    return dict(zip(task.names, n.tolist(), strict=True))
