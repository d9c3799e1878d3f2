"""Thresholds and temperature, tuned on validation predictions, and an honest estimate of what the tuning gives.

A label is predicted where its probability is above its threshold. Between two neighbouring probabilities all thresholds
give the same decisions, so one sweep over the sorted probabilities of a class sees every decision there is; of equally
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
from functools import partial
from typing import Any

import torch
from torch import Tensor

from foveal.core.arguments import check_list
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.warn import warn
from foveal.metrics.bootstrap import Interval, bootstrap_samples, interval_of, sampling_threads
from foveal.metrics.common import sweep
from foveal.metrics.several_labels import f1_multi, precision_multi, recall_multi
from foveal.tasks.vocab import ClassLabel, plain

Criterion = str | tuple[float, float]
"""See `tune_thresholds`."""
FEW_POSITIVES = 10
"""Images with a label below which its threshold is uncertain; chosen by hand."""
_FOLDS = 5
"""Folds of the estimate for other images: four fifths tune, one fifth is scored; chosen by hand."""
_N_SAMPLES = 200
"""Bootstrap samples of each threshold's interval; chosen by hand."""
_MIN_SAMPLES = 20
"""Bootstrap samples where there are many classes; chosen by hand."""
_MAX_FITS = 20_000
"""Thresholds tuned for all samples together, for speed: one takes about 0.2 ms, so 4 s for up to 1,000 classes."""
_USEFUL_PRECISION = 0.2
"""A threshold is of no use where fewer than this share of its predictions are right; chosen by hand."""
_GOLDEN = (5**0.5 - 1) / 2
"""The golden section."""
_MIN_TEMPERATURE = 0.05
"""Chosen by hand, far below all temperatures of trained models."""
_MAX_TEMPERATURE = 20.0
"""Chosen by hand, far above all temperatures of trained models."""
_LOG_TOLERANCE = 1e-4
"""Where the search ends, in the logarithm of the temperature; losses summed in float32 decide no finer than 3e-4."""
_ROUNDING = 1e-12
"""Scores that differ by less count as equal."""


@dataclass(frozen=True, slots=True)
class ThresholdFit:
    """Thresholds, and how far they can be trusted.

    Attributes:
        names: the classes.
        thresholds: one per class; all equal where one was tuned for all.
        intervals: of each threshold, had other validation images been drawn.
        positives: the number of images with each label.
        before, after: macro F1 on validation at the thresholds before and after.
        unseen: macro F1 to expect on other images: tuned on four fifths, measured on the last fifth, five times.
        unseen_precision, unseen_recall: macro averages of the same answers; precision over the classes answered at all.
    """

    names: tuple[str, ...]
    thresholds: tuple[float, ...]
    intervals: tuple[Interval, ...]
    positives: tuple[int, ...]
    before: float
    after: float
    unseen: float
    unseen_precision: float = math.nan
    unseen_recall: float = math.nan

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ThresholdFit:
        """Return the thresholds that the JSON of `asdict` holds."""
        lists = {name: tuple(stored[name]) for name in ("names", "thresholds", "positives")}
        intervals = tuple(Interval(*bounds) for bounds in stored["intervals"])
        return cls(**{**stored, **lists, "intervals": intervals})

    @property
    def is_improvement(self) -> bool:
        """Whether a higher F1 is expected on other images than before."""
        return self.unseen > self.before

    @property
    def on_others(self) -> dict[str, float]:
        """What to expect on other images, by metric; what is not defined is left out."""
        expected = {"f1": self.unseen, "precision": self.unseen_precision, "recall": self.unseen_recall}
        return {name: value for name, value in expected.items() if not math.isnan(value)}

    @property
    def few(self) -> tuple[str, ...]:
        """The classes with too few positives to trust their threshold."""
        return tuple(name for name, n in zip(self.names, self.positives, strict=True) if n < FEW_POSITIVES)


def tune_thresholds(
    probability: Tensor,
    truth: Tensor,
    names: Sequence[str],
    *,
    metric: Criterion = "f1",
    per_class: bool = True,
    least: int = 0,
    least_precision: float = 0.0,
    before: Sequence[float] | None = None,
    only: Sequence[ClassLabel] = (),
) -> ThresholdFit:
    """Tune thresholds on validation predictions.

    Args:
        probability: of each label, [N, C].
        truth: 0 or 1, NaN where unknown, [N, C].
        names: of the classes.
        metric: `f1`; `precision>=P`, the most recall that keeps a precision of P; `recall>=R`, the most precision that
            keeps a recall of R; or (cost of a false alarm, cost of a miss).
        per_class: one threshold per class, or one for all.
        least: with `per_class`, classes with fewer positives than this take the one for all.
        least_precision: the lowest precision that a threshold may have.
        before: the thresholds in force, for comparison; 0.5 by default.
        only: the classes that are tuned, as in the vocab or as text, the others keep the threshold in force; all by
            default.

    Returns:
        The thresholds with intervals, macro F1 before and after, and what to expect on other images.

    Raises:
        InputError: there is no such metric, no label at all, or `only` is no list.
        UnknownNameError: there is no such class.
    """
    check_list("only", only, "classes")
    chosen = [str(plain(one)) for one in only]
    if odd := [name for name in chosen if name not in names]:
        raise UnknownNameError.of("class", odd[0], names)
    score = require_precision(scorer(metric), least_precision)
    if not (truth == 1).any():
        raise InputError("Thresholds cannot be tuned: no validation image has any label.")
    probability = probability.double()
    n_samples = max(_MIN_SAMPLES, min(_N_SAMPLES, _MAX_FITS // len(names)))
    own, both = (truth == 1).sum(dim=0) >= (least if per_class else len(truth) + 1), (probability, truth)
    start = torch.full((len(names),), 0.5, dtype=torch.float64)
    start = start if before is None else torch.tensor(before, dtype=torch.float64)
    stays = torch.tensor([bool(chosen) and name not in chosen for name in names])

    def tuned(probability: Tensor, truth: Tensor) -> Tensor:
        return torch.where(stays, start, _thresholds(probability, truth, score, own))

    thresholds = tuned(probability, truth)
    with sampling_threads(both):
        drawn = bootstrap_samples(both, n_samples=n_samples)
        samples = torch.stack([tuned(p, t) for p, t in drawn])
    # What the thresholds that stay were tuned on is not known, so neither is what all give on other images.
    unseen = None if stays.any() else _margins_on_unseen(probability, truth, tuned)
    fit = ThresholdFit(
        tuple(names),
        tuple(thresholds.tolist()),
        tuple(interval_of(float(t), s.tolist()) for t, s in zip(thresholds, samples.T, strict=True)),
        tuple((truth == 1).sum(dim=0).tolist()),
        before=float(f1_multi(probability, truth, start, sigmoid=False)),
        after=float(f1_multi(probability, truth, thresholds, sigmoid=False)),
        unseen=math.nan if unseen is None else float(f1_multi(unseen, truth, 0.0, sigmoid=False)),
        unseen_precision=math.nan if unseen is None else float(precision_multi(unseen, truth, 0.0, sigmoid=False)),
        unseen_recall=math.nan if unseen is None else float(recall_multi(unseen, truth, 0.0, sigmoid=False)),
    )
    if fit.few and per_class and not least:
        warn(
            f"{len(fit.few)} of {len(names)} classes have fewer than {FEW_POSITIVES} validation images "
            f"({', '.join(fit.few[:5])}{', …' if len(fit.few) > 5 else ''}): their thresholds are uncertain. "
            "`per_class=False` (--one-for-all) tunes one for all."
        )
    return fit


def tune_best_thresholds(probability: Tensor, truth: Tensor, names: Sequence[str]) -> ThresholdFit:
    """Return the thresholds with the highest F1 expected on other images, of three ways to tune for F1.

    The ways: one threshold per class; the same, but classes with few positives share one; one for all. A threshold with
    a precision below one in five is of no use, whatever it adds to F1.

    Args:
        probability: of each label, [N, C].
        truth: 0 or 1, NaN where unknown, [N, C].
        names: of the classes.

    Raises:
        InputError: there is no label at all.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* have fewer than .* validation images")
        tune = partial(tune_thresholds, probability, truth, names, least_precision=_USEFUL_PRECISION)
        fits = [tune(), tune(least=FEW_POSITIVES), tune(per_class=False)]
    return max(fits, key=lambda fit: fit.unseen)


Score = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Hits, false alarms and positives, elementwise, to a score that should be as large as possible."""


def scorer(metric: Criterion) -> Score:
    """Return the score that a metric asks to be as large as possible.

    Raises:
        InputError: there is no such metric.
    """
    if isinstance(metric, tuple):
        alarm, miss = metric
        return lambda hits, alarms, positives: -(alarm * alarms + miss * (positives - hits))
    if metric == "f1":
        return lambda hits, alarms, positives: 2 * hits / (hits + alarms + positives).clamp(min=1)
    bound = re.fullmatch(r"(precision|recall)\s*>=\s*(0?\.\d+|1(?:\.0*)?|0)", metric.strip())
    if bound is None:
        raise InputError(
            f"`metric` is 'f1', 'precision>=0.9', 'recall>=0.95' or (cost of a false alarm, cost of a miss); got "
            f"{metric!r}."
        )
    kind, least = bound[1], float(bound[2])

    def constrained(hits: Tensor, alarms: Tensor, positives: Tensor) -> Tensor:
        precision = _precision(hits, alarms)
        recall = hits / positives.clamp(min=1)
        bounded, maximised = (precision, recall) if kind == "precision" else (recall, precision)
        # Where the bound cannot be kept, the nearest to it: minus 2 puts these below all others.
        return torch.where(bounded >= least - _ROUNDING, maximised, bounded - 2)

    return constrained


def require_precision(score: Score, least_precision: float) -> Score:
    """Return the same score, but minus infinity where precision is too low.

    Args:
        score: any score.
        least_precision: the lowest precision allowed; 0 allows all.
    """

    def constrained(hits: Tensor, alarms: Tensor, positives: Tensor) -> Tensor:
        plain = score(hits, alarms, positives)
        return torch.where(_precision(hits, alarms) >= least_precision, plain, -torch.inf)

    return constrained if least_precision else score


def _precision(hits: Tensor, alarms: Tensor) -> Tensor:
    """Return the share of predictions that are right; 1 without predictions."""
    return torch.where(hits + alarms > 0, hits / (hits + alarms).clamp(min=1), 1.0)


def best_threshold(probability: Tensor, truth: Tensor, score: Score) -> float:
    """Return the threshold of one class with the largest score; 0.5 where no image has the label.

    Args:
        probability: [N], above 0 and up to 1: no threshold is below 0.
        truth: 0 or 1, NaN where unknown, [N].
        score: to be as large as possible.
    """
    values, hits, n_predicted = sweep(probability, truth)
    if not len(hits) or hits[-1] == 0:
        return 0.5
    # No label predicted, then every label down to each distinct probability.
    values = torch.cat([torch.tensor([1.0], dtype=torch.float64), values])
    zero = torch.zeros(1, dtype=torch.float64)
    hits, n_predicted = (torch.cat([zero, counts]) for counts in (hits, n_predicted))
    scores = score(hits, n_predicted - hits, hits[-1])
    lower = torch.cat([values[1:], zero])
    best = (scores >= scores.max() - _ROUNDING).nonzero()[:, 0]
    widest = best[(values - lower)[best].argmax()]
    return float((values[widest] + lower[widest]) / 2)


def best_temperature(loss: Callable[[float], float]) -> float:
    """Return the temperature between 0.05 and 20 with the least loss, by golden section over its logarithm."""
    low, high = math.log(_MIN_TEMPERATURE), math.log(_MAX_TEMPERATURE)

    def loss_at(position: float) -> float:
        return loss(math.exp(position))

    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss_at(left), loss_at(right)
    while high - low > _LOG_TOLERANCE:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss_at(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss_at(right)
    return math.exp((low + high) / 2)


def _thresholds(probability: Tensor, truth: Tensor, score: Score, own: Tensor) -> Tensor:
    """Return one threshold per class: its own where `own`, bool [C], says so, or the one for all."""
    shared = 0.5 if own.all() else best_threshold(probability.reshape(-1), truth.reshape(-1), score)
    columns = zip(probability.T, truth.T, own.tolist(), strict=True)
    each = [best_threshold(p, t, score) if has_own else shared for p, t, has_own in columns]
    return torch.tensor(each, dtype=torch.float64)


def _margins_on_unseen(probability: Tensor, truth: Tensor, tuned: Callable[[Tensor, Tensor], Tensor]) -> Tensor | None:
    """Return by how much each probability exceeds a threshold tuned without its image; None where none can be."""
    fold = torch.arange(len(truth)) % _FOLDS
    margin = torch.empty_like(probability)
    for number in range(min(_FOLDS, len(truth))):
        tuning, held_out = fold != number, fold == number
        if not (truth[tuning] == 1).any():
            return None
        margin[held_out] = probability[held_out] - tuned(probability[tuning], truth[tuning])
    return margin
