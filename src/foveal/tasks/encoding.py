"""Encoding: every label of a side becomes a target, once."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError
from foveal.tasks.base import Task
from foveal.tasks.multi_label import PartialLabels, check_labels

Namer = Callable[[int], object]


def encode_all(labels: Sequence[Any], name: Namer, task: Task[Any]) -> Tensor:
    """Encode every label of a training side.

    Args:
        labels: what a person would write down, an entry an item.
        name: what a message calls the item at a place.
        task: encodes them.

    Raises:
        InputError: a label is of the wrong form; the message names the item.
    """
    return _encode_each(labels, name, lambda label, _: task.encode(label), task)


def encode_known(labels: Sequence[Any], name: Namer, task: Task[Any]) -> Tensor:
    """Encode a validation side: a class that training never saw is left out of its item, with one warning a class."""
    unseen: Counter[str] = Counter()

    def encode(label: Any, n_items: int) -> Tensor:
        try:
            return task.encode(label)
        except UnknownNameError:
            known, missing = _without_unknown(label, task)
            unseen.update(dict.fromkeys(missing, n_items))
            return task.unknown if known is None else task.encode(known)

    targets = _encode_each(labels, name, encode, task)
    for one, count in sorted(unseen.items()):
        rows = f"{count} item{'s' if count > 1 else ''}"
        warnings.warn(
            f"The label `{one}` occurs in validation only ({rows}); they are scored without it.", stacklevel=4
        )
    return targets


def _encode_each(labels: Sequence[Any], name: Namer, encode: Callable[[Any, int], Tensor], task: Task[Any]) -> Tensor:
    """Encode every label; equal texts, and items that share a label, once: `encode(label, how many items have it)`."""
    n, texts = len(labels), set(map(type, labels)) == {str}
    keys = np.array(labels, dtype=object) if texts else np.fromiter(map(id, labels), dtype=np.int64, count=n)
    which, distinct = pd.factorize(keys)
    firsts = np.empty(len(distinct), dtype=np.int64)
    firsts[which[::-1]] = np.arange(n)[::-1]
    counts = np.bincount(which, minlength=len(distinct))
    targets = task.unknown.expand(len(distinct), *task.unknown.shape).clone()
    for at, (first, count) in enumerate(zip(firsts.tolist(), counts.tolist(), strict=True)):
        try:
            targets[at] = encode(labels[first], count)
        except UnknownNameError:
            raise
        except InputError as error:
            raise InputError(f"{name(first)}: {error}") from error
    return targets if len(distinct) == n else targets[which]


def _without_unknown(label: Any, task: Task[Any]) -> tuple[PartialLabels | None, list[str]]:
    """Split a label into what the task knows (None: nothing is left of a single label) and what it does not."""
    known = set(task.names)
    if isinstance(label, str):
        return None, [label]
    unsure = label.unknown if isinstance(label, PartialLabels) else ()
    present = check_labels(label)
    left = PartialLabels(tuple(n for n in present if n in known), tuple(n for n in unsure if n in known))
    return left, [name for name in (*present, *unsure) if name not in known]


def no_labels(n: int, task: Task[Any]) -> Tensor:
    """Return targets that say nothing, for images to be answered only."""
    return task.unknown.expand(n, *task.unknown.shape)


def class_counts(task: Task[Any], targets: Tensor) -> dict[str, int]:
    """Return how many encoded labels have each class.

    Args:
        task: with C classes.
        targets: [n] indices, or [n, C] with 1 where a label is present.
    """
    n = torch.bincount(targets, minlength=task.n_outputs) if targets.ndim == 1 else (targets == 1).sum(dim=0)
    return dict(zip(task.names, n.tolist(), strict=True))
