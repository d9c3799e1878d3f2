"""iALS: vectors whose products are near 1 where somebody had an item, and near 0 elsewhere.

Hu, Koren and Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets"; the penalty grows with the number
of items as Rendle et al. 2022, "Revisiting the Performance of iALS on Item Recommendation Benchmarks", have it. Users
have no vector of their own: theirs is the solution for what they had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from foveal.collab.interactions import Groups, Interactions
from foveal.collab.rankers.base import Kind, VectorScorer

_SWEEPS = 8  # over users and items; on MovieLens 100k NDCG@10 changes by less than .002 after them


@dataclass(frozen=True, slots=True, eq=False)
class Als(VectorScorer):
    """People and items have vectors.

    Attributes:
        of_items: the vectors of the items, float32 [I, K].
        unseen: the weight of a pair that nobody had.
        penalty: of squared vectors, for each pair and each unseen pair's weight.
    """

    kind: ClassVar[Kind] = "ials"
    title: ClassVar[str] = "iALS"
    of_items: Tensor
    unseen: float
    penalty: float

    @classmethod
    def fit(cls, interactions: Interactions, n_factors: int, unseen: float, penalty: float, *, seed: int = 0) -> Self:
        """Return the factors of items, found by solving for users and items in turn.

        Args:
            interactions: what users had.
            n_factors: K, the length of the vectors.
            unseen: the weight of a pair that nobody had.
            penalty: of squared vectors.
            seed: draws the first vectors.
        """
        drawn = torch.Generator().manual_seed(seed)
        by_item = interactions.transposed()
        tables = [(table, table.groups()) for table in (interactions, by_item)]
        vectors = torch.randn(interactions.n_items, n_factors, generator=drawn) * 0.1 / n_factors**0.5
        for _ in range(_SWEEPS):
            for table, groups in tables:
                vectors = cls(vectors, unseen, penalty).solve(table, groups)
        return cls(vectors, unseen, penalty)

    @property
    def settings(self) -> Mapping[str, float]:
        """Both weights."""
        return {"unseen": self.unseen, "penalty": self.penalty}

    def people(self, histories: Interactions) -> Tensor:
        """Return the vectors of U people who had something, [U, K]."""
        return self.solve(histories, histories.groups())

    def solve(self, histories: Interactions, groups: Groups) -> Tensor:
        """Return the vectors of U people who had something, [U, K].

        Args:
            histories: what each had, as ones.
            groups: of these people.
        """
        found = self.of_items.new_zeros(len(histories), self.of_items.shape[1])
        for users, gram, sums in groups.grams(self.of_items, histories.values):
            factor = torch.linalg.cholesky(gram + self._prior(histories.counts[users]))
            found[users] = torch.cholesky_solve(sums[:, :, None], factor)[:, :, 0]
        return found

    def scores(self, histories: Interactions) -> Tensor:
        """Return the products of vectors, float32 [U, I]."""
        return self.people(histories) @ self.of_items.T

    def vectors(self, items: Tensor) -> Tensor:
        """Return the vectors of items, int64 [n], as [n, K]."""
        return self.of_items[items]

    def shares(self, history: Tensor, items: Tensor) -> Tensor:
        """Return what each item that somebody had adds to the scores of others, [n, m]; their sum is the score.

        Args:
            history: numbers of the items that somebody had, int64 [m].
            items: numbers of items that are recommended, int64 [n].
        """
        had = self.of_items[history]
        system = had.T @ had + self._prior(torch.tensor([len(history)]))[0]
        shares: Tensor = self.of_items[items] @ torch.linalg.solve(system, had.T)
        return shares

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the vectors."""
        return {"of_items": self.of_items}

    def _prior(self, counts: Tensor) -> Tensor:
        """Return what is added to the sums of v vᵀ of people with so many items, [B, K, K]."""
        gram = self.unseen * self.of_items.T @ self.of_items
        weight = self.penalty * (counts + self.unseen * len(self.of_items))
        prior: Tensor = gram + weight[:, None, None] * torch.eye(self.of_items.shape[1])
        return prior
