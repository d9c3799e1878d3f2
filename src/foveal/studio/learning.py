"""What a studio learns from the labels so far: a head on kept features, its answers for all images, and its score.

Shapes: n images, m labelled ones, F features, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from foveal.core.rng import generator_for
from foveal.evaluation.choosing import choose_next, uncertainties_of, weights_of
from foveal.evaluation.forecast import Labelled, forecast
from foveal.evaluation.label_issues import PROBABLE
from foveal.metrics.bootstrap import Interval, bootstrap_samples, interval_of, share
from foveal.metrics.several_labels import average_precision
from foveal.studio.collection import Label, Purpose
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of
from foveal.tasks.label_checks import Issue, LabelCheck
from foveal.training.probes.closed_form import STRENGTHS, ridge_fit, suits

_AT_ONCE = 8192  # images that are answered for together
_CANDIDATES = 2000  # images among which the next are chosen: 0.1 s on two cores, 5,000 take 0.5 s
_GROWN = 1.25  # times as many labels, after which all penalties are tried anew: 0.6 s for 2,500 labels, else 0.3 s
_FEWEST_SCORED = 10  # images, from which on a score says something; chosen by hand
_SAMPLES = 200  # of the bootstrap; 0.3 s for 1,000 labels of 20 classes
_VALID_EVERY = 4  # labelled images, of which one tells what more labels bring, where no side is stated
_MOST_FORECAST = 2000  # images to learn from, from which on thirteen fits take too long


@dataclass(frozen=True, slots=True)
class Taught:
    """What is known of the labels: positions, encoded labels, and which of them say how good the answers are.

    Attributes:
        task: with all classes.
        at: positions of the labelled images that are learned from, [m].
        targets: their encoded labels, [m] or [m, C].
        valid_at: positions of labelled images of a validation side; empty where none is stated.
        valid_targets: their encoded labels.
    """

    task: AnyTask
    at: list[int]
    targets: Tensor
    valid_at: list[int]
    valid_targets: Tensor

    @classmethod
    def of(cls, purpose: Purpose, labels: Mapping[int, Label], sides: Sequence[bool | None]) -> Taught:
        """Return labels, encoded to learn from.

        Args:
            purpose: says of what kind they are.
            labels: by position.
            sides: of the split, of all images, where they are stated.
        """
        task = purpose.task()
        train = [at for at in labels if sides[at] is not True]
        valid = [at for at in labels if sides[at] is True]

        def encoded(some: list[int]) -> Tensor:
            if not some:
                return task.missing_target[None][:0]
            return torch.stack([task.encode(labels[at]) for at in some])

        return cls(task, train, encoded(train), valid, encoded(valid))


@dataclass(frozen=True, slots=True)
class Answers:
    """What the head answers.

    Attributes:
        task: of the answers.
        values: probabilities of all images [n, C]; NaN of those that were not looked at yet.
        held_out: the same of the images that it learned from, each by a head that was fitted without it, [m, C].
        taught: what it learned from.
        strength: of the head's penalty.
        n_searched: labelled images, as all strengths were tried the last time.
    """

    task: AnyTask
    values: Tensor
    held_out: Tensor
    taught: Taught
    strength: float
    n_searched: int

    @property
    def n_learned(self) -> int:
        """How many images it learned from."""
        return len(self.taught.at)


def learn(features: Tensor, taught: Taught, before: Answers | None = None) -> Answers | None:
    """Fit the head and answer for all images.

    Args:
        features: of all images, [n, F]; NaN where they were not looked at yet.
        taught: images and labels to learn from, that were looked at.
        before: the answers of nearly the same labels, near whose penalty the best is looked for.

    Returns:
        The answers; None where the labels are too few, or all alike.
    """
    task, rows = taught.task, features[taught.at].float()
    if not suits(taught.targets, rows.shape) or _are_alike(taught.targets):
        return None
    near = before if before and before.n_searched <= len(rows) <= _GROWN * before.n_searched else None
    strengths = _around(near.strength) if near else STRENGTHS
    fit = ridge_fit(rows, taught.targets, task.loss, task.n_outputs, strengths=strengths)
    with torch.inference_mode():
        parts = [task.activate(fit.layer(part.float())) for part in torch.split(features, _AT_ONCE)]
        assert fit.held_out is not None
        held_out = task.activate(fit.held_out.detach()).clone()
    n_searched = near.n_searched if near else len(rows)
    return Answers(task, torch.cat(parts).clone(), held_out, taught, fit.strength, n_searched)


def _around(strength: float) -> Sequence[float]:
    at = STRENGTHS.index(strength)
    return STRENGTHS[max(0, at - 1) : at + 2]


def _are_alike(targets: Tensor) -> bool:
    return bool((targets == targets[:1]).all())


def next_images(
    features: Tensor, answers: Answers | None, free: Sequence[int], labelled: Sequence[int], k: int
) -> list[int]:
    """Return the positions of the images to label next, see `foveal.evaluation.choosing`.

    Args:
        features: of all images, [n, F].
        answers: of the head; None before there is one.
        free: positions of images without a label that were looked at; not empty.
        labelled: positions of those with one that were looked at.
        k: how many.
    """
    drawn = generator_for(0, len(labelled), len(free)).permutation(len(free))[:_CANDIDATES]  # other ones each time
    candidates = [free[at] for at in sorted(drawn.tolist())]
    known = features[list(labelled)].float() if labelled else None
    rows = features[candidates].float()
    if answers is None:
        return [candidates[at] for at in choose_next(rows, k, labelled=known, by="diversity")]
    values = answers.values[candidates]
    uncertain = uncertainties_of(answers.task, values)
    weights = weights_of(answers.task, values, uncertain)
    found = choose_next(rows, k, labelled=known, uncertainties=uncertain, weights=weights)
    return [candidates[at] for at in found]


class ClassScore(NamedTuple):
    """How well one class is answered.

    Attributes:
        name: of the class.
        n: labelled images with it.
        score: its average precision, or of one label the share that is answered right; None where it has no image.
    """

    name: str
    n: int
    score: Interval | None


@dataclass(frozen=True, slots=True)
class Score:
    """How good the answers are, and what is probably wrong of the labels.

    Attributes:
        metric: what is meant, in words.
        whole: over all classes.
        n: images that it is measured on.
        on_valid: whether these are those of the validation side; else each was answered without its own label.
        classes: by class.
        gain: what twice as many labels should bring; None where that cannot be told yet.
        n_wrong: how many labels are expected to be wrong.
        issues: labels that probably are, the likeliest first; positions are those of all images.
        unit: of the values; empty of shares.
    """

    metric: str
    whole: Interval
    n: int
    on_valid: bool
    classes: tuple[ClassScore, ...]
    gain: Interval | None
    n_wrong: Interval
    issues: tuple[Issue, ...]
    unit: str = ""


def score(features: Tensor, answers: Answers, *, gain: Interval | None = None, with_gain: bool = True) -> Score | None:
    """Return how good the answers are; None where too few images tell.

    Args:
        features: of all images, [n, F].
        answers: of the head.
        gain: what twice as many labels should bring, as it was found before.
        with_gain: whether to find it anew.
    """
    task, taught = answers.task, answers.taught
    on_valid = len(taught.valid_at) > 0
    values, targets = (
        (answers.values[taught.valid_at], taught.valid_targets) if on_valid else (answers.held_out, taught.targets)
    )
    several = kind_of(task).has_thresholds
    whole, classes = (_of_several if several else _of_one)(task, values, targets)
    if math.isnan(whole.value) or len(targets) < _FEWEST_SCORED:
        return None
    counts = (
        taught.targets.sum(0).tolist() if several else torch.bincount(taught.targets, minlength=task.n_outputs).tolist()
    )
    label_check = _label_check(task, answers.held_out, taught.targets)
    found = label_check.likeliest(PROBABLE, None)
    return Score(
        metric="mean average precision" if several else "accuracy",
        whole=whole,
        n=len(targets),
        on_valid=on_valid,
        classes=tuple(
            ClassScore(name, round(n), one) for name, n, one in zip(task.names, counts, classes, strict=True)
        ),
        gain=_gain(features, taught, whole.value) if with_gain else gain,
        n_wrong=label_check.n_wrong,
        issues=tuple(issue._replace(position=taught.at[issue.position]) for issue in found),
    )


def _of_several(task: AnyTask, values: Tensor, targets: Tensor) -> tuple[Interval, list[Interval | None]]:
    at_all = average_precision(values, targets)
    samples = torch.stack(
        [average_precision(*sample) for sample in bootstrap_samples((values, targets), n_samples=_SAMPLES)]
    )
    means = samples.nanmean(dim=1).tolist()
    classes = [
        None if samples[:, at].isnan().all() else interval_of(value, samples[:, at].tolist())
        for at, value in enumerate(at_all.tolist())
    ]
    return interval_of(float(at_all.nanmean()), means), classes


def _of_one(task: AnyTask, values: Tensor, targets: Tensor) -> tuple[Interval, list[Interval | None]]:
    right = values.argmax(dim=1) == targets
    per_class = [right[targets == at] for at in range(task.n_outputs)]
    classes = [share(int(one.sum()), len(one)) if len(one) else None for one in per_class]
    return share(int(right.sum()), len(right)), classes


def _label_check(task: AnyTask, values: Tensor, targets: Tensor) -> LabelCheck:
    kind = kind_of(task)
    assert kind.label_issues is not None
    return kind.label_issues.find(task, values, targets, None)


def _gain(features: Tensor, taught: Taught, now: float) -> Interval | None:
    """Return what twice as many labels should add to the headline metric `now`: a share of what is missing."""
    rows, targets = features[taught.at].float(), taught.targets
    if taught.valid_at:
        train, valid = Labelled(rows, targets), Labelled(features[taught.valid_at].float(), taught.valid_targets)
    else:
        is_valid = torch.arange(len(rows)) % _VALID_EVERY == 0
        train, valid = Labelled(rows[~is_valid], targets[~is_valid]), Labelled(rows[is_valid], targets[is_valid])
    found = forecast(taught.task, train, valid) if len(train.features) <= _MOST_FORECAST else None
    if found is None or found.now >= 1:
        return None
    return Interval(*((1 - now) * (value - found.now) / (1 - found.now) for value in found.at_twice))
