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
    """One figure of two models, and the second minus the first."""

    figure: str
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
        differences: one a headline figure.
    """

    n: int
    left_out: int
    differences: tuple[Difference, ...]


def compare(first: Predictions, second: Predictions) -> Comparison:
    """Compare two models on the images that both answered for.

    Raises:
        InputError: they answer different questions, share no image, or the truth differs between them.
    """
    if (first.task.kind, first.task.names) != (second.task.kind, second.task.names):
        raise InputError(
            f"These models answer different questions: {first.task.kind} ({', '.join(first.task.names[:5])}) and "
            f"{second.task.kind} ({', '.join(second.task.names[:5])})."
        )
    where = {name_of(image): at for at, image in enumerate(second.images)}
    pairs = [(at, where[name]) for at, name in enumerate(map(name_of, first.images)) if name in where]
    if not pairs:
        raise InputError("These runs share no validation image: give both the same table and the same split.")
    ours, theirs = (torch.tensor(side) for side in zip(*pairs, strict=True))
    truth = first.targets[ours]
    if not truth.allclose(second.targets[theirs], equal_nan=True):
        raise InputError("The labels of the same images differ between these runs: they cannot be compared.")
    comparable = first.comparable[ours], second.comparable[theirs], truth
    of_second = second.task.figures()
    found = (
        _difference(name, of_first, of_second[name], *comparable) for name, of_first in first.task.figures().items()
    )
    left_out = len(first.images) + len(second.images) - 2 * len(pairs)
    return Comparison(len(pairs), left_out, tuple(found))


def _difference(name: str, of_first: MetricFunction, of_second: MetricFunction, *comparable: Tensor) -> Difference:
    def both(first: Tensor, second: Tensor, truth: Tensor) -> tuple[float, float]:
        return float(of_first(first, truth)), float(of_second(second, truth))

    def gain(*comparable: Tensor) -> float:
        before, after = both(*comparable)
        return after - before

    return Difference(name, *both(*comparable), interval(gain, *comparable), require_direction(of_first, name))
