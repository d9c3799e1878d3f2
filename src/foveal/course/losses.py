"""The course's losses that foveal's own lack: label smoothing, L1, probabilities, focal loss, and a loss of your class.

Those of class scores take outputs [..., C] and class indices [...]; the others as many outputs as targets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.core.arguments import check_number
from foveal.core.errors import InputError
from foveal.losses import (
    CrossEntropyLossFlat,
    FlattenedLoss,
    FocalLossFlat,
    Reduction,
    Weights,
    reduced,
    same_shape,
)


def LabelSmoothingCrossEntropy(
    eps: float = 0.1, weight: Weights | None = None, reduction: Reduction = "mean", *, axis: int = -1
) -> FlattenedLoss:
    """Return the cross-entropy against targets of which a share is spread over all classes.

    The loss takes logits [..., C] and class indices [...] (Szegedy et al. 2016, "Rethinking the Inception Architecture
    for Computer Vision", arXiv 1512.00567).

    Args:
        eps: the share, 0 to 1.
        weight: of each class, [C], as torch's `CrossEntropyLoss` counts it.
        reduction: `mean`, `sum` or `none`.
        axis: the dimension of the classes.

    Examples:
        Who is certain and right pays a little all the same.

        >>> from foveal.vision.all import *
        >>> LabelSmoothingCrossEntropy(eps=0.1)(torch.tensor([[20.0, 0.0]]), torch.tensor([0]))
        tensor(1.)
    """
    check_number("eps", eps, at_least=0, at_most=1)
    return CrossEntropyLossFlat(weight, axis=axis, label_smoothing=eps, reduction=reduction)


def LabelSmoothingCrossEntropyFlat(
    eps: float = 0.1, *, axis: int = -1, weight: Weights | None = None, reduction: Reduction = "mean"
) -> FlattenedLoss:
    """Return `LabelSmoothingCrossEntropy`, which flattens as well.

    Args:
        eps: the share that is spread over all classes, 0 to 1.
        axis: the dimension of the classes.
        weight: of each class, [C].
        reduction: `mean`, `sum` or `none`.

    Examples:
        >>> from foveal.vision.all import *
        >>> logits, classes = torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.long)
        >>> LabelSmoothingCrossEntropyFlat()(logits, classes)
        tensor(1.3863)
    """
    return LabelSmoothingCrossEntropy(eps, weight, reduction, axis=axis)


def FocalLoss(gamma: float = 2.0, weight: Weights | None = None, reduction: Reduction = "mean") -> FlattenedLoss:
    """Return `FocalLossFlat` with the course's order of arguments.

    Args:
        gamma: 0 is plain cross-entropy.
        weight: of each class, [C].
        reduction: `mean`, `sum` or `none`.
    """
    return FocalLossFlat(gamma=gamma, weight=weight, reduction=reduction)


def L1LossFlat(*, axis: int = -1, reduction: Reduction = "mean") -> FlattenedLoss:
    """Return the mean absolute error of flattened outputs and targets, for a loss of numbers.

    Targets that are NaN are unknown and do not count.

    Args:
        axis: for the form's sake: all dimensions are flattened.
        reduction: `mean`, `sum` or `none`.

    Examples:
        >>> from foveal.vision.all import *
        >>> L1LossFlat()(torch.tensor([[1.0], [4.0]]), torch.tensor([2.0, 2.0]))
        tensor(1.5000)
    """
    return FlattenedLoss(partial(_absolute_error, reduction=reduction), "L1Loss", flat=True, axis=axis)


def _absolute_error(output: Tensor, target: Tensor, *, reduction: Reduction) -> Tensor:
    same_shape(output, target)
    known = ~target.isnan()
    return reduced((output - torch.where(known, target, output.detach())).abs(), known, reduction)


def BCELossFlat(
    weight: Weights | None = None, *, axis: int = -1, thresh: float | None = None, reduction: Reduction = "mean"
) -> FlattenedLoss:
    """Return the binary cross-entropy of flattened probabilities, of a model that ends in a sigmoid.

    Args:
        weight: of each class, [C].
        axis: the dimension of the classes.
        thresh: the probability from which a learner's answers contain a label; 0.5 by default.
        reduction: `mean`, `sum` or `none`.
    """
    function = partial(_cross_entropy_of_probabilities, weight=weight, reduction=reduction)
    return FlattenedLoss(function, "BCELoss", flat=True, per_class=weight is not None, axis=axis, thresh=thresh)


def _cross_entropy_of_probabilities(
    output: Tensor, target: Tensor, *, weight: Weights | None, reduction: Reduction
) -> Tensor:
    """Return the binary cross-entropy of probabilities.

    Raises:
        InputError: the shapes differ, or there is not one weight per class.
    """
    same_shape(output, target)
    known = ~target.isnan()
    weights = None if weight is None else torch.as_tensor(weight, dtype=output.dtype, device=output.device)
    if weights is not None and weights.shape != output.shape[-1:]:
        raise InputError(f"`weight` has one number per class, {output.shape[-1]}; got {list(weights.shape)}.")
    plain = torch.where(known, target, 0.0).to(output.dtype)
    return reduced(F.binary_cross_entropy(output, plain, reduction="none", weight=weights), known, reduction)


class BaseLoss:
    """A loss class of torch whose outputs and targets are flattened first.

    Attributes:
        func: the loss.
        axis: the dimension of the class scores.
        flatten: whether both are flattened; class scores to [n, C] with `is_2d`.
        floatify: whether targets become floats.
        is_2d: whether outputs are class scores.

    Examples:
        >>> from foveal.vision.all import *
        >>> loss = BaseLoss(nn.SmoothL1Loss, is_2d=False, floatify=True)
        >>> loss(torch.tensor([[1.5], [4.0]]), torch.tensor([1, 2]))
        tensor(0.8125)
    """

    def __init__(
        self,
        loss_cls: Callable[..., Any],
        *args: Any,
        axis: int = -1,
        flatten: bool = True,
        floatify: bool = False,
        is_2d: bool = True,
        **kwargs: Any,
    ) -> None:
        """Build the loss.

        Args:
            loss_cls: such as `nn.CrossEntropyLoss`.
            args: of the loss.
            axis: the dimension of the class scores.
            flatten: whether outputs and targets are flattened.
            floatify: whether targets become floats.
            is_2d: whether outputs are class scores.
            kwargs: of the loss.
        """
        self.func = loss_cls(*args, **kwargs)
        self.axis, self.flatten, self.floatify, self.is_2d = axis, flatten, floatify, is_2d

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {self.func}"

    @property
    def reduction(self) -> str:
        """How the losses of items become one: `mean`, `sum` or `none`; may be assigned."""
        return str(self.func.reduction)

    @reduction.setter
    def reduction(self, value: str) -> None:
        self.func.reduction = value

    def __call__(self, inp: Tensor, targ: Tensor, **kwargs: Any) -> Tensor:
        """Return the loss of a batch.

        Args:
            inp: outputs.
            targ: targets.
            kwargs: of the loss.
        """
        if isinstance(self.func, nn.Module):
            self.func.to(inp.device)
        if self.flatten:
            inp, targ = inp.movedim(self.axis, -1), targ.movedim(self.axis, -1) if targ.ndim == inp.ndim else targ
            inp = inp.reshape(-1, inp.shape[-1]) if self.is_2d else inp.reshape(-1)
            targ = targ.reshape(-1)
        result: Tensor = self.func(inp, targ.float() if self.floatify else targ, **kwargs)
        return result

    def activation(self, x: Tensor) -> Tensor:
        """Return outputs as they are; override it where they mean something else."""
        return x

    def decodes(self, x: Tensor) -> Tensor:
        """Return activated outputs as they are; override it to return answers."""
        return x


def DiceLoss(*_: Never, **__: Never) -> Never:
    """Refuse: foveal does not segment.

    Args:
        _: not used.
        __: not used.

    Raises:
        InputError: always.
    """
    raise InputError(
        "`DiceLoss` is for masks, and foveal has no segmentation. For several labels per image: FocalLossFlat() or "
        "asymmetric_loss."
    )
