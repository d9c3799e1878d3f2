"""Batches: samples side by side, as plain tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

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
    """Lay items side by side: numbers, arrays and tensors in one tensor, tuples slot by slot, others in a tuple."""
    first = items[0]
    if isinstance(first, tuple):
        return tuple(collate(slot) for slot in zip(*items, strict=True))
    if isinstance(first, Tensor):
        return torch.stack([item.as_subclass(Tensor) for item in items])
    if isinstance(first, np.ndarray | np.number | float | int | bool):
        return tensor(np.stack(items))
    return tuple(items)


def tensor(*values: ArrayLike | Tensor | Sequence[Tensor]) -> Tensor:
    """Make a tensor of a number, list, array, series or of several arguments; float64 becomes float32."""
    value = values[0] if len(values) == 1 else values
    if isinstance(value, list | tuple) and any(isinstance(part, Tensor) for part in value):
        made = torch.stack([torch.as_tensor(part) for part in value])
    else:
        made = torch.as_tensor(value if isinstance(value, Tensor) else np.array(value))
    return made.float() if made.dtype == torch.float64 else made


def on_device(batch: Item, device: torch.device) -> Item:
    """Bring every tensor in a (nested) tuple or list to a device.

    Args:
        batch: anything.
        device: where to.
    """
    if isinstance(batch, tuple | list):
        return type(batch)(on_device(part, device) for part in batch)
    return batch.to(device) if isinstance(batch, Tensor) else batch


def to_cpu(batch: Item) -> Item:
    """Bring every tensor in a (nested) tuple or list to the CPU."""
    return on_device(batch, torch.device("cpu"))
