"""Which items users had: a sparse table [users, items], by rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

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
        """Return pairs, sorted into a table; where a pair occurs twice its values stand twice.

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

    def __repr__(self) -> str:
        n_pairs = len(self.items)
        return f"{type(self).__name__}({len(self):,} users, {self.n_items:,} items, {n_pairs:,} pairs)"

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
        starts = torch.zeros_like(self.starts)
        starts[1:] = torch.bincount(self.users[chosen], minlength=len(self)).cumsum(0)
        return Interactions(starts, self.items[chosen], self.values[chosen], self.n_items)

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

    def groups(self) -> Groups:
        """Return the users in groups of about as many items each, for sums over what they had."""
        order = self.counts.argsort(stable=True)
        counts, at = self.counts[order].tolist(), 0
        padded = torch.cat([self.items, torch.tensor([self.n_items])])
        groups = []
        while at < len(counts):
            end, least = at + 1, counts[at]
            while (
                end < len(counts)
                and counts[end] <= _WIDEST * least + _WIDER
                and (counts[end] * (end + 1 - at) <= _CELLS)
            ):
                end += 1
            users = order[at:end]
            place = torch.arange(max(1, counts[end - 1]))
            cells = (self.starts[users][:, None] + place).where(place < self.counts[users][:, None], len(self.items))
            groups.append(_Group(users, cells.int(), padded[cells].int()))
            at = end
        return Groups(groups)


class _Group(NamedTuple):
    """Users with about as many items each, and their pairs in rows that are filled up.

    Attributes:
        users: int64 [B].
        cells: the places of their pairs in the table, int32 [B, L]; the number of all pairs where there are no more.
        items: of these pairs, int32 [B, L]; the number of all items where there are no more.
    """

    users: Tensor
    cells: Tensor
    items: Tensor


@dataclass(frozen=True, slots=True)
class Groups:
    """The users of a table in groups, which are made once where sums are needed again and again."""

    groups: Sequence[_Group]

    def grams(self, vectors_IK: Tensor, values_N: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield, for groups of users, what least squares over the items that they had needs.

        Args:
            vectors_IK: a vector for each item, [I, K].
            values_N: of all pairs of the table, [N].

        Yields:
            The numbers of users int64 [B]; the sums of v vᵀ over their items, [B, K, K]; the sums of value times v,
            [B, K].
        """
        # Where a row is filled up, a vector of zeros adds nothing.
        vectors = torch.cat([vectors_IK, vectors_IK.new_zeros(1, vectors_IK.shape[1])])
        values = torch.cat([values_N.to(vectors.dtype), vectors.new_zeros(1)])
        for users, cells, items in self.groups:
            found = vectors[items]
            yield users, found.mT @ found, (values[cells][:, None] @ found)[:, 0]
