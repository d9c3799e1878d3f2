"""Pixel operations of the user's: functions of a batch, float32 [B, 3, h, w] from 0 to 1, that return another.

They come after everything that foveal draws and before normalisation, in training only. Their random draws are
seeded from the batch, so that a run can be repeated; torch's own random state is left as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.core.rng import generator_for
from foveal.data.samples import PixelOperation

_TRIALS = 64
_CANVAS_HW = (48, 64)
_CENTRE_XY = (42.0, 17.0)
_TOLERANCE = 0.25
_SEEN, _FAINT = 0.02, 1e-3


def apply_pixel_ops(pixels: Tensor, operations: Sequence[PixelOperation], rng: np.random.Generator) -> Tensor:
    """Return a batch, uint8 [B, h, w, 3], after all operations.

    Raises:
        InputError: one returns something else than it was given.
    """
    devices = [pixels.device] if pixels.device.type == "cuda" else []
    values = pixels.permute(0, 3, 1, 2).float() / 255
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(rng.integers(2**63)))
        for operation in operations:
            values = _checked(operation, values)
    return (values * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def refuse_moving(operations: Sequence[PixelOperation]) -> None:
    """Refuse operations that move pixels, for a task whose targets would have to move along.

    Each is tried on images with and without a spot, with the same random draws: what makes the difference between
    the two must stay where it is.

    Raises:
        InputError: one moves pixels.
    """
    height, width = _CANVAS_HW
    y = torch.arange(height)[:, None] + 0.5
    x = torch.arange(width)[None, :] + 0.5
    spot = torch.exp(-((x - _CENTRE_XY[0]) ** 2 + (y - _CENTRE_XY[1]) ** 2) / 8)
    plain = torch.full((1, 3, height, width), 0.3)
    for operation in operations:
        for trial in range(_TRIALS):
            shown = [_drawn(operation, image, trial) for image in (plain, plain + 0.5 * spot)]
            change = (shown[1] - shown[0]).abs().sum(dim=(0, 1))
            if change.sum() < _SEEN * spot.sum():
                continue  # erased, or made one colour
            left = spot * (change > _FAINT * change.max())  # a part may be erased
            if (_centroid(change, x, y) - _centroid(left, x, y)).abs().max() > _TOLERANCE:
                raise InputError(
                    f"{operation!r} moves pixels, and points would stay behind. Use foveal's own moves (Flip, Rotate, "
                    "Zoom, Shift, Warp), or a function of (size_hw, generator) that returns a Homography."
                )


def _centroid(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([(values * x).sum(), (values * y).sum()]) / values.sum()


def _drawn(operation: PixelOperation, image: Tensor, trial: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator_for(trial).integers(2**63)))
        return _checked(operation, image.clone())


def _checked(operation: PixelOperation, values: Tensor) -> Tensor:
    result: object = operation(values)
    if not isinstance(result, Tensor) or result.shape != values.shape:
        came = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise InputError(
            f"A pixel operation returns a batch of the shape that it was given, {list(values.shape)}; {operation!r} "
            f"returned {came}."
        )
    return result
