"""The course's metrics of numbers by name, and what makes a metric of a function of scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from foveal.core.errors import UnknownNameError
from foveal.metrics.common import Metric
from foveal.metrics.numbers import r2_score, rmse


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of numbers, over all that are known.

    Args:
        output: in the units of the targets, [N] or [N, T].
        target: numbers of as many elements; NaN is unknown.

    Raises:
        InputError: there are not as many outputs as targets, or an output is NaN.

    Examples:
        >>> from foveal.vision.all import *
        >>> round(mse(torch.tensor([1.0, 4.0, 0.0]), torch.tensor([2.0, 1.0, torch.nan])).item(), 4)
        5.0
    """
    return rmse(output, target) ** 2


def R2Score() -> Metric:
    """Return a metric: the coefficient of determination of numbers, the mean over columns.

    1 is perfect, 0 as good as the targets' mean, below it worse. See `r2_score`.

    Examples:
        >>> from foveal.vision.all import *
        >>> R2Score()(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 6.0])).item()
        0.3571428571428571
    """
    return Metric(r2_score, "r2_score", higher_is_better=True, takes="activated")


def ExplainedVariance() -> Metric:
    """Return a metric: the share of the variance of numbers that is explained; an equal error everywhere costs nothing.

    Examples:
        >>> from foveal.vision.all import *
        >>> ExplainedVariance()(torch.tensor([11.0, 12.0, 13.0]), torch.tensor([1.0, 2.0, 3.0])).item()
        1.0
    """

    def value(output: Tensor, target: Tensor) -> Tensor:
        output, target = _pairs(output, target)
        return 1 - (target - output).var(unbiased=False) / target.var(unbiased=False)

    return Metric(value, "explained_variance_score", higher_is_better=True, takes="activated")


def PearsonCorrCoef() -> Metric:
    """Return a metric: Pearson's correlation of numbers with their predictions, from -1 to 1.

    Examples:
        >>> from foveal.vision.all import *
        >>> round(PearsonCorrCoef()(torch.tensor([10.0, 20.0, 30.0]), torch.tensor([1.0, 2.0, 3.0])).item(), 4)
        1.0
    """
    return Metric(_pearson, "pearsonr", higher_is_better=True, takes="activated")


def SpearmanCorrCoef() -> Metric:
    """Return a metric: Spearman's correlation of numbers with their predictions, which is that of their ranks.

    Examples:
        >>> from foveal.vision.all import *
        >>> round(SpearmanCorrCoef()(torch.tensor([1.0, 10.0, 100.0]), torch.tensor([1.0, 2.0, 3.0])).item(), 4)
        1.0
    """

    def value(output: Tensor, target: Tensor) -> Tensor:
        return _pearson(*map(_ranks, _pairs(output, target)))

    return Metric(value, "spearmanr", higher_is_better=True, takes="activated")


def AccumMetric(
    func: Callable[..., Any],
    dim_argmax: int | None = None,
    activation: str = "no",
    thresh: float | None = None,
    to_np: bool = False,
    invert_arg: bool = False,
    flatten: bool = True,
    name: str | None = None,
    higher_is_better: bool = True,
    **options: Any,
) -> Metric:
    """Return a metric of any function of all predictions and targets at once.

    The function gets what the model returned, after `activation`, `dim_argmax`, `thresh` and `flatten`, in this order.

    Args:
        func: the function; returns a number.
        dim_argmax: the dimension that is replaced by the index of its largest value.
        activation: `no`, `sigmoid`, `softmax` or `binary_softmax` (softmax, then the second of two classes).
        thresh: outputs are replaced by whether they are above it.
        to_np: whether the function takes arrays of NumPy.
        invert_arg: whether it takes targets first.
        flatten: whether both are flattened first.
        name: the column of the epoch table; the function's name by default.
        higher_is_better: False for errors.
        options: keywords of the function.

    Raises:
        UnknownNameError: there is no such activation.

    Examples:
        >>> from foveal.vision.all import *
        >>> def largest_error(output, target): return (output - target).abs().max()
        >>> metric = AccumMetric(largest_error, higher_is_better=False)
        >>> metric.name, metric(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 2.0]))
        ('largest_error', 2.0)
    """
    if activation not in (known := ("no", "sigmoid", "softmax", "binary_softmax")):
        raise UnknownNameError.of("activation", activation, known)

    def value(output: Tensor, target: Tensor) -> float:
        if activation == "sigmoid":
            output = output.sigmoid()
        elif activation != "no":
            output = output.softmax(dim=1)
            output = output[:, -1] if activation == "binary_softmax" else output
        output = output if dim_argmax is None else output.argmax(dim=dim_argmax)
        output = output if thresh is None else output > thresh
        if flatten:
            output, target = output.reshape(-1), target.reshape(-1)
        pair = (output.numpy(), target.numpy()) if to_np else (output, target)
        return float(func(*(reversed(pair) if invert_arg else pair), **options))

    return Metric(value, name or str(getattr(func, "__name__", type(func).__name__)), higher_is_better=higher_is_better)


def skm_to_fastai(
    func: Callable[..., Any],
    is_class: bool = True,
    thresh: float | None = None,
    axis: int = -1,
    activation: str | None = None,
    flatten: bool = True,
    **options: Any,
) -> Metric:
    """Return a metric of a function of scikit-learn.

    Args:
        func: takes targets and predictions.
        is_class: whether it compares classes: predictions are then the index of the largest output, or with `thresh`
            whether an output is above it.
        thresh: see `is_class`.
        axis: of the classes.
        activation: see `AccumMetric`; by default sigmoid where there is a threshold.
        flatten: see `AccumMetric`; False for a function that tells several labels apart.
        options: keywords of the function, and `name` and `higher_is_better` of the metric.

    Raises:
        UnknownNameError: there is no such activation.

    Examples:
        >>> from sklearn.metrics import zero_one_loss
        >>> from foveal.vision.all import *
        >>> metric = skm_to_fastai(zero_one_loss, higher_is_better=False)
        >>> metric(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([0, 1]))
        0.5
    """
    argmax = axis if is_class and thresh is None else None
    chosen = activation or ("sigmoid" if is_class and thresh is not None else "no")
    return AccumMetric(
        func,
        dim_argmax=argmax,
        activation=chosen,
        thresh=thresh,
        to_np=True,
        invert_arg=True,
        flatten=flatten,
        **options,
    )


def _pairs(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    output, target = output.double().reshape(-1), target.double().reshape(-1)
    known = ~target.isnan()
    return output[known], target[known]


def _pearson(output: Tensor, target: Tensor) -> Tensor:
    return torch.corrcoef(torch.stack(_pairs(output, target)))[0, 1]


def _ranks(values: Tensor) -> Tensor:
    """Return the rank of each value, equal ones the mean of theirs."""
    ordered = values.sort().values
    return (torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)).double()
