"""Features along their principal axes, where a penalty of squares stays what it is."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_AXES = 2560
"""Of a decomposition, whose time grows with the cube: 1,280 take 0.4 s on two cores."""
_NOTHING = 1e-6  # of the largest spread, in 32 bits
SHARED = 2**24
"""Numbers in features from which a problem gets all threads (13,152 rows of 1,280: 1.75 times as quick with two)."""


def n_threads_for(features: Tensor) -> int | None:
    """Return the threads that a problem is solved with: below `SHARED` one, so that every machine finds the same bits.

    Args:
        features: any shape.
    """
    return None if features.numel() >= SHARED else 1


def principal_axes(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return features along their principal axes [n, r], the axes [r, F], and the mean square along each [r].

    A penalty of squares does not change by a rotation, and solutions have no part along axes where nothing is: with
    fewer rows than features there are as many numbers as rows. Along these axes the solver knows how steep the loss is.
    """
    n, n_features = features.shape
    if min(n, n_features) > MOST_AXES:
        return features, torch.eye(n_features), features.square().mean(dim=0)
    wide = n < n_features
    values, vectors = torch.linalg.eigh(features @ features.T if wide else features.T @ features)
    kept = values > _NOTHING * values[-1].clamp(min=1.0)
    values, vectors = values[kept], vectors[:, kept]
    if wide:
        along = vectors * values.sqrt()
        axes = (vectors / values.sqrt()).T @ features
    else:
        along, axes = features @ vectors, vectors.T
    return along, axes, values / n
