"""What all metrics share.

Metrics are plain functions of (output, target), computed once over all predictions. What a metric takes is said in its
docstring: *raw* outputs (logits) or *activated* ones. Unknown targets (NaN, or `IGNORED` for class indices) are left
out. A value that is not defined, as the average precision of a class without positives, is NaN where a value a class is
returned and is left out of means; outputs that are NaN are refused.

Shapes: N images, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError

Metric = Callable[[Tensor, Tensor], Any]
Average = Literal["macro", "micro", "weighted"] | None


def metric_name(metric: Metric) -> str:
    """Return the name of a function or of what a `partial` wraps."""
    inner = metric.func if isinstance(metric, partial) else metric
    return str(getattr(inner, "__name__", type(inner).__name__))


def refuse_unsuitable(metrics: Iterable[Metric], n_outputs: int, targets: Tensor) -> None:
    """Let a metric that does not suit a task say so before an epoch is spent.

    Raises:
        InputError: of the metric.
    """
    for metric in metrics:
        try:
            metric(torch.zeros(len(targets[:2]), n_outputs), targets[:2])
        except InputError:
            raise
        except Exception:  # noqa: BLE001 -- it may need more than two items to be defined
            return


def refuse_nan(output: Tensor) -> None:
    """Refuse outputs for which no metric is defined.

    Raises:
        InputError: one of them is NaN.
    """
    if output.isnan().any():
        raise InputError("A metric is not defined for outputs that are NaN.")


def averaged(each: Tensor, weight: Tensor, average: Average) -> Tensor:
    """Return the mean of values a class [C] where they are defined: plain, or weighted by [C]; or themselves for None.

    Raises:
        UnknownNameError: there is no such average.
    """
    if average is None:
        return each
    if average == "macro":
        return each.nanmean()
    if average == "weighted":
        defined = ~each.isnan()
        return (each[defined] * weight[defined]).sum() / weight[defined].sum()
    raise UnknownNameError.of("average", average, ("macro", "micro", "weighted"))


def sweep(score: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each distinct score [N], largest first, with the hits and the answers at it and above, float64.

    Truth [N] is 0 or 1; images where it is NaN are left out.
    """
    known = ~truth.isnan()
    score, order = score[known].sort(descending=True)
    last_of_tie = torch.ones_like(score, dtype=torch.bool)
    last_of_tie[:-1] = score[1:] != score[:-1]
    hits = (truth[known][order] == 1).double().cumsum(0)
    answers = torch.arange(1, len(score) + 1, dtype=torch.float64)
    return score[last_of_tie], hits[last_of_tie], answers[last_of_tie]


def smaller_is_better(name: str) -> bool:
    """Return whether a figure of this name counts errors."""
    return any(word in name for word in ("error", "loss", "rmse", "mae"))


def not_defined() -> Tensor:
    """Return NaN, float64."""
    return torch.tensor(torch.nan, dtype=torch.float64)
