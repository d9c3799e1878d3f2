"""The guard around a loss: what would be wrong silently, or fail far from its cause, ends in a message that helps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.core.errors import FovealError, InputError
from foveal.losses import FlattenedLoss, Loss, Weights, cross_entropy, n_known, same_shape, target_weight
from foveal.tasks.base import OutputForm

_ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss)
_ELEMENTWISE_FUNCTIONS = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss)
_ONE_LABEL = (nn.CrossEntropyLoss, nn.NLLLoss)


@dataclass(frozen=True, slots=True)
class CheckedLoss:
    """A user's loss, with messages where it would be wrong silently or fail far from the cause.

    Attributes:
        loss: of (raw outputs, targets).
    """

    loss: Loss

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            output: raw outputs [B, ...].
            target: encoded labels [B, ...].

        Raises:
            InputError: the loss does not suit them, or is not one number.
            ValueError: an error of foveal's that the loss raised, passed on as it is.
            IndexError: likewise.
            TypeError: likewise.
            RuntimeError: likewise, or torch's where the device's memory is full.
        """
        loss = self.loss
        if isinstance(loss, _ELEMENTWISE) or loss in _ELEMENTWISE_FUNCTIONS:
            same_shape(output, target)
        if _takes_probabilities(loss) and not bool(((output >= 0) & (output <= 1)).all()):
            raise InputError(
                f"`BCELoss` takes probabilities from 0 to 1, and the model's raw outputs reach from {output.min():.3g} "
                f"to {output.max():.3g}. Use `nn.BCEWithLogitsLoss()`, which takes them as they are."
            )
        if isinstance(loss, nn.Module):
            loss.to(output.device)  # its weights: batches lie on the accelerator, all outputs of a pass on the CPU
        try:
            result: object = loss(output, target)
        except (ValueError, IndexError, TypeError, RuntimeError) as error:
            if isinstance(error, FovealError | torch.OutOfMemoryError):
                raise
            raise InputError(
                f"The loss {loss!r} failed on outputs {_form(output)} and targets {_form(target)}: {error}"
            ) from error
        if not isinstance(result, Tensor) or result.ndim:
            got = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise InputError(f"A loss is one number for a batch (reduction='mean'); {loss!r} returned {got}.")
        return result

    def count(self, target: Tensor) -> Tensor:
        """Return by how much targets count in a mean loss: entries that are known, or the sum of their weights."""
        weights = class_weights(self.loss)
        return n_known(target) if weights is None or target.ndim != 1 else target_weight(target, weights)

    @property
    def fingerprint(self) -> dict[str, object]:
        """The weights per class, by name as a checkpoint has them; empty without."""
        weights = weights_per_class(self.loss)
        return {"class weights": list(weights)} if weights else {}

    @property
    def of_item(self) -> CheckedLoss:
        """The same loss for one item at a time, times the weight of its class, which a mean over one would cancel."""
        weights = class_weights(self.loss)
        return self if weights is None else CheckedLoss(partial(_weighted_item, self.loss, weights))


def checked_loss(loss: Loss, *, several_labels: bool) -> CheckedLoss:
    """Return a user's loss with messages where it would be wrong silently, or fail far from the cause.

    Args:
        loss: of (raw outputs, targets).
        several_labels: whether targets mark any number of classes.

    Raises:
        InputError: the loss is not made for such targets.
    """
    flattened = isinstance(loss, FlattenedLoss) and loss.name == "CrossEntropyLoss"
    if several_labels and (flattened or isinstance(loss, _ONE_LABEL) or loss in {F.cross_entropy, F.nll_loss}):
        raise InputError(
            "Cross-entropy is for one label per image: targets with several labels are 0 or 1 for each class. "
            "Use `nn.BCEWithLogitsLoss()`, or leave `loss_func` out."
        )
    return CheckedLoss(loss)


def output_form(loss: Loss, *, are_logits: bool) -> OutputForm:
    """Return what a model for classes returns, which its loss tells: that of probabilities activates nothing.

    Args:
        loss: trains the model.
        are_logits: what to take of a loss that nothing is known of: logits, or outputs as they are.
    """
    function = loss.func if isinstance(loss, partial) else loss
    if _takes_probabilities(function) or function is F.binary_cross_entropy:
        return "probabilities"
    if isinstance(function, nn.NLLLoss) or function is F.nll_loss:
        return "log-probabilities"
    known = str(getattr(function, "__module__", "")).startswith(("torch.", "foveal.")) or hasattr(
        function, "activation"
    )
    return "logits" if known or are_logits else "probabilities"


def _takes_probabilities(loss: object) -> bool:
    return isinstance(loss, nn.BCELoss) or (isinstance(loss, FlattenedLoss) and loss.name == "BCELoss")


def class_weights(loss: Loss) -> Tensor | None:
    """Return the weights [C] of a cross-entropy, torch's or one of these; None for other losses and without weights."""
    function = loss.function if isinstance(loss, FlattenedLoss) else loss
    if isinstance(function, partial):
        weighted = function.func in {cross_entropy, F.cross_entropy, F.nll_loss}
        given: Weights | None = function.keywords.get("weight") if weighted else None
        return None if given is None else torch.as_tensor(given)
    return function.weight if isinstance(function, _ONE_LABEL) else None


def weights_per_class(loss: object) -> tuple[float, ...]:
    """Return the weights per class, [C], that a loss was made with; of no known loss, and without weights, none."""
    function = loss.function if isinstance(loss, FlattenedLoss) else loss
    known = function.keywords if isinstance(function, partial) else vars(function) if callable(function) else {}
    if isinstance(function, nn.Module):
        known = dict(function.named_buffers())
    given = [known.get(name) for name in ("weight", "pos_weight")]
    weights = next((torch.as_tensor(one).double() for one in given if one is not None), torch.empty(0))
    return tuple(weights.tolist()) if weights.ndim == 1 else ()


def _weighted_item(loss: Loss, weights: Tensor, output: Tensor, target: Tensor) -> Tensor:
    """Return the loss of one item [1, ...] times the weight of its class."""
    value = loss(output, target)
    return value * target_weight(target.reshape(-1), weights).to(value) / max(1, target.numel())


def _form(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
