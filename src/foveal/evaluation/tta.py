"""Test-time augmentation: images answered plainly and under random moves, and the answers averaged.

Points are moved back into the source image before they are averaged, so that a mirrored or turned copy counts for
what it says about the image and not for where it lies in the model's input.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from foveal.core import runtime
from foveal.core.errors import InputError
from foveal.data.batches import Batch
from foveal.data.loader import DataLoader
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
        plain = list(_forward(model, loader.batcher.batches(groups, None), precision))
        plain_preds = torch.cat([task.activate(output) for output, _ in plain])
        mean_preds = torch.zeros_like(plain_preds)
        for number in range(n):
            copies = _forward(model, loader.batcher.batches(groups, (loader.seed, number)), precision)
            preds = [
                _undo_moves(task, output, moved_batch, plain_batch)
                for (output, moved_batch), (_, plain_batch) in zip(copies, plain, strict=True)
            ]
            mean_preds += torch.cat(preds) / n
    targets = torch.cat([batch.targets.cpu() for _, batch in plain])
    return beta * plain_preds + (1 - beta) * mean_preds if n else plain_preds, targets


def _forward(
    model: nn.Module, batches: Iterator[Batch], precision: runtime.Precision
) -> Iterator[tuple[Tensor, Batch]]:
    """Yield the raw outputs of each batch, float32 on the CPU, and the batch."""
    for batch in batches:
        with runtime.autocast(precision, batch.inputs.device):
            output = model(batch.inputs)
        yield output.float().cpu(), batch


def _source_to_target(batch: Batch) -> Homography:
    if batch.source_to_target is None:
        raise InputError("Test-time augmentation is for images.")
    return batch.source_to_target


def _undo_moves(task: Task[object], output: Tensor, moved: Batch, plain: Batch) -> Tensor:
    """Return predictions for moved images as they would stand on the plain image."""
    preds = task.activate(output)
    if preds.ndim < 3:  # only points, [B, N, 2], lie somewhere
        return preds
    labels = task.decode(preds, _source_to_target(moved).inverse)
    in_source = torch.stack([task.encode(label) for label in labels])
    to_plain = _source_to_target(plain)
    return torch.stack([task.move(points, to_plain[index]) for index, points in enumerate(in_source)])
