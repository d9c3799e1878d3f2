"""What a model knows: where the features of images like its own lie, and how far off another image is.

An image's features, as a direction, are near those of known images along some principal axes, and near none of them off
these axes: the distance is the Mahalanobis distance to their mean, with all smaller axes alike, as a share of the
variance. Source: Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples", for one class
of all images, so that it is the same for labels, points and numbers.

Shapes: n images, F features, r axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from foveal.metrics.conformal import conformal_quantile

_AXES = 64  # at most: 16 let in twice as many others, 128 as many (benchmarks/results/2026-11-28-unknown.md)
_FEWEST = 20  # images, from which on axes say something; chosen by hand
_SHRINK = 0.1  # of the mean variance of all axes, added to each; from 0.03 to 1 the same
_ITERATIONS = 6  # of subspace iteration; axes are the same to three digits after 4
_SPARE = 16  # axes besides those wanted, so that it converges
_FOLDS = 5
SHARE = 0.95
"""Of images like the known ones, as many lie within the limit."""


@dataclass(frozen=True, slots=True, eq=False)
class Territory:
    """Where the features of known images lie.

    Attributes:
        centre: the mean of their directions, [F]; in bundles of version 0.1 of length 1.
        axes: principal axes times what they take off the distance, [r, F]; None in bundles of version 0.1.
    """

    centre: Tensor
    axes: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor) -> Self:
        """Return the territory of the features of known images, [n, F]: of few images their mean direction alone."""
        rows = normalize(features.double(), dim=1)
        mean = rows.mean(dim=0)
        if len(rows) < _FEWEST:
            return cls(normalize(mean, dim=0).float())
        around = rows - mean
        axes, variances = _principal(around, min(_AXES, len(rows) // 2, rows.shape[1] // 2))
        usual = _SHRINK * float(around.square().sum()) / (len(rows) * rows.shape[1])
        taken = (1 - usual / (variances + usual)).clamp(min=0).sqrt()
        return cls(mean.float(), (axes * taken[:, None]).float())

    def distances(self, features: Tensor) -> Tensor:
        """Return how far images with such features [n, F] are, float32 [n]."""
        rows = normalize(features.float(), dim=1)
        if self.axes is None:
            return 1 - rows @ self.centre
        off = rows - self.centre
        return off.square().sum(dim=1) - (off @ self.axes.T).square().sum(dim=1)


class Surveyed(NamedTuple):
    """A territory, and how far images like the known ones are from it.

    Attributes:
        territory: of all images.
        distances: of each image from the territory of others, float32 [n].
        limit: within which `SHARE` of further images lie; None where there are too few to tell.
    """

    territory: Territory
    distances: Tensor
    limit: float | None


def survey(features: Tensor) -> Surveyed:
    """Return the territory of images, and by five folds how far further images like these will be.

    Args:
        features: of known images, [n, F], n at least 2.
    """
    distances = distances_of_others(features)
    return Surveyed(Territory.of(features), distances, conformal_quantile(distances, SHARE))


def distances_of_others(features: Tensor, usual: Tensor | None = None) -> Tensor:
    """Return how far each image is from the territory of others, by five folds, float32 [n].

    Args:
        features: [n, F], n at least 2.
        usual: which images a territory is learned from, bool [n]; all by default.
    """
    n = len(features)
    fold = torch.arange(n) % min(_FOLDS, n)
    distances = torch.empty(n)
    for number in range(min(_FOLDS, n)):
        others = fold != number if usual is None else (fold != number) & usual
        distances[fold == number] = Territory.of(features[others]).distances(features[fold == number])
    return distances


def _principal(around: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """Return the r axes [r, F] along which rows around 0 [n, F] vary most, and their variances [r]."""
    n, n_features = around.shape
    width = min(r + _SPARE, n, n_features)
    start = torch.randn(n_features, width, dtype=around.dtype, generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(start).Q
    for _ in range(_ITERATIONS):
        basis = torch.linalg.qr(around.T @ (around @ basis)).Q
    along = around @ basis
    values, vectors = torch.linalg.eigh(along.T @ along / n)
    return (basis @ vectors).T.flip(0)[:r], values.flip(0)[:r]
