"""Metrics of several labels per image: outputs and targets [N, C], targets 0 or 1, NaN where it is not known.

Those with a threshold take *raw* outputs, or activated ones with `sigmoid=False`; those that only compare outputs take
either. `average` is macro, micro, weighted, or None for one value per class. Names and definitions are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.metrics.common import Average, average_classes, declare_metric, refuse_nan


@declare_metric(higher_is_better=True, has_threshold=True)
def accuracy_multi(output: Tensor, target: Tensor, thresh: float | Tensor = 0.5, *, sigmoid: bool = True) -> Tensor:
    """Return the share of (image, label) pairs answered correctly at a threshold.

    Where most labels are absent it is high for a model that finds none of them; see `mean_average_precision`.

    Args:
        output: *raw* outputs [N, C]; activated ones with `sigmoid=False`.
        target: 0 or 1, [N, C]; NaN is unknown.
        thresh: the probability above which a label is predicted, one for all or one per class [C].
        sigmoid: whether to activate the outputs first.

    Raises:
        InputError: the shapes differ, or an output is NaN.

    Examples:
        >>> from foveal.vision.all import *
        >>> logits, targets = torch.tensor([[2.0, -2.0], [0.5, 3.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> accuracy_multi(logits, targets).item(), accuracy_multi(logits, targets, thresh=0.7).item()
        (0.75, 1.0)
    """
    predicted, truth, known = _answers(output, target, thresh, sigmoid, "accuracy_multi")
    return (predicted == truth)[known].double().mean()


@declare_metric(higher_is_better=False, has_threshold=True)
def hamming_loss(output: Tensor, target: Tensor, thresh: float | Tensor = 0.5, *, sigmoid: bool = True) -> Tensor:
    """Return 1 - `accuracy_multi`.

    Args:
        output: *raw* outputs [N, C]; activated ones with `sigmoid=False`.
        target: 0 or 1, [N, C]; NaN is unknown.
        thresh: the probability above which a label is predicted, one for all or one per class [C].
        sigmoid: whether to activate the outputs first.
    """
    return 1 - accuracy_multi(output, target, thresh, sigmoid=sigmoid)


@declare_metric(higher_is_better=True, has_threshold=True)
def exact_match(output: Tensor, target: Tensor, thresh: float | Tensor = 0.5, *, sigmoid: bool = True) -> Tensor:
    """Return the share of images whose known labels are all answered correctly at a threshold.

    Args:
        output: *raw* outputs [N, C]; activated ones with `sigmoid=False`.
        target: 0 or 1, [N, C]; NaN is unknown.
        thresh: the probability above which a label is predicted, one for all or one per class [C].
        sigmoid: whether to activate the outputs first.
    """
    predicted, truth, known = _answers(output, target, thresh, sigmoid, "exact_match")
    return ((predicted == truth) | ~known).all(dim=1).double().mean()


def counts_per_class(
    output: Tensor, target: Tensor, thresh: float | Tensor = 0.5, *, sigmoid: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return true and false positives, false and true negatives of each class at a threshold, int64 [C] each.

    Args:
        output: *raw* outputs [N, C]; activated ones with `sigmoid=False`.
        target: 0 or 1, [N, C]; NaN is unknown.
        thresh: the probability above which a label is predicted, one for all or one per class [C].
        sigmoid: whether to activate the outputs first.
    """
    predicted, truth, known = _answers(output, target, thresh, sigmoid, "counts_per_class")
    pairs = ((True, True), (True, False), (False, True), (False, False))
    hits, alarms, misses, silences = (((predicted == f) & (truth == t) & known).sum(dim=0) for f, t in pairs)
    return hits, alarms, misses, silences


@declare_metric(higher_is_better=True, has_threshold=True)
def precision_multi(
    output: Tensor,
    target: Tensor,
    thresh: float | Tensor = 0.5,
    *,
    sigmoid: bool = True,
    average: Average = "macro",
) -> Tensor:
    """Return the share of predicted labels that are present; not defined for a class that was never predicted.

    Args:
        output: *raw* outputs [N, C]; activated ones with `sigmoid=False`.
        target: 0 or 1, [N, C]; NaN is unknown.
        thresh: the probability above which a label is predicted, one for all or one per class [C].
        sigmoid: whether to activate the outputs first.
        average: over classes: `macro`, `micro`, `weighted` by positives, or None for one value per class [C].
    """
    return _from_counts(lambda hit, alarm, _: hit / (hit + alarm), output, target, thresh, sigmoid, average)


@declare_metric(higher_is_better=True, has_threshold=True)
def recall_multi(
    output: Tensor,
    target: Tensor,
    thresh: float | Tensor = 0.5,
    *,
    sigmoid: bool = True,
    average: Average = "macro",
) -> Tensor:
    """Return the share of present labels that are predicted; not defined for a class without positives.

    Args:
        output: *raw* outputs [N, C]; activated ones with `sigmoid=False`.
        target: 0 or 1, [N, C]; NaN is unknown.
        thresh: the probability above which a label is predicted, one for all or one per class [C].
        sigmoid: whether to activate the outputs first.
        average: over classes: `macro`, `micro`, `weighted` by positives, or None for one value per class [C].
    """
    return _from_counts(lambda hit, _, miss: hit / (hit + miss), output, target, thresh, sigmoid, average)


@declare_metric(higher_is_better=True, has_threshold=True)
def f1_multi(
    output: Tensor,
    target: Tensor,
    thresh: float | Tensor = 0.5,
    *,
    sigmoid: bool = True,
    average: Average = "macro",
) -> Tensor:
    """Return the harmonic mean of precision and recall; not defined for a class without positives.

    Args:
        output: *raw* outputs [N, C]; activated ones with `sigmoid=False`.
        target: 0 or 1, [N, C]; NaN is unknown.
        thresh: the probability above which a label is predicted, one for all or one per class [C].
        sigmoid: whether to activate the outputs first.
        average: over classes: `macro`, `micro`, `weighted` by positives, or None for one value per class [C].
    """
    return _from_counts(_f1, output, target, thresh, sigmoid, average)


@declare_metric(higher_is_better=True)
def average_precision(output: Tensor, target: Tensor) -> Tensor:
    """Return the average precision of each class, float64 [C]; NaN for a class without positives.

    AP = sum over distinct scores of (R_n - R_{n-1}) P_n, as scikit-learn defines it; ties share one step.

    Args:
        output: raw or activated, [N, C]; only their order counts.
        target: 0 or 1, [N, C]; NaN is unknown.
    """
    hit, known, end = _ranked(output, target)
    precision = hit.cumsum(1) / known.cumsum(1).clamp(min=1)
    return (hit * precision.gather(1, end)).sum(1) / hit.sum(1)


@declare_metric(higher_is_better=True)
def mean_average_precision(output: Tensor, target: Tensor, average: Average = "macro") -> Tensor:
    """Return the mean of `average_precision` over the classes where it is defined.

    The average precision of a class is the area under its curve of precision over recall, as scikit-learn defines it.
    `micro` is that of all pairs of image and label in one ranking, `weighted` counts classes by their positives.

    Args:
        output: raw or activated, [N, C]; only their order counts.
        target: 0 or 1, [N, C]; NaN is unknown.
        average: over classes: `macro`, `micro`, `weighted` by positives, or None for one value per class [C].

    Raises:
        InputError: the shapes differ, or an output is NaN.
        UnknownNameError: there is no such average.

    Examples:
        >>> from foveal.vision.all import *
        >>> outputs, targets = torch.tensor([[0.9, 0.2], [0.6, 0.7]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> mean_average_precision(outputs, targets, average=None)
        tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    if average == "micro":
        return average_precision(output.reshape(-1, 1), target.reshape(-1, 1))[0]
    return average_classes(average_precision(output, target), _positives(target), average)


@declare_metric(higher_is_better=True)
def roc_auc(output: Tensor, target: Tensor) -> Tensor:
    """Return the area under the ROC curve of each class, float64 [C]; NaN where only one of 0 and 1 occurs.

    It is the share of pairs of a positive and a negative whose positive has the larger output; ties count half.

    Args:
        output: raw or activated, [N, C]; only their order counts.
        target: 0 or 1, [N, C]; NaN is unknown.
    """
    hit, known, end = _ranked(output, target)
    miss = known - hit
    down_to = miss.cumsum(1).gather(1, end)  # misses that are ranked as high, or in the same tie
    above = down_to - torch.zeros_like(miss).scatter_add_(1, end, miss).gather(1, end)
    n_hits, n_misses = hit.sum(1), miss.sum(1)
    return (hit * (n_misses[:, None] - (above + down_to) / 2)).sum(1) / (n_hits * n_misses)


@declare_metric(higher_is_better=True)
def mean_roc_auc(output: Tensor, target: Tensor, average: Average = "macro") -> Tensor:
    """Return the mean of `roc_auc` over the classes where it is defined; see `mean_average_precision`.

    Args:
        output: raw or activated, [N, C]; only their order counts.
        target: 0 or 1, [N, C]; NaN is unknown.
        average: over classes: `macro`, `micro`, `weighted` by positives, or None for one value per class [C].
    """
    if average == "micro":
        return roc_auc(output.reshape(-1, 1), target.reshape(-1, 1))[0]
    return average_classes(roc_auc(output, target), _positives(target), average)


@declare_metric(higher_is_better=False)
def label_ranking_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the share of pairs of a present and an absent label that are ranked wrongly or equal, mean over images.

    An image with all or none of the labels has no such pair and counts 0.

    Args:
        output: raw or activated, [N, C]; only their order counts.
        target: 0 or 1, [N, C]; NaN is unknown.
    """
    return _mean_of_images(_ranking_loss, output, target)


@declare_metric(higher_is_better=False)
def coverage_error(output: Tensor, target: Tensor) -> Tensor:
    """Return how far down the ranking one has to go to meet every label of an image, mean over images; ties count.

    An image without labels counts 0.

    Args:
        output: raw or activated, [N, C]; only their order counts.
        target: 0 or 1, [N, C]; NaN is unknown.
    """
    return _mean_of_images(_coverage, output, target)


def _answers(
    output: Tensor, target: Tensor, thresh: float | Tensor, sigmoid: bool, name: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what is predicted, what is present, and where that is known; bool [N, C] each.

    Raises:
        InputError: the shapes differ, or an output is NaN.
    """
    if output.shape != target.shape:
        raise InputError(
            f"`{name}` takes outputs and targets of one shape, got {list(output.shape)} and "
            f"{list(target.shape)}. For one label per image use `accuracy`."
        )
    refuse_nan(output)
    probability = output.sigmoid() if sigmoid else output
    known = ~target.isnan() if target.is_floating_point() else torch.ones_like(target, dtype=torch.bool)
    return probability > thresh, target == 1, known


Share = Callable[[Tensor, Tensor, Tensor], Tensor]


def _f1(hits: Tensor, alarms: Tensor, misses: Tensor) -> Tensor:
    return torch.where(hits + misses > 0, 2 * hits / (2 * hits + alarms + misses), torch.nan)


def _from_counts(
    share: Share, output: Tensor, target: Tensor, thresh: float | Tensor, sigmoid: bool, average: Average
) -> Tensor:
    hits, alarms, misses, _ = (n.double() for n in counts_per_class(output, target, thresh, sigmoid=sigmoid))
    if average == "micro":
        return share(hits.sum(), alarms.sum(), misses.sum())
    return average_classes(share(hits, alarms, misses), hits + misses, average)


def _positives(target: Tensor) -> Tensor:
    return (target == 1).sum(dim=0).double()


def _ranked(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what is present, what is known (0 or 1), and where its tie ends, best outputs of a class first; [C, N].

    Raises:
        InputError: the shapes differ, or an output is NaN.
    """
    if output.shape != target.shape:
        raise InputError(f"Outputs and targets have one shape; got {list(output.shape)} and {list(target.shape)}.")
    refuse_nan(output)
    score, order = output.T.contiguous().sort(dim=1, descending=True)  # side by side they are sorted ten times as fast
    truth = target.T.gather(1, order)
    n = score.shape[1]
    end = torch.arange(n, device=score.device).expand(score.shape).clone()
    end[:, :-1][score[:, 1:] == score[:, :-1]] = n
    return (truth == 1).double(), (~truth.isnan()).double(), end.flip(1).cummin(1).values.flip(1)


def _mean_of_images(one: Callable[[Tensor, Tensor], Tensor], output: Tensor, target: Tensor) -> Tensor:
    refuse_nan(output)
    return torch.stack([one(o[t == 1], o[t == 0]) for o, t in zip(output.double(), target, strict=True)]).mean()


def _ranking_loss(there: Tensor, absent: Tensor) -> Tensor:
    if not len(there) or not len(absent):
        return torch.zeros((), dtype=torch.float64)
    return (there[:, None] <= absent[None]).double().mean()


def _coverage(there: Tensor, absent: Tensor) -> Tensor:
    if not len(there):
        return torch.zeros((), dtype=torch.float64)
    return ((absent >= there.min()).sum() + len(there)).double()
