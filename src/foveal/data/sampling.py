"""Sampling: how often a training loader draws each item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError
from foveal.data.batches import Item
from foveal.data.datasets import Dataset
from foveal.tasks.balance import inverse_frequency
from foveal.tasks.kinds import require

SamplingName = Literal["uniform", "balanced", "square-root"]
Sampling = SamplingName | Sequence[float] | np.ndarray | Tensor
"""How often items are drawn: a name, or a weight per item."""
POWERS: Mapping[str, float] = MappingProxyType({"uniform": 0.0, "balanced": 1.0, "square-root": 0.5})
"""The power of the inverse frequency that weighs an item. Names are those of Kang et al. 2020, "Decoupling
Representation and Classifier for Long-Tailed Recognition"."""


def item_weights(dataset: Item, sampling: Sampling) -> np.ndarray | None:
    """Return the weights, float64 [n], by which a loader draws its items; None where it visits each once.

    Args:
        dataset: n items.
        sampling: a name, or n weights.

    Raises:
        UnknownNameError: there is no such name.
        InputError: a name is given for items without classes; or there is not one weight per item, a weight is
            negative or not finite, or none is positive.
    """
    if not isinstance(sampling, str):
        return _checked_weights(sampling, len(dataset))
    if sampling not in POWERS:
        raise UnknownNameError.of("sampling", sampling, POWERS, "A weight per training item may be given instead.")
    if sampling == "uniform":
        return None
    if not isinstance(dataset, Dataset):
        raise InputError(
            f"sampling={sampling!r} counts classes, and these items have no task that says what their classes are: "
            "give a weight per training item instead."
        )
    require(f"sampling={sampling!r} counts classes: it", dataset.task, has="has_classes")
    targets = getattr(dataset, "targets")  # noqa: B009 -- of every dataset whose task has classes; not of all datasets
    return inverse_frequency(dataset.task, targets, power=POWERS[sampling]).numpy()


def sampling_text(sampling: Sampling) -> str:
    """Return in words how a loader draws its items; empty where it visits each once an epoch."""
    if not isinstance(sampling, str):
        return "with replacement, by a weight per image"
    if sampling == "uniform":
        return ""
    root = "" if sampling == "balanced" else "the square root of "
    return f"{sampling}: with replacement, by {root}1 / frequency of their classes"


def _checked_weights(given: Sequence[float] | np.ndarray | Tensor, n: int) -> np.ndarray:
    try:
        values = given.cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
        weights = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"Weights of items are numbers; got {type(given).__name__}: {error}.") from error
    if weights.shape != (n,):
        raise InputError(
            f"There is one weight per training item, {n}; got {list(weights.shape)}. Items of the validation side have "
            "none: they are never drawn by weight."
        )
    if (odd := np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))).size:
        raise InputError(f"A weight is a number from 0 up; item {odd[0]} has {weights[odd[0]]}.")
    if not weights.any():
        raise InputError("At least one item must have a weight above 0, or none is drawn.")
    return weights
