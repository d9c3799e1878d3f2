"""Batches: samples side by side, as plain tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foveal.data.samples import Sample
from foveal.geometry.homography import Homography
from foveal.image.prepare import Statistics, collate, normalise


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Several samples.

    Attributes:
        inputs: float32 [B, 3, h, w], normalised.
        targets: [B, ...].
        frames: from source pixels to the unit frame of the canvas, [B, 3, 3].
        indices: where in the dataset each came from.
    """

    inputs: Tensor
    targets: Tensor
    frames: Homography
    indices: Sequence[int]

    @classmethod
    def of(
        cls, samples: Sequence[Sample], indices: Sequence[int], statistics: Statistics, device: torch.device
    ) -> Batch:
        """Collate samples, move them to a device and normalise them there."""
        pixels = collate([sample.pixels for sample in samples]).to(device, non_blocking=True)
        targets = torch.stack([sample.target for sample in samples]).to(device, non_blocking=True)
        frames = Homography.stack([sample.frame for sample in samples])
        return cls(normalise(pixels, statistics), targets, frames, indices)

    def __len__(self) -> int:
        return len(self.indices)
