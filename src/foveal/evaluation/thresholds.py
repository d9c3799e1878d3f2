"""Thresholds and temperature, tuned on validation predictions, and an honest estimate of what the tuning gives.

A label counts as found where its probability is above its threshold. Between two neighbouring probabilities every
threshold decides alike, so one sweep over the sorted probabilities of a class sees every decision there is; of equally
good ones the threshold in the middle of the widest gap is taken. The temperature (Guo et al. 2017, "On Calibration of
Modern Neural Networks") divides the logits and is the one with the least loss.

Shapes: N images, C classes. Probabilities and truth are [N, C]; NaN in the truth is unknown.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.metrics.bootstrap import Interval, bootstrap_samples, interval_of
from foveal.metrics.common import sweep
from foveal.metrics.several_labels import f1_multi

Criterion = str | tuple[float, float]
FEW_POSITIVES = 10
_FOLDS = 5
_SAMPLES, _FEWEST_SAMPLES, _MOST_TUNED = 200, 20, 20_000  # samples, and thresholds tuned for them in all: 0.2 ms each
_USEFUL = 0.2
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class ThresholdFit:
    """Thresholds, and how far they can be trusted.

    Attributes:
        names: the classes.
        thresholds: one a class; all alike where one was tuned for all.
        intervals: of each threshold, where other validation images had been drawn.
        positives: images with each label.
        before, after: macro F1 on validation at the thresholds before and after.
        unseen: macro F1 to expect on other images: of thresholds tuned on four fifths, judged on the last fifth.
    """

    names: tuple[str, ...]
    thresholds: tuple[float, ...]
    intervals: tuple[Interval, ...]
    positives: tuple[int, ...]
    before: float
    after: float
    unseen: float

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ThresholdFit:
        """Rebuild it from `asdict`, by way of JSON."""
        lists = {name: tuple(stored[name]) for name in ("names", "thresholds", "positives")}
        intervals = tuple(Interval(*bounds) for bounds in stored["intervals"])
        return cls(**{**stored, **lists, "intervals": intervals})

    @property
    def is_improvement(self) -> bool:
        """Whether the thresholds promise more on other images than those before."""
        return self.unseen > self.before

    @property
    def few(self) -> tuple[str, ...]:
        """The classes with too few positives to trust their threshold."""
        return tuple(name for name, n in zip(self.names, self.positives, strict=True) if n < FEW_POSITIVES)


def tuned(
    probability: Tensor,
    truth: Tensor,
    names: Sequence[str],
    *,
    metric: Criterion = "f1",
    per_class: bool = True,
    least: int = 0,
    least_precision: float = 0.0,
    before: Sequence[float] | None = None,
) -> ThresholdFit:
    """Tune thresholds on validation predictions.

    Args:
        probability: of each label.
        truth: 0 or 1.
        names: of the classes.
        metric: `f1`; `precision>=P`, the most recall that keeps a precision of P; `recall>=R`, the most precision that
            keeps a recall of R; or (cost of a false alarm, cost of a miss).
        per_class: a threshold a class, or one for all.
        least: with `per_class`, classes with fewer positives than this take the one for all.
        least_precision: no class is found at a threshold where less than this share of what is found is right.
        before: the thresholds in force, for comparison; 0.5 by default.

    Raises:
        InputError: there is no such metric, or no label at all.
    """
    score = useful(scorer(metric), least_precision)
    if not (truth == 1).any():
        raise InputError("Thresholds cannot be tuned: no validation image has any label.")
    probability = probability.double()
    n_samples = max(_FEWEST_SAMPLES, min(_SAMPLES, _MOST_TUNED // len(names)))
    own = (truth == 1).sum(dim=0) >= (least if per_class else len(truth) + 1)
    thresholds = _thresholds(probability, truth, score, own)
    samples = torch.stack(
        [_thresholds(p, t, score, own) for p, t in bootstrap_samples((probability, truth), n_samples=n_samples)]
    )
    start = torch.full_like(thresholds, 0.5) if before is None else torch.tensor(before, dtype=torch.float64)
    found = ThresholdFit(
        tuple(names),
        tuple(thresholds.tolist()),
        tuple(interval_of(float(t), s.tolist()) for t, s in zip(thresholds, samples.T, strict=True)),
        tuple((truth == 1).sum(dim=0).tolist()),
        before=float(f1_multi(probability, truth, start, sigmoid=False)),
        after=float(f1_multi(probability, truth, thresholds, sigmoid=False)),
        unseen=_unseen(probability, truth, score, own),
    )
    if found.few and per_class and not least:
        warnings.warn(
            f"{len(found.few)} of {len(names)} classes have fewer than {FEW_POSITIVES} validation images "
            f"({', '.join(found.few[:5])}{', …' if len(found.few) > 5 else ''}): their thresholds are uncertain. "
            "`per_class=False` tunes one for all.",
            stacklevel=3,
        )
    return found


def tune_best_thresholds(probability: Tensor, truth: Tensor, names: Sequence[str]) -> ThresholdFit:
    """Tune for F1; of three ways, return the thresholds that promise most on other images.

    A threshold at which fewer than one in five of what it finds is right is of no use, whatever it adds to F1.

    The ways: a threshold a class; the same but for classes with few positives, which share one; one for all.

    Raises:
        InputError: there is no label at all.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* have fewer than .* validation images")
        ways: tuple[dict[str, Any], ...] = ({}, {"least": FEW_POSITIVES}, {"per_class": False})
        tries = [tuned(probability, truth, names, least_precision=_USEFUL, **way) for way in ways]
    return max(tries, key=lambda found: found.unseen)


Score = Callable[[Tensor, Tensor, Tensor], Tensor]


def scorer(metric: Criterion) -> Score:
    """Return what is to be as large as possible, of hits, false alarms and positives (of tensors, elementwise).

    Raises:
        InputError: there is no such metric.
    """
    if isinstance(metric, tuple):
        alarm, miss = metric
        return lambda hits, alarms, positives: -(alarm * alarms + miss * (positives - hits))
    if metric == "f1":
        return lambda hits, alarms, positives: 2 * hits / (hits + alarms + positives).clamp(min=1)
    asked = re.fullmatch(r"(precision|recall)\s*>=\s*(0?\.\d+|1(?:\.0*)?|0)", metric.strip())
    if asked is None:
        raise InputError(
            f"`metric` is 'f1', 'precision>=0.9', 'recall>=0.95' or (cost of a false alarm, cost of a miss); got "
            f"{metric!r}."
        )
    kind, least = asked[1], float(asked[2])

    def constrained(hits: Tensor, alarms: Tensor, positives: Tensor) -> Tensor:
        precision = _precision(hits, alarms)
        recall = hits / positives.clamp(min=1)
        kept, wanted = (precision, recall) if kind == "precision" else (recall, precision)
        # Where the bound cannot be kept, the nearest to it; 1e-12 forgives rounding.
        return torch.where(kept >= least - 1e-12, wanted, kept - 2)

    return constrained


def useful(score: Score, least_precision: float) -> Score:
    """Return the same score, but below all others where precision is less than asked."""

    def kept(hits: Tensor, alarms: Tensor, positives: Tensor) -> Tensor:
        found = score(hits, alarms, positives)
        return torch.where(_precision(hits, alarms) >= least_precision, found, -torch.inf)

    return kept if least_precision else score


def _precision(hits: Tensor, alarms: Tensor) -> Tensor:
    """Return 1 where nothing is found."""
    return torch.where(hits + alarms > 0, hits / (hits + alarms).clamp(min=1), 1.0)


def best_threshold(probability: Tensor, truth: Tensor, score: Score) -> float:
    """Return the threshold of one class [N] with the largest score; 0.5 where no image has the label.

    Probabilities lie between 0 and 1, 0 excluded: no threshold is below 0.
    """
    values, hits, found = sweep(probability, truth)
    if not len(hits) or hits[-1] == 0:
        return 0.5
    # Nothing found, then everything down to each distinct probability.
    values = torch.cat([torch.tensor([1.0], dtype=torch.float64), values])
    hits, found = (torch.cat([torch.zeros(1, dtype=torch.float64), counts]) for counts in (hits, found))
    scores = score(hits, found - hits, hits[-1])
    lower = torch.cat([values[1:], torch.zeros(1, dtype=torch.float64)])
    best = (scores >= scores.max() - 1e-12).nonzero()[:, 0]
    widest = best[(values - lower)[best].argmax()]
    return float((values[widest] + lower[widest]) / 2)


def best_temperature(loss: Callable[[float], float]) -> float:
    """Return the temperature between 0.05 and 20 with the least loss, by golden section over its logarithm."""
    low, high = math.log(0.05), math.log(20.0)

    def at(position: float) -> float:
        return loss(math.exp(position))

    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = at(left), at(right)
    while high - low > 1e-4:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = at(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = at(right)
    return math.exp((low + high) / 2)


def _thresholds(probability: Tensor, truth: Tensor, score: Score, own: Tensor) -> Tensor:
    """Return a threshold a class, its `own` or the one for all."""
    shared = 0.5 if own.all() else best_threshold(probability.reshape(-1), truth.reshape(-1), score)
    columns = zip(probability.T, truth.T, own.tolist(), strict=True)
    each = [best_threshold(p, t, score) if alone else shared for p, t, alone in columns]
    return torch.tensor(each, dtype=torch.float64)


def _unseen(probability: Tensor, truth: Tensor, score: Score, own: Tensor) -> float:
    """Return the macro F1 of every image judged by thresholds that were tuned without it."""
    fold = torch.arange(len(truth)) % _FOLDS
    margin = torch.empty_like(probability)
    for part in range(min(_FOLDS, len(truth))):
        rest, held = fold != part, fold == part
        if not (truth[rest] == 1).any():
            return float("nan")
        margin[held] = probability[held] - _thresholds(probability[rest], truth[rest], score, own)
    return float(f1_multi(margin, truth, 0.0, sigmoid=False))
