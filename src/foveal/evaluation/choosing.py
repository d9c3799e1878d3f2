"""Which images to label next.

Before there is a model, those after whose labels least is uncertain. A linear head that is fitted to some images leaves
the outputs of others uncertain: for a ridge regression by v = z' S z, with z an image's features and S the inverse of
the penalty plus the labelled images' squares; labelling an image takes a known part off the uncertainty of every other,
whatever its label will be. Source: Yu, Bi and Tresp 2006, "Active Learning via Transductive Experimental Design".

With a model, those that would move it most and in directions of their own: each image stands for the slope of the loss
by the weights of a linear head, were the model's own answer right, and images are drawn one by one in proportion to the
squared distance from those drawn before. Source: Ash et al. 2020, "Deep Batch Active Learning by Diverse, Uncertain
Gradient Lower Bounds" (BADGE).

Shapes: n unlabelled images, m labelled ones, F features, C outputs, r principal axes.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of

By = Literal["both", "uncertainty", "diversity"]
_AXES = 256  # at most; with 64 more images were needed for the same score
_PENALTY = 1.0  # where the mean square of an image's features is 1; with 0.1 scores are alike, with 0.3 too


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


def slopes_of(task: AnyTask, values: Tensor, uncertainties: Tensor) -> Tensor:
    """Return the slope of the loss by each output, were the model's own answer right, float32 [n, C].

    Args:
        task: of the answers.
        values: activated outputs [n, ...].
        uncertainties: [n], which stand for the slope where an answer has no probabilities: C is 1 then.
    """
    kind = kind_of(task)
    if not kind.has_classes:
        return uncertainties[:, None].float()
    if kind.has_thresholds:
        return (values - (values > 0.5).to(values.dtype)).float()
    return (values - torch.nn.functional.one_hot(values.argmax(dim=1), values.shape[1])).float()


def choose_next(
    features: Tensor,
    k: int,
    *,
    labelled: Tensor | None = None,
    uncertainties: Tensor | None = None,
    slopes: Tensor | None = None,
    by: By = "both",
    seed: int = 0,
) -> list[int]:
    """Return the positions of the images to label next, the one that helps most first.

    Args:
        features: of the unlabelled images, [n, F].
        k: how many; all where there are fewer.
        labelled: features of the labelled images, [m, F].
        uncertainties: of the unlabelled images, from 0 to 1, [n].
        slopes: of the loss by each output, [n, C]; without them "both" is by diversity alone.
        by: "uncertainty" takes the most uncertain images, "diversity" those that say most of all others, "both" those
            that would move the model most, each in a direction of its own.
        seed: of the draws of "both".

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
    if by == "uncertainty":
        if uncertainties is None:
            raise InputError("Images are chosen by uncertainty with a model that was trained; none is given.")
        return torch.argsort(uncertainties.float(), descending=True, stable=True)[:k].tolist()
    if by == "diversity" or slopes is None:
        return _most_telling(*_on_axes(features, labelled), k)
    return _apart(features, slopes, k, seed)


def _apart(features: Tensor, slopes: Tensor, k: int, seed: int) -> list[int]:
    """Draw images whose slopes by the weights, features times slopes, lie far from each other; the largest first.

    The products [n, F C] are never formed: their squared distances come from those of the two factors.
    """
    rows = torch.nn.functional.normalize(features.float(), dim=1)
    rows = rows - rows.mean(dim=0)
    sizes = (rows.square().sum(dim=1) * slopes.square().sum(dim=1)).double()
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    nearest = sizes.clone()
    free = torch.ones(len(rows), dtype=torch.float64)
    for _ in range(k):
        odds = nearest * free
        total = float(odds.sum())
        if not chosen or total <= 0:
            best = int((odds + free * 1e-30).argmax())
        else:
            best = int(rng.choice(len(rows), p=(odds / total).numpy()))
        free[best] = 0
        distances = sizes + sizes[best] - 2 * ((rows @ rows[best]) * (slopes @ slopes[best])).double()
        nearest = distances if not chosen else torch.minimum(nearest, distances)
        nearest = nearest.clamp(min=0)
        chosen.append(best)
    return chosen


def _most_telling(ours: Tensor, theirs: Tensor, k: int) -> list[int]:
    """Choose one by one after which the least is uncertain; every choice updates all by a matrix of rank 1.

    Args:
        ours: features of unlabelled images, float64 [n, r].
        theirs: of labelled ones, [m, r].
        k: how many are chosen.
    """
    left = torch.linalg.inv(torch.eye(ours.shape[1], dtype=torch.float64) + theirs.T @ theirs / _PENALTY)
    everything = ours.T @ ours
    chosen: list[int] = []
    free = torch.ones(len(ours), dtype=torch.bool)
    for _ in range(k):
        reach = ours @ left
        gain = ((reach @ everything) * reach).sum(dim=1) / ((reach * ours).sum(dim=1) + _PENALTY)
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
