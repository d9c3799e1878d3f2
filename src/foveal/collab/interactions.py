"""Which items users had: a sparse table [users, items], by rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

_CELLS = 1 << 18  # pairs that are gathered at once: 64 MB of vectors of 64 numbers in single precision
_WIDEST, _WIDER = 1.25, 4  # a group's longest row beside its shortest: the shorter ones are filled up


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """A sparse table; the items of user u are `items[starts[u]:starts[u + 1]]`, ascending.

    Attributes:
        starts: int64 [U + 1].
        items: their numbers, int64 [N].
        values: what stands in the table, [N].
        n_items: how many columns the table has.
    """

    starts: Tensor
    items: Tensor
    values: Tensor
    n_items: int

    @classmethod
    def of(cls, pairs_N2: Tensor, n_users: int, n_items: int, values: Tensor | None = None) -> Self:
        """Sort pairs into a table; where a pair occurs twice its values stand twice.

        Args:
            pairs_N2: numbers of users and items, int64 [N, 2].
            n_users: how many rows the table has.
            n_items: how many columns it has.
            values: of the pairs, [N]; ones in single precision by default.
        """
        users, items = pairs_N2.unbind(dim=1)
        order = (users * n_items + items).argsort()
        kept = torch.ones(len(pairs_N2)) if values is None else values[order]
        starts = torch.zeros(n_users + 1, dtype=torch.int64)
        starts[1:] = torch.bincount(users, minlength=n_users).cumsum(0)
        return cls(starts, items[order], kept, n_items)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def counts(self) -> Tensor:
        """How many items each user had, int64 [U]."""
        return self.starts.diff()

    @property
    def users(self) -> Tensor:
        """The user of each pair, int64 [N]."""
        return torch.repeat_interleave(torch.arange(len(self)), self.counts)

    @property
    def pairs(self) -> Tensor:
        """All pairs, int64 [N, 2]."""
        return torch.stack([self.users, self.items], dim=1)

    def transposed(self) -> Interactions:
        """Return the table [items, users]."""
        return Interactions.of(self.pairs.flip(1), self.n_items, len(self), self.values)

    def rows(self, users: Tensor) -> Interactions:
        """Return the rows of some users, int64 [U]."""
        counts = self.counts[users]
        starts = torch.zeros(len(users) + 1, dtype=torch.int64)
        starts[1:] = counts.cumsum(0)
        at = torch.arange(int(starts[-1])) + torch.repeat_interleave(self.starts[users] - starts[:-1], counts)
        return Interactions(starts, self.items[at], self.values[at], self.n_items)

    def only(self, chosen: Tensor) -> Interactions:
        """Return the pairs for which `chosen`, bool [N], is true."""
        return Interactions.of(self.pairs[chosen], len(self), self.n_items, self.values[chosen])

    def dense(self) -> Tensor:
        """Return the table as a dense one, [U, I]."""
        table = self.values.new_zeros(len(self), self.n_items)
        table[self.users, self.items] = self.values
        return table

    def matrix(self) -> Tensor:
        """Return the table as torch's sparse one (CSR)."""
        with warnings.catch_warnings():  # torch says once a process that its sparse tables may change
            warnings.simplefilter("ignore", UserWarning)
            return torch.sparse_csr_tensor(
                self.starts, self.items, self.values, (len(self), self.n_items), check_invariants=False
            )

    def grams(self, vectors_IK: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield, for groups of users, what least squares over the items that they had needs.

        Args:
            vectors_IK: a vector for each item, [I, K].

        Yields:
            The numbers of users int64 [B]; the sums of v vᵀ over their items, [B, K, K]; the sums of value times v,
            [B, K].
        """
        order = self.counts.argsort(stable=True)
        counts, at = self.counts[order].tolist(), 0
        while at < len(order):
            end = at + 1
            while (
                end < len(order)
                and counts[end] <= _WIDEST * counts[at] + _WIDER
                and (counts[end] * (end + 1 - at) <= _CELLS)
            ):
                end += 1
            users, most = order[at:end], max(1, counts[end - 1])
            place = torch.arange(most)
            within = place < self.counts[users][:, None]
            cells = (self.starts[users][:, None] + place).where(within, 0).clamp(max=max(0, len(self.items) - 1))
            if len(self.items):
                vectors = vectors_IK[self.items[cells]] * within[:, :, None]
                values = self.values[cells].to(vectors_IK.dtype) * within
            else:
                vectors, values = vectors_IK.new_zeros(*cells.shape, vectors_IK.shape[1]), within.to(vectors_IK.dtype)
            yield users, vectors.mT @ vectors, (values[:, None] @ vectors)[:, 0]
            at = end
