"""The course's metrics by name: `F1Score()`, `RocAucMulti()`, ...; their numbers are scikit-learn's.

Each is a function that returns a `Metric`. Where foveal's own metrics leave a class out for which they are not defined,
these count 0 as scikit-learn does. Those of one label take outputs [N, C] and class indices [N]; those that end in
`Multi` take [N, C] and 0 or 1 [N, C]; those of numbers take as many outputs as targets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError
from foveal.losses import IGNORED
from foveal.metrics import common
from foveal.metrics.common import Metric, MetricFunction, Takes
from foveal.metrics.one_label import balanced_accuracy, error_rate
from foveal.metrics.several_labels import counts_per_class, hamming_loss, mean_average_precision, mean_roc_auc

Average = Literal["binary", "micro", "macro", "weighted"]
Counts = tuple[Tensor, Tensor, Tensor]
"""Hits, false alarms and misses of each class, float64 [C]."""
Share = Callable[[Tensor, Tensor, Tensor], Tensor]


def _divide(over: Tensor, under: Tensor) -> Tensor:
    return torch.where(under > 0, over / under.clamp(min=1e-300), 0.0)


def _precision(hits: Tensor, alarms: Tensor, misses: Tensor) -> Tensor:
    del misses
    return _divide(hits, hits + alarms)


def _recall(hits: Tensor, alarms: Tensor, misses: Tensor) -> Tensor:
    del alarms
    return _divide(hits, hits + misses)


def _jaccard(hits: Tensor, alarms: Tensor, misses: Tensor) -> Tensor:
    return _divide(hits, hits + alarms + misses)


def _f_beta(beta: float) -> Share:
    weight = beta**2
    return lambda hits, alarms, misses: _divide((1 + weight) * hits, (1 + weight) * hits + weight * misses + alarms)


def _averaged(share: Share, counts: Counts, average: str, pos_label: int) -> Tensor:
    """Return the mean over classes of a share of hits.

    Raises:
        InputError: `binary` is not for these classes.
    """
    hits, alarms, misses = counts
    if average == "micro":
        return share(hits.sum(), alarms.sum(), misses.sum())
    per_class = share(hits, alarms, misses)
    if average == "binary":
        if len(hits) != 2:
            raise InputError(f"average='binary' is for two classes; there are {len(hits)}. Give average='macro'.")
        return per_class[pos_label]
    there = hits + misses
    occurs = there + alarms > 0  # scikit-learn counts the classes that occur in targets or answers
    return per_class[occurs].mean() if average == "macro" else (per_class * there).sum() / there.sum()


def _of_one_label(output: Tensor, target: Tensor) -> Counts:
    known = target != IGNORED
    answer, target, n = output[known].argmax(dim=1), target[known], output.shape[1]
    hits, answered, there = (
        torch.bincount(one, minlength=n).double() for one in (target[answer == target], answer, target)
    )
    return hits, answered - hits, there - hits


def _one_label(name: str, share: Share, average: str, pos_label: int) -> Metric:
    _check_average(average)
    return Metric(lambda o, t: _averaged(share, _of_one_label(o, t), average, pos_label), name, higher_is_better=True)


def _several(name: str, share: Share, average: str, thresh: float, *, sigmoid: bool) -> Metric:
    _check_average(average)

    def value(output: Tensor, target: Tensor) -> Tensor:
        hits, alarms, misses, _ = (n.double() for n in counts_per_class(output, target, thresh, sigmoid=False))
        return _averaged(share, (hits, alarms, misses), average, 1)

    return Metric(value, name, higher_is_better=True, takes=_takes(sigmoid=sigmoid))


def _check_average(average: str) -> None:
    """Refuse a mean that there is not.

    Raises:
        UnknownNameError: it is another word.
    """
    if average not in get_args(Average):
        raise UnknownNameError.of("average", average, get_args(Average))


def _takes(*, sigmoid: bool) -> Takes:
    """Return what outputs a metric takes: the task's probabilities, or with sigmoid=False what the model returned."""
    return "activated" if sigmoid else "logits"


def F1Score(*, axis: int = -1, pos_label: int = 1, average: str = "binary") -> Metric:
    """Return a metric: the F1 score of one label, the harmonic mean of precision and recall.

    Args:
        axis: of the classes; only the last.
        pos_label: the index of the class that `average="binary"` looks at.
        average: `binary` of two classes, `macro`, `micro` or `weighted`.

    Raises:
        InputError: another axis; or, when it is computed, `binary` and not two classes.
        UnknownNameError: there is no such average.

    Examples:
        >>> from foveal.vision.all import *
        >>> outputs, targets = torch.tensor([[1, 0], [0, 1], [0, 1], [1, 0]]), torch.tensor([0, 1, 0, 1])
        >>> F1Score()(outputs, targets).item()
        0.5
    """
    return _one_label("f1_score", _f_beta(1), average, _last(axis, pos_label))


def FBeta(beta: float, *, axis: int = -1, pos_label: int = 1, average: str = "binary") -> Metric:
    """Return a metric: the F score of one label that counts recall `beta` times as much as precision.

    Args:
        beta: how many times recall counts.
        axis: of the classes; only the last.
        pos_label: the index of the class that `average="binary"` looks at.
        average: `binary` of two classes, `macro`, `micro` or `weighted`.

    Raises:
        InputError: another axis; or, when it is computed, `binary` and not two classes.
        UnknownNameError: there is no such average.

    Examples:
        Recall is 1 and precision .5.

        >>> from foveal.vision.all import *
        >>> FBeta(beta=2)(torch.tensor([[0, 1], [0, 1]]), torch.tensor([1, 0])).item()
        0.8333333333333334
    """
    return _one_label("fbeta_score", _f_beta(beta), average, _last(axis, pos_label))


def Precision(*, axis: int = -1, pos_label: int = 1, average: str = "binary") -> Metric:
    """Return a metric: the precision of one label, the share of answers of a class that are right.

    Args:
        axis: of the classes; only the last.
        pos_label: the index of the class that `average="binary"` looks at.
        average: `binary` of two classes, `macro`, `micro` or `weighted`.

    Raises:
        InputError: another axis; or, when it is computed, `binary` and not two classes.
        UnknownNameError: there is no such average.

    Examples:
        >>> from foveal.vision.all import *
        >>> Precision()(torch.tensor([[0, 1], [0, 1]]), torch.tensor([1, 0])).item()
        0.5
    """
    return _one_label("precision_score", _precision, average, _last(axis, pos_label))


def Recall(*, axis: int = -1, pos_label: int = 1, average: str = "binary") -> Metric:
    """Return a metric: the recall of one label, the share of a class's images that are answered with it.

    Args:
        axis: of the classes; only the last.
        pos_label: the index of the class that `average="binary"` looks at.
        average: `binary` of two classes, `macro`, `micro` or `weighted`.

    Raises:
        InputError: another axis; or, when it is computed, `binary` and not two classes.
        UnknownNameError: there is no such average.

    Examples:
        >>> from foveal.vision.all import *
        >>> Recall(average="macro")(torch.tensor([[0, 1], [0, 1]]), torch.tensor([1, 0])).item()
        0.5
    """
    return _one_label("recall_score", _recall, average, _last(axis, pos_label))


def Jaccard(*, axis: int = -1, pos_label: int = 1, average: str = "binary") -> Metric:
    """Return the Jaccard index of one label; see `F1Score`."""
    return _one_label("jaccard_score", _jaccard, average, _last(axis, pos_label))


def F1ScoreMulti(thresh: float = 0.5, sigmoid: bool = True, *, average: str = "macro") -> Metric:
    """Return a metric: the F1 score of several labels, the harmonic mean of precision and recall.

    It takes probabilities [N, C] and 0 or 1 [N, C]; a fit hands them over.

    Args:
        thresh: the probability above which a label is predicted.
        sigmoid: whether it is of probabilities; False compares what the model returned with `thresh`.
        average: over classes: `macro`, `micro` or `weighted`.

    Raises:
        UnknownNameError: there is no such average.

    Examples:
        >>> from foveal.vision.all import *
        >>> probabilities, targets = torch.tensor([[0.9, 0.2], [0.6, 0.7]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> F1ScoreMulti(thresh=0.5)(probabilities, targets).item()
        0.8333333333333333
    """
    return _several("f1_score", _f_beta(1), average, thresh, sigmoid=sigmoid)


def FBetaMulti(beta: float, thresh: float = 0.5, sigmoid: bool = True, *, average: str = "macro") -> Metric:
    """Return a metric: the F score of several labels that counts recall `beta` times as much as precision.

    It takes probabilities [N, C] and 0 or 1 [N, C]; a fit hands them over.

    Args:
        beta: how many times recall counts.
        thresh: the probability above which a label is predicted.
        sigmoid: whether it is of probabilities; False compares what the model returned with `thresh`.
        average: over classes: `macro`, `micro` or `weighted`.

    Raises:
        UnknownNameError: there is no such average.

    Examples:
        >>> from foveal.vision.all import *
        >>> probabilities, targets = torch.tensor([[0.9, 0.2], [0.6, 0.7]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> FBetaMulti(beta=2)(probabilities, targets).item()
        0.9166666666666667
    """
    return _several("fbeta_score", _f_beta(beta), average, thresh, sigmoid=sigmoid)


def PrecisionMulti(thresh: float = 0.5, sigmoid: bool = True, *, average: str = "macro") -> Metric:
    """Return a metric: the precision of several labels, the share of predicted labels that are present.

    It takes probabilities [N, C] and 0 or 1 [N, C]; a fit hands them over.

    Args:
        thresh: the probability above which a label is predicted.
        sigmoid: whether it is of probabilities; False compares what the model returned with `thresh`.
        average: over classes: `macro`, `micro` or `weighted`.

    Raises:
        UnknownNameError: there is no such average.

    Examples:
        >>> from foveal.vision.all import *
        >>> probabilities, targets = torch.tensor([[0.9, 0.2], [0.6, 0.7]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> PrecisionMulti()(probabilities, targets).item()
        0.75
    """
    return _several("precision_score", _precision, average, thresh, sigmoid=sigmoid)


def RecallMulti(thresh: float = 0.5, sigmoid: bool = True, *, average: str = "macro") -> Metric:
    """Return a metric: the recall of several labels, the share of present labels that are predicted.

    It takes probabilities [N, C] and 0 or 1 [N, C]; a fit hands them over.

    Args:
        thresh: the probability above which a label is predicted.
        sigmoid: whether it is of probabilities; False compares what the model returned with `thresh`.
        average: over classes: `macro`, `micro` or `weighted`.

    Raises:
        UnknownNameError: there is no such average.

    Examples:
        >>> from foveal.vision.all import *
        >>> probabilities, targets = torch.tensor([[0.9, 0.2], [0.6, 0.7]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> RecallMulti(thresh=0.65)(probabilities, targets).item()
        1.0
    """
    return _several("recall_score", _recall, average, thresh, sigmoid=sigmoid)


def JaccardMulti(thresh: float = 0.5, sigmoid: bool = True, *, average: str = "macro") -> Metric:
    """Return a metric: the Jaccard index of several labels, hits over hits, false alarms and misses.

    It takes probabilities [N, C] and 0 or 1 [N, C]; a fit hands them over.

    Args:
        thresh: the probability above which a label is predicted.
        sigmoid: whether it is of probabilities; False compares what the model returned with `thresh`.
        average: over classes: `macro`, `micro` or `weighted`.

    Raises:
        UnknownNameError: there is no such average.

    Examples:
        >>> from foveal.vision.all import *
        >>> probabilities, targets = torch.tensor([[0.9, 0.2], [0.6, 0.7]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> JaccardMulti()(probabilities, targets).item()
        0.75
    """
    return _several("jaccard_score", _jaccard, average, thresh, sigmoid=sigmoid)


def HammingLoss(*, axis: int = -1) -> Metric:
    """Return a metric: the share of images of one label that are answered wrongly; `axis` is only the last.

    Raises:
        InputError: another axis.

    Examples:
        >>> from foveal.vision.all import *
        >>> HammingLoss()(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([0, 1])).item()
        0.5
    """
    _last(axis, 0)
    return Metric(error_rate, "hamming_loss", higher_is_better=False)


def HammingLossMulti(thresh: float = 0.5, sigmoid: bool = True) -> Metric:
    """Return a metric: the share of pairs of image and label that are answered wrongly.

    It takes probabilities [N, C] and 0 or 1 [N, C]; a fit hands them over.

    Args:
        thresh: the probability above which a label is predicted.
        sigmoid: whether it is of probabilities; False compares what the model returned with `thresh`.

    Examples:
        >>> from foveal.vision.all import *
        >>> probabilities, targets = torch.tensor([[0.9, 0.2], [0.6, 0.7]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> HammingLossMulti()(probabilities, targets).item()
        0.25
    """
    wrong = partial(hamming_loss, thresh=thresh, sigmoid=False)
    return Metric(wrong, "hamming_loss", higher_is_better=False, takes=_takes(sigmoid=sigmoid))


def BalancedAccuracy(*, axis: int = -1) -> Metric:
    """Return a metric: the mean recall of the classes of one label, each counted alike; `axis` is only the last.

    Raises:
        InputError: another axis.

    Examples:
        Always the frequent class: right in three of four images, and no better than chance.

        >>> from foveal.vision.all import *
        >>> BalancedAccuracy()(torch.tensor([[0.9, 0.1]] * 4), torch.tensor([0, 0, 0, 1])).item()
        0.5
    """
    _last(axis, 0)
    return Metric(balanced_accuracy, "balanced_accuracy_score", higher_is_better=True)


def RocAuc(*, axis: int = -1, average: str = "macro", multi_class: str = "ovr") -> Metric:
    """Return a metric: the mean area under the ROC curves of the classes of one label, each against the rest.

    It takes probabilities [N, C] and class indices [N]; a fit hands them over.

    Args:
        axis: of the classes; only the last.
        average: `macro` or `weighted`.
        multi_class: only `ovr`, each class against the rest.

    Raises:
        InputError: another axis.
        UnknownNameError: another way to compare classes; or, when it is computed, another average.

    Examples:
        >>> from foveal.vision.all import *
        >>> probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.4, 0.3, 0.3]])
        >>> RocAuc()(probabilities, torch.tensor([0, 1, 2])).item()
        1.0
    """
    _last(axis, 0)
    if multi_class != "ovr":
        raise UnknownNameError.of("way to compare classes", multi_class, ("ovr",))
    return Metric(_on_one_hot(mean_roc_auc, average), "roc_auc_score", higher_is_better=True, takes="activated")


def RocAucBinary(*, axis: int = -1) -> Metric:
    """Return a metric: the area under the ROC curve of the second of two classes of one label; `axis` is only the last.

    It takes probabilities [N, 2] and class indices [N]; a fit hands them over.

    Raises:
        InputError: another axis; or, when it is computed, there are not two classes.

    Examples:
        Of the four pairs of an image with and one without the class, three are in order.

        >>> from foveal.vision.all import *
        >>> probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [0.2, 0.8]])
        >>> RocAucBinary()(probabilities, torch.tensor([0, 0, 1, 1])).item()
        0.75
    """
    return Metric(_on_second(mean_roc_auc, axis), "roc_auc_score", higher_is_better=True, takes="activated")


def RocAucMulti(sigmoid: bool = True, average: common.Average = "macro") -> Metric:
    """Return a metric: the mean area under the ROC curves of several labels.

    It takes probabilities [N, C] and 0 or 1 [N, C]; a fit hands them over.

    Args:
        sigmoid: not needed: only the order of outputs counts.
        average: over classes: `macro`, `micro` or `weighted`.

    Examples:
        >>> from foveal.vision.all import *
        >>> probabilities, targets = torch.tensor([[0.9, 0.2], [0.6, 0.7]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> RocAucMulti()(probabilities, targets).item()
        1.0
    """
    del sigmoid
    return Metric(partial(mean_roc_auc, average=average), "roc_auc_score", higher_is_better=True, takes="activated")


def APScoreBinary(*, axis: int = -1) -> Metric:
    """Return a metric: the average precision of the second of two classes of one label; `axis` is only the last.

    It takes probabilities [N, 2] and class indices [N]; a fit hands them over.

    Raises:
        InputError: another axis; or, when it is computed, there are not two classes.

    Examples:
        >>> from foveal.vision.all import *
        >>> probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [0.2, 0.8]])
        >>> APScoreBinary()(probabilities, torch.tensor([0, 0, 1, 1])).item()
        0.8333333333333333
    """
    function = _on_second(mean_average_precision, axis)
    return Metric(function, "average_precision_score", higher_is_better=True, takes="activated")


def APScoreMulti(sigmoid: bool = True, average: common.Average = "macro") -> Metric:
    """Return a metric: the mean average precision of several labels.

    It takes probabilities [N, C] and 0 or 1 [N, C]; a fit hands them over.

    Args:
        sigmoid: not needed: only the order of outputs counts.
        average: over classes: `macro`, `micro` or `weighted`.

    Examples:
        >>> from foveal.vision.all import *
        >>> probabilities, targets = torch.tensor([[0.9, 0.2], [0.6, 0.7]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> APScoreMulti()(probabilities, targets).item()
        0.75
    """
    del sigmoid
    function = partial(mean_average_precision, average=average)
    return Metric(function, "average_precision_score", higher_is_better=True, takes="activated")


def BrierScore(*, axis: int = -1) -> Metric:
    """Return a metric: the mean squared error of the second of two classes' probability; `axis` is only the last.

    It takes probabilities [N, 2] and class indices [N]; a fit hands them over (Brier 1950, "Verification of forecasts
    expressed in terms of probability").

    Raises:
        InputError: another axis; or, when it is computed, there are not two classes.

    Examples:
        >>> from foveal.vision.all import *
        >>> round(BrierScore()(torch.tensor([[0.9, 0.1], [0.5, 0.5]]), torch.tensor([0, 1])).item(), 4)
        0.13
    """
    return Metric(_on_second(_brier, axis), "brier_score_loss", higher_is_better=False, takes="activated")


def BrierScoreMulti(sigmoid: bool = True) -> Metric:
    """Return a metric: the mean squared error of the probabilities of several labels [N, C].

    With `sigmoid=False` it compares what the model returned with the targets.

    Examples:
        >>> from foveal.vision.all import *
        >>> probabilities, targets = torch.tensor([[0.9, 0.2], [0.6, 0.7]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> round(BrierScoreMulti()(probabilities, targets).item(), 4)
        0.125
    """
    return Metric(_brier, "brier_score_loss", higher_is_better=False, takes=_takes(sigmoid=sigmoid))


def MatthewsCorrCoef() -> Metric:
    """Return a metric: Matthews' correlation coefficient of one label, from -1 to 1, where 0 is no better than chance.

    Examples:
        >>> from foveal.vision.all import *
        >>> outputs, targets = torch.tensor([[1, 0], [0, 1], [0, 1], [1, 0]]), torch.tensor([0, 1, 0, 1])
        >>> MatthewsCorrCoef()(outputs, targets).item()
        0.0
    """

    def value(output: Tensor, target: Tensor) -> Tensor:
        known = target != IGNORED
        return _matthews(_confusion(output[known].argmax(dim=1), target[known], output.shape[1]))

    return Metric(value, "matthews_corrcoef", higher_is_better=True)


def MatthewsCorrCoefMulti(thresh: float = 0.5, sigmoid: bool = True) -> Metric:
    """Return a metric: Matthews' correlation coefficient over all pairs of image and label.

    It takes probabilities [N, C] and 0 or 1 [N, C]; a fit hands them over.

    Args:
        thresh: the probability above which a label is predicted.
        sigmoid: whether it is of probabilities; False compares what the model returned with `thresh`.

    Examples:
        >>> from foveal.vision.all import *
        >>> probabilities, targets = torch.tensor([[0.9, 0.2], [0.4, 0.7]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> MatthewsCorrCoefMulti()(probabilities, targets).item()
        1.0
    """

    def value(output: Tensor, target: Tensor) -> Tensor:
        known = ~target.isnan()
        return _matthews(_confusion((output > thresh)[known].long(), target[known].long(), 2))

    return Metric(value, "matthews_corrcoef", higher_is_better=True, takes=_takes(sigmoid=sigmoid))


def CohenKappa(*, axis: int = -1, weights: str | None = None) -> Metric:
    """Return a metric: Cohen's kappa of one label, from -1 to 1, where 0 is as chance would agree.

    Args:
        axis: of the classes; only the last.
        weights: of a confusion: all alike by default, `linear` or `quadratic` in the distance of the classes.

    Raises:
        InputError: another axis.
        UnknownNameError: there are no such weights.

    Examples:
        >>> from foveal.vision.all import *
        >>> outputs, targets = torch.tensor([[1, 0], [0, 1], [0, 1], [1, 0]]), torch.tensor([0, 1, 1, 1])
        >>> CohenKappa()(outputs, targets).item()
        0.5
    """
    _last(axis, 0)
    if weights not in {None, "linear", "quadratic"}:
        raise UnknownNameError.of("weights", weights, ("linear", "quadratic"))

    def value(output: Tensor, target: Tensor) -> Tensor:
        known, n = target != IGNORED, output.shape[1]
        counts = _confusion(output[known].argmax(dim=1), target[known], n)
        expected = counts.sum(dim=1, keepdim=True) * counts.sum(dim=0, keepdim=True) / counts.sum()
        apart = (torch.arange(n)[:, None] - torch.arange(n)[None]).abs().double()
        cost = apart**2 if weights == "quadratic" else apart if weights == "linear" else (apart > 0).double()
        return 1 - (cost * counts).sum() / (cost * expected).sum()

    return Metric(value, "cohen_kappa_score", higher_is_better=True)


def _last(axis: int, value: int) -> int:
    """Return `value` if the axis of the classes is the last one.

    Raises:
        InputError: it is another one.
    """
    if axis not in {-1, 1}:
        raise InputError(f"Classes are in the last axis of outputs [N, C]; got axis={axis!r}.")
    return value


def _on_one_hot(function: Callable[..., Tensor], average: str) -> MetricFunction:
    def value(output: Tensor, target: Tensor) -> Tensor:
        known = target != IGNORED
        truth = torch.nn.functional.one_hot(target[known], output.shape[1]).float()
        return function(output[known], truth, average=average)

    return value


def _on_second(function: Callable[..., Tensor], axis: int) -> MetricFunction:
    _last(axis, 0)

    def value(output: Tensor, target: Tensor) -> Tensor:
        if output.shape[1] != 2:
            raise InputError(f"This metric is for two classes; there are {output.shape[1]}.")
        known = target != IGNORED
        return function(output[known, 1:], target[known, None].float())

    return value


def _brier(output: Tensor, target: Tensor) -> Tensor:
    return ((output.double() - target.double()) ** 2).nanmean()


def _confusion(answer: Tensor, target: Tensor, n: int) -> Tensor:
    return torch.bincount(target * n + answer, minlength=n * n).reshape(n, n).double()


def _matthews(counts: Tensor) -> Tensor:
    there, answered, n = counts.sum(dim=1), counts.sum(dim=0), counts.sum()
    over = counts.diagonal().sum() * n - (there * answered).sum()
    under = ((n**2 - (answered**2).sum()) * (n**2 - (there**2).sum())).sqrt()
    return _divide(over, under)
