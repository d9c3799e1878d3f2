"""Metrics of points, in source pixels: found and true points [N, K, 2], NaN where a point is not known.

All are computed over all points that are known; `distances` gives them one by one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.metrics.common import declare_metric


def distances(found: Tensor, true: Tensor) -> Tensor:
    """Return how far each point is off, float64 [N, K]; NaN where it is not known.

    Raises:
        InputError: the shapes differ, or a point that was found is NaN.
    """
    if found.shape != true.shape or found.shape[-1] != 2:
        raise InputError(f"Points are [N, K, 2] on both sides; got {list(found.shape)} and {list(true.shape)}.")
    if found.isnan().any():
        raise InputError("A metric is not defined for points that are NaN.")
    off: Tensor = torch.linalg.vector_norm(found.double() - true.double(), dim=-1)
    return off


@declare_metric(higher_is_better=False, takes="activated")
def mean_error(found: Tensor, true: Tensor) -> Tensor:
    """Return the mean distance in pixels."""
    return distances(found, true).nanmean()


@declare_metric(higher_is_better=False, takes="activated")
def median_error(found: Tensor, true: Tensor) -> Tensor:
    """Return the median distance in pixels; of an even number the mean of the middle two."""
    known = distances(found, true).reshape(-1)
    known = known[~known.isnan()]
    return known.quantile(0.5) if len(known) else torch.tensor(torch.nan, dtype=torch.float64)


@declare_metric(higher_is_better=False, takes="activated")
def normalised_error(found: Tensor, true: Tensor, scale: Tensor) -> Tensor:
    """Return the mean distance as a share of `scale` [N]: the images' size, or `pair_distance`."""
    return (distances(found, true) / scale.double()[:, None]).nanmean()


def pair_distance(true: Tensor, first: int, second: int) -> Tensor:
    """Return how far two points of each image are apart, [N]: the eyes, for instance; NaN where one is not known."""
    apart = torch.linalg.vector_norm(true[:, first].double() - true[:, second].double(), dim=-1)
    return torch.where(apart > 0, apart, torch.nan)


@declare_metric(higher_is_better=True, takes="activated")
def pck(found: Tensor, true: Tensor, radius: float | Tensor) -> Tensor:
    """Return the share of points within `radius` pixels, or within a radius an image [N]: correct keypoints."""
    off = distances(found, true)
    limit = radius.double()[:, None].expand_as(off) if isinstance(radius, Tensor) else torch.full_like(off, radius)
    known = ~(off.isnan() | limit.isnan())
    return (off <= limit)[known].double().mean()


@declare_metric(higher_is_better=False, takes="activated")
def failure_rate(found: Tensor, true: Tensor, radius: float | Tensor) -> Tensor:
    """Return the share of points further off than `radius`."""
    return 1 - pck(found, true, radius)
