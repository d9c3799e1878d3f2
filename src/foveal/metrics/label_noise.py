"""How many labels are wrong, and which: what a model that did not learn from a label makes of it.

A model errs least where it is certain, and a wrong label is as likely there as elsewhere. So the share of labels that
contradict the most certain answers is at most a little more than the share of labels that are wrong; with it, and with
the probability of each answer, each label is wrong with a probability of its own (Bayes). Source of labels and answers
as two noisy views of one truth: Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels".

Probabilities must come from a model that did not learn from these very labels. Shapes: n labels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.metrics.bootstrap import Interval, share

_LEVEL = 0.95
_ONE_ERROR = 0.6827  # the level of an interval of one standard error to each side
_DEPTHS = (0.1, 0.2, 0.3, 0.5, 1.0)  # shares of the certain answers that bound the share of wrong labels from above
_TINY = 1e-7  # a probability that is not 0
# How much of a probability may be taken for noise. So labels of which the model is about as certain as noise allows
# keep their order; with 3 instead of 20 wrong labels came in the same order.
_MOST_NOISE = 20.0
_SMALLEST = (1e-4, 1e-6)  # rates of missing and extra labels by which labels are sorted where none was found
_DEGREES = 3.0  # of freedom of Student's t, by which errors of points and numbers are spread; by hand: long tails
_ROUNDS = 50  # of expectation and maximisation; the share is still to four digits after 20


def noise_floor(contradicted: Tensor) -> Interval:
    """Return the share of labels that are wrong, from those of certain answers.

    The value is the share that contradicts less about one standard error: some certain answers are wrong themselves. At
    least so many are wrong as a line through them says for a model that is more certain still, less two standard
    errors; at most as many as contradict any part of the most certain ones.

    Args:
        contradicted: whether the label contradicts the answer, bool [n], the most certain answer first.
    """
    n = len(contradicted)
    if not n:
        return Interval(0.0, 0.0, 1.0)
    depths = [max(1, round(depth * n)) for depth in _DEPTHS]
    each = 1 - (1 - _LEVEL) / len(depths)  # so wide that the smallest of them holds with the level (Bonferroni)
    high = min(share(int(contradicted[:depth].sum()), depth, each).high for depth in depths)
    value = share(int(contradicted.sum()), n, _ONE_ERROR).low
    mean = float(contradicted.double().mean())
    rank = torch.arange(n, dtype=torch.float64) / max(n - 1, 1) - 0.5
    slope = float((rank * contradicted).sum() / rank.square().sum().clamp(min=_TINY))
    error = 2 * (mean * (1 - mean) / n) ** 0.5  # of the line where the model is most certain, about
    low = max(0.0, mean - max(slope, 0.0) / 2 - 2 * error)
    return Interval(min(value, high), min(low, value), high)


def wrong_where_given(likely: Tensor, missing: float, extra: float) -> Tensor:
    """Return the probability that labels that were given are wrong, float64 [n].

    Args:
        likely: how likely the model takes each label to be given, [n].
        missing: the share of present things without their label.
        extra: the share of absent things with a label.
    """
    present, absent = _truth(likely, missing, extra)
    return absent * extra / (absent * extra + present * (1 - missing))


def wrong_where_absent(likely: Tensor, missing: float, extra: float) -> Tensor:
    """Return the probability that labels that were not given are missing, float64 [n]; see `wrong_where_given`."""
    present, absent = _truth(likely, missing, extra)
    return present * missing / (present * missing + absent * (1 - extra))


def smallest(missing: float, extra: float) -> tuple[float, float]:
    """Return rates by which labels can be sorted: never 0."""
    return max(missing, _SMALLEST[0]), max(extra, _SMALLEST[1])


def _truth(likely: Tensor, missing: float, extra: float) -> tuple[Tensor, Tensor]:
    """Return how likely a thing is present and absent, where the model has learned how likely its label is given."""
    likely = likely.double().clamp(_TINY, 1 - _TINY)
    kept = max(1 - missing - extra, _TINY)
    present = torch.maximum((likely - extra) / kept, likely / _MOST_NOISE)
    absent = torch.maximum((1 - missing - likely) / kept, (1 - likely) / _MOST_NOISE)
    return present, absent


def student_density(error: Tensor, scale: Tensor | float, n_axes: int) -> Tensor:
    """Return the density of errors whose lengths follow Student's t with three degrees of freedom, float64 [n].

    Args:
        error: lengths, [n].
        scale: of the distribution, [n] or one for all.
        n_axes: 1 of numbers, 2 of points.
    """
    scale = torch.as_tensor(scale, dtype=torch.float64)
    constant = 2 / (torch.pi * 3**0.5) if n_axes == 1 else 1 / (2 * torch.pi)  # for three degrees of freedom
    return constant * scale**-n_axes * (1 + (error.double() / scale).square() / _DEGREES) ** (-(_DEGREES + n_axes) / 2)


def student_scale(errors: Tensor, n_axes: int) -> float:
    """Return the scale of `student_density` at which half of the lengths [n] are below their median."""
    of_one = 0.7649 if n_axes == 1 else (_DEGREES * (2 ** (2 / _DEGREES) - 1)) ** 0.5
    return max(float(errors.double().median()) / of_one, _TINY)


def mixture_share(right: Tensor, wrong: Tensor) -> float:
    """Return the share of `wrong` in a mixture, with the largest likelihood, by expectation and maximisation.

    Args:
        right: density of each label were it right, [n].
        wrong: density were it wrong, [n].
    """
    found = 0.05
    for _ in range(_ROUNDS):
        found = float((found * wrong / (found * wrong + (1 - found) * right)).mean())
    return found
