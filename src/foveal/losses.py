"""Losses as plain functions of (output, target), each with `reduction="mean" | "sum" | "none"`.

A target that is NaN (or, for class indices, `IGNORED`) is unknown: it adds nothing to the loss and is not counted.
Shapes: outputs and targets agree but for class indices, which are int64 [B] beside outputs [B, C].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.errors import FovealError, InputError, UnknownNameError

Reduction = Literal["mean", "sum", "none"]
Loss = Callable[[Tensor, Tensor], Tensor]
IGNORED = -100
"""The class index of an unknown label."""


@dataclass(frozen=True, slots=True, repr=False)
class FlattenedLoss:
    """A loss that takes outputs and targets of one number of elements, whatever their shapes.

    Attributes:
        function: of (output, target).
        name: what torch calls the loss.
        flat: flatten both first, class scores to [n, C].
    """

    function: Loss
    name: str
    flat: bool = False

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        if self.flat:
            output = output.reshape(-1, output.shape[-1]) if self.name == "CrossEntropyLoss" else output.reshape(-1)
            target = target.reshape(-1)
        return self.function(output, target)

    def __repr__(self) -> str:
        return f"FlattenedLoss of {self.name}()"


def MSELossFlat() -> FlattenedLoss:
    """Return the mean squared error of flattened outputs and targets."""
    return FlattenedLoss(mean_squared_error, "MSELoss", flat=True)


def BCEWithLogitsLossFlat() -> FlattenedLoss:
    """Return the binary cross-entropy of flattened logits and targets."""
    return FlattenedLoss(binary_cross_entropy, "BCEWithLogitsLoss", flat=True)


def CrossEntropyLossFlat() -> FlattenedLoss:
    """Return the cross-entropy of logits [..., C] and flattened class indices."""
    return FlattenedLoss(cross_entropy, "CrossEntropyLoss", flat=True)


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
            "Reshape one of them, for instance `target.view_as(output)`, or use the loss that flattens both "
            "(`MSELossFlat()`, `BCEWithLogitsLossFlat()`)."
        )


_ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss)
_ELEMENTWISE_FUNCTIONS = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss)
_ONE_LABEL = (nn.CrossEntropyLoss, nn.NLLLoss)


def guarded(loss: Loss, *, several_labels: bool) -> Loss:
    """Return a loss of the user's that refuses what would be wrong without a word, or fail far from its cause.

    Args:
        loss: of (raw outputs, targets).
        several_labels: whether targets mark any number of classes.

    Raises:
        InputError: the loss is not made for such targets.
    """
    if several_labels and (isinstance(loss, _ONE_LABEL) or loss in {F.cross_entropy, F.nll_loss}):
        raise InputError(
            "Cross-entropy is for one label a picture: targets with several labels are 0 or 1 for each class. "
            "Use `nn.BCEWithLogitsLoss()`, or leave `loss_func` out."
        )
    elementwise = isinstance(loss, _ELEMENTWISE) or loss in _ELEMENTWISE_FUNCTIONS

    def checked(output: Tensor, target: Tensor) -> Tensor:
        if elementwise:
            same_shape(output, target)
        if isinstance(loss, nn.BCELoss) and not bool(((output >= 0) & (output <= 1)).all()):
            raise InputError(
                f"`BCELoss` takes probabilities from 0 to 1, and the model's raw outputs reach from {output.min():.3g} "
                f"to {output.max():.3g}. Use `nn.BCEWithLogitsLoss()`, which takes them as they are."
            )
        try:
            result: object = loss(output, target)
        except (ValueError, IndexError, TypeError, RuntimeError) as error:
            if isinstance(error, FovealError | torch.OutOfMemoryError):
                raise
            raise InputError(
                f"The loss {loss!r} failed on outputs {_form(output)} and targets {_form(target)}: {error}"
            ) from error
        if not isinstance(result, Tensor) or result.ndim:
            came = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise InputError(f"A loss is one number for a batch (reduction='mean'); {loss!r} returned {came}.")
        return result

    return checked


def _form(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _reduce(losses: Tensor, known: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return losses * known
    if reduction == "sum":
        return (losses * known).sum()
    if reduction == "mean":
        return (losses * known).sum() / known.sum().clamp(min=1)
    raise UnknownNameError.of("reduction", reduction, ("mean", "sum", "none"))
