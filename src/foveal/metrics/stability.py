"""How much a distribution has changed: the population stability index, corrected for chance, with its interval.

The index is the sum over bins of (q - p) ln(q / p), for shares p of a reference and q of what is compared with it: the
symmetric Kullback-Leibler divergence. By convention it is small below 0.1 and large above 0.25. Of samples it is above
0 though nothing changed, by (bins - 1)(1 / n + 1 / m) on average; that is taken off here.

Source: Yurdakul 2018, "Statistical Properties of Population Stability Index", for what chance adds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from foveal.core.rng import generator_for
from foveal.metrics.bootstrap import Interval

SMALL, LARGE = 0.1, 0.25
"""Below the first an index is small, above the second it is large; the field's convention."""
_LEAST = 5  # counts of a bin of the reference, below which bins are taken together; the usual rule for chi-square
_SAMPLES = 1000  # drawn, the usual number for percentiles at 95%
_EMPTY = 0.5  # counts that every bin has besides, so that empty ones have a logarithm


def stability_index(reference: Sequence[int], compared: Sequence[int], *, level: float = 0.95) -> Interval:
    """Return the index of two histograms over the same bins, and its interval; NaN where there is nothing to compare.

    Args:
        reference: counts per bin; bins with fewer than 5 are taken together.
        compared: counts per bin.
        level: the share of samples within the bounds.
    """
    ours, theirs = _pooled(np.asarray(reference, np.int64), np.asarray(compared, np.int64))
    n, m = int(ours.sum()), int(theirs.sum())
    if len(ours) < 2 or not m:
        return Interval(float("nan"), float("nan"), float("nan"))
    by_chance = (len(ours) - 1) * (1 / n + 1 / m)
    rng = generator_for(0, 0, 0)
    drawn = rng.multinomial(n, _shares(ours), _SAMPLES), rng.multinomial(m, _shares(theirs), _SAMPLES)
    # Samples of samples have what chance adds twice.
    low, high = np.quantile(_index(*drawn) - 2 * by_chance, ((1 - level) / 2, (1 + level) / 2))
    value = float(_index(ours, theirs)) - by_chance
    return Interval(max(0.0, value), max(0.0, min(float(low), value)), max(0.0, float(high), value))


def _pooled(reference: NDArray[np.int64], compared: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return both histograms with the bins of which the reference has few taken together.

    Where these are few still, they are taken together with the smallest other bin.
    """
    rare = reference < _LEAST
    if not rare.any():
        return reference, compared
    if reference[rare].sum() < _LEAST and not rare.all():
        rare[np.flatnonzero(~rare)[np.argmin(reference[~rare])]] = True
    first, second = (np.append(counts[~rare], counts[rare].sum()) for counts in (reference, compared))
    return first, second


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    smoothed = counts + _EMPTY
    return np.asarray(smoothed / smoothed.sum(axis=-1, keepdims=True))


def _index(reference: NDArray[np.int64], compared: NDArray[np.int64]) -> NDArray[np.float64]:
    p, q = _shares(reference), _shares(compared)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))
