"""Principal components: `pca(vectors, 3)`, and tensors that have it as a method."""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.core.errors import InputError


def pca(x: Tensor, k: int = 2) -> Tensor:
    """Return the positions of vectors along their first `k` principal components, [n, k].

    The signs are scikit-learn's: the largest number of each component is positive.

    Args:
        x: vectors [n, F].
        k: components, at most the smaller of n and F.

    Raises:
        InputError: there are not so many components.

    Source: Pearson 1901, "On Lines and Planes of Closest Fit to Systems of Points in Space".
    """
    if x.ndim != 2:
        raise InputError(f"Principal components are of vectors side by side, [n, F]; got {list(x.shape)}.")
    if not 1 <= k <= min(x.shape):
        raise InputError(f"{x.shape[0]} vectors of {x.shape[1]} numbers have {min(x.shape)} components; got k={k!r}.")
    vectors = x.detach().as_subclass(Tensor)
    centred = vectors - vectors.mean(dim=0)
    components_kF: Tensor = torch.linalg.svd(centred, full_matrices=False).Vh[:k]
    largest = components_kF.gather(1, components_kF.abs().argmax(dim=1, keepdim=True))
    positions: Tensor = centred @ (components_kF * largest.sign()).T
    return positions


class Vectors(Tensor):
    """A tensor [n, F] with `pca` as a method; what is computed from it has it too."""

    def __deepcopy__(self, memo: dict[int, object]) -> Vectors:
        """Return a copy that has it too; torch's own copy fails for subclasses."""
        memo[id(self)] = copied = self.detach().clone().as_subclass(Vectors)
        return copied

    def pca(self, k: int = 2) -> Tensor:
        """Return `pca(self, k)`."""
        return pca(self, k)
