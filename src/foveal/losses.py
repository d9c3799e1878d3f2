"""Losses as plain functions of (output, target), each with `reduction="mean" | "sum" | "none"`.

A target that is NaN (or, for class indices, `IGNORED`) is unknown: it adds nothing to the loss and is not counted.
Shapes: outputs and targets agree but for class indices, which are int64 [B] beside outputs [B, C].
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from foveal.errors import InputError, UnknownNameError

Reduction = Literal["mean", "sum", "none"]
IGNORED = -100
"""The class index of an unknown label."""


def binary_cross_entropy(
    output: Tensor, target: Tensor, *, reduction: Reduction = "mean", pos_weight: Tensor | None = None
) -> Tensor:
    """Return the binary cross-entropy of logits [B, C] against targets in [0, 1]."""
    known = ~target.isnan()
    losses = F.binary_cross_entropy_with_logits(
        output, torch.where(known, target, 0.0), reduction="none", pos_weight=pos_weight
    )
    return _reduce(losses, known, reduction)


def cross_entropy(
    output: Tensor, target: Tensor, *, reduction: Reduction = "mean", label_smoothing: float = 0.0
) -> Tensor:
    """Return the cross-entropy of logits [B, C] against class indices [B] or class probabilities [B, C]."""
    losses = F.cross_entropy(output, target, reduction="none", label_smoothing=label_smoothing, ignore_index=IGNORED)
    known = target != IGNORED if target.ndim == 1 else torch.ones_like(losses, dtype=torch.bool)
    return _reduce(losses, known, reduction)


def mean_squared_error(output: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Return the squared error of outputs against numbers of the same shape."""
    same_shape(output, target)
    known = ~target.isnan()
    return _reduce((output - torch.where(known, target, output.detach())) ** 2, known, reduction)


def same_shape(output: Tensor, target: Tensor) -> None:
    """Refuse what would broadcast into a wrong loss without a word.

    Raises:
        InputError: the shapes differ.
    """
    if output.shape != target.shape:
        raise InputError(
            f"Outputs and targets must have one shape, got {list(output.shape)} and {list(target.shape)}. "
            "Reshape one of them, for instance `target.view_as(output)`."
        )


def _reduce(losses: Tensor, known: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return losses * known
    if reduction == "sum":
        return (losses * known).sum()
    if reduction == "mean":
        return (losses * known).sum() / known.sum().clamp(min=1)
    raise UnknownNameError.of("reduction", reduction, ("mean", "sum", "none"))
