"""Which images to label next: those after which least is uncertain, for a linear head on the features at hand.

A linear head that is fitted to some images leaves the outputs of others uncertain: for a ridge regression by
v = z' S z, with z an image's features and S the inverse of the penalty plus the labelled images' squares. Labelling an
image takes a known part off the uncertainty of every other, whatever its label will be. Images are chosen one by one so
that the sum over all, each weighted by how uncertain the model is of its answer, falls most, times how uncertain it is
of the image itself: one that is like many others that are uncertain comes before one that is like none, and one that is
like an image chosen already comes later.

Source of the criterion without weights: Yu, Bi and Tresp 2006, "Active Learning via Transductive Experimental Design".

Shapes: n unlabelled images, m labelled ones, F features, r principal axes.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of

By = Literal["both", "uncertainty", "diversity"]
_AXES = 256  # at most; with 64 more images were needed for the same score
_PENALTY = 1.0  # where the mean square of an image's features is 1; with 0.1 scores are alike, with 0.3 too
_LEAST_WEIGHT = 0.1  # of an image of which the model is certain, for it may be wrong; chosen by hand


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


def choose_next(
    features: Tensor, k: int, *, labelled: Tensor | None = None, uncertainties: Tensor | None = None, by: By = "both"
) -> list[int]:
    """Return the positions of the images to label next, the one that helps most first.

    Args:
        features: of the unlabelled images, [n, F].
        k: how many; all where there are fewer.
        labelled: features of the labelled images, [m, F].
        uncertainties: of the unlabelled images, from 0 to 1, [n]; all alike by default.
        by: "uncertainty" takes the most uncertain images, "diversity" those that say most of the others, "both" those
            that say most of others that are uncertain.

    Raises:
        InputError: `k` is below 1, or there are no images.
        UnknownNameError: there is no way `by`.
    """
    n = len(features)
    if by not in get_args(By):
        raise UnknownNameError.of("way to choose", by, get_args(By))
    if k < 1 or not n:
        raise InputError(f"At least one image is chosen, of at least one; got {k} of {n:,}.")
    k = min(k, n)
    weights = torch.ones(n) if uncertainties is None else uncertainties.float()
    if by == "uncertainty":
        return torch.argsort(weights, descending=True, stable=True)[:k].tolist()
    if by == "diversity":
        weights = torch.ones(n)
    weights = (_LEAST_WEIGHT + (1 - _LEAST_WEIGHT) * weights).double()
    ours, theirs = _on_axes(features, labelled)
    return _greedy(ours, theirs, weights, k)


def _greedy(ours: Tensor, theirs: Tensor, weights: Tensor, k: int) -> list[int]:
    """Choose one by one; every choice updates the uncertainty of all by a matrix of rank 1.

    Args:
        ours: features of unlabelled images, float64 [n, r].
        theirs: of labelled ones, [m, r].
        weights: of unlabelled images, [n].
        k: how many are chosen.
    """
    r = ours.shape[1]
    left = torch.linalg.inv(torch.eye(r, dtype=torch.float64) + theirs.T @ theirs / _PENALTY)
    asked = (ours * weights[:, None]).T @ ours
    chosen: list[int] = []
    free = torch.ones(len(ours), dtype=torch.bool)
    for _ in range(k):
        reach = ours @ left
        gain = weights * ((reach @ asked) * reach).sum(dim=1) / ((reach * ours).sum(dim=1) + _PENALTY)
        best = int(torch.where(free, gain, -torch.inf).argmax())
        chosen.append(best)
        free[best] = False
        along = left @ ours[best]
        left = left - torch.outer(along, along) / (_PENALTY + ours[best] @ along)
    return chosen


def _on_axes(features: Tensor, labelled: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return directions of the features around their mean, along their principal axes, mean square 1, float64."""
    both = features if labelled is None else torch.cat([features, labelled])
    rows = torch.nn.functional.normalize(both.double(), dim=1)
    rows = rows - rows.mean(dim=0)
    wide = len(rows) < rows.shape[1]
    _, vectors = torch.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    axes = vectors[:, -_AXES:]
    along = rows @ torch.nn.functional.normalize(rows.T @ axes, dim=0) if wide else rows @ axes
    along = along / along.square().sum(dim=1).mean().sqrt().clamp(min=1e-12)
    return along[: len(features)], along[len(features) :]
