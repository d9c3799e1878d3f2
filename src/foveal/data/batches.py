"""Batches: samples side by side, as plain tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveal.geometry.homography import Homography


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Several items side by side.

    Attributes:
        parts: what the book calls the tuple of a batch: inputs first, targets last.
        indices: where in the dataset each item came from.
        frames: for images, from source pixels to the unit frame of the canvas, [B, 3, 3].
    """

    parts: tuple[Any, ...]
    indices: Sequence[int]
    frames: Homography | None = None

    @property
    def inputs(self) -> Any:
        """What the model takes; of images float32 [B, 3, h, w], normalised."""
        return self.parts[0]

    @property
    def targets(self) -> Any:
        """Encoded labels [B, ...]."""
        return self.parts[-1]

    def __len__(self) -> int:
        return len(self.indices)


def collate(items: Sequence[Any]) -> Any:
    """Lay items side by side: numbers, arrays and tensors into one tensor, tuples part by part, others in a tuple."""
    first = items[0]
    if isinstance(first, tuple):
        return tuple(collate(part) for part in zip(*items, strict=True))
    if isinstance(first, Tensor):
        return torch.stack([item.as_subclass(Tensor) for item in items])
    if isinstance(first, np.ndarray | np.number | float | int | bool):
        return tensor(np.stack(items))
    return tuple(items)


def tensor(*values: Any) -> Tensor:
    """Make a tensor of a number, list, array, series or of several arguments; float64 becomes float32."""
    value = values[0] if len(values) == 1 else values
    if isinstance(value, list | tuple) and any(isinstance(one, Tensor) for one in value):
        made = torch.stack([torch.as_tensor(one) for one in value])
    else:
        made = torch.as_tensor(value if isinstance(value, Tensor) else np.array(value))
    return made.float() if made.dtype == torch.float64 else made


def to_cpu(batch: Any) -> Any:
    """Bring every tensor in a (nested) tuple or list to the CPU."""
    if isinstance(batch, tuple | list):
        return type(batch)(to_cpu(part) for part in batch)
    return batch.cpu() if isinstance(batch, Tensor) else batch
