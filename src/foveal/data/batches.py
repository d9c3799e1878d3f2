"""Batches: samples side by side, as plain tensors."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from foveal.core.errors import InputError
from foveal.geometry.homography import Homography

Item = Any
"""An item of a dataset, or what a function makes of one: of whatever type the user's is."""
Parts = tuple[Any, ...]
"""The parts of a batch: of images (inputs, targets)."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Several items side by side.

    Attributes:
        parts: the tuple of a batch: inputs first, targets last. Of a general dataset they may be anything.
        indices: the position of each item in the dataset.
        source_to_target: for images, from source pixels to [-1, 1] on the input, [B, 3, 3].
    """

    parts: Parts
    indices: Sequence[int]
    source_to_target: Homography | None = None

    @property
    def inputs(self) -> Item:
        """What the model takes; of images float32 [B, C, h, w], normalised."""
        return self.parts[0]

    @property
    def targets(self) -> Item:
        """Encoded labels [B, ...]."""
        return self.parts[-1]

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """Return one batch of the items of several, whose parts are tensors."""
        parts = tuple(torch.cat(slot) for slot in zip(*(batch.parts for batch in batches), strict=True))
        return cls(parts, [index for batch in batches for index in batch.indices])

    def __len__(self) -> int:
        return len(self.indices)


def collate(items: Sequence[Item]) -> Item:
    """Return items side by side: numbers, arrays and tensors in one tensor, tuples slot by slot, others in a tuple."""
    first = items[0]
    if isinstance(first, tuple):
        return tuple(collate(slot) for slot in zip(*items, strict=True))
    if isinstance(first, Tensor):
        return torch.stack([item.as_subclass(Tensor) for item in items])
    if isinstance(first, np.ndarray | np.number | float | int | bool):
        return tensor(np.stack(items))
    return tuple(items)


def tensor(*values: ArrayLike | Tensor | Sequence[Tensor]) -> Tensor:
    """Return a tensor of a number, a list, an array, a series, or of several arguments.

    Floats of 64 bits become float32, so that they go together with a model's weights; other types stay as they are.

    Args:
        values: one value, or the entries of a vector; tensors in a list are stacked.

    Raises:
        InputError: they are no numbers, or do not fit together.

    Examples:
        >>> from foveal.vision.all import *
        >>> tensor([1, 2]), tensor(1.5, 2, 3), tensor(np.array([0.5]))
        (tensor([1, 2]), tensor([1.5000, 2.0000, 3.0000]), tensor([0.5000]))
        >>> tensor([tensor(1), tensor(2)])
        tensor([1, 2])
    """
    value = values[0] if len(values) == 1 else values
    try:
        if isinstance(value, list | tuple) and any(isinstance(part, Tensor) for part in value):
            made = torch.stack([torch.as_tensor(part) for part in value])
        else:
            made = torch.as_tensor(value if isinstance(value, Tensor) else np.array(value))
    except (TypeError, ValueError):
        raise InputError(
            f"A tensor holds numbers, and lists in it are of one length; got {reprlib.repr(value)}."
        ) from None
    return made.float() if made.dtype == torch.float64 else made


def on_device(batch: Item, device: torch.device) -> Item:
    """Return a batch with every tensor in its (nested) tuples and lists on a device; what is no tensor stays.

    Args:
        batch: anything.
        device: where the tensors are to be.
    """
    if isinstance(batch, tuple | list):
        return type(batch)(on_device(part, device) for part in batch)
    return batch.to(device) if isinstance(batch, Tensor) else batch


def to_cpu(batch: Item) -> Item:
    """Return a batch with every tensor in its (nested) tuples and lists on the CPU; what is no tensor stays.

    Args:
        batch: a tensor, a batch such as `dls.one_batch()`, or anything else.

    Examples:
        >>> from foveal.vision.all import *
        >>> to_cpu((torch.ones(2), [torch.zeros(1), "cat.jpg"]))
        (tensor([1., 1.]), [tensor([0.]), 'cat.jpg'])
    """
    return on_device(batch, torch.device("cpu"))
