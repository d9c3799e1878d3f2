"""The probe for points: a ridge regression of heatmaps, cell by cell, over a feature map.

It is solved from sums over all cells of all images, so that memory does not grow with the set. Every fourth image,
of a large set fewer (256 at most, spread over all of it), is left out of a first solution, on which the penalty and how
sharply the heatmap is read are chosen by the distance of the soft-argmax. Source of the head: Nibali et al. 2018,
"Numerical Coordinate Regression with Convolutional Neural Networks".

Shapes: F features, K points, h x w cells.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from foveal.core import distributed, runtime, timing
from foveal.core.errors import TrainingError
from foveal.tasks.heatmaps import heatmap_around, soft_argmax
from foveal.training.loop import Batched, Loss

Held = list[tuple[Tensor, Tensor]]
# Both grids were chosen by hand; what the probe reaches with them is in benchmarks/results/2026-11-22-head-points.md.
_STRENGTHS = (0.3, 0.1, 0.03, 0.01)  # of the ridge penalty, on features of variance 1
_SHARPNESS = (12.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0)  # factors of the heatmaps' logits
_EVERY = 4  # images, of which one is held out; chosen by hand
_MOST_HELD = 256  # images held out at most; their maps are kept in memory, at 224 px 170 KB each


@dataclass(slots=True)
class Sums:
    """What a ridge regression needs to know of cells: count, sum, products [F, F]; of heat [K] the same, with features.

    `known` counts the cells of images where a point is known.
    """

    count: Tensor
    total: Tensor
    square: Tensor
    heat: Tensor
    heat_total: Tensor
    known: Tensor

    @classmethod
    def zeros(cls, n_features: int, n_points: int, device: torch.device) -> Sums:
        """Return the sums over no cells.

        Args:
            n_features: F.
            n_points: K.
            device: where the sums are.
        """
        sizes = ((), (n_features,), (n_features,) * 2, (n_features, n_points), (n_points,), (n_points,))
        return cls(*(torch.zeros(size, dtype=torch.float64, device=device) for size in sizes))

    @classmethod
    def of(cls, maps_BFhw: Tensor, points_BK2: Tensor) -> Sums:
        """Return the sums over the cells of some images.

        Args:
            maps_BFhw: features, float32.
            points_BK2: in [-1, 1], x before y; NaN is unknown.
        """
        height, width = maps_BFhw.shape[2:]
        cells = maps_BFhw.permute(0, 2, 3, 1).reshape(-1, maps_BFhw.shape[1])
        heat = heatmap_around(points_BK2, height, width).permute(0, 2, 3, 1).reshape(len(cells), points_BK2.shape[1])
        known = (~heat.isnan()).sum(dim=0).double()
        heat = heat.nan_to_num(0.0)
        return cls(
            count=cells.new_tensor(len(cells), dtype=torch.float64),
            total=cells.double().sum(dim=0),
            square=(cells.T @ cells).double(),
            heat=(cells.T @ heat).double(),
            heat_total=heat.double().sum(dim=0),
            known=known,
        )

    def plus(self, other: Sums, sign: float = 1.0) -> Sums:
        """Return the sums of both, or with -1 of the rest.

        Args:
            other: of other cells, or of some of the same.
            sign: 1 or -1.
        """
        return Sums(*(own + sign * more for own, more in zip(self.parts, other.parts, strict=True)))

    @property
    def of_all_processes(self) -> Sums:
        """The sums over what all processes have."""
        return Sums(*map(distributed.all_reduce_sum, self.parts))

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """All of them."""
        return self.count, self.total, self.square, self.heat, self.heat_total, self.known

    def standard(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each feature."""
        mean = self.total / self.count
        return mean, (self.square.diagonal() / self.count - mean**2).clamp(min=1e-12)

    def solve(self, strength: float, mean: Tensor, variance: Tensor) -> Tensor:
        """Return the weights [K, F] on features of mean 0 and variance 1.

        Args:
            strength: of the ridge penalty.
            mean: of each feature, [F].
            variance: of each feature, [F].
        """
        scale = variance.sqrt()
        own = self.total / self.count
        square = self.square / self.count - torch.outer(own, mean) - torch.outer(mean, own) + torch.outer(mean, mean)
        with_heat = (self.heat - torch.outer(own, self.heat_total)) / self.known.clamp(min=1)
        matrix = square / torch.outer(scale, scale) + strength * torch.eye(len(mean), dtype=torch.float64)
        weights: Tensor = torch.linalg.solve(matrix, with_heat / scale[:, None]).T
        return weights


@torch.no_grad()
def fit_heatmaps(
    body: nn.Module,
    head: nn.Module,
    batches: Iterable[Batched],
    loss: Loss,
    *,
    n: int,
    precision: runtime.Precision,
    device: torch.device,
) -> float:
    """Return the loss on held-out images of a spatial head that was given the best heatmaps on a body's features.

    Args:
        body: gives maps float32 [B, F, h, w].
        head: batch normalisation and a convolution of one cell, F to K.
        batches: this process's shard of the batches, in data order; targets [B, K, 2] from -1 to 1.
        loss: of (heatmaps, targets).
        n: how many images there are in all.
        precision: of the body.
        device: where the model is.

    Raises:
        TrainingError: there is no batch.
    """
    norm, layer = head.children()
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    zeros = Sums.zeros(norm.num_features, layer.out_channels, device)
    everything, left_out, held = _sum_cells(body, batches, zeros, precision, held_out_positions(n))
    fit = reading_of(everything, left_out, held).fit(everything)
    norm.running_mean.copy_(fit.mean)
    norm.running_var.copy_(fit.variance)
    layer.weight.copy_(fit.weight[..., None, None])
    layer.bias.zero_()
    head.eval()
    outputs = torch.cat([head(maps.float().to(device)).cpu() for maps, _ in held])
    return float(loss(outputs, torch.cat([points for _, points in held])))


class HeatmapFit(NamedTuple):
    """Heatmaps that were fitted.

    Attributes:
        weight: [K, F], on features of mean 0 and variance 1.
        mean: of each feature, [F].
        variance: of each feature, [F].
    """

    weight: Tensor
    mean: Tensor
    variance: Tensor

    def points(self, maps_BFhw: Tensor) -> Tensor:
        """Return the points [B, K, 2] in [-1, 1], x before y, on maps of features."""
        scaled = (self.weight / self.variance.sqrt()).to(maps_BFhw)
        offset = (scaled @ self.mean.to(maps_BFhw))[None, :, None, None]
        return soft_argmax(torch.einsum("bfhw,kf->bkhw", maps_BFhw, scaled) - offset)


class Reading(NamedTuple):
    """How heatmaps are fitted and read.

    Attributes:
        strength: of the ridge penalty.
        sharpness: factor of the heatmaps' logits.
        mean: of each feature, [F].
        variance: of each feature, [F].
    """

    strength: float
    sharpness: float
    mean: Tensor
    variance: Tensor

    def fit(self, sums: Sums) -> HeatmapFit:
        """Return the heatmaps fitted to some images.

        Args:
            sums: over their cells.
        """
        return HeatmapFit(
            sums.solve(self.strength, self.mean, self.variance) * self.sharpness, self.mean, self.variance
        )


def reading_of(everything: Sums, left_out: Sums, held: Held) -> Reading:
    """Return the penalty and the sharpness that are best for images that were left out.

    Args:
        everything: sums over the cells of all images.
        left_out: over those of the images left out.
        held: maps [B, F, h, w] and points [B, K, 2] of these.
    """
    mean, variance = everything.standard()
    strength, sharpness = _STRENGTHS[0], _SHARPNESS[0]
    if everything.count > left_out.count:
        with timing.measure("probe cross-validation"):
            strength, sharpness = _choose_penalty(everything.plus(left_out, -1.0), held, mean, variance)
    return Reading(strength, sharpness, mean, variance)


def held_out_positions(n: int) -> range:
    """Return which of `n` images are held out of the first solution.

    >>> held_out_positions(10), held_out_positions(2000)
    (range(0, 10, 4), range(0, 2000, 8))
    """
    return range(0, n, max(_EVERY, -(-n // _MOST_HELD)))


def _sum_cells(
    body: nn.Module, batches: Iterable[Batched], zeros: Sums, precision: runtime.Precision, held_at: range
) -> tuple[Sums, Sums, Held]:
    """Return the sums over all images, those over the images held out, and the maps and points of the latter.

    Raises:
        TrainingError: there is no batch.
    """
    body.eval()
    sums = left_out = zeros
    held: Held = []
    with runtime.computing():
        for batch in batches:
            with runtime.autocast(precision, zeros.total.device):
                maps = body(batch.inputs)
            maps, points = maps.float(), batch.targets
            sums = sums.plus(Sums.of(maps, points))
            chosen = [row for row, at in enumerate(batch.indices) if at in held_at]
            left_out = left_out.plus(Sums.of(maps[chosen], points[chosen]))
            held.append((maps[chosen].bfloat16().cpu(), points[chosen].cpu()))
    maps_of_all, points_of_all = (distributed.all_gather_ordered([one[at] for one in held]) for at in (0, 1))
    if not maps_of_all:
        raise TrainingError("There is nothing to fit the head to: the loader gave no batch.")
    pairs = [pair for pair in zip(maps_of_all, points_of_all, strict=True) if len(pair[0])]
    return sums.of_all_processes, left_out.of_all_processes, pairs


def _choose_penalty(rest: Sums, held: Held, mean: Tensor, variance: Tensor) -> tuple[float, float]:
    """Return penalty and sharpness whose soft-argmax is nearest to the points of images that were left out."""
    best, choice = float("inf"), (_STRENGTHS[0], _SHARPNESS[0])
    for strength in _STRENGTHS:
        weights = rest.solve(strength, mean, variance) / variance.sqrt()
        heat = [torch.einsum("bfhw,kf->bkhw", maps.float(), weights.float()) for maps, _ in held]
        for sharpness in _SHARPNESS:
            predicted = torch.cat([soft_argmax(maps * sharpness) for maps in heat])
            off = torch.linalg.vector_norm(predicted - torch.cat([points for _, points in held]), dim=2)
            distance = float(off.nanmean())
            if distance < best:
                best, choice = distance, (strength, sharpness)
    return choice
