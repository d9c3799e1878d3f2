"""Metrics as plain functions of (output, target), computed once over all predictions.

What a metric takes is said in its docstring: *raw* outputs (logits) or *activated* ones. Unknown targets (NaN, or
`IGNORED` for class indices) are left out. A value that is not defined, as the average precision of a class without
positives, is NaN where a value a class is returned and is left out of means.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from foveal.errors import InputError
from foveal.losses import IGNORED

Metric = Callable[[Tensor, Tensor], Any]


def metric_name(metric: Metric) -> str:
    """Return the name of a function or of what a `partial` wraps."""
    inner = metric.func if isinstance(metric, partial) else metric
    return str(getattr(inner, "__name__", type(inner).__name__))


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Return the share of pictures whose largest output [N, C], raw or activated, is the target class [N]."""
    if target.ndim != 1:
        raise InputError(
            f"`accuracy` takes one class index a picture, got targets of shape {list(target.shape)}. "
            "For several labels use `accuracy_multi`."
        )
    known = target != IGNORED
    return (output.argmax(dim=1) == target)[known].double().mean()


def error_rate(output: Tensor, target: Tensor) -> Tensor:
    """Return 1 - `accuracy`."""
    return 1 - accuracy(output, target)


def accuracy_multi(output: Tensor, target: Tensor, thresh: float | Tensor = 0.5, *, sigmoid: bool = True) -> Tensor:
    """Return the share of (picture, label) pairs answered rightly at a threshold.

    Args:
        output: *raw* outputs [N, C]; activated ones with `sigmoid=False`.
        target: 0 or 1, [N, C].
        thresh: the probability above which a label counts as found.
        sigmoid: whether to activate the outputs first.
    """
    if output.shape != target.shape:
        raise InputError(
            f"`accuracy_multi` takes outputs and targets of one shape, got {list(output.shape)} and "
            f"{list(target.shape)}. For one label a picture use `accuracy`."
        )
    probability = output.sigmoid() if sigmoid else output
    known = ~target.isnan() if target.is_floating_point() else torch.ones_like(target, dtype=torch.bool)
    return ((probability > thresh) == target.bool())[known].double().mean()


def average_precision(output: Tensor, target: Tensor) -> Tensor:
    """Return the average precision of each class, float64 [C]; NaN for a class without positives.

    AP = sum over distinct scores of (R_n - R_{n-1}) P_n, as scikit-learn defines it; ties share one step. Outputs
    [N, C] may be raw or activated: only their order counts. Targets are 0 or 1, [N, C].
    """
    if output.isnan().any():
        raise InputError("Average precision is not defined for outputs that are NaN.")
    return torch.stack([_average_precision(o, t) for o, t in zip(output.T, target.T, strict=True)])


def mean_average_precision(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of `average_precision` over the classes where it is defined; takes raw or activated outputs."""
    return average_precision(output, target).nanmean()


def _average_precision(score: Tensor, truth: Tensor) -> Tensor:
    known = ~truth.isnan()
    score, order = score[known].sort(descending=True)
    hits = truth[known][order].double().cumsum(0)
    if not len(hits) or hits[-1] == 0:
        return torch.tensor(torch.nan, dtype=torch.float64)
    last_of_tie = torch.ones_like(score, dtype=torch.bool)
    last_of_tie[:-1] = score[1:] != score[:-1]
    rank = torch.arange(1, len(score) + 1, dtype=torch.float64)[last_of_tie]
    hits = hits[last_of_tie]
    recall_step = torch.diff(hits, prepend=hits.new_zeros(1)) / hits[-1]
    return (recall_step * hits / rank).sum()


def rmse(output: Tensor, target: Tensor) -> Tensor:
    """Return the root of the mean squared error of numbers, over all that are known; takes *activated* outputs."""
    off = _errors(output, target)
    return (off**2).mean().sqrt()


def mae(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error of numbers, over all that are known; takes *activated* outputs."""
    return _errors(output, target).abs().mean()


def r2_score(output: Tensor, target: Tensor) -> Tensor:
    """Return 1 - (squared errors / squared distances of the targets from their mean), the mean over columns.

    A column whose targets do not differ is not defined and left out. Takes *activated* outputs.
    """
    _errors(output, target)
    output, target = output.double().reshape(len(output), -1), target.double().reshape(len(target), -1)
    rest = ((output - target) ** 2).nansum(dim=0)
    total = ((target - target.nanmean(dim=0)) ** 2).nansum(dim=0)
    return torch.where(total > 0, 1 - rest / total, torch.nan).nanmean()


def _errors(output: Tensor, target: Tensor) -> Tensor:
    """Return the errors of the numbers that are known, float64."""
    if output.numel() != target.numel():
        raise InputError(f"As many outputs as targets are expected; got {list(output.shape)} and {list(target.shape)}.")
    if output.isnan().any():
        raise InputError("A metric is not defined for outputs that are NaN.")
    output, target = output.double().reshape(-1), target.double().reshape(-1)
    return (output - target)[~target.isnan()]
