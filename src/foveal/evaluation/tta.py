"""Test-time augmentation: images answered plainly and under random moves, and the answers averaged.

Points are moved back into the source image before they are averaged, so that a mirrored or turned copy counts for
what it says of the image and not for where it lies on the canvas.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from foveal.core import runtime
from foveal.core.errors import InputError
from foveal.data.batches import Batch
from foveal.data.loaders import DataLoader
from foveal.geometry.homography import Homography
from foveal.tasks.base import Task


@torch.no_grad()
def augmented_predictions(
    model: nn.Module,
    loader: DataLoader,
    task: Task[object],
    *,
    n: int,
    beta: float,
    precision: runtime.Precision,
) -> tuple[Tensor, Tensor]:
    """Return activated predictions [N, ...] and targets of a loader's items, in data order, on the CPU.

    Args:
        model: returns raw outputs.
        loader: of images, with the transforms of training.
        task: activates and decodes.
        n: how many copies under random moves.
        beta: the weight of the plain image; the copies share the rest.
        precision: of the forward pass.
    """
    groups = loader.in_order().groups(0)
    with runtime.evaluating(model):
        plain = list(_passed(model, loader.batcher.batches(groups, None), precision))
        preds = torch.cat([task.activate(output) for output, _ in plain])
        frames = [_frames(batch) for _, batch in plain]
        copies = torch.zeros_like(preds)
        for number in range(n):
            found = _passed(model, loader.batcher.batches(groups, (loader.seed, number)), precision)
            answers = [_back(task, one, _frames(batch), to) for (one, batch), to in zip(found, frames, strict=True)]
            copies += torch.cat(answers) / n
    targets = torch.cat([batch.targets.cpu() for _, batch in plain])
    return beta * preds + (1 - beta) * copies if n else preds, targets


def _passed(model: nn.Module, batches: Iterator[Batch], precision: runtime.Precision) -> Iterator[tuple[Tensor, Batch]]:
    for batch in batches:
        with runtime.autocast(precision, batch.inputs.device):
            output = model(batch.inputs)
        yield output.float().cpu(), batch


def _frames(batch: Batch) -> Homography:
    if batch.frames is None:
        raise InputError("Test-time augmentation is for images.")
    return batch.frames


def _back(task: Task[object], output: Tensor, frames: Homography, to: Homography) -> Tensor:
    """Return predictions of moved images as they would stand on the plain canvas."""
    preds = task.activate(output)
    if preds.ndim < 3:  # only points, [B, N, 2], lie somewhere
        return preds
    in_source = torch.stack([task.encode(label) for label in task.decode(preds, frames.inverse)])
    moved = [task.move(points, frame) for points, frame in zip(in_source, _each(to), strict=True)]
    return torch.stack(moved)


def _each(frames: Homography) -> Iterator[Homography]:
    return (Homography(matrix) for matrix in frames.matrix)
