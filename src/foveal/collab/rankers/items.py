"""Item kNN: an item is scored by how near it is to those that somebody had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from foveal.collab.interactions import Interactions
from foveal.collab.rankers.base import Kind, VectorScorer

_ROWS = 256  # of a table that are dense at once: 1 MB for 1,000 users


def cooccurrence(interactions: Interactions) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for groups of items, how many people had each of them and each item.

    Args:
        interactions: what users had, as ones.

    Yields:
        Numbers of items int64 [B], and the counts float32 [B, I].
    """
    transposed = interactions.transposed()
    by_item = transposed.matrix()
    for start in range(0, interactions.n_items, _ROWS):
        rows = torch.arange(start, min(start + _ROWS, interactions.n_items))
        yield rows, (by_item @ transposed.rows(rows).dense().T.contiguous()).T.contiguous()


@dataclass(frozen=True, slots=True, eq=False)
class ItemNeighbours(VectorScorer):
    """Items are near whom the same people had: cosine similarities, smaller where few people had both.

    Sarwar et al. 2001, "Item-Based Collaborative Filtering Recommendation Algorithms".

    Attributes:
        neighbours: of each item, int64 [I, K].
        similarities: to them, float32 [I, K].
        shrink: added to the product of the norms.
    """

    kind: ClassVar[Kind] = "item-knn"
    title: ClassVar[str] = "item kNN"
    neighbours: Tensor
    similarities: Tensor
    shrink: float

    @classmethod
    def fit(cls, interactions: Interactions, n_neighbours: int = 100, shrink: float = 10.0) -> Self:
        """Return the nearest neighbours of each item.

        Args:
            interactions: what users had, as ones.
            n_neighbours: K, that each item keeps.
            shrink: added to the product of the norms.
        """
        norm = torch.bincount(interactions.items, minlength=interactions.n_items).float().sqrt()
        nearest = []
        for rows, counts in cooccurrence(interactions):
            near = counts.div_((norm[rows][:, None] * norm + shrink).clamp(min=1e-12))
            near[torch.arange(len(rows)), rows] = 0
            nearest.append(near.topk(min(n_neighbours, near.shape[1]), dim=1))
        return cls(torch.cat([one[1] for one in nearest]), torch.cat([one[0] for one in nearest]), shrink)

    @property
    def settings(self) -> Mapping[str, float]:
        """How the similarities are shrunk."""
        return {"shrink": self.shrink}

    def scores(self, histories: Interactions) -> Tensor:
        """Return the sums of the similarities to what each of U people had, float32 [U, I]."""
        n, k = self.neighbours.shape
        table = Interactions(torch.arange(n + 1) * k, self.neighbours.reshape(-1), self.similarities.reshape(-1), n)
        return (table.matrix() @ histories.dense().T.contiguous()).T.contiguous()

    def vectors(self, items: Tensor) -> Tensor:
        """Return the similarities of items, int64 [n], to all others, as [n, I]."""
        table = torch.zeros(len(items), len(self.neighbours))
        return table.scatter_(1, self.neighbours[items], self.similarities[items])

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the neighbours and their similarities."""
        return {"neighbours": self.neighbours, "similarities": self.similarities}
