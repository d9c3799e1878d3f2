"""What more labels should bring: the score to expect with twice as many, from heads fitted to parts of those there are.

On halves and quarters of the labelled images the head is fitted anew. What is missing to a perfect score shrinks by
about the same share with each doubling (a power law; Hestness et al. 2017, "Deep Learning Scaling is Predictable,
Empirically"), which is taken from these.

Shapes: n images, F features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from foveal.core.rng import generator_for
from foveal.metrics.bootstrap import Interval
from foveal.tasks.base import AnyTask
from foveal.training.probes.closed_form import ridge_fit, suits

_PARTS = (4, 2)  # quarters and halves of the images
_DRAWS = 6  # of each part
_WEIGHTS = (1, 2, 2)  # of quarters, halves and all, whose scores vary less
_STEEPER = 1.1  # than before is the next doubling: few images of a class tell less than their share
_SMALLEST = 1e-4  # that may be missing to a perfect score
_WIDTH = 2.0  # standard deviations of scores on halves to each side: benchmarks/results/2026-11-28-forecast.md
_FEWEST = 40  # images to train on, whose quarters can be fitted; chosen by hand


class Labelled(NamedTuple):
    """Images whose labels are known.

    Attributes:
        features: [n, F].
        targets: encoded [n] or [n, C].
    """

    features: Tensor
    targets: Tensor


class Forecast(NamedTuple):
    """What more labels should bring.

    Attributes:
        metric: the headline metric that is meant.
        n: images that are labelled now.
        now: the metric with these.
        at_twice: with twice as many, and the bounds of nine in ten forecasts.
    """

    metric: str
    n: int
    now: float
    at_twice: Interval

    def __str__(self) -> str:
        name, (value, low, high) = self.metric.replace("_", " "), self.at_twice
        return (
            f"With twice as many labelled images, {2 * self.n:,} to train on, {name} should be {value:.3f} "
            f"({low:.3f} to {high:.3f}) instead of {self.now:.3f}."
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the forecast that the JSON of `_asdict` holds."""
        return cls(stored["metric"], stored["n"], stored["now"], Interval(*stored["at_twice"]))


def forecast(task: AnyTask, train: Labelled, valid: Labelled) -> Forecast | None:
    """Return the score to expect with twice as many labels; None where there are too few, or too many, to try.

    Args:
        task: has classes, and a first headline metric of which 1 is perfect.
        train: what the head is fitted to.
        valid: what it is evaluated on.
    """
    n = len(train.features)
    if n < _FEWEST or not suits(train.targets, train.features.shape):
        return None
    name, metric = next(iter(task.report_metrics().items()))

    def score(rows: Tensor) -> float:
        fit = ridge_fit(train.features[rows], train.targets[rows], task.loss, task.n_outputs)
        with torch.no_grad():
            return float(metric(task.activate(fit.layer(valid.features)), valid.targets))

    rng = generator_for(0, 0, n)
    scores = {
        part: [score(torch.from_numpy(rng.permutation(n)[: n // part])) for _ in range(_DRAWS)] for part in _PARTS
    }
    now = score(torch.arange(n))
    means = [*(float(np.mean(scores[part])) for part in _PARTS), now]
    missing = [math.log(max(1 - mean, _SMALLEST)) for mean in means]
    doublings = [-math.log2(part) for part in (*_PARTS, 1)]
    slope, at_present = np.polyfit(doublings, missing, 1, w=np.sqrt(_WEIGHTS))
    expected = 1 - math.exp(float(at_present + _STEEPER * slope))
    width = _WIDTH * float(np.std(scores[_PARTS[-1]], ddof=1))
    bounds = np.clip([expected, expected - width, expected + width], 0, 1)  # metrics of classes are shares
    return Forecast(name, n, now, Interval(*map(float, bounds)))
