"""How sure a metric is: bootstrap intervals over images.

Source: Efron 1981, "Nonparametric Standard Errors and Confidence Intervals": percentiles, corrected for the bias of
metrics that samples overstate or understate, such as the calibration error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from statistics import NormalDist
from typing import NamedTuple, SupportsFloat

import numpy as np
import torch
from torch import Tensor

from foveal.core import runtime
from foveal.core.errors import InputError
from foveal.core.rng import generator_for

_SAMPLES = 1000  # drawn, the usual number for percentiles at 95%
_FEWEST = 50  # samples, however many images or classes there are; chosen by hand
_MOST_ITEMS = 2_000_000  # rows in all samples together, so that an interval takes seconds; chosen by hand
_LARGE = 1_000_000  # numbers of a tensor from which several threads are of use; chosen by hand
_MOST_COLUMNS = 200  # of one row; a metric of several labels goes through them one by one, 0.2 ms each


class Interval(NamedTuple):
    """A value, and the bounds between which it would lie had other images been drawn; NaN where not defined."""

    value: float
    low: float
    high: float


def interval(
    metric: Callable[..., SupportsFloat],
    *tensors: Tensor,
    level: float = 0.95,
    n_samples: int | None = None,
    seed: int = 0,
) -> Interval:
    """Return a metric of tensors [N, ...] with its bootstrap interval.

    Args:
        metric: a function of the tensors.
        tensors: with one row per image each; rows are drawn together.
        level: the share of samples within the bounds.
        n_samples: 1,000, or fewer for very many images (2 million rows in all) or classes (over 200), at least 50.
        seed: decides the samples.
    """
    with sampling_threads(tensors):
        samples = [float(metric(*sample)) for sample in bootstrap_samples(tensors, n_samples=n_samples, seed=seed)]
    return interval_of(float(metric(*tensors)), samples, level)


def share(count: int, n: int, level: float = 0.95) -> Interval:
    """Return a share with its interval. Source: Wilson 1927, "Probable Inference".

    Args:
        count: what is counted.
        n: of so many; of none the interval is from 0 to 1.
        level: how often the interval holds the share.
    """
    if not n:
        return Interval(0.0, 0.0, 1.0)
    z, value = NormalDist().inv_cdf((1 + level) / 2), count / n
    middle = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (value * (1 - value) / n + z * z / (4 * n * n)) ** 0.5
    return Interval(value, max(0.0, middle - half), min(1.0, middle + half))


def bootstrap_samples(
    tensors: Sequence[Tensor], *, n_samples: int | None = None, seed: int = 0
) -> Iterator[tuple[Tensor, ...]]:
    """Yield the tensors with as many rows, drawn with replacement, once per sample.

    Args:
        tensors: of one length; the same rows are drawn from all.
        n_samples: see `interval`.
        seed: decides the samples.

    Raises:
        InputError: there is nothing to draw from, or the tensors differ in length.
    """
    lengths = {len(tensor) for tensor in tensors}
    if len(lengths) != 1 or not min(lengths):
        raise InputError(f"Intervals need tensors of one length with at least one row; got {sorted(lengths)}.")
    n = lengths.pop()
    columns = max(1.0, max(tensor[0].numel() for tensor in tensors) / _MOST_COLUMNS)
    for number in range(n_samples or max(_FEWEST, int(min(_SAMPLES, _MOST_ITEMS // n) / columns))):
        rows = torch.from_numpy(generator_for(seed, 0, number).integers(0, n, n))
        yield tuple(tensor[rows] for tensor in tensors)


def sampling_threads(tensors: Sequence[Tensor]) -> AbstractContextManager[None]:
    """Return the block in which to work on samples of tensors: on one thread unless they are large.

    torch shares even the choice of a few rows between its threads: 1,000 samples of 300 rows of 18 numbers take 0.006 s
    on one thread and 0.14 on two, beside other work up to 1.9.
    """
    return runtime.on_threads(1 if max(tensor.numel() for tensor in tensors) < _LARGE else None)


def interval_of(value: float, samples: Sequence[float], level: float = 0.95) -> Interval:
    """Return a value with the bias-corrected percentiles of its samples; it never lies outside its own bounds.

    Args:
        value: of all rows.
        samples: the same of each sample; NaN is left out.
        level: the share of samples within the bounds.
    """
    defined = np.array([sample for sample in samples if not np.isnan(sample)])
    if not len(defined) or np.isnan(value):
        return Interval(value, float("nan"), float("nan"))
    normal, tail = NormalDist(), (1 - level) / 2
    below = ((defined < value).mean() + (defined <= value).mean()) / 2
    bias = normal.inv_cdf(float(np.clip(below, 0.5 / len(defined), 1 - 0.5 / len(defined))))
    shares = [normal.cdf(2 * bias + normal.inv_cdf(share)) for share in (tail, 1 - tail)]
    low, high = np.quantile(defined, shares)
    return Interval(value, min(float(low), value), max(float(high), value))
