"""Heatmaps of points: the place that one tells, the one that is wanted, and their losses.

Shapes: B images, K points, maps of h x w cells; points are in [-1, 1], x before y, and NaN where they are unknown.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.losses import Reduction, reduced

_TINY = 1e-7  # keeps the gradient of a root finite; about the resolution of float32 at 1


def soft_argmax(logits_BKhw: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the expected place [B, K, 2], x before y in [-1, 1], of a softmax over each heatmap.

    Args:
        logits_BKhw: a heatmap per point.
        temperature: divides the logits; below 1 the softmax is sharper.

    Source: Nibali et al. 2018, "Numerical Coordinate Regression with Convolutional Neural Networks".
    """
    chance = (logits_BKhw.flatten(2) / temperature).softmax(dim=2).view_as(logits_BKhw)
    xs, ys = (_cell_centres(n, logits_BKhw) for n in (logits_BKhw.shape[3], logits_BKhw.shape[2]))
    return torch.stack([(chance.sum(dim=2) * xs).sum(dim=2), (chance.sum(dim=3) * ys).sum(dim=2)], dim=2)


def heatmap_cross_entropy(
    logits_BKhw: Tensor, target_BK2: Tensor, *, reduction: Reduction = "mean", spread: float = 0.6
) -> Tensor:
    """Return the cross-entropy of heatmaps, as probabilities, against a normal distribution around each point.

    It is convex in the logits. A point outside the image is taken to the border.

    Args:
        logits_BKhw: a heatmap for each point.
        target_BK2: points in [-1, 1], x before y; NaN is unknown.
        reduction: over the points.
        spread: the distribution's standard deviation, in cells of the heatmap.
    """
    known = ~target_BK2.isnan().any(dim=2)
    wanted = heatmap_around(target_BK2.nan_to_num(0.0), *logits_BKhw.shape[2:], spread=spread)
    likely = logits_BKhw.flatten(2).log_softmax(dim=2).view_as(logits_BKhw)
    return reduced(-(wanted * likely).sum(dim=(2, 3)), known, reduction)


def heatmap_around(points_BK2: Tensor, height: int, width: int, *, spread: float = 0.6) -> Tensor:
    """Return a normal distribution over the cells around each point [B, K, height, width]; NaN where it is unknown.

    Args:
        points_BK2: in [-1, 1], x before y; a point outside the image is taken to the border.
        height: of the heatmap, in cells.
        width: of the heatmap, in cells.
        spread: the standard deviation, in cells.
    """
    xs, ys = _cell_centres(width, points_BK2), _cell_centres(height, points_BK2)
    across = (-(((xs - points_BK2[:, :, 0, None]) * width / 2 / spread) ** 2) / 2).softmax(dim=2)
    down = (-(((ys - points_BK2[:, :, 1, None]) * height / 2 / spread) ** 2) / 2).softmax(dim=2)
    return down[..., :, None] * across[..., None, :]


def heatmap_loss(logits_BKhw: Tensor, target_BK2: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Return the distance of the soft-argmax from each point, plus `heatmap_cross_entropy`.

    Args:
        logits_BKhw: a heatmap per point.
        target_BK2: points in [-1, 1], x before y; NaN is unknown.
        reduction: over the points.
    """
    known = ~target_BK2.isnan().any(dim=2)
    off = soft_argmax(logits_BKhw) - torch.where(known[..., None], target_BK2, 0.0)
    distance = torch.linalg.vector_norm(off + _TINY, dim=2)
    return reduced(distance + heatmap_cross_entropy(logits_BKhw, target_BK2, reduction="none"), known, reduction)


def _cell_centres(n: int, like: Tensor) -> Tensor:
    return (torch.arange(n, device=like.device, dtype=torch.float32) + 0.5) * 2 / n - 1
