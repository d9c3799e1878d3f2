"""Losses as plain functions of (output, target), each with `reduction="mean" | "sum" | "none"`.

A target that is NaN (or, for class indices, `IGNORED`) is unknown: it adds nothing to the loss and is not counted.
Shapes: outputs and targets agree but for class indices, which are int64 [B] beside outputs [B, C].
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from foveal.core.arguments import check_number, check_probability
from foveal.core.errors import InputError, UnknownNameError

Reduction = Literal["mean", "sum", "none"]
Loss = Callable[[Tensor, Tensor], Tensor]
Weights = Tensor | Sequence[float]
"""One number per class."""
_TINY = 1e-7  # keeps logarithms and the gradient of a root finite; about the resolution of float32 at 1
IGNORED = -100
"""The class index of an unknown label."""


@dataclass(frozen=True, slots=True, repr=False)
class FlattenedLoss:
    """A loss that takes outputs and targets of one number of elements, whatever their shapes.

    Attributes:
        function: of (output, target).
        name: what torch calls the loss.
        flat: flatten both first, class scores to [n, C].
        per_class: keep the last dimension of both, for weights per class.
        axis: the dimension of the classes.
        thresh: the probability from which several labels are answered; the task's by default.
    """

    function: Loss
    name: str
    flat: bool = False
    per_class: bool = False
    axis: int = -1
    thresh: float | None = None

    def __post_init__(self) -> None:
        options = self.function.keywords if isinstance(self.function, partial) else {}
        check_options(**options)
        for name in {"weight", "pos_weight"} & options.keys():
            _check_weights(name, options[name])
        if self.thresh is not None:
            check_probability("thresh", self.thresh)

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            output: raw outputs [..., C].
            target: of as many elements; class indices [...] for cross-entropy.

        Raises:
            InputError: there are not as many targets as outputs.
        """
        if self.flat:
            of_classes = self.name in OF_CLASSES
            of_indices = of_classes and not target.is_floating_point()
            n_expected = output.numel() // (output.shape[self.axis] if of_indices else 1)
            if target.numel() != n_expected:
                wanted = "a class index for each row" if of_indices else "one shape, or as many numbers"
                raise InputError(
                    f"{self.name} takes outputs and targets with {wanted}; got {list(output.shape)} and "
                    f"{list(target.shape)}. Does the model return what the targets are made for?"
                )
            if target.ndim == output.ndim:
                target = target.movedim(self.axis, -1)
            output = output.movedim(self.axis, -1)
            rows = self.per_class or of_classes
            output = output.reshape(-1, output.shape[-1]) if rows else output.reshape(-1)
            target = target.reshape(-1, target.shape[-1]) if rows and not of_indices else target.reshape(-1)
        return self.function(output, target)

    def __repr__(self) -> str:
        return f"FlattenedLoss of {self.name}()"

    def activation(self, output: Tensor) -> Tensor:
        """Return what outputs mean under this loss: softmax over the classes, sigmoid, or the numbers themselves."""
        if self.name in {"CrossEntropyLoss", "FocalLoss"}:
            return output.softmax(dim=self.axis)
        return output.sigmoid() if self.name == "BCEWithLogitsLoss" else output

    def decodes(self, output: Tensor) -> Tensor:
        """Return answers for activated outputs: the best class, whether each is over `thresh`, or the numbers."""
        if self.name in OF_CLASSES:
            return output.argmax(dim=self.axis)
        if self.name in {"BCEWithLogitsLoss", "BCELoss"}:
            return output > (0.5 if self.thresh is None else self.thresh)
        return output


OF_CLASSES = {"CrossEntropyLoss", "FocalLoss"}
"""Losses of class scores [..., C], with class indices [...] or a number per class [..., C] as targets."""


def MSELossFlat(*, axis: int = -1, reduction: Reduction = "mean") -> FlattenedLoss:
    """Return the mean squared error of flattened outputs and targets, for a loss of numbers or points.

    Targets that are NaN are unknown and do not count.

    Args:
        axis: for the form's sake: all dimensions are flattened.
        reduction: `mean`, `sum` or `none`.

    Examples:
        >>> from foveal.vision.all import *
        >>> MSELossFlat()(torch.tensor([[1.0], [4.0], [0.0]]), torch.tensor([2.0, 2.0, torch.nan]))
        tensor(2.5000)
    """
    return FlattenedLoss(partial(mean_squared_error, reduction=reduction), "MSELoss", flat=True, axis=axis)


def BCEWithLogitsLossFlat(
    weight: Weights | None = None,
    *,
    axis: int = -1,
    thresh: float | None = None,
    pos_weight: Weights | None = None,
    reduction: Reduction = "mean",
) -> FlattenedLoss:
    """Return the binary cross-entropy of flattened logits and targets, for several labels per image.

    It is torch's `BCEWithLogitsLoss`, but that targets that are NaN are unknown and do not count.

    Args:
        weight: of each class in the loss, [C].
        axis: the dimension of the classes.
        thresh: the probability from which a learner's answers contain a label, unless thresholds are tuned; 0.5 by
            default.
        pos_weight: of each class where it is present, [C]; absent ones count 1.
        reduction: `mean`, `sum` or `none`.

    Examples:
        >>> from foveal.vision.all import *
        >>> loss = BCEWithLogitsLossFlat(thresh=0.2)
        >>> logits = torch.tensor([[0.0, -1.0]])
        >>> loss(logits, torch.tensor([[1.0, torch.nan]])), loss.decodes(loss.activation(logits))
        (tensor(0.6931), tensor([[True, True]]))
    """
    function = partial(binary_cross_entropy, weight=weight, pos_weight=pos_weight, reduction=reduction)
    per_class = weight is not None or pos_weight is not None
    return FlattenedLoss(function, "BCEWithLogitsLoss", flat=True, per_class=per_class, axis=axis, thresh=thresh)


def CrossEntropyLossFlat(
    weight: Weights | None = None, *, axis: int = -1, label_smoothing: float = 0.0, reduction: Reduction = "mean"
) -> FlattenedLoss:
    """Return the cross-entropy of logits [..., C] and flattened class indices, for one label per image.

    It is torch's `CrossEntropyLoss`. Class indices that are -100 are unknown and do not count.

    Args:
        weight: of each class, [C]; the mean is divided by the sum of the targets' weights.
        axis: the dimension of the classes.
        label_smoothing: share of each target that is spread over all classes, 0 to 1.
        reduction: `mean`, `sum` or `none`.

    Examples:
        >>> from foveal.vision.all import *
        >>> loss = CrossEntropyLossFlat()
        >>> logits = torch.tensor([[0.0, 0.0], [3.0, 3.0]])
        >>> loss(logits, torch.tensor([0, 1])), loss.activation(logits)
        (tensor(0.6931), tensor([[0.5000, 0.5000], [0.5000, 0.5000]]))
    """
    function = partial(cross_entropy, weight=weight, label_smoothing=label_smoothing, reduction=reduction)
    return FlattenedLoss(function, "CrossEntropyLoss", flat=True, axis=axis)


def HuberLossFlat(*, delta: float = 1.0) -> FlattenedLoss:
    """Return `huber_loss` of flattened outputs and targets."""
    return FlattenedLoss(partial(huber_loss, delta=delta), "HuberLoss", flat=True)


def WingLossFlat(*, width: float = 0.1, curvature: float = 0.02) -> FlattenedLoss:
    """Return `wing_loss` of flattened outputs and targets.

    Args:
        width: see `wing_loss`.
        curvature: see `wing_loss`.
    """
    return FlattenedLoss(partial(wing_loss, width=width, curvature=curvature), "WingLoss", flat=True)


def FocalLossFlat(
    *, gamma: float = 2.0, axis: int = -1, weight: Weights | None = None, reduction: Reduction = "mean"
) -> FlattenedLoss:
    """Return cross-entropy of flattened logits that counts what is already answered well less.

    Integers as targets are class indices, others 0 or 1 for each class (Lin et al. 2017, "Focal Loss for Dense Object
    Detection", arXiv 1708.02002).

    Args:
        gamma: how much less: the loss times (1 - p)^gamma, p of the truth; 0 is plain cross-entropy.
        axis: the dimension of the classes.
        weight: of each class, [C].
        reduction: `mean`, `sum` or `none`.

    Examples:
        At even odds cross-entropy counts a quarter.

        >>> from foveal.vision.all import *
        >>> logits, target = torch.zeros(1, 2), torch.tensor([0])
        >>> FocalLossFlat(gamma=2.0)(logits, target) / CrossEntropyLossFlat()(logits, target)
        tensor(0.2500)
    """
    focal = partial(focal_loss, gamma=gamma, weight=weight, reduction=reduction)
    return FlattenedLoss(focal, "FocalLoss", flat=True, axis=axis)


def binary_cross_entropy(
    output: Tensor,
    target: Tensor,
    *,
    reduction: Reduction = "mean",
    weight: Weights | None = None,
    pos_weight: Weights | None = None,
) -> Tensor:
    """Return the binary cross-entropy, as torch's `binary_cross_entropy_with_logits`.

    Args:
        output: logits [B, C].
        target: from 0 to 1, [B, C]; NaN is unknown.
        reduction: `mean`, `sum` or `none`.
        weight: of each class in the loss, [C].
        pos_weight: of each class where it is present, [C]; absent ones count 1.

    Raises:
        InputError: there is not one weight per class.
    """
    known = ~target.isnan()
    losses = F.binary_cross_entropy_with_logits(
        output,
        torch.where(known, target, 0.0),
        reduction="none",
        weight=_class_weights(weight, output, "weight"),
        pos_weight=_class_weights(pos_weight, output, "pos_weight"),
    )
    return reduced(losses, known, reduction)


def cross_entropy(
    output: Tensor,
    target: Tensor,
    *,
    reduction: Reduction = "mean",
    weight: Weights | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the cross-entropy, as torch's `cross_entropy`.

    Args:
        output: logits [B, C].
        target: class indices [B], `IGNORED` is unknown, or class probabilities [B, C].
        reduction: `mean` (of class indices with `weight`: over the sum of the targets' weights), `sum` or `none`.
        weight: of each class, [C].
        label_smoothing: share of each target that is spread over all classes, 0 to 1.

    Raises:
        InputError: there is not one weight per class.
    """
    check_options(label_smoothing=label_smoothing)
    weights = _class_weights(weight, output, "weight")
    losses = F.cross_entropy(
        output, target, reduction="none", weight=weights, label_smoothing=label_smoothing, ignore_index=IGNORED
    )
    if target.ndim == 1 and weights is not None and reduction == "mean":
        total = target_weight(target, weights)
        return losses.sum() / torch.where(total > 0, total, 1.0)
    known = target != IGNORED if target.ndim == 1 else torch.ones_like(losses, dtype=torch.bool)
    return reduced(losses, known, reduction)


def target_weight(target: Tensor, weights: Tensor) -> Tensor:
    """Return the sum of the weights of class indices: what a weighted mean is divided by.

    Args:
        target: class indices [B]; `IGNORED` counts 0.
        weights: of each class, [C].
    """
    return weights.to(target.device)[target[target != IGNORED]].sum()


def mean_squared_error(output: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Return the squared error.

    Args:
        output: of any shape.
        target: numbers of the same shape; NaN is unknown.
        reduction: `mean`, `sum` or `none`.
    """
    off, known = _distance(output, target)
    return reduced(off**2, known, reduction)


def huber_loss(output: Tensor, target: Tensor, *, reduction: Reduction = "mean", delta: float = 1.0) -> Tensor:
    """Return half the squared error up to `delta`, and from there on a straight line of slope `delta`.

    Args:
        output: of any shape.
        target: numbers of the same shape; NaN is unknown.
        reduction: `mean`, `sum` or `none`.
        delta: in units of the target.

    Source: Huber 1964, "Robust Estimation of a Location Parameter".
    """
    check_options(delta=delta)
    off, known = _distance(output, target)
    return reduced(torch.where(off <= delta, off**2 / 2, delta * (off - delta / 2)), known, reduction)


def wing_loss(
    output: Tensor, target: Tensor, *, reduction: Reduction = "mean", width: float = 0.1, curvature: float = 0.02
) -> Tensor:
    """Return a loss for points that pulls hard at small errors: a logarithm up to `width`, a straight line beyond.

    Args:
        output: coordinates.
        target: coordinates of the same shape.
        reduction: `mean`, `sum` or `none`.
        width: in units of the coordinates; a tenth is 11 pixels of an input of 224 pixels in [-1, 1].
        curvature: how steeply the logarithm begins; less is steeper.

    Source: Feng et al. 2018, "Wing Loss for Robust Facial Landmark Localisation with Convolutional Neural Networks".
    """
    check_options(width=width, curvature=curvature)
    off, known = _distance(output, target)
    step = width - width * math.log1p(width / curvature)
    return reduced(torch.where(off < width, width * torch.log1p(off / curvature), off - step), known, reduction)


def focal_loss(
    output: Tensor, target: Tensor, *, reduction: Reduction = "mean", gamma: float = 2.0, weight: Weights | None = None
) -> Tensor:
    """Return cross-entropy that counts what is already answered well less: times (1 - p)^gamma, p of the truth.

    Args:
        output: logits [B, C].
        target: 0 or 1 for each class [B, C], or class indices [B].
        reduction: `mean` over what is known, `sum` or `none`.
        gamma: 0 is plain cross-entropy.
        weight: of each class, [C]; the paper's alpha.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection".
    """
    check_options(gamma=gamma)
    plain = cross_entropy if target.ndim == 1 and not target.is_floating_point() else binary_cross_entropy
    losses = plain(output, target, reduction="none")
    known = target != IGNORED if plain is cross_entropy else ~target.isnan()
    losses = losses * (-torch.expm1(-losses)).clamp(min=0) ** gamma
    if (weights := _class_weights(weight, output, "weight")) is not None:
        losses = losses * (weights[torch.where(known, target, 0)] if plain is cross_entropy else weights)
    return reduced(losses, known, reduction)


def asymmetric_loss(
    output: Tensor,
    target: Tensor,
    *,
    reduction: Reduction = "mean",
    gamma_positive: float = 0.0,
    gamma_negative: float = 4.0,
    margin: float = 0.05,
) -> Tensor:
    """Return binary cross-entropy that counts easy absences less than easy presences, for many labels that are rare.

    Args:
        output: logits [B, C].
        target: 0 or 1, [B, C].
        reduction: `mean`, `sum` or `none`.
        gamma_positive: focus on hard presences.
        gamma_negative: focus on hard absences.
        margin: an absence answered with a probability below it costs nothing.

    Source: Ridnik et al. 2021, "Asymmetric Loss For Multi-Label Classification".
    """
    check_options(gamma_positive=gamma_positive, gamma_negative=gamma_negative, margin=margin)
    same_shape(output, target)
    known = ~target.isnan()
    truth = torch.where(known, target, 0.0)
    present = torch.sigmoid(output)
    shifted = (present - margin).clamp(min=0)
    missed = truth * F.logsigmoid(output) * (1 - present) ** gamma_positive
    invented = (1 - truth) * torch.log1p(-shifted.clamp(max=1 - _TINY)) * shifted**gamma_negative
    return reduced(-(missed + invented), known, reduction)


_CHECKS: Mapping[str, Callable[[str, object], None]] = {
    "label_smoothing": partial(check_number, at_least=0, at_most=1),
    "margin": partial(check_number, at_least=0, below=1),
    **dict.fromkeys(("gamma", "gamma_positive", "gamma_negative"), partial(check_number, at_least=0)),
    **dict.fromkeys(("delta", "width", "curvature"), partial(check_number, above=0)),
}
"""Of the numbers that losses take, by name."""


def check_options(**options: object) -> None:
    """Refuse a number of a loss that is out of its bounds, and an unknown reduction; other options pass.

    Raises:
        InputError: a number is.
        UnknownNameError: there is no such reduction.
    """
    for name, value in options.items():
        if name in _CHECKS:
            _CHECKS[name](name, value)
    reduction = options.get("reduction", "mean")
    if reduction not in get_args(Reduction):
        raise UnknownNameError.of("reduction", reduction, get_args(Reduction))


def _check_weights(name: str, weights: Weights | None) -> None:
    """Refuse what is no weight per class.

    Raises:
        InputError: it is not a list of numbers from 0 up.
    """
    if weights is None:
        return
    try:
        values = torch.as_tensor(weights)
    except (TypeError, ValueError, RuntimeError):
        values = torch.empty(0, 0)
    if values.ndim != 1 or not bool(((values >= 0) & values.isfinite()).all()):
        raise InputError(f"`{name}` is a list of numbers from 0 up, one per class; got {reprlib.repr(weights)}.")


def n_known(target: Tensor) -> Tensor:
    """Return how many entries of a target are known: those that a mean loss is a mean over."""
    return (~target.isnan()).sum() if target.is_floating_point() else (target != IGNORED).sum()


def same_shape(output: Tensor, target: Tensor) -> None:
    """Refuse what would broadcast into a wrong loss without a message.

    Args:
        output: raw outputs.
        target: encoded labels.

    Raises:
        InputError: the shapes differ.
    """
    if output.shape != target.shape:
        raise InputError(
            f"Outputs and targets must have one shape, got {list(output.shape)} and {list(target.shape)}. "
            "Reshape one of them, for instance `target.view_as(output)`, or use the loss that flattens both "
            "(`MSELossFlat()`, `BCEWithLogitsLossFlat()`)."
        )


def _class_weights(weights: Weights | None, output: Tensor, name: str) -> Tensor | None:
    """Return weights on the device of outputs [B, C].

    Raises:
        InputError: there is not one weight per class.
    """
    if weights is None:
        return None
    tensor = torch.as_tensor(weights, dtype=output.dtype, device=output.device)
    if tensor.shape != output.shape[-1:]:
        raise InputError(f"`{name}` has one number per class, {output.shape[-1]}; got {list(tensor.shape)}.")
    return tensor


def _distance(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return |output - target|, and where the target is known."""
    same_shape(output, target)
    known = ~target.isnan()
    return (output - torch.where(known, target, output.detach())).abs(), known


def reduced(losses: Tensor, known: Tensor, reduction: Reduction) -> Tensor:
    """Return losses of which some are unknown: each, their sum, or their mean over those known.

    Args:
        losses: finite, of any shape.
        known: boolean, of the same shape.
        reduction: `mean`, `sum` or `none`.

    Raises:
        UnknownNameError: there is no such reduction.
    """
    if reduction == "none":
        return losses * known
    if reduction == "sum":
        return (losses * known).sum()
    if reduction == "mean":
        return (losses * known).sum() / known.sum().clamp(min=1)
    raise UnknownNameError.of("reduction", reduction, get_args(Reduction))
