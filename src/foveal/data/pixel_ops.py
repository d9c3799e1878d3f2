"""Pixel operations: the user's functions of a batch, float32 [B, C, h, w] from 0 to 1, that return another.

They run after all of foveal's own transforms and before normalisation, in training only. Their random draws are seeded
from the batch, so that a run can be repeated; torch's own random state is left as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.core.rng import generator_for
from foveal.data.samples import PixelFunction
from foveal.images.changes import ImageChange, open_changed
from foveal.images.channels import RGB

# The trial images of `refuse_moving`; all of these were chosen by hand.
_TRIALS = 64
"""Random draws of each operation: one that moves pixels in one of 20 images escapes once in 27 operations."""
_TRIAL_SIZE_HW = (48, 64)
"""(height, width) in pixels; not square, so that a transposed image shows."""
_SPOT_XY = (42.0, 17.0)
"""The centre of the spot in pixels; off the middle of both sides, so that a flip moves it."""
_TOLERANCE = 0.25
"""How far the centre of the spot may wander, in pixels."""
_MIN_VISIBLE = 0.02
"""The share of the spot's brightness below which it was erased, and says nothing."""
_FAINT = 1e-3
"""The share of the largest change below which a pixel counts as unchanged."""


@dataclass(frozen=True)
class OfBatch:
    """A user's change of single images, as a function of a batch.

    Attributes:
        change: of an image of Pillow's.
    """

    change: ImageChange

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the changed batch, float32 [B, C, h, w] from 0 to 1."""
        pixels = (batch * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        changed = [open_changed(image, image.shape[2], [self.change]).decode().pixels for image in pixels]
        return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).float() / 255

    def __repr__(self) -> str:
        return repr(self.change)


def apply_pixel_ops(pixels: Tensor, operations: Sequence[PixelFunction], rng: np.random.Generator) -> Tensor:
    """Return a batch after all operations, uint8 [B, h, w, C].

    Args:
        pixels: uint8 [B, h, w, C].
        operations: functions of float32 [B, C, h, w] from 0 to 1.
        rng: seeds torch's random numbers for the operations.

    Raises:
        InputError: an operation returns something else than a batch of the same shape.
    """
    devices = [pixels.device] if pixels.device.type == "cuda" else []
    values = pixels.permute(0, 3, 1, 2).float() / 255
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(rng.integers(2**63)))
        for operation in operations:
            values = _apply(operation, values)
    return (values * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def refuse_moving(operations: Sequence[PixelFunction], n_channels: int = RGB) -> None:
    """Refuse operations that move pixels, for a task whose targets would have to move along.

    Each is tried on images with and without a spot, with the same random draws: the difference between the two must
    stay where the spot is.

    Args:
        operations: functions of a batch.
        n_channels: of the batch.

    Raises:
        InputError: one moves pixels.
    """
    height, width = _TRIAL_SIZE_HW
    y = torch.arange(height)[:, None] + 0.5
    x = torch.arange(width)[None, :] + 0.5
    spot = torch.exp(-((x - _SPOT_XY[0]) ** 2 + (y - _SPOT_XY[1]) ** 2) / 8)
    plain = torch.full((1, n_channels, height, width), 0.3)
    for operation in operations:
        for trial in range(_TRIALS):
            without, with_spot = (_apply_seeded(operation, image, trial) for image in (plain, plain + 0.5 * spot))
            change = (with_spot - without).abs().sum(dim=(0, 1))
            if change.sum() < _MIN_VISIBLE * spot.sum():
                continue  # erased, or made one colour
            visible_spot = spot * (change > _FAINT * change.max())  # some of it may be erased
            if (_centroid(change, x, y) - _centroid(visible_spot, x, y)).abs().max() > _TOLERANCE:
                raise InputError(
                    f"{operation!r} moves pixels, and points would stay behind. Use foveal's own moves (Flip, Rotate, "
                    "Zoom, Shift, Warp), or a function of (size_hw, generator) that returns a Homography."
                )


def _centroid(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([(values * x).sum(), (values * y).sum()]) / values.sum()


def _apply_seeded(operation: PixelFunction, image: Tensor, trial: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator_for(trial).integers(2**63)))
        return _apply(operation, image.clone())


def _apply(operation: PixelFunction, values: Tensor) -> Tensor:
    result: object = operation(values)
    if not isinstance(result, Tensor) or result.shape != values.shape:
        received = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise InputError(
            f"A pixel operation must return a batch of the same shape, {list(values.shape)}; {operation!r} returned "
            f"{received}."
        )
    return result
