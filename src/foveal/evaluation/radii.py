"""Radii that hold the truth in nine of ten new images: split conformal prediction.

The error of each answer is divided by the spread that the model gave it; the quantile of these ratios, corrected for
their number, is the factor that makes a radius of a spread. Where new images are like those that it was chosen on, the
radius holds the truth at least as often as it says, whatever the model is.

Source: Papadopoulos et al. 2002, "Inductive Confidence Machines for Regression"; Lei et al. 2018, "Distribution-Free
Predictive Inference for Regression" (ratios to a spread).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.core.rng import generator_for
from foveal.metrics.conformal import COVERAGE, conformal_quantile
from foveal.tasks.confidence import confidence_of

if TYPE_CHECKING:
    from foveal.evaluation.predictions import Predictions

_HALVES = 200  # draws of a half; their mean scatters by 0.3 of 100, on 160 images with one point
_FEWEST_HALVES = 10  # however many answers there are; of many a single half already says enough
_MOST_ANSWERS = 2_000_000  # in all halves of all points together, so that they take a second or two; chosen by hand
FEWEST = math.ceil(COVERAGE / (1 - COVERAGE) - 1e-9)  # known answers; with fewer no finite radius holds so often


@dataclass(frozen=True, slots=True)
class RadiusFit:
    """How radii were chosen, and how often they hold the truth.

    Attributes:
        names: what has a radius each.
        factors: times the spread they are the radius; None where too few answers are known.
        known: how many images each factor was chosen on.
        coverages: in which share of one half of the images a radius held the truth that was chosen on the other, the
            mean of many halves; NaN where halves are too small.
    """

    names: tuple[str, ...]
    factors: tuple[float | None, ...]
    known: tuple[int, ...]
    coverages: tuple[float, ...]

    @property
    def coverage(self) -> float:
        """The mean of `coverages` over those that are defined; NaN where none is."""
        defined = [one for one in self.coverages if not math.isnan(one)]
        return sum(defined) / len(defined) if defined else math.nan

    @property
    def without(self) -> dict[str, int]:
        """What has no radius, and how many images it is known in."""
        rows = zip(self.names, self.factors, self.known, strict=True)
        return {name: n for name, factor, n in rows if factor is None}

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON values."""
        rows = zip(self.names, self.factors, self.known, self.coverages, strict=True)
        each = {name: {"factor": f, "images": n, "coverage": c} for name, f, n, c in rows}
        return {"radius_coverage": self.coverage, "radius": each}


def fit_radii(predictions: Predictions) -> RadiusFit:
    """Choose the factor of each radius by predictions with their truth, and check the choice on halves of them.

    Returns:
        A factor per point, None where fewer than nine places are known, and the share of images whose circle held the
        truth.

    Raises:
        InputError: the answers have no spread, or too few are known for any radius.
    """
    if predictions.spread is None:
        raise InputError(
            "A radius needs the spread of each answer; take the predictions of `learn.validation_predictions()`."
        )
    confidence = confidence_of(predictions.task)
    ratios = confidence.error(predictions.comparable, predictions.targets) / predictions.spread
    columns = [ratios[~ratios[:, at].isnan(), at] for at in range(ratios.shape[1])]
    n_halves = max(_FEWEST_HALVES, min(_HALVES, _MOST_ANSWERS // ratios.numel()))
    fitted = RadiusFit(
        tuple(confidence.names(predictions.task)),
        tuple(conformal_quantile(column) for column in columns),
        tuple(len(column) for column in columns),
        tuple(_coverage_on_halves(column, n_halves) for column in columns),
    )
    if len(fitted.without) == len(columns):
        raise InputError(f"A radius needs {FEWEST} images with a known place or more; there are {max(fitted.known)}.")
    return fitted


def radius_metrics(predictions: Predictions, coverage: float) -> dict[str, float]:
    """Return what is reported of radii: how often they hold the truth, and how large they are; {} without radii.

    Args:
        predictions: with their radii.
        coverage: on images that the factors were not chosen on.
    """
    if predictions.radius is None:
        return {}
    return {"radius_coverage": coverage, "median_radius_pixels": float(np.nanmedian(predictions.radius.numpy()))}


def coverage_of(predictions: Predictions) -> float:
    """Return in which share of the known answers that have a radius it holds the truth; NaN without any.

    On the images that the factors were chosen on this says nothing: there it is 90% by construction.
    """
    if predictions.radius is None:
        return math.nan
    off = confidence_of(predictions.task).error(predictions.comparable, predictions.targets)
    known = ~(off.isnan() | predictions.radius.isnan())
    return float((off <= predictions.radius)[known].double().mean())


def _coverage_on_halves(ratios: Tensor, n_halves: int) -> float:
    """Return the mean share of one half within the bound of the other, over many random halves; NaN for too few."""
    n = len(ratios)
    if n // 2 < FEWEST:
        return math.nan
    held = []
    for number in range(n_halves):
        order = torch.from_numpy(generator_for(0, 0, number).permutation(n))
        bound = conformal_quantile(ratios[order[: n // 2]])
        assert bound is not None
        held.append(float((ratios[order[n // 2 :]] <= bound).double().mean()))
    return float(np.mean(held))
