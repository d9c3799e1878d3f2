"""Datasets: one side of a split, with every target encoded once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from foveal.errors import InputError, UnknownNameError
from foveal.image.picture import PILImage
from foveal.losses import IGNORED
from foveal.tasks.base import Task
from foveal.tasks.multi_label import PartialLabels, check_labels


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Pictures (paths, bytes, arrays) and their encoded targets [n, ...]."""

    pictures: Sequence[Any]
    targets: Tensor
    task: Task[Any]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[PILImage, ShownTensor]:
        return PILImage.create(self.pictures[index]), self.shown(index)

    @property
    def vocab(self) -> tuple[str, ...]:
        """The class names, in order."""
        return self.task.names

    def shown(self, index: int) -> ShownTensor:
        """Return one target, printing its kind."""
        return self.targets[index].as_subclass(_SHOWN_AS[self.task.kind])

    def label(self, index: int) -> Any:
        """Return what a person would write down for one item."""
        return self.task.label_of(self.targets[index])


@dataclass(frozen=True, slots=True, eq=False)
class Datasets:
    """The two sides of a split."""

    train: Dataset
    valid: Dataset

    @property
    def vocab(self) -> tuple[str, ...]:
        """The class names, learned from the training side."""
        return self.train.vocab


def encode_all(labels: Sequence[Any], names: Sequence[object], task: Task[Any]) -> Tensor:
    """Encode every label of a training side.

    Args:
        labels: what a person would write down, an entry an item.
        names: what a message calls each item.
        task: encodes them.

    Raises:
        InputError: a label is of the wrong form; the message names the item.
    """
    return torch.stack([_encode(label, name, task) for label, name in zip(labels, names, strict=True)])


def encode_known(labels: Sequence[Any], names: Sequence[object], task: Task[Any]) -> Tensor:
    """Encode a validation side: a class that training never saw is left out of its item, with one warning a class."""
    unseen: dict[str, int] = {}
    targets = []
    for label, name in zip(labels, names, strict=True):
        try:
            targets.append(_encode(label, name, task))
        except UnknownNameError:
            known, missing = _without_unknown(label, task)
            for one in missing:
                unseen[one] = unseen.get(one, 0) + 1
            targets.append(task.encode(known) if known is not None else torch.tensor(IGNORED))
    for one, count in sorted(unseen.items()):
        rows = f"{count} item{'s' if count > 1 else ''}"
        warnings.warn(
            f"The label `{one}` occurs in validation only ({rows}); they are scored without it.", stacklevel=4
        )
    return torch.stack(targets)


def _without_unknown(label: Any, task: Task[Any]) -> tuple[PartialLabels | None, list[str]]:
    """Split a label into what the task knows (None: nothing is left of a single label) and what it does not."""
    known = set(task.names)
    if isinstance(label, str):
        return None, [label]
    unsure = label.unknown if isinstance(label, PartialLabels) else ()
    present = check_labels(label)
    left = PartialLabels(tuple(n for n in present if n in known), tuple(n for n in unsure if n in known))
    return left, [name for name in (*present, *unsure) if name not in known]


def _encode(label: Any, name: object, task: Task[Any]) -> Tensor:
    try:
        return task.encode(label)
    except UnknownNameError:
        raise
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


class ShownTensor(Tensor):
    """A tensor that prints the kind of its target; the first operation returns a plain one."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run every operation on plain tensors."""
        plain = [arg.as_subclass(Tensor) if isinstance(arg, ShownTensor) else arg for arg in args]
        if func is Tensor.__repr__:
            shown = plain[0].float() if plain[0].is_floating_point() else plain[0]
            return repr(shown).replace("tensor", type(args[0]).__name__, 1)
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 -- torch's documented way out of a subclass
            return func(*plain, **(kwargs or {}))


class TensorCategory(ShownTensor):
    """The target of one label."""


class TensorMultiCategory(ShownTensor):
    """The target of several labels."""


class TensorPoint(ShownTensor):
    """The target of points, in source pixels."""


_SHOWN_AS: dict[str, type[ShownTensor]] = {
    "single-label": TensorCategory,
    "multi-label": TensorMultiCategory,
    "points": TensorPoint,
}
