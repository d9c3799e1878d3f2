"""The probe: the best linear head on frozen features, found by convex optimisation in place of epochs.

The features of every picture, prepared as in validation, are computed once. The strength of the L2 penalty is chosen
inside the training side. Labels and numbers: the pooled features under the task's loss (logistic, or squares). Points:
a ridge regression of a heatmap, cell by cell, from sums that take no more memory for more pictures. Source of "first
the head, then everything": Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution".

Shapes: n pictures, F features, C outputs, K points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from foveal import runtime
from foveal.data.loaders import DataLoader
from foveal.errors import InputError
from foveal.models.vision import VisionModel
from foveal.probes.heatmaps import fit_heatmaps
from foveal.train.loop import Loss, evaluate

STRENGTHS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
_FOLDS = 3
_ITERATIONS = 60


def fit_head(
    model: VisionModel, loader: DataLoader, loss: Loss, *, precision: runtime.Precision, device: torch.device
) -> float:
    """Fit the head of a model to the training side; return the loss there (points: on some of it).

    Args:
        model: has a linear or a spatial head.
        loader: of the training side, prepared as in validation.
        loss: of (raw outputs, targets).
        precision: of the body.
        device: where the model is.

    Raises:
        InputError: the head is another one.
    """
    if model.spec.head == "spatial":
        return fit_heatmaps(model.body, model[1], loader.dealt(), loss, precision=precision, device=device)
    if model.spec.head != "linear":
        raise InputError(
            "A probe fits a linear head (labels, numbers) or a spatial one (points): vision_learner(dls, arch, "
            f"head='linear'). This learner's is `{model.spec.head}`."
        )
    found = evaluate(PooledFeatures(model.body), loader.dealt(), precision=precision, device=device, dealt=True)

    def squeezed_loss(output: Tensor, target: Tensor) -> Tensor:
        return loss(model.squeeze(output), target)

    layer, _ = linear_fit(found.outputs, found.targets, squeezed_loss, model.linear.out_features)
    model.linear.load_state_dict(layer.state_dict())
    return float(squeezed_loss(layer(found.outputs).detach(), found.targets))


class PooledFeatures(nn.Module):
    """A body, then the mean over its map in single precision: [n, F]."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Return the features of pictures."""
        maps: Tensor = self.body(image_B3HW)
        return maps.float().mean(dim=(2, 3))


def linear_fit(features: Tensor, targets: Tensor, loss: Loss, n_outputs: int) -> tuple[nn.Linear, float]:
    """Return the linear layer with the least penalised loss, and the strength chosen for it.

    Args:
        features: [n, F].
        targets: [n, ...].
        loss: convex in the outputs.
        n_outputs: C.
    """
    mean, scale = features.mean(dim=0), features.std(dim=0, unbiased=False).clamp(min=1e-6)
    standard = (features - mean) / scale
    unit = float(loss(torch.zeros(len(features), n_outputs), targets))
    strengths = [strength * unit for strength in STRENGTHS]
    strength = _chosen(standard, targets, loss, n_outputs, strengths)
    weight, bias = _path(standard, targets, loss, n_outputs, [s for s in strengths if s >= strength])[-1]
    layer = nn.Linear(features.shape[1], n_outputs)
    with torch.no_grad():
        layer.weight.copy_(weight / scale)
        layer.bias.copy_(bias - weight @ (mean / scale))
    return layer, strength


def _chosen(features: Tensor, targets: Tensor, loss: Loss, n_outputs: int, strengths: Sequence[float]) -> float:
    """Return the strength with the least loss on parts that were left out."""
    fold = torch.arange(len(features)) % _FOLDS
    total = torch.zeros(len(strengths))
    for part in range(_FOLDS):
        kept, left_out = fold != part, fold == part
        if not (kept.any() and left_out.any()):
            return strengths[0]
        for at, (weight, bias) in enumerate(_path(features[kept], targets[kept], loss, n_outputs, strengths)):
            total[at] += loss(features[left_out] @ weight.T + bias, targets[left_out]) * left_out.sum()
    return strengths[int(total.argmin())]


def _path(
    features: Tensor, targets: Tensor, loss: Loss, n_outputs: int, strengths: Sequence[float]
) -> list[tuple[Tensor, Tensor]]:
    """Return the solutions for penalties from strong to weak, each begun where the last one ended."""
    weight = torch.zeros(n_outputs, features.shape[1], requires_grad=True)
    bias = torch.zeros(n_outputs, requires_grad=True)
    found = []
    for strength in strengths:
        optimizer: Any = torch.optim.LBFGS(
            [weight, bias], max_iter=_ITERATIONS, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
        )
        optimizer.step(_penalised(features, targets, loss, strength, weight, bias, optimizer))
        found.append((weight.detach().clone(), bias.detach().clone()))
    return found


def _penalised(
    features: Tensor,
    targets: Tensor,
    loss: Loss,
    strength: float,
    weight: Tensor,
    bias: Tensor,
    optimizer: torch.optim.Optimizer,
) -> Callable[[], float]:
    def closure() -> float:
        optimizer.zero_grad()
        value = loss(features @ weight.T + bias, targets) + strength / 2 * weight.square().sum() / weight.shape[0]
        torch.autograd.backward(value)
        return float(value.detach())

    return closure
