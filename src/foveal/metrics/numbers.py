"""Metrics of numbers; they take *activated* outputs, in the units of the targets."""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.metrics.common import declare_metric, refuse_nan


@declare_metric(higher_is_better=False, takes="activated")
def rmse(output: Tensor, target: Tensor) -> Tensor:
    """Return the root of the mean squared error of numbers, over all that are known; takes *activated* outputs.

    Args:
        output: activated, in the units of the targets, [N] or [N, T].
        target: numbers of as many elements; NaN is unknown.

    Raises:
        InputError: there are not as many outputs as targets, or an output is NaN.

    Examples:
        >>> from foveal.vision.all import *
        >>> rmse(torch.tensor([1.0, 4.0]), torch.tensor([4.0, 0.0])).item() ** 2
        12.5...
    """
    off = _errors(output, target)
    return (off**2).mean().sqrt()


@declare_metric(higher_is_better=False, takes="activated")
def mae(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error of numbers, over all that are known; takes *activated* outputs.

    Args:
        output: activated, in the units of the targets, [N] or [N, T].
        target: numbers of as many elements; NaN is unknown.

    Raises:
        InputError: there are not as many outputs as targets, or an output is NaN.

    Examples:
        >>> from foveal.vision.all import *
        >>> mae(torch.tensor([1.0, 4.0, 0.0]), torch.tensor([2.0, 2.0, torch.nan])).item()
        1.5
    """
    return _errors(output, target).abs().mean()


@declare_metric(higher_is_better=True, takes="activated")
def r2_score(output: Tensor, target: Tensor) -> Tensor:
    """Return 1 - (squared errors / squared distances of the targets from their mean), the mean over columns.

    A column whose targets do not differ is not defined and left out. Takes *activated* outputs.

    Args:
        output: activated, in the units of the targets, [N] or [N, T].
        target: numbers of as many elements; NaN is unknown.
    """
    _errors(output, target)
    output, target = output.double().reshape(len(output), -1), target.double().reshape(len(target), -1)
    rest = ((output - target) ** 2).nansum(dim=0)
    total = ((target - target.nanmean(dim=0)) ** 2).nansum(dim=0)
    return torch.where(total > 0, 1 - rest / total, torch.nan).nanmean()


def _errors(output: Tensor, target: Tensor) -> Tensor:
    """Return the errors of the numbers that are known, float64.

    Raises:
        InputError: there are not as many outputs as targets, or an output is NaN.
    """
    if output.numel() != target.numel():
        raise InputError(f"As many outputs as targets are expected; got {list(output.shape)} and {list(target.shape)}.")
    refuse_nan(output)
    output, target = output.double().reshape(-1), target.double().reshape(-1)
    return (output - target)[~target.isnan()]
