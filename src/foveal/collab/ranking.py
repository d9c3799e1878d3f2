"""Metrics of rankings: scores [U, I] of items for users, truth [U, I] where 1 marks what a user liked.

A score of -inf takes an item out of a user's ranking (what was seen before). Users who liked nothing are left out; ties
are broken by the item's number. Definitions: Järvelin and Kekäläinen 2002, "Cumulated Gain-Based Evaluation of IR
Techniques", for NDCG with gains of 0 and 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.metrics.common import declare_metric, refuse_nan


class Ranked(NamedTuple):
    """How well the first k items of each user are chosen, float64 [U]."""

    precision: Tensor
    recall: Tensor
    ndcg: Tensor


def ranked_at_k(output: Tensor, target: Tensor, k: int = 10) -> Ranked:
    """Return precision, recall and NDCG of each user who liked something.

    Args:
        output: scores [U, I]; -inf takes an item out.
        target: 1 where a user liked an item, [U, I].
        k: how many items are recommended.

    Raises:
        InputError: the shapes differ, or k is below 1.
    """
    if output.shape != target.shape or output.ndim != 2:
        raise InputError(f"Scores and truth are [users, items]; got {list(output.shape)} and {list(target.shape)}.")
    if k < 1:
        raise InputError(f"At least one item is ranked; got k={k}.")
    refuse_nan(output)
    liked = (target == 1).sum(dim=1)
    output, target, liked = (one[liked > 0] for one in (output, target, liked))
    first = first_items(output, k)
    hits = ((target.gather(1, first) == 1) & ~output.gather(1, first).isneginf()).double()
    n = hits.shape[1]
    discount = 1 / torch.arange(2, n + 2, dtype=torch.float64).log2()
    best = torch.cat([torch.zeros(1, dtype=torch.float64), discount.cumsum(0)])
    n_hits = hits.sum(dim=1)
    return Ranked(n_hits / k, n_hits / liked, (hits * discount).sum(dim=1) / best[liked.clamp(max=n)])


def first_items(scores: Tensor, k: int) -> Tensor:
    """Return the k items with the highest scores, int64 [U, min(k, I)]; of two that are equal the first.

    Args:
        scores: [U, I].
        k: how many.
    """
    k = min(k, scores.shape[1])
    values, items = scores.topk(k, dim=1)
    last = values[:, -1:]
    crowded = (scores >= last).sum(dim=1) > k  # items beyond the k first have the score of the last of them
    if crowded.any():
        items[crowded] = scores[crowded].sort(dim=1, descending=True, stable=True).indices[:, :k]
    by_number = items.sort(dim=1).values
    return by_number.gather(1, scores.gather(1, by_number).sort(dim=1, descending=True, stable=True).indices)


@declare_metric(higher_is_better=True)
def precision_at_k(output: Tensor, target: Tensor, k: int = 10) -> Tensor:
    """Return the share of the k items ranked first that a user liked, mean of users.

    Args:
        output: scores [U, I]; -inf takes an item out.
        target: 1 where a user liked an item, [U, I]; users who liked nothing are left out.
        k: how many items are recommended.

    Raises:
        InputError: the shapes differ, or k is below 1.

    Examples:
        >>> from foveal.collab.all import *
        >>> scores, liked = torch.tensor([[0.9, 0.1, 0.5]]), torch.tensor([[1, 1, 0]])
        >>> precision_at_k(scores, liked, k=2).item()  # items 0 and 2 come first; 0 and 1 are liked
        0.5
    """
    return ranked_at_k(output, target, k).precision.mean()


@declare_metric(higher_is_better=True)
def recall_at_k(output: Tensor, target: Tensor, k: int = 10) -> Tensor:
    """Return the share of what a user liked that is among the k items ranked first, mean of users.

    Args:
        output: scores [U, I]; -inf takes an item out.
        target: 1 where a user liked an item, [U, I]; users who liked nothing are left out.
        k: how many items are recommended.

    Raises:
        InputError: the shapes differ, or k is below 1.

    Examples:
        >>> from foveal.collab.all import *
        >>> scores, liked = torch.tensor([[0.9, 0.1, 0.5]]), torch.tensor([[1, 1, 0]])
        >>> recall_at_k(scores, liked, k=1).item(), recall_at_k(scores, liked, k=3).item()
        (0.5, 1.0)
    """
    return ranked_at_k(output, target, k).recall.mean()


@declare_metric(higher_is_better=True)
def ndcg_at_k(output: Tensor, target: Tensor, k: int = 10) -> Tensor:
    """Return the discounted gain of the k items ranked first, over that of the best ranking, mean of users.

    An item at rank r gains 1 / log2(r + 1) where it is liked (Järvelin and Kekäläinen 2002).

    Args:
        output: scores [U, I]; -inf takes an item out.
        target: 1 where a user liked an item, [U, I]; users who liked nothing are left out.
        k: how many items are recommended.

    Raises:
        InputError: the shapes differ, or k is below 1.

    Examples:
        >>> from foveal.collab.all import *
        >>> scores, liked = torch.tensor([[0.9, 0.1, 0.5]]), torch.tensor([[1, 1, 0]])
        >>> round(ndcg_at_k(scores, liked, k=2).item(), 3)  # 1 / (1 + 1 / log2(3))
        0.613
    """
    return ranked_at_k(output, target, k).ndcg.mean()
