"""Recommend to everybody what most people had: the ranking that a model has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from foveal.collab.interactions import Interactions
from foveal.collab.rankers.base import Kind


@dataclass(frozen=True, slots=True, eq=False)
class Popularity:
    """Scores are how many people had an item.

    Attributes:
        counts: float32 [I].
    """

    kind: ClassVar[Kind] = "popularity"
    title: ClassVar[str] = "most popular"
    counts: Tensor

    @classmethod
    def fit(cls, interactions: Interactions) -> Self:
        """Return how many users had each item."""
        return cls(torch.bincount(interactions.items, minlength=interactions.n_items).float())

    @property
    def settings(self) -> Mapping[str, float]:
        """None."""
        return {}

    def scores(self, histories: Interactions) -> Tensor:
        """Return the counts for everybody, float32 [U, I]."""
        return self.counts.expand(len(histories), -1)

    def vectors(self, items: Tensor) -> Tensor:
        """Return the counts of items, int64 [n], as vectors [n, 1]."""
        return self.counts[items][:, None]

    def scores_by(self, histories: Interactions, vectors_CD: Tensor) -> Tensor:
        """Return the counts for everybody, float32 [U, C].

        Args:
            histories: of U people.
            vectors_CD: as `vectors` returns them.
        """
        return vectors_CD[:, 0].expand(len(histories), -1)

    def shares(self, history: Tensor, items: Tensor) -> Tensor:
        """Return zeros, [n, m]: nobody's items change what is popular.

        Args:
            history: numbers of the items that somebody had, int64 [m].
            items: numbers of items that are recommended, int64 [n].
        """
        return torch.zeros(len(items), len(history))

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the counts."""
        return {"counts": self.counts}
