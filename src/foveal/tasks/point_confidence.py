"""The confidence of points: how widely a model spreads each one, and the radius that is shown with it.

Shapes: B images, N points, maps of h x w cells. Spreads and radii are in source pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.geometry.homography import Homography
from foveal.images.canvas import PREDICTED, Canvas
from foveal.metrics.pixels import distances
from foveal.tasks.base import Task
from foveal.tasks.kinds import Confidence


class _WithPoints(Task[NDArray[np.float64]], Protocol):
    @property
    def point_names(self) -> tuple[str, ...]:
        """What the points are called."""

    @property
    def has_named_points(self) -> bool:
        """Whether they were given names."""

    @property
    def mirrored_order(self) -> tuple[int, ...]:
        """Which point stands where in a mirrored image."""


def spread(task: _WithPoints, output: Tensor, prediction: Tensor, target_to_source: Homography) -> Tensor:
    """Return how far off the model itself takes each point to be: the distance that its heatmap expects.

    That is the mean distance of the places on the heatmap from the answer, each as often as the softmax says; within a
    cell any place is as likely as another. A model without heatmaps says nothing of the kind: its spread is the
    diagonal of its input, so that a radius is a share of that. benchmarks/results/2026-11-27-point-confidence.md
    compares this with other measures.

    Args:
        task: of the points.
        output: heatmaps [B, N, h, w], or points [B, 2N].
        prediction: points [B, N, 2] in [-1, 1] on the input.
        target_to_source: [B, 3, 3], from [-1, 1] on the input to source pixels.

    Returns:
        float64 [B, N] in source pixels, above 0, in the order of the points that are decoded.
    """
    points_BN2 = prediction.double().cpu().numpy()
    if output.ndim == 4:
        expected = _expected_distance(output.double().cpu() / task.decision.temperature, points_BN2, target_to_source)
    else:
        expected = _diagonal(points_BN2, (2.0, 2.0), target_to_source)
    mirrored = np.broadcast_to(target_to_source.is_mirrored, len(expected))
    expected[mirrored] = expected[mirrored][:, list(task.mirrored_order)]
    return torch.from_numpy(expected)


def _expected_distance(logits_BNhw: Tensor, points_BN2: NDArray[np.float64], to: Homography) -> NDArray[np.float64]:
    height, width = logits_BNhw.shape[2:]
    chance = logits_BNhw.flatten(2).softmax(dim=2).numpy()
    off = np.linalg.norm(to(_cell_centres(height, width))[:, None] - to(points_BN2)[:, :, None], axis=3)
    within = _diagonal(points_BN2, (2 / width, 2 / height), to) ** 2 / 12  # the variance of an even spread
    return np.asarray((chance * np.sqrt(off**2 + within[:, :, None])).sum(axis=2))


def _cell_centres(height: int, width: int) -> NDArray[np.float64]:
    """Return the centres of a map's cells, [1, h * w, 2] in [-1, 1], x before y, row by row."""
    xs, ys = ((np.arange(n) + 0.5) * 2 / n - 1 for n in (width, height))
    return np.stack(np.meshgrid(xs, ys), axis=2).reshape(1, -1, 2)


def _diagonal(points_BN2: NDArray[np.float64], size: tuple[float, float], to: Homography) -> NDArray[np.float64]:
    """Return the diagonal [B, N], in source pixels, of a small rectangle at each point, of a size in [-1, 1]."""
    steps = [to(points_BN2 + np.array(step)) - to(points_BN2) for step in ((size[0], 0.0), (0.0, size[1]))]
    return np.asarray(np.sqrt(sum((step**2).sum(axis=2) for step in steps)))


def to_row(task: _WithPoints, radius: NDArray[np.float64]) -> dict[str, object]:
    """Return radii as columns: radius, or radius1, radius2, ..., or NAME_radius where the points have names.

    Args:
        task: of the points.
        radius: [N] in source pixels.
    """
    if task.has_named_points:
        names = [f"{name}_radius" for name in task.point_names]
    else:
        names = [f"radius{i + 1}" for i in range(len(radius))] if len(radius) > 1 else ["radius"]
    return dict(zip(names, radius.tolist(), strict=True))


def to_json(task: _WithPoints, label: NDArray[np.float64], radius: NDArray[np.float64]) -> dict[str, object]:
    """Return points by name, each with its radius, in source pixels.

    Args:
        task: of the points.
        label: [N, 2] in source pixels.
        radius: [N] in source pixels.
    """
    places = zip(task.point_names, label.tolist(), radius.tolist(), strict=True)
    return {"points": [{"name": name, "x": x, "y": y, "radius": around} for name, (x, y), around in places]}


def draw(canvas: Canvas, label: NDArray[np.float64], radius: NDArray[np.float64]) -> None:
    """Draw a thin circle around each point that has a radius.

    Args:
        canvas: the image.
        label: [N, 2] in the pixels of the image that the canvas shows.
        radius: [N] in the same pixels; NaN for none.
    """
    canvas.circles(label, radius, PREDICTED)


def names(task: _WithPoints) -> Sequence[str]:
    """Return what has a radius each."""
    return task.point_names


CONFIDENCE = Confidence(
    names=names,
    spread=spread,
    error=distances,
    to_row=to_row,
    to_json=to_json,
    draw=draw,
    legend="thin circle: holds the truth in {percent} of 100 images",
)
