"""Metrics of points, in source pixels: predicted and true points [N, K, 2], NaN where a point is not known.

All are computed over all points that are known; `distances` gives them one by one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.metrics.common import declare_metric


def distances(predicted: Tensor, true: Tensor) -> Tensor:
    """Return how far each point is off, float64 [N, K]; NaN where it is not known.

    Args:
        predicted: points [N, K, 2] in source pixels.
        true: of the same shape; NaN is unknown.

    Raises:
        InputError: the shapes differ, or a predicted point is NaN.
    """
    if predicted.shape != true.shape or predicted.shape[-1] != 2:
        raise InputError(f"Points are [N, K, 2] on both sides; got {list(predicted.shape)} and {list(true.shape)}.")
    if predicted.isnan().any():
        raise InputError("A metric is not defined for points that are NaN.")
    off: Tensor = torch.linalg.vector_norm(predicted.double() - true.double(), dim=-1)
    return off


@declare_metric(higher_is_better=False, takes="activated")
def mean_error(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the mean distance in pixels.

    Args:
        predicted: points [N, K, 2] in source pixels.
        true: of the same shape; NaN is unknown.
    """
    return distances(predicted, true).nanmean()


@declare_metric(higher_is_better=False, takes="activated")
def median_error(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the median distance in pixels; of an even number the mean of the middle two.

    Args:
        predicted: points [N, K, 2] in source pixels.
        true: of the same shape; NaN is unknown.
    """
    known = distances(predicted, true).reshape(-1)
    known = known[~known.isnan()]
    return known.quantile(0.5) if len(known) else torch.tensor(torch.nan, dtype=torch.float64)


@declare_metric(higher_is_better=False, takes="activated")
def normalised_error(predicted: Tensor, true: Tensor, scale: Tensor) -> Tensor:
    """Return the mean distance as a share of `scale` [N]: the images' size, or `pair_distance`.

    Args:
        predicted: points [N, K, 2] in source pixels.
        true: of the same shape; NaN is unknown.
        scale: of each image in pixels, [N].
    """
    return (distances(predicted, true) / scale.double()[:, None]).nanmean()


def pair_distance(true: Tensor, first: int, second: int) -> Tensor:
    """Return how far two points of each image are apart, [N]: the eyes, for instance; NaN where one is not known.

    Args:
        true: points [N, K, 2] in source pixels.
        first: the number of one point.
        second: the number of the other.
    """
    apart = torch.linalg.vector_norm(true[:, first].double() - true[:, second].double(), dim=-1)
    return torch.where(apart > 0, apart, torch.nan)


@declare_metric(higher_is_better=True, takes="activated")
def pck(predicted: Tensor, true: Tensor, radius: float | Tensor) -> Tensor:
    """Return the share of points within `radius` pixels, or within a radius per image [N]: correct keypoints.

    Args:
        predicted: points [N, K, 2] in source pixels.
        true: of the same shape; NaN is unknown.
        radius: in pixels, one for all or one per image [N].
    """
    off = distances(predicted, true)
    limit = radius.double()[:, None].expand_as(off) if isinstance(radius, Tensor) else torch.full_like(off, radius)
    known = ~(off.isnan() | limit.isnan())
    return (off <= limit)[known].double().mean()


@declare_metric(higher_is_better=False, takes="activated")
def failure_rate(predicted: Tensor, true: Tensor, radius: float | Tensor) -> Tensor:
    """Return the share of points further off than `radius`.

    Args:
        predicted: points [N, K, 2] in source pixels.
        true: of the same shape; NaN is unknown.
        radius: in pixels, one for all or one per image [N].
    """
    return 1 - pck(predicted, true, radius)
