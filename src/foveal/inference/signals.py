"""What is watched of each answer, so that a change in the images shows before anybody has labels for them.

Shapes: n images, S signals, F features.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of

DISTANCE = "feature distance"
"""How far the features of an image are from those of known images, see `foveal.inference.territory`."""
_CONFIDENCE = "confidence"


def signal_names(task: AnyTask) -> tuple[str, ...]:
    """Return what the columns of `signals_of` are."""
    kind = kind_of(task)
    if kind.has_classes:
        return (_CONFIDENCE,)
    if not kind.has_points:
        return tuple(f"number {name}" for name in task.names) if kind.label_form == "numbers" else ()
    return ("x", "y") if kind.confidence is None else ("x", "y", "spread")


def signals_of(task: AnyTask, values: Tensor, spread: Tensor | None = None) -> Tensor:
    """Return numbers about answers, float32 [n, S].

    Of classes it is the confidence: the largest probability, or with several labels the mean over the classes of how
    far from undecided it is, max(p, 1 - p). Of numbers it is the numbers. Of points it is the mean of their places in
    [-1, 1] on the input, and of their spread.

    Args:
        task: of the answers.
        values: activated outputs [n, ...].
        spread: of points, [n, N], as shares of the image's diagonal.
    """
    kind = kind_of(task)
    if kind.has_classes:
        sure = torch.maximum(values, 1 - values).mean(dim=1) if kind.has_thresholds else values.amax(dim=1)
        return sure[:, None].float()
    if not kind.has_points:
        return values.flatten(1)[:, : len(signal_names(task))].float()
    means = [values.mean(dim=1)] if spread is None else [values.mean(dim=1), spread.mean(dim=1, keepdim=True)]
    return torch.cat([one.float() for one in means], dim=1)


def labels_of(task: AnyTask, decoded: Tensor) -> list[str]:
    """Return the classes of an answer; none of points and numbers.

    Args:
        task: of the answer.
        decoded: the answer as an encoded target, [...].
    """
    kind = kind_of(task)
    if not kind.has_classes:
        return []
    if kind.has_thresholds:
        return [name for name, there in zip(task.names, decoded.tolist(), strict=True) if there]
    return [task.names[int(decoded)]]


@contextmanager
def noting_features(model: nn.Module | None) -> Iterator[list[Tensor]]:
    """Yield a list that takes what goes into the last layer with weights, [n, F] per batch, of calls by this thread.

    Of a map it is the mean.

    Args:
        model: whose last linear layer or convolution it is; the list stays empty where it has none, or without a model.
    """
    found: list[Tensor] = []
    mine = threading.get_ident()

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if threading.get_ident() == mine:
            (one,) = inputs
            found.append((one.flatten(2).mean(dim=2) if one.ndim == 4 else one).detach().cpu())

    layers = [] if model is None else _layers_with_weights(model)
    handle = layers[-1].register_forward_pre_hook(note) if layers else None
    try:
        yield found
    finally:
        if handle is not None:
            handle.remove()


def count_features(model: nn.Module) -> int:
    """Return F of a model; 0 where it has no layer with weights."""
    layers = _layers_with_weights(model)
    if not layers:
        return 0
    last = layers[-1]
    return last.in_features if isinstance(last, nn.Linear) else last.in_channels


def _layers_with_weights(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
