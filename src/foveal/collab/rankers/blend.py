"""Several ranking models at once: the sum of their scores, each over its spread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from foveal.collab.interactions import Interactions
from foveal.collab.rankers.base import Ranker


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """A sum of models; one alone is a blend too.

    Attributes:
        models: that read the same of a user.
        weights: of their scores.
    """

    models: Sequence[Ranker]
    weights: Sequence[float]

    @classmethod
    def of(cls, models: Sequence[Ranker], histories: Interactions) -> Self:
        """Return a blend in which the scores of models spread alike.

        Args:
            models: that read the same.
            histories: of the people by whose scores the spread is known.
        """
        return cls(models, [1 / max(1e-12, float(model.scores(histories).std())) for model in models])

    @property
    def title(self) -> str:
        """Its name in tables."""
        return " + ".join(model.title for model in self.models)

    @property
    def settings(self) -> Mapping[str, float]:
        """Those of its models."""
        if len(self.models) == 1:
            return self.models[0].settings
        return {f"{model.title} {name}": value for model in self.models for name, value in model.settings.items()}

    def scores(self, histories: Interactions) -> Tensor:
        """Return the sum of the scores, float32 [U, I]."""
        return self._sum(model.scores(histories) for model in self.models)

    def vectors(self, items: Tensor) -> Tensor:
        """Return the vectors of items, int64 [n], side by side, [n, D]."""
        return torch.cat([model.vectors(items) for model in self.models], dim=1)

    def scores_by(self, histories: Interactions, vectors_CD: Tensor) -> Tensor:
        """Return the sum of the scores of items of which only the vectors are known, float32 [U, C].

        Args:
            histories: what each of U people had, as ones.
            vectors_CD: as `vectors` returns them.
        """
        widths = [model.vectors(torch.zeros(1, dtype=torch.int64)).shape[1] for model in self.models]
        parts = torch.split(vectors_CD, widths, dim=1)
        return self._sum(model.scores_by(histories, part) for model, part in zip(self.models, parts, strict=True))

    def shares(self, history: Tensor, items: Tensor) -> Tensor:
        """Return the sum of what each item that somebody had adds to the scores of others, [n, m].

        Args:
            history: numbers of the items that somebody had, int64 [m].
            items: numbers of items that are recommended, int64 [n].
        """
        return self._sum(model.shares(history, items) for model in self.models)

    def _sum(self, parts: Iterable[Tensor]) -> Tensor:
        total = torch.zeros(())
        for weight, part in zip(self.weights, parts, strict=True):
            total = total + weight * part
        return total
