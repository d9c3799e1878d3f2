"""Metrics of rankings: scores [U, I] of items for users, truth [U, I] where 1 marks what a user liked.

A score of -inf takes an item out of a user's ranking (what was seen before). Users who liked nothing are left out; ties
are broken by the item's number. Definitions: Järvelin and Kekäläinen 2002, "Cumulated Gain-Based Evaluation of IR
Techniques", for NDCG with gains of 0 and 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.metrics.common import declare_metric, refuse_nan


@declare_metric(higher_is_better=True)
def precision_at_k(output: Tensor, target: Tensor, k: int = 10) -> Tensor:
    """Return the share of the k items ranked first that a user liked, mean of users.

    Args:
        output: scores [U, I]; -inf takes an item out.
        target: 1 where a user liked an item, [U, I].
        k: how many items are recommended.
    """
    hits, _ = _hits(output, target, k)
    return (hits.sum(dim=1) / k).mean()


@declare_metric(higher_is_better=True)
def recall_at_k(output: Tensor, target: Tensor, k: int = 10) -> Tensor:
    """Return the share of what a user liked that is among the k items ranked first, mean of users.

    Args:
        output: scores [U, I]; -inf takes an item out.
        target: 1 where a user liked an item, [U, I].
        k: how many items are recommended.
    """
    hits, liked = _hits(output, target, k)
    return (hits.sum(dim=1) / liked).mean()


@declare_metric(higher_is_better=True)
def ndcg_at_k(output: Tensor, target: Tensor, k: int = 10) -> Tensor:
    """Return the discounted gain of the k items ranked first, over that of the best ranking, mean of users.

    Args:
        output: scores [U, I]; -inf takes an item out.
        target: 1 where a user liked an item, [U, I].
        k: how many items are recommended.
    """
    hits, liked = _hits(output, target, k)
    discount = 1 / torch.arange(2, hits.shape[1] + 2, dtype=torch.float64).log2()
    best = torch.cat([torch.zeros(1, dtype=torch.float64), discount.cumsum(0)])
    return ((hits * discount).sum(dim=1) / best[liked.clamp(max=hits.shape[1]).long()]).mean()


def _hits(output: Tensor, target: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return whether each of the first k was liked, float64 [U, k], and how many were liked [U]."""
    if output.shape != target.shape or output.ndim != 2:
        raise InputError(f"Scores and truth are [users, items]; got {list(output.shape)} and {list(target.shape)}.")
    if k < 1:
        raise InputError(f"At least one item is ranked; got k={k}.")
    refuse_nan(output)
    liked = (target == 1).sum(dim=1)
    output, target, liked = (one[liked > 0] for one in (output, target, liked))
    first = output.sort(dim=1, descending=True, stable=True)
    chosen = first.indices[:, :k]
    hits = (target.gather(1, chosen) == 1) & ~first.values[:, :k].isneginf()
    return hits.double(), liked.double()
