"""EASE: each item is predicted from all others by ridge regression, in closed form.

Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data". Its weights are those of an inverse [I, I]; where
there are fewer users than items, the identity of Woodbury gives them as products of columns [U], which are smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor

from foveal.collab.interactions import Interactions
from foveal.collab.rankers.base import Kind, VectorScorer
from foveal.collab.rankers.items import cooccurrence

MOST = 8192
"""Equations of the system that is solved: 256 MB in single precision, and 7 s on two cores."""
_MOST_NUMBERS = 1 << 28  # of columns [U, I] where users are fewer: 1 GB in single precision
_LEAST_LEFT = 1e-3  # of an item's variance, not explained by itself; below it rounding decides


def fits(interactions: Interactions) -> bool:
    """Return whether a table is small enough for EASE."""
    n_users, n_items = int((interactions.counts > 0).sum()), interactions.n_items
    return n_items <= MOST or (n_users <= MOST and n_users * n_items <= _MOST_NUMBERS)


def fit_ease(interactions: Interactions, penalty: float) -> Ease | EaseByUsers:
    """Return the regressions, solved in the smaller of both forms.

    Args:
        interactions: what users had, as ones; of a size that `fits`.
        penalty: of squared weights; positive.
    """
    n_users = int((interactions.counts > 0).sum())
    return (EaseByUsers if 2 * n_users < interactions.n_items else Ease).fit(interactions, penalty)


@dataclass(frozen=True, slots=True, eq=False)
class Ease(VectorScorer):
    """The weights as a table.

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
        """Return the regressions, solved by items.

        Args:
            interactions: what users had, as ones; at most `MOST` items.
            penalty: of squared weights; positive.
        """
        regular = torch.cat([counts for _, counts in cooccurrence(interactions)])
        regular.diagonal().add_(penalty)
        weights = torch.cholesky_inverse(torch.linalg.cholesky(regular))
        weights.div_(-weights.diagonal().clone()).fill_diagonal_(0)
        # In half precision, as a bundle holds them: NDCG is the same to four digits, and what is read is what was made.
        return cls(weights.half().float(), penalty)

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

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the weights, in half precision."""
        return {"weights": self.weights.half()}


@dataclass(frozen=True, eq=False)
class EaseByUsers(VectorScorer):
    """The weights as products of columns.

    Attributes:
        columns: of the items, float32 [U, I].
        penalty: of squared weights.
    """

    kind: ClassVar[Kind] = "ease-by-users"
    title: ClassVar[str] = Ease.title
    columns: Tensor
    penalty: float

    @classmethod
    def fit(cls, interactions: Interactions, penalty: float) -> Self:
        """Return the regressions, solved by users.

        Args:
            interactions: what users had, as ones.
            penalty: of squared weights; positive.
        """
        table = interactions.rows((interactions.counts > 0).nonzero()[:, 0]).dense()
        system = table @ table.T
        system.diagonal().add_(penalty)
        columns = torch.linalg.solve_triangular(torch.linalg.cholesky(system), table, upper=False)
        return cls(columns.contiguous().half().float(), penalty)  # as a bundle holds them

    @cached_property
    def own(self) -> Tensor:
        """The product of each column with itself, [I]."""
        return (self.columns**2).sum(dim=0)

    @cached_property
    def scale(self) -> Tensor:
        """What products are multiplied with to be weights for an item, [I]."""
        return 1 / (1 - self.own).clamp(min=_LEAST_LEFT)

    @property
    def settings(self) -> Mapping[str, float]:
        """The penalty."""
        return {"penalty": self.penalty}

    def scores(self, histories: Interactions) -> Tensor:
        """Return the sums of the weights of what each of U people had, float32 [U, I]."""
        return (self.people(histories) @ self.columns - histories.dense() * self.own) * self.scale

    def vectors(self, items: Tensor) -> Tensor:
        """Return the scaled columns of items, int64 [n], as [n, U]."""
        return (self.columns[:, items] * self.scale[items]).T

    def shares(self, history: Tensor, items: Tensor) -> Tensor:
        """Return the weights between what somebody had and other items, [n, m].

        Args:
            history: numbers of the items that somebody had, int64 [m].
            items: numbers of items that are recommended, int64 [n].
        """
        weights = self.vectors(items) @ self.columns[:, history]
        return weights.masked_fill(items[:, None] == history, 0)

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the columns, by item, in half precision."""
        return {"columns": self.columns.T.half()}

    def people(self, histories: Interactions) -> Tensor:
        """Return the sums of the columns of what each of U people had, [U, U of training]."""
        return histories.matrix() @ self.columns.T.contiguous()
