"""Two models on the same images: is one better, or was it luck?

Images are drawn anew for both at once (a paired bootstrap), so what makes an image hard for either cancels out. Several
figures are looked at, and one of them is soon far off by chance: the intervals are so wide that with 95% all of them
hold their differences together (Bonferroni).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.evaluation.predictions import Predictions
from foveal.images.decode import name_of
from foveal.metrics.bootstrap import Interval, interval
from foveal.metrics.common import MetricFunction, require_direction

LEVEL = 0.95
"""The probability with which all intervals of a comparison hold together."""
_LEAST_SHARED = (
    0.5  # of the smaller validation side; with less the splits are others, and chance decides what is shared
)
Verdict = Literal["first", "second", "mixed", "unclear"]


class Difference(NamedTuple):
    """One metric of two models, and the second minus the first."""

    metric: str
    first: float
    second: float
    difference: Interval
    higher_is_better: bool

    @property
    def verdict(self) -> Literal["first", "second", ""]:
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
        differences: one per headline metric, the one that decides first.
    """

    n: int
    left_out: int
    differences: tuple[Difference, ...]

    @property
    def verdict(self) -> Verdict:
        """Which model is better by the first metric; `mixed` where another one clearly says the opposite."""
        verdicts = [one.verdict for one in self.differences]
        if not verdicts or not verdicts[0]:
            return "unclear"
        return "mixed" if {"first", "second"} <= set(verdicts) else verdicts[0]


def compare(first: Predictions, second: Predictions, *, on_shared: bool = False) -> Comparison:
    """Compare two models on the images that both answered for.

    Args:
        first: the answers of one.
        second: the answers of the other.
        on_shared: compare even where they share less than half of the smaller validation side.

    Returns:
        The differences in the headline metrics with their intervals, and how many images were shared and left out.

    Raises:
        InputError: they answer different questions, the truth differs between them, or they share too few images.
    """
    if (first.task.kind, first.task.names) != (second.task.kind, second.task.names):
        raise InputError(
            f"These models answer different questions: {first.task.kind} ({', '.join(first.task.names[:5])}) and "
            f"{second.task.kind} ({', '.join(second.task.names[:5])})."
        )
    index_in_second = {name_of(image): index for index, image in enumerate(second.images)}
    names = enumerate(map(name_of, first.images))
    pairs = [(index, index_in_second[name]) for index, name in names if name in index_in_second]
    sizes = len(first.images), len(second.images)
    if not pairs or not (on_shared or len(pairs) >= _LEAST_SHARED * min(sizes)):
        shared = f"only {len(pairs):,}" if pairs else "none"
        raise InputError(
            f"These runs were validated on other images: they share {shared} of {sizes[0]:,} and {sizes[1]:,}. A split "
            "is drawn with the seed: give both runs the same --seed, or a --split-file. What one "
            "was validated on, the other was trained on."
            + (" --on-shared compares on the few all the same." if pairs else "")
        )
    ours, theirs = (torch.tensor(side) for side in zip(*pairs, strict=True))
    truth = first.targets[ours]
    if not truth.allclose(second.targets[theirs], equal_nan=True):
        raise InputError("The labels of the same images differ between these runs: they cannot be compared.")
    comparable = first.comparable[ours], second.comparable[theirs], truth
    first_metrics, second_metrics = first.task.report_metrics(), second.task.report_metrics()
    level = 1 - (1 - LEVEL) / len(first_metrics)
    differences = (
        _difference(level, name, metric, second_metrics[name], *comparable) for name, metric in first_metrics.items()
    )
    left_out = len(first.images) + len(second.images) - 2 * len(pairs)
    return Comparison(len(pairs), left_out, tuple(differences))


def _difference(
    level: float, name: str, first_metric: MetricFunction, second_metric: MetricFunction, *comparable: Tensor
) -> Difference:
    def both(first: Tensor, second: Tensor, truth: Tensor) -> tuple[float, float]:
        return float(first_metric(first, truth)), float(second_metric(second, truth))

    def gain(*comparable: Tensor) -> float:
        before, after = both(*comparable)
        return after - before

    return Difference(
        name, *both(*comparable), interval(gain, *comparable, level=level), require_direction(first_metric, name)
    )
