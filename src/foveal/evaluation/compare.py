"""Two models on the same images: is one better, or was it luck?

Images are drawn anew for both at once (a paired bootstrap), so what makes an image hard for either cancels out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.evaluation.predictions import Predictions
from foveal.images.decode import name_of
from foveal.metrics.bootstrap import Interval, interval
from foveal.metrics.common import MetricFunction, require_direction


class Difference(NamedTuple):
    """One metric of two models, and the second minus the first."""

    metric: str
    first: float
    second: float
    difference: Interval
    higher_is_better: bool

    @property
    def verdict(self) -> str:
        """`first`, `second`, or nothing where the interval holds 0 (or is not defined)."""
        if not (self.difference.low > 0 or self.difference.high < 0):
            return ""
        return "second" if (self.difference.value > 0) == self.higher_is_better else "first"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of two models on the images that both answered for.

    Attributes:
        n: those images.
        left_out: images that only one of them answered for.
        differences: one per headline metric.
    """

    n: int
    left_out: int
    differences: tuple[Difference, ...]


def compare(first: Predictions, second: Predictions) -> Comparison:
    """Compare two models on the images that both answered for.

    Args:
        first: the answers of one.
        second: the answers of the other.

    Raises:
        InputError: they answer different questions, share no image, or the truth differs between them.
    """
    if (first.task.kind, first.task.names) != (second.task.kind, second.task.names):
        raise InputError(
            f"These models answer different questions: {first.task.kind} ({', '.join(first.task.names[:5])}) and "
            f"{second.task.kind} ({', '.join(second.task.names[:5])})."
        )
    index_in_second = {name_of(image): index for index, image in enumerate(second.images)}
    names = enumerate(map(name_of, first.images))
    pairs = [(index, index_in_second[name]) for index, name in names if name in index_in_second]
    if not pairs:
        raise InputError("These runs share no validation image: give both the same table and the same split.")
    ours, theirs = (torch.tensor(side) for side in zip(*pairs, strict=True))
    truth = first.targets[ours]
    if not truth.allclose(second.targets[theirs], equal_nan=True):
        raise InputError("The labels of the same images differ between these runs: they cannot be compared.")
    comparable = first.comparable[ours], second.comparable[theirs], truth
    second_metrics = second.task.report_metrics()
    differences = (
        _difference(name, metric, second_metrics[name], *comparable)
        for name, metric in first.task.report_metrics().items()
    )
    left_out = len(first.images) + len(second.images) - 2 * len(pairs)
    return Comparison(len(pairs), left_out, tuple(differences))


def _difference(
    name: str, first_metric: MetricFunction, second_metric: MetricFunction, *comparable: Tensor
) -> Difference:
    def both(first: Tensor, second: Tensor, truth: Tensor) -> tuple[float, float]:
        return float(first_metric(first, truth)), float(second_metric(second, truth))

    def gain(*comparable: Tensor) -> float:
        before, after = both(*comparable)
        return after - before

    return Difference(name, *both(*comparable), interval(gain, *comparable), require_direction(first_metric, name))
