"""Models that score an item by a sum over the items that somebody had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from foveal.collab.interactions import Interactions
from foveal.collab.rankers.base import Kind

MOST_ITEMS = 8192
"""Of a table of weights [I, I]: 256 MB in single precision; its inverse takes 7 s on two cores."""
_COLUMNS = 256  # of a table that are dense at once: 1 MB for 1,000 users


def cooccurrence(interactions: Interactions) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for groups of items, how many people had each of them and each item.

    Args:
        interactions: what users had, as ones.

    Yields:
        Numbers of items int64 [B], and the counts float32 [I, B].
    """
    transposed = interactions.transposed()
    by_item = transposed.matrix()
    for start in range(0, interactions.n_items, _COLUMNS):
        columns = torch.arange(start, min(start + _COLUMNS, interactions.n_items))
        yield columns, by_item @ transposed.rows(columns).dense().T.contiguous()


@dataclass(frozen=True, slots=True, eq=False)
class Ease:
    """Each item is predicted from all others by ridge regression, in closed form.

    Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data".

    Attributes:
        weights: what having the item of a row adds to the score of that of a column, float32 [I, I].
        penalty: of squared weights.
    """

    kind: ClassVar[Kind] = "ease"
    title: ClassVar[str] = "EASE"
    weights: Tensor
    penalty: float

    @classmethod
    def fit(cls, interactions: Interactions, penalty: float) -> Self:
        """Solve the regressions.

        Args:
            interactions: what users had, as ones; at most `MOST_ITEMS` items.
            penalty: of squared weights; positive.
        """
        return cls.of(torch.cat([counts for _, counts in cooccurrence(interactions)], dim=1), penalty)

    @classmethod
    def of(cls, counts_II: Tensor, penalty: float) -> Self:
        """Solve the regressions.

        Args:
            counts_II: how many people had both items, float32 [I, I].
            penalty: of squared weights; positive.
        """
        regular = counts_II.clone()
        regular.diagonal().add_(penalty)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(regular))
        weights = inverse.div_(-inverse.diagonal().clone())
        return cls(weights.fill_diagonal_(0), penalty)

    @property
    def settings(self) -> Mapping[str, float]:
        """The penalty."""
        return {"penalty": self.penalty}

    def scores(self, histories: Interactions) -> Tensor:
        """Return the sums of the weights of what each of U people had, float32 [U, I]."""
        return histories.matrix() @ self.weights

    def vectors(self, items: Tensor) -> Tensor:
        """Return the weights of items, int64 [n], as [n, I]."""
        return self.weights[:, items].T

    def scores_by(self, histories: Interactions, vectors_CD: Tensor) -> Tensor:
        """Return the sums of the weights, float32 [U, C].

        Args:
            histories: what each of U people had, as ones.
            vectors_CD: as `vectors` returns them.
        """
        return histories.matrix() @ vectors_CD.T.contiguous()

    def shares(self, history: Tensor, items: Tensor) -> Tensor:
        """Return the weights between what somebody had and other items, [n, m].

        Args:
            history: numbers of the items that somebody had, int64 [m].
            items: numbers of items that are recommended, int64 [n].
        """
        return self.weights[history][:, items].T

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the weights."""
        return {"weights": self.weights}


@dataclass(frozen=True, slots=True, eq=False)
class ItemNeighbours:
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
        """Keep the nearest of each item.

        Args:
            interactions: what users had, as ones.
            n_neighbours: K, that each item keeps.
            shrink: added to the product of the norms.
        """
        norm = torch.bincount(interactions.items, minlength=interactions.n_items).float().sqrt()
        nearest = []
        for columns, counts in cooccurrence(interactions):
            near = counts / (norm[:, None] * norm[columns] + shrink).clamp(min=1e-12)
            near[columns, torch.arange(len(columns))] = 0
            nearest.append(near.topk(min(n_neighbours, len(near)), dim=0))
        neighbours, similarities = (torch.cat([one[at] for one in nearest], dim=1).T for at in (1, 0))
        return cls(neighbours.contiguous(), similarities.contiguous(), shrink)

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

    def scores_by(self, histories: Interactions, vectors_CD: Tensor) -> Tensor:
        """Return the sums of the similarities, float32 [U, C].

        Args:
            histories: what each of U people had, as ones.
            vectors_CD: as `vectors` returns them.
        """
        return histories.matrix() @ vectors_CD.T.contiguous()

    def shares(self, history: Tensor, items: Tensor) -> Tensor:
        """Return the similarities between what somebody had and other items, [n, m].

        Args:
            history: numbers of the items that somebody had, int64 [m].
            items: numbers of items that are recommended, int64 [n].
        """
        return self.vectors(items)[:, history]

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the neighbours and their similarities."""
        return {"neighbours": self.neighbours, "similarities": self.similarities}
