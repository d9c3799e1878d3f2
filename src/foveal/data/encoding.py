"""Encoding: every label of a side becomes a target, once."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from foveal.errors import InputError, UnknownNameError
from foveal.tasks.base import Task
from foveal.tasks.multi_label import PartialLabels, check_labels

Namer = Callable[[int], object]
_TOGETHER = 4096


def encode_all(labels: Sequence[Any], name: Namer, task: Task[Any]) -> Tensor:
    """Encode every label of a training side.

    Args:
        labels: what a person would write down, an entry an item.
        name: what a message calls the item at a place.
        task: encodes them.

    Raises:
        InputError: a label is of the wrong form; the message names the item.
    """
    return _encode_each(labels, name, _encoder(task), task)


def encode_known(labels: Sequence[Any], name: Namer, task: Task[Any]) -> Tensor:
    """Encode a validation side: a class that training never saw is left out of its item, with one warning a class."""
    unseen: Counter[str] = Counter()
    known_to = _encoder(task)

    def encode(label: Any) -> Tensor:
        try:
            return known_to(label)
        except UnknownNameError:
            known, missing = _without_unknown(label, task)
            unseen.update(missing)
            return task.unknown if known is None else task.encode(known)

    targets = _encode_each(labels, name, encode, task)
    for one, count in sorted(unseen.items()):
        rows = f"{count} item{'s' if count > 1 else ''}"
        warnings.warn(
            f"The label `{one}` occurs in validation only ({rows}); they are scored without it.", stacklevel=4
        )
    return targets


def _encoder(task: Task[Any]) -> Callable[[Any], Tensor]:
    """Return `task.encode`, quicker for names met before."""
    encode_name = lru_cache(task.encode)
    return lambda label: encode_name(label) if isinstance(label, str) else task.encode(label)


def _encode_each(labels: Sequence[Any], name: Namer, encode: Callable[[Any], Tensor], task: Task[Any]) -> Tensor:
    targets = task.unknown.expand(len(labels), *task.unknown.shape).clone()
    for start in range(0, len(labels), _TOGETHER):
        encoded = []
        for at in range(start, min(start + _TOGETHER, len(labels))):
            try:
                encoded.append(encode(labels[at]))
            except UnknownNameError:
                raise
            except InputError as error:
                raise InputError(f"{name(at)}: {error}") from error
        torch.stack(encoded, out=targets[start : start + _TOGETHER])
    return targets


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
    """Return targets that say nothing, for pictures to be answered only."""
    return task.unknown.expand(n, *task.unknown.shape)
