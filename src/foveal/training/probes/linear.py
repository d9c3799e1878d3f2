"""The probe: the best linear head on frozen features, found by convex optimisation in place of epochs.

The features of every image, prepared as in validation, are computed once. The strength of the L2 penalty is chosen
inside the training side. Labels and numbers: the pooled features under the task's loss (logistic, or squares). Points:
a ridge regression of a heatmap, cell by cell, from sums that take no more memory for more images. Source of "first
the head, then everything": Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution".

Shapes: n images, F features, C outputs, K points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from foveal.core import processors, runtime, threads, timing
from foveal.core.errors import InputError
from foveal.data.loader import DataLoader
from foveal.models.body import POOLS, Body, Pooling
from foveal.models.vision import VisionModel
from foveal.training.features import features_of
from foveal.training.loop import Loss
from foveal.training.probes.axes import MOST_AXES, SHARED, n_threads_for, principal_axes
from foveal.training.probes.closed_form import LinearFit, ridge_fit, suits
from foveal.training.probes.heatmaps import fit_heatmaps

# Strengths and folds were chosen by hand; what the probe reaches with them is in
# benchmarks/results/2026-11-22-probe-recipe.md. Strengths are of the L2 penalty, as a share of the loss at 0.
STRENGTHS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
_FOLDS = 3  # of the training side, for the choice of the penalty
_ITERATIONS = 60  # of L-BFGS per strength, at most; each begins where the stronger one ended; chosen by hand
# The loss on rows left out falls and then rises along the strengths; on labels, one label and numbers of 20 to 1,096
# photographs nothing after the first rise by a hundredth was ever the lowest. Most of the time goes into the weakest.
_CLEARLY_WORSE = 1.01
# Losses at 0 that the solver takes as they are; its tolerances are absolute, and its steps leave 32 bits at 1e24.
_PLAIN_UNITS = (1e-2, 1e2)
_MOST_KEPT = 2_000  # images whose features are handed on: 20 MB
_STEP = 0.1  # of outputs, in a difference quotient of the loss
# Numbers in the features from which the folds are solved in threads side by side (20 rows of 1,280 take 0.53 s so, and
# 0.44 s one after the other; 1,096 rows 1.1 and 1.7 s); from `SHARED` on each problem gets all threads instead.
_SIDE_BY_SIDE = 2**17


def fit_head(
    model: VisionModel,
    loader: DataLoader,
    loss: Loss,
    *,
    precision: runtime.Precision,
    device: torch.device,
    drawn: Tensor | None = None,
    is_plain: bool = False,
) -> HeadFit:
    """Return the losses of a head that was fitted to the training side.

    Args:
        model: has a linear or a spatial head.
        loader: of the training side, prepared as in validation.
        loss: of (raw outputs, targets).
        precision: of the body.
        device: where the model is.
        drawn: positions that the head is fitted to, with repetitions, where items are drawn by weight; each by default.
        is_plain: whether it is the task's own, in which classes and images count alike, of a score per class; then the
            head is fitted in closed form.

    Raises:
        InputError: the head is another one, or one that is not fitted to drawn items.
    """
    if model.spec.head == "spatial":
        if drawn is not None:
            raise InputError(
                "A probe of points counts every image once and so cannot follow weights per item: train with "
                "sampling='uniform', or without a probe (`fine_tune(..., probe=False)`, `--recipe book`)."
            )
        with timing.measure("probe features"):
            held_out = fit_heatmaps(
                model.body, model[1], loader.shard_batches(), loss, n=loader.n, precision=precision, device=device
            )
        return HeadFit(held_out, held_out)
    if model.spec.head != "linear":
        raise InputError(
            "A probe fits a linear head (labels, numbers) or a spatial one (points): vision_learner(dls, arch, "
            f"head='linear'). This learner's is `{model.spec.head}`."
        )
    pooled = PooledFeatures(model.body)
    with timing.measure("probe features"):
        evaluation = features_of(pooled, loader, pooled.about, precision=precision, device=device)

    def squeezed_loss(output: Tensor, target: Tensor) -> Tensor:
        return loss(model.apply_range(output), target)

    best: tuple[LinearFit, Pooling, Tensor] | None = None
    with timing.measure("probe cross-validation"):
        targets = evaluation.targets if drawn is None else evaluation.targets[drawn]
        for pooling in pooled.worth_trying(len(targets)):
            features = pooled.read(evaluation.outputs, pooling)
            features = features if drawn is None else features[drawn]
            if is_plain and drawn is None and model.spec.y_range is None and suits(targets, features.shape):
                fit = ridge_fit(features, targets, squeezed_loss, model.linear.out_features)
            else:
                fit = linear_fit(features, targets, squeezed_loss, model.linear.out_features, rows=drawn)
            if best is None or fit.loss < best[0].loss:
                best = fit, pooling, features
    assert best is not None
    fit, pooling, features = best
    if (pooling or ("mean",)) != (model.body.pooling or ("mean",)):
        model.read(pooling)
    model.linear.load_state_dict(fit.layer.state_dict())
    train_loss = float(squeezed_loss(fit.layer(features).detach(), targets))
    some = torch.linspace(0, len(features) - 1, min(len(features), _MOST_KEPT)).round().long()
    return HeadFit(train_loss, fit.loss, fit.held_out, features[some].clone(), targets[some])


class HeadFit(NamedTuple):
    """How well a head fits.

    Attributes:
        train_loss: on the training side; of points on the images of it that were held out of a first solution.
        held_out_loss: on images of the training side for which a solution without them answered; comparable between
            backbones on the same images.
        held_out: raw outputs for each image of the training side by a solution without it, [n, C]; None where images
            are drawn by weight, and of heads that are not found in closed form.
        features: what the head reads of an even part of the training side, [m, F]; None of a spatial head.
        targets: of the same images.
    """

    train_loss: float
    held_out_loss: float
    held_out: Tensor | None = None
    features: Tensor | None = None
    targets: Tensor | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(train_loss={self.train_loss:.4g}, held_out_loss={self.held_out_loss:.4g})"


class PooledFeatures(nn.Module):
    """A body, then every pool of its features that a head may read, side by side in single precision: [n, F].

    Attributes:
        candidates: the pools that may be read together; one without names where it is the mean over the map.
    """

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body
        self.candidates = body.candidates or (body.pooling,)
        self.pools = [pool for pool in POOLS if pool in body.widths]

    def worth_trying(self, n: int) -> list[Pooling]:
        """Return the candidates for so many images: of many, those that are solved in time.

        Args:
            n: images.
        """
        widths = {pooling: sum(self.body.widths.get(pool, 0) for pool in pooling) for pooling in self.candidates}
        return [pooling for pooling, width in widths.items() if min(n, width) <= MOST_AXES or len(pooling) == 1]

    @property
    def about(self) -> list[str]:
        """What the weights do not tell of the way from images to these features."""
        return [str(self.body.statistics), *self.pools]

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Return the features of images."""
        image_B3HW = self.body.prepared(image_B3HW)
        (features, finer), size_hw = self.body.features(image_B3HW, self.pools), image_B3HW.shape[2:]
        if not self.pools:
            return self.body.as_map(features, size_hw).float().mean(dim=(2, 3))
        return torch.cat([self.body.pool(pool, features, finer, size_hw).float() for pool in self.pools], dim=1)

    def read(self, features: Tensor, pooling: Pooling) -> Tensor:
        """Return the features of some pools.

        Args:
            features: what `forward` returned, [n, F].
            pooling: a candidate.
        """
        if not pooling:
            return features
        widths = [self.body.widths[pool] for pool in self.pools]
        by_pool = dict(zip(self.pools, torch.split(features, widths, dim=1), strict=True))
        return torch.cat([by_pool[pool] for pool in pooling], dim=1)


def linear_fit(
    features: Tensor, targets: Tensor, loss: Loss, n_outputs: int, *, rows: Tensor | None = None
) -> LinearFit:
    """Return the linear layer with the least penalised loss, and the strength chosen for it.

    For penalties from strong to weak, solutions on all rows and on what each fold leaves are found side by side, until
    those of the folds are clearly worse on the rows left out.

    Args:
        features: float32 [n, F].
        targets: [n, ...].
        loss: of (outputs [n, C], targets), convex in the outputs; called from several threads.
        n_outputs: C.
        rows: int64 [n], what each row is a copy of, so that copies are in one fold; all differ by default.
    """
    rows = torch.arange(len(features)) if rows is None else rows
    mean, scale = features.mean(dim=0), features.std(dim=0, unbiased=False).clamp(min=1e-6)
    with runtime.on_threads(n_threads_for(features)):
        standard, axes, spread = principal_axes((features - mean) / scale)
    unit = float(loss(torch.zeros(len(features), n_outputs), targets))
    divisor = unit if unit > 0 and not _PLAIN_UNITS[0] <= unit <= _PLAIN_UNITS[1] else 1.0
    scaled = loss if divisor == 1.0 else lambda output, target: loss(output, target) / divisor
    spread = spread * _curvature(scaled, targets, n_outputs)
    strengths = [strength * (unit / divisor) for strength in STRENGTHS]
    solutions, totals = [], []
    for weight, bias, total in _solutions(standard, spread, targets, scaled, n_outputs, strengths, rows):
        solutions.append((weight, bias))
        totals.append(total)
        if total > _CLEARLY_WORSE * min(totals):
            break
    chosen = int(torch.stack(totals).argmin())
    weight, bias = solutions[chosen]
    weight = weight @ axes
    layer = nn.Linear(features.shape[1], n_outputs)
    with torch.no_grad():
        layer.weight.copy_(weight / scale)
        layer.bias.copy_(bias - weight @ (mean / scale))
    return LinearFit(layer, strengths[chosen] * divisor, float(totals[chosen]) / len(features))


def _curvature(loss: Loss, targets: Tensor, n_outputs: int) -> float:
    """Return how much a loss curves by one output of all rows, on average over outputs, where all outputs are 0."""
    outputs = torch.zeros(len(targets), n_outputs, requires_grad=True)
    signs = torch.randint(0, 2, outputs.shape, generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    slopes = [torch.autograd.grad(loss(outputs + step * signs, targets), outputs)[0] for step in (_STEP, -_STEP)]
    return max(float(((slopes[0] - slopes[1]) * signs).sum()) / (2 * _STEP * n_outputs), _STEP)


def _solutions(
    features: Tensor,
    spread: Tensor,
    targets: Tensor,
    loss: Loss,
    n_outputs: int,
    strengths: Sequence[float],
    rows: Tensor,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield weight and bias on all rows for each strength, and the summed loss on the rows that folds left out.

    Where there are too few rows for the folds there is one solution, the strongest's.
    """
    if len(features) < _FOLDS:
        folds, strengths = [], strengths[:1]
    else:
        fold = rows % _FOLDS
        folds = [_Path(features, spread, targets, loss, n_outputs, fold == part) for part in range(_FOLDS)]
    whole = _Path(features, spread, targets, loss, n_outputs)
    side_by_side = _SIDE_BY_SIDE <= features.numel() < SHARED
    n_workers = min(1 + len(folds), processors.usable()) if side_by_side else 0
    for strength in strengths:
        with runtime.on_threads(n_threads_for(features)):
            solve = partial(_Path.solve, strength=strength)
            losses = list(threads.ordered_map(solve, [*folds, whole], num_workers=n_workers))
        yield whole.weight, whole.bias.detach().clone(), sum(losses, torch.zeros(()))


class _Path:
    """Solutions for weaker and weaker penalties, each begun where the last one ended.

    Attributes:
        left_out: bool [n], the rows that the loss is returned for instead of solved for; none by default.
    """

    def __init__(
        self,
        features: Tensor,
        spread: Tensor,
        targets: Tensor,
        loss: Loss,
        n_outputs: int,
        left_out: Tensor | None = None,
    ) -> None:
        self.features, self.spread, self.targets, self.loss, self.left_out = features, spread, targets, loss, left_out
        self.weight = torch.zeros(n_outputs, features.shape[1])
        self.bias = torch.zeros(n_outputs, requires_grad=True)

    def solve(self, strength: float) -> Tensor:
        """Return the summed loss on the rows left out, 0 without any, once the next strength is solved for."""
        features, targets, left_out = self.features, self.targets, self.left_out
        if left_out is not None:  # without any no copy is made
            features, targets = features[~left_out], targets[~left_out]
        # In units in which the loss is about as steep along every axis the solver needs a third of the steps.
        steepness = (self.spread + strength / len(self.weight)).sqrt()
        scaled = (self.weight * steepness).requires_grad_()
        optimizer: Any = torch.optim.LBFGS(
            [scaled, self.bias], max_iter=_ITERATIONS, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
        )
        optimizer.step(
            _penalised_loss(features, targets, self.loss, strength, (scaled, steepness), self.bias, optimizer)
        )
        self.weight = scaled.detach() / steepness
        if left_out is None:
            return torch.zeros(())
        with torch.no_grad():
            output = self.features[left_out] @ self.weight.T + self.bias
            return self.loss(output, self.targets[left_out]) * left_out.sum()


def _penalised_loss(
    features: Tensor,
    targets: Tensor,
    loss: Loss,
    strength: float,
    scaled_weight: tuple[Tensor, Tensor],
    bias: Tensor,
    optimizer: torch.optim.Optimizer,
) -> Callable[[], float]:
    scaled, steepness = scaled_weight

    def closure() -> float:
        optimizer.zero_grad()
        weight = scaled / steepness
        value = loss(features @ weight.T + bias, targets) + strength / 2 * weight.square().sum() / weight.shape[0]
        torch.autograd.backward(value)
        return float(value.detach())

    return closure
