"""How sure a figure is: bootstrap intervals over pictures.

Source: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"; the interval is that of the percentiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from foveal.errors import InputError
from foveal.rng import generator_for

_SAMPLES, _MOST_ITEMS = 1000, 2_000_000


class Interval(NamedTuple):
    """A figure, and the bounds between which it would lie had other pictures been drawn; NaN where not defined."""

    value: float
    low: float
    high: float


def interval(
    figure: Callable[..., Any], *tensors: Tensor, level: float = 0.95, n_samples: int | None = None, seed: int = 0
) -> Interval:
    """Return a figure of tensors [N, ...] with its bootstrap interval.

    Args:
        figure: a function of the tensors, for instance a metric.
        tensors: with a row a picture each; rows are drawn together.
        level: the share of samples within the bounds.
        n_samples: 1,000, or fewer for very many pictures (2 million rows in all).
        seed: decides the samples.
    """
    samples = [float(figure(*part)) for part in resampled(tensors, n_samples=n_samples, seed=seed)]
    return Interval(float(figure(*tensors)), *bounds(samples, level))


def resampled(tensors: Sequence[Tensor], *, n_samples: int | None = None, seed: int = 0) -> Any:
    """Yield the tensors with as many rows, drawn with replacement, again and again.

    Raises:
        InputError: there is nothing to draw from, or the tensors differ in length.
    """
    lengths = {len(tensor) for tensor in tensors}
    if len(lengths) != 1 or not min(lengths):
        raise InputError(f"Intervals need tensors of one length with at least one row; got {sorted(lengths)}.")
    n = lengths.pop()
    for number in range(n_samples or max(50, min(_SAMPLES, _MOST_ITEMS // n))):
        rows = torch.from_numpy(generator_for(seed, 0, number).integers(0, n, n))
        yield tuple(tensor[rows] for tensor in tensors)


def bounds(samples: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the percentiles that hold `level` of the samples that are defined."""
    defined = np.array([sample for sample in samples if not np.isnan(sample)])
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
