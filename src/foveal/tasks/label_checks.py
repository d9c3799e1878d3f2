"""Which labels are probably wrong: of one class, several classes, points and numbers, from answers and labels.

The answers must come from a model that did not learn from these very labels: those of a validation side, or of folds.
Shapes: n images, C classes, N points or numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from foveal.core.formats import format_number
from foveal.metrics.bootstrap import Interval, share
from foveal.metrics.label_noise import (
    mixture_share,
    noise_floor,
    smallest,
    student_density,
    student_scale,
    wrong_where_absent,
    wrong_where_given,
)

_CERTAIN = 0.7  # the least probability of a certain answer; chosen by hand: with a fifth of labels missing it is .75
_CERTAIN_PRESENT = 0.2  # of as many answers as there are labels, the most certain that a class is there
_CERTAIN_ABSENT = 0.3  # of all answers, the most certain that a class is not there
_CERTAIN_CLASS = 0.3  # of all images, those with the most certain answer; all three chosen by hand
# Answers that are far off although the label is right: on 750 clean photographs 4 of 750; labels are wrong for certain
# only beyond that. Chosen by hand.
_OWN_OUTLIERS = 0.01
_MOST_PAIRED = 10  # points of which any two may have changed places; of more, only flip pairs


class Issue(NamedTuple):
    """A label that may be wrong.

    Attributes:
        position: of the image in the dataset.
        given: the label in question; empty where one is missing.
        suggested: what the model answers instead; empty where nothing takes its place.
        confidence: the probability that the label is wrong.
        output: which of an image's labels it is: a class, a point, a number; 0 where there is one.
        value: of a point (x, y) in source pixels, or of a number, what is suggested.
    """

    position: int
    given: str
    suggested: str
    confidence: float
    output: int = 0
    value: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """How probably each label is wrong.

    Attributes:
        probabilities: float64 [n, M] for M labels of an image; NaN where one is not known.
        n_wrong: how many are expected to be wrong, at least and at most.
        issue: a function of the position of an image and of its label that describes what may be wrong.
    """

    probabilities: Tensor
    n_wrong: Interval
    issue: Callable[[int, int], Issue]

    def likeliest(self, least: float, most: int | None) -> list[Issue]:
        """Return the labels that are wrong with at least such a probability, the likeliest first.

        Args:
            least: the probability.
            most: at most so many.
        """
        flat = self.probabilities.flatten().nan_to_num(-1.0)
        order = flat.argsort(descending=True, stable=True)[:most]
        order = order[flat[order] >= max(least, 0.0)]
        width = self.probabilities.shape[1]
        return [self.issue(at // width, at % width) for at in order.tolist()]


def check_one_class(values: Tensor, targets: Tensor, names: Sequence[str]) -> LabelCheck:
    """Return how probably each label of one class is wrong.

    Args:
        values: probabilities [n, C].
        targets: class indices [n], below 0 where not known.
        names: of the classes.
    """
    n_classes = values.shape[1]
    known, given = targets >= 0, targets.clamp(min=0)
    likely = values.gather(1, given[:, None])[:, 0]
    certainty, answers = values.max(dim=1)
    contradicted = _most_certain(certainty[known], (answers != given)[known], round(_CERTAIN_CLASS * int(known.sum())))
    floor = noise_floor(contradicted)
    rates = smallest(floor.value, floor.value / max(1, n_classes - 1))
    probabilities = wrong_where_given(likely, *rates).where(known, torch.nan)[:, None]

    def issue(position: int, _: int) -> Issue:
        own = int(given[position])
        others = values[position].clone()
        others[own] = -1
        best = int(others.argmax())
        return Issue(position, names[own], names[best], float(probabilities[position, 0]), best)

    n = int(known.sum())
    return LabelCheck(probabilities, Interval(*(rate * n for rate in floor)), issue)


def check_several_classes(values: Tensor, targets: Tensor, names: Sequence[str]) -> LabelCheck:
    """Return how probably each label of several classes is wrong, of those that are given and those that are not.

    Args:
        values: probabilities [n, C].
        targets: 0 or 1 [n, C], NaN where not known.
        names: of the classes.
    """
    known = ~targets.isnan()
    given = targets == 1
    likely, there = values[known], given[known]
    missing = noise_floor(_most_certain(likely, ~there, round(_CERTAIN_PRESENT * int(there.sum()))))
    extra = noise_floor(_most_certain(1 - likely, there, round(_CERTAIN_ABSENT * len(there))))
    rates = smallest(missing.value, extra.value)
    where_absent = wrong_where_absent(values, *rates)
    probabilities = wrong_where_given(values, *rates).where(given, where_absent).where(known, torch.nan)

    def issue(position: int, c: int) -> Issue:
        name, is_given = names[c], bool(given[position, c])
        return Issue(position, name * is_given, name * (not is_given), float(probabilities[position, c]), c)

    n_given, n_absent = int(there.sum()), int((~there).sum())
    n_wrong = [m / max(1 - m, 0.5) * n_given + e * n_absent for m, e in zip(missing, extra, strict=True)]
    return LabelCheck(probabilities, Interval(*n_wrong), issue)


def check_points(
    answers: Tensor,
    targets: Tensor,
    names: Sequence[str],
    *,
    spread: Tensor | None = None,
    pairs: Sequence[tuple[int, int]] = (),
) -> LabelCheck:
    """Return how probably each point is wrong: far from where the model sees it, or in the place of another one.

    Args:
        answers: float64 [n, N, 2] in source pixels.
        targets: the same, NaN where not known.
        names: of the points.
        spread: how far off the model takes each answer to be, [n, N] in source pixels.
        pairs: of points that may have changed places; any two by default, of few points.
    """
    if not pairs and len(names) <= _MOST_PAIRED:
        pairs = list(combinations(range(len(names)), 2))
    known = ~targets.isnan().any(dim=2)
    errors = (answers - targets).norm(dim=2)
    scale = _scales(errors, known, spread, 2)
    right = student_density(errors, scale, 2)
    wrong = _outliers(right, known, _extent(targets[..., 0]) * _extent(targets[..., 1]))
    other: dict[tuple[int, int], int] = {}
    for first, second in pairs:
        both = known[:, first] & known[:, second]
        if not both.any():
            continue
        crossed = student_density((answers[:, first] - targets[:, second]).norm(dim=1), scale[:, first], 2)
        crossed = crossed * student_density((answers[:, second] - targets[:, first]).norm(dim=1), scale[:, second], 2)
        straight = right[:, first] * right[:, second]
        found = mixture_share(straight[both], crossed[both])
        changed = (found * crossed / (found * crossed + (1 - found) * straight)).where(both, 0.0)
        for one, another in ((first, second), (second, first)):
            for at in (changed > wrong[:, one].nan_to_num(2.0)).nonzero()[:, 0].tolist():
                other[at, one] = another
            wrong[:, one] = torch.maximum(wrong[:, one], changed)

    def issue(position: int, point: int) -> Issue:
        source = other.get((position, point))
        better = answers[position, point] if source is None else targets[position, source]
        had, suggested = (_placed(names[point], one) for one in (targets[position, point], better))
        return Issue(position, had, suggested, float(wrong[position, point]), point, tuple(better.tolist()))

    return LabelCheck(wrong, _expected(wrong), issue)


def check_numbers(answers: Tensor, targets: Tensor, names: Sequence[str]) -> LabelCheck:
    """Return how probably each number is wrong, far from what the model answers.

    Args:
        answers: [n, N].
        targets: the same, NaN where not known.
        names: of the numbers.
    """
    known = ~targets.isnan()
    errors = (answers - targets).abs().double()
    columns = [
        _outliers(
            student_density(errors[:, at], _scales(errors[:, at], known[:, at], None, 1), 1),
            known[:, at],
            _extent(targets[:, at]),
        )
        for at in range(len(names))
    ]
    wrong = torch.stack(columns, dim=1)
    n_wrong = Interval(*(sum(bounds) for bounds in zip(*map(_expected, columns), strict=True)))

    def issue(position: int, at: int) -> Issue:
        value = float(answers[position, at])
        had, suggested = (f"{names[at]} {format_number(float(one))}" for one in (targets[position, at], value))
        return Issue(position, had, suggested, float(wrong[position, at]), at, (value,))

    return LabelCheck(wrong, n_wrong, issue)


def _most_certain(certainty: Tensor, contradicted: Tensor, n: int) -> Tensor:
    """Return which of up to n labels contradict the answer, that of the most certain answer first."""
    order = certainty.argsort(descending=True, stable=True)[:n]
    return contradicted[order[certainty[order] >= _CERTAIN]]


def _scales(errors: Tensor, known: Tensor, spread: Tensor | None, n_axes: int) -> Tensor:
    """Return the scale of each error's distribution, in the unit of the errors."""
    shape = torch.ones_like(errors) if spread is None else spread.double().clamp(min=1e-6)
    usable = known & ~shape.isnan() & ~errors.isnan()
    relative = (errors / shape)[usable]
    return shape.nan_to_num(float(shape[usable].median()) if usable.any() else 1.0) * (
        student_scale(relative, n_axes) if len(relative) else 1.0
    )


def _outliers(right: Tensor, known: Tensor, extent: float) -> Tensor:
    """Return how probably each label lies anywhere, NaN where not known."""
    anywhere = torch.full_like(right, 1 / max(extent, 1e-9))
    found = mixture_share(right[known], anywhere[known]) if known.any() else 0.0
    return (found * anywhere / (found * anywhere + (1 - found) * right)).where(known, torch.nan)


def _expected(wrong: Tensor) -> Interval:
    """Return how many labels are wrong of those that are wrong with such probabilities, NaN where not known."""
    n, total = int((~wrong.isnan()).sum()), float(wrong.nansum())
    bounds = share(round(total), n)
    low = max(0.0, bounds.low - _OWN_OUTLIERS) * n
    return Interval(total, min(total, low), max(total, bounds.high * n))


def _extent(values: Tensor) -> float:
    """Return how far apart the smallest and the largest of known values lie."""
    there = values[~values.isnan()]
    return float(there.max() - there.min()) if len(there) else 0.0


def _placed(name: str, point: Tensor) -> str:
    x, y = point.tolist()
    return f"{name} ({x:.0f}, {y:.0f})"
