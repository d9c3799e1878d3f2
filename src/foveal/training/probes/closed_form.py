"""A linear head for classes in closed form: ridge regression of the labels, then one scale and shift per class.

The penalty is chosen by the task's loss on rows that were left out one by one, which a ridge regression gives without
solving again (PRESS, Allen 1974); scale and shift, which turn scores into logits, are fitted to those. With few images
a class this orders classes better than the logistic loss does, in a sixth of its time:
benchmarks/results/2026-11-27-probes.md.

Shapes: n images, F features, C classes, r principal axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.training.loop import Loss
from foveal.training.probes.axes import MOST_AXES, principal_axes

# Strengths are shares of the mean square of a feature, from strong to weak; chosen by hand: on 277 to 1,096 photographs
# the best was between 1 and 10.
STRENGTHS = tuple(10 ** (step / 3) for step in range(5, -9, -1))
_FEWEST = 3  # images
_CLEARLY_WORSE = 1.02  # the held-out loss over the least so far, from which on weaker penalties are not tried
_ITERATIONS = 25  # of L-BFGS for scale and shift, at most
# Of a class with one image the others know nothing, so that its score without it is below all others': the factor would
# be negative, and answers the wrong way round (20 images of 20 breeds: accuracy .00, with this .30); half of what
# gives scores of unit spread.
_LEAST_FACTOR = 0.5
# How far a shift may lie from its usual value, in logits. With few images of a class, what is left out tells little of
# it: of 37 breeds with one or two images each, 50 in all, accuracy is .555 with it and .523 without, the loss 2.1 and
# 2.5; from 250 images on it is the same. benchmarks/results/2026-11-28-next.md.
_SHIFT_SPREAD = 0.7
_TOWARDS_ONE = 1e-4  # of the squares of scales, so that a class without an example stays finite


def suits(targets: Tensor, shape: Sequence[int]) -> bool:
    """Return whether `ridge_fit` is for these: known classes, and few enough rows or features for a decomposition.

    Args:
        targets: encoded.
        shape: of the features, [n, F].
    """
    is_class = targets.ndim == 1 and not targets.is_floating_point()
    is_marks = targets.ndim == 2 and bool(((targets == 0) | (targets == 1)).all())
    return (is_class or is_marks) and len(targets) >= _FEWEST and min(shape) <= MOST_AXES


class LinearFit(NamedTuple):
    """A linear layer that was fitted.

    Attributes:
        layer: F to C.
        strength: of the penalty that was chosen for it.
        loss: on rows that were left out, a row's mean, on the scale that the strengths were tried on.
        held_out: what a layer fitted without each row answers for it, [n, C]; None where no such layers were fitted.
    """

    layer: nn.Linear
    strength: float
    loss: float
    held_out: Tensor | None = None


def ridge_fit(
    features: Tensor, targets: Tensor, loss: Loss, n_outputs: int, *, strengths: Sequence[float] = STRENGTHS
) -> LinearFit:
    """Return the linear layer of the penalty with the least loss on images left out.

    Args:
        features: float32 [n, F].
        targets: class indices [n], or 0 and 1 [n, C], all of them known.
        loss: of (logits [n, C], targets).
        n_outputs: C.
        strengths: of the penalty, that are tried, from strong to weak.
    """
    n, n_features = features.shape
    labels = targets.float() if targets.ndim == 2 else F.one_hot(targets, n_outputs).float()
    mean, scale = features.mean(dim=0), features.std(dim=0, unbiased=False).clamp(min=1e-6)
    along, axes, spread = principal_axes((features - mean) / scale)
    rate = labels.mean(dim=0)
    centred = labels - rate
    with_labels, squares = along.T @ centred, along.square()
    best: tuple[float, float, Tensor, Tensor, tuple[Tensor, Tensor]] | None = None
    for strength in strengths:
        shrunk = 1 / (n * (spread + strength))
        weight = shrunk[:, None] * with_labels
        own_share = squares @ shrunk + 1 / n  # of each image in its own score
        score = labels - (centred - along @ weight) / (1 - own_share)[:, None]
        affine, held_out = _scale_and_shift(score, targets, labels.mean(dim=0), loss)
        if best is None or held_out < best[0]:
            best = held_out, strength, weight, score, affine
        elif held_out > _CLEARLY_WORSE * best[0]:
            break
    assert best is not None
    held_out, strength, weight, score, (factor, shift) = best
    layer = nn.Linear(n_features, n_outputs)
    with torch.no_grad():
        plain = (weight.T @ axes) / scale
        layer.weight.copy_(factor[:, None] * plain)
        layer.bias.copy_(factor * (rate - plain @ mean) + shift)
    return LinearFit(layer, strength, held_out, score * factor + shift)


def _scale_and_shift(score: Tensor, targets: Tensor, rate: Tensor, loss: Loss) -> tuple[tuple[Tensor, Tensor], float]:
    """Return the scale and shift [C] of scores with the least loss, and that loss; one scale for all classes or each.

    Args:
        score: [n, C].
        targets: [n], one scale then, or [n, C].
        rate: of each class, [C].
        loss: of (logits [n, C], targets).
    """
    (n, n_classes), is_shared = score.shape, targets.ndim == 1
    mean = score.mean(dim=0)
    unit = (score - mean).std().clamp(min=1e-6) if is_shared else score.std(dim=0, unbiased=False).clamp(min=1e-6)
    standard = (score - mean) / unit
    factor = torch.ones(1 if is_shared else n_classes, requires_grad=True)
    usual = torch.zeros(n_classes) if is_shared else rate.clamp(0.5 / n, 1 - 0.5 / n).logit()
    shift = usual.clone().requires_grad_()
    of_shift = 1 / (2 * _SHIFT_SPREAD**2 * (n if is_shared else n * n_classes))
    optimizer: Any = torch.optim.LBFGS([factor, shift], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        value = loss(standard * factor + shift, targets) + _TOWARDS_ONE * (factor - 1).square().mean()
        value = value + of_shift * (shift - usual).square().sum()
        torch.autograd.backward(value)
        return float(value.detach())

    optimizer.step(closure)
    with torch.no_grad():
        factor.clamp_(min=_LEAST_FACTOR)
        held_out = float(loss(standard * factor + shift, targets))
        in_units = (factor / unit).expand(n_classes)
        return (in_units, shift - in_units * mean), held_out
