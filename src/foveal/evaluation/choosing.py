"""Which images to label next: those that stand for the most images of which the model is uncertain.

A labelled image covers others by how alike their features are: exp(-d^2 / 2 s^2) for the distance d of their
directions. Images are chosen one by one so that the coverage of all, each counted by how uncertain the model is of it,
grows most: an image that is like many uncertain ones comes before an odd one, and one that is like an image chosen
already comes later. Without a model all count alike. Sources: Bae, Noh and Sutherland 2024, "Generalized Coverage for
More Robust Low-Budget Active Learning"; Bae et al. 2025, "Uncertainty Herding".

Shapes: n unlabelled images, m labelled ones, F features.
"""

from __future__ import annotations

import heapq
from typing import Literal, get_args

import torch
from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of

By = Literal["both", "uncertainty", "diversity"]
_REACH = 0.4  # s, between directions of length 1; from 0.3 to 0.5 scores are alike
_MOST_COVERED = 4_000  # images whose coverage counts; of more, so many drawn evenly
_AT_ONCE = 1_000  # images whose coverage is computed at once: 16 MB


def uncertainties_of(task: AnyTask, values: Tensor, spread: Tensor | None = None) -> Tensor:
    """Return how uncertain a model is of its answers, from 0 to 1, float32 [n].

    One label: 1 minus the margin between the two most likely ones. Several: that of the class nearest to undecided,
    4 p (1 - p). Points: the mean spread, as a share of the largest of all. Numbers: alike for all, as a model says
    nothing of them.

    Args:
        task: of the answers.
        values: activated outputs [n, ...].
        spread: of points, [n, N].
    """
    kind = kind_of(task)
    if kind.has_classes:
        if kind.has_thresholds:
            return (4 * values * (1 - values)).amax(dim=1).float()
        if values.shape[1] < 2:
            return torch.ones(len(values))
        first, second = values.topk(2, dim=1).values.unbind(dim=1)
        return (1 - (first - second)).float()
    if spread is not None and len(spread):
        mean = spread.float().nanmean(dim=1).nan_to_num(0.0)
        return mean / mean.max().clamp(min=1e-12)
    return torch.ones(len(values))


def weights_of(task: AnyTask, values: Tensor, uncertainties: Tensor) -> Tensor:
    """Return how much each image counts, float32 [n].

    Of several labels it is the square of the sum over classes of how far from certain each is, squared: many classes in
    question count more than one. Of other tasks it is the uncertainty.

    Args:
        task: of the answers.
        values: activated outputs [n, ...].
        uncertainties: [n], see `uncertainties_of`.
    """
    if not kind_of(task).has_thresholds:
        return uncertainties.float()
    return torch.minimum(values, 1 - values).square().sum(dim=1).square().float()


def choose_next(
    features: Tensor,
    k: int,
    *,
    labelled: Tensor | None = None,
    uncertainties: Tensor | None = None,
    weights: Tensor | None = None,
    by: By = "both",
) -> list[int]:
    """Return the positions of the images to label next, the one that helps most first.

    Args:
        features: of the unlabelled images, [n, F].
        k: how many; all where there are fewer.
        labelled: features of the labelled images, [m, F].
        uncertainties: of the unlabelled images, from 0 to 1, [n].
        weights: how much each of them counts, see `weights_of`, [n]; the uncertainties by default.
        by: "uncertainty" takes the most uncertain images, "diversity" those that stand for most others, "both" those
            that stand for most others that are uncertain.

    Raises:
        InputError: `k` is below 1, there are no images, or nothing says how uncertain they are.
        UnknownNameError: there is no way `by`.
    """
    n = len(features)
    if by not in get_args(By):
        raise UnknownNameError.of("way to choose", by, get_args(By))
    if k < 1 or not n:
        raise InputError(f"At least one image is chosen, of at least one; got {k} of {n:,}.")
    k = min(k, n)
    if by == "diversity":
        return _covering(features, labelled, torch.ones(n), k)
    if uncertainties is None:
        raise InputError(f"Images are chosen by {by!r} with a model that was trained; without one, by 'diversity'.")
    if by == "uncertainty":
        return torch.argsort(uncertainties.float(), descending=True, stable=True)[:k].tolist()
    return _covering(features, labelled, uncertainties if weights is None else weights, k)


def _covering(features: Tensor, labelled: Tensor | None, weights: Tensor, k: int) -> list[int]:
    """Return the positions of k rows, chosen one by one by how much more is covered with each.

    What an image adds never grows while others are chosen, so that only those are looked at again that may still come
    next (Minoux 1978, "Accelerated Greedy Algorithms for Maximizing Submodular Set Functions").
    """
    rows = torch.nn.functional.normalize(features.float(), dim=1)
    counted = torch.linspace(0, len(rows) - 1, min(len(rows), _MOST_COVERED)).round().long()
    covered_rows, weight = rows[counted], weights.float()[counted]
    coverage = torch.zeros(len(counted))
    if labelled is not None:
        for part in torch.split(torch.nn.functional.normalize(labelled.float(), dim=1), _AT_ONCE):
            coverage = torch.maximum(coverage, _alike(covered_rows, part).amax(dim=1))

    def gains(of: Tensor) -> Tensor:
        return weight @ (_alike(covered_rows, of) - coverage[:, None]).clamp_(min=0)

    first = torch.cat([gains(part) for part in torch.split(rows, _AT_ONCE)]).tolist()
    waiting = [(-gain, at, 0) for at, gain in enumerate(first)]  # what it adds, and after how many choices that was so
    heapq.heapify(waiting)
    chosen: list[int] = []
    while len(chosen) < k:
        _, at, known_after = heapq.heappop(waiting)
        if known_after == len(chosen):
            chosen.append(at)
            coverage = torch.maximum(coverage, _alike(covered_rows, rows[at : at + 1])[:, 0])
        else:
            heapq.heappush(waiting, (-float(gains(rows[at : at + 1])), at, len(chosen)))
    return chosen


def _alike(one: Tensor, other: Tensor) -> Tensor:
    """Return how far each of some directions covers each of others, from 0 to 1, [len(one), len(other)]."""
    return ((one @ other.T).clamp_(max=1) - 1).div_(_REACH**2).exp_()
