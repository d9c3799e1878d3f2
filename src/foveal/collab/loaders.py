"""Loaders of ratings: everything is held in tensors, and a batch is an index into them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from foveal.collab.interactions import Interactions
from foveal.collab.task import Id, Ids, ImplicitFeedback, Rating
from foveal.core import runtime, storage
from foveal.core.arguments import checked_methods
from foveal.core.errors import InputError, TableError, near_match
from foveal.core.listing import L
from foveal.core.progress import display
from foveal.core.rng import generator_for
from foveal.data.batchers import Batcher
from foveal.data.batches import Batch
from foveal.data.datasets import Dataset
from foveal.data.loader import DataLoader
from foveal.data.loaders import DataLoaders
from foveal.data.splits.splitters import RandomSplitter, Splitter, check_split
from foveal.tasks.single_precision import check_single_precision

_TRIES = 10  # draws of a negative until it was not seen; a user who saw half of all items keeps 1 of 1,000 of them
_LARGEST = 1e15  # squared it is 1e30, and a sum of squares over a batch stays below the 3e38 of single precision
# Rows of a batch from which a second thread helps. An epoch of 16,000 rows in batches of 64 takes 0.08 s with one
# thread and with two, beside one busy process 0.09 and 0.17 s; one of 1.3 million rows in batches of 65,536 takes 0.50
# and 0.41 s.
_SHARED_BATCH = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class RatingDataset(Dataset):
    """Pairs of users and items, as numbers int64 [n, 2], and their ratings float32 [n, 1]."""

    inputs: Tensor
    targets: Tensor
    task: Rating = field()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} pairs)"

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.targets[index]

    @property
    def fingerprint(self) -> str:
        """A hash of all pairs and ratings."""
        return storage.text_hash(storage.tensor_hash(self.inputs) + storage.tensor_hash(self.targets))

    def name(self, index: int) -> str:
        """Return what a message calls a pair."""
        return " and ".join(str(value) for value in self.ids(self.inputs[index]))

    def ids(self, pair: Tensor) -> tuple[Id, Id]:
        """Return user and item by the numbers of a pair."""
        user, item = pair.tolist()
        return self.task.users.names[user], self.task.items.names[item]

    def table(self) -> Interactions:
        """Return the ratings as a sparse table [users, items]."""
        return Interactions.of(self.inputs, len(self.task.users), len(self.task.items), self.targets[:, 0])

    def frame(self, indices: Sequence[int], **columns: Sequence[object]) -> pd.DataFrame:
        """Return pairs by name with their ratings, as a table.

        Args:
            indices: positions of the pairs in the dataset.
            columns: further columns by name, a value per pair.
        """
        rows = [self.ids(self.inputs[index]) for index in indices]
        user, item, rating = self.task.columns
        users, items = ([row[at] for row in rows] for at in (0, 1))
        ratings = self.targets[list(indices), 0].tolist()
        return pd.DataFrame({user: users, item: items, rating: ratings} | columns)


@dataclass(frozen=True, slots=True, eq=False)
class RatingBatcher(Batcher):
    """Makes batches of pairs: inputs int64 [B, 2], targets float32 [B, 1].

    Attributes:
        device: where the tables and the batches are.
        negatives: for each pair that was seen, how many that were not are drawn and set beside it.
        known: all pairs that were seen, as user x items + item, sorted; none of them is drawn.
    """

    dataset: RatingDataset = field()
    device: torch.device = field()
    negatives: int = 0
    known: Tensor | None = None

    def batches(self, groups: Sequence[Sequence[int]], draw: tuple[int, int] | None) -> Iterator[Batch]:
        """Yield a batch for each group.

        Args:
            groups: positions of the pairs of each batch.
            draw: (seed, epoch) of random draws; None for those of validation, which are always the same.
        """
        inputs, targets = self.dataset.inputs.to(self.device), self.dataset.targets.to(self.device)
        for number, group in enumerate(map(self.positions, groups)):
            chosen = torch.tensor(group, device=self.device)
            x, y = inputs[chosen], targets[chosen]
            if self.negatives:
                drawn = self._not_seen(x, draw or (0, 0), group[0] if draw else number)
                x, y = torch.cat([x, drawn]), torch.cat([y, y.new_zeros(len(drawn), 1)])
            yield Batch((x, y), group)

    def show(self, batch: Batch, *, max_n: int, rows: int | None, figsize: tuple[float, float] | None) -> None:
        """Show the first pairs as a table."""
        del rows, figsize
        display(self.dataset.frame(batch.indices[:max_n]))

    def _not_seen(self, pairs: Tensor, draw: tuple[int, int], index: int) -> Tensor:
        """Return pairs with items that the users of some pairs did not see (or saw, after ten draws), int64 [n, 2]."""
        rng = generator_for(draw[0], draw[1], index)
        n_items = len(self.dataset.task.items)
        users = pairs[:, 0].repeat_interleave(self.negatives)
        items = torch.from_numpy(rng.integers(1, n_items, len(users))).to(self.device)
        for _ in range(_TRIES if self.known is not None else 0):
            assert self.known is not None
            keys = users * n_items + items
            at = torch.searchsorted(self.known, keys).clamp(max=len(self.known) - 1)
            taken = self.known[at] == keys
            if not taken.any():
                break
            items[taken] = torch.from_numpy(rng.integers(1, n_items, int(taken.sum()))).to(self.device)
        return torch.stack([users, items], dim=1)


class Classes(L[Id]):
    """Users or items by their numbers."""

    @property
    def o2i(self) -> dict[Id, int]:
        """The number of each."""
        return {one: number for number, one in enumerate(self)}


@checked_methods
class CollabDataLoaders(DataLoaders):
    """Loaders of ratings: pairs of users and items as numbers, int64 [B, 2], and ratings float32 [B, 1].

    `from_df` and `from_csv` read a table; the methods of `DataLoaders` are there too.

    Examples:
        >>> from foveal.collab.all import *
        >>> films = {"user": ["ann", "ann", "ben", "ben"], "film": ["Alien", "Brazil", "Alien", "Brazil"]}
        >>> ratings = pd.DataFrame(films | {"rating": [5, 3, 4, 1]})
        >>> dls = CollabDataLoaders.from_df(ratings, splitter=IndexSplitter([3]), bs=3)
        >>> pairs, targets = dls.one_batch()
        >>> pairs.shape, targets.shape, dls.classes["film"]
        (torch.Size([3, 2]), torch.Size([3, 1]), (#3) ['#na#','Alien','Brazil'])
    """

    learner: ClassVar[str] = "foveal.collab.learner:CollabLearner"

    @classmethod
    def from_df(
        cls,
        ratings: pd.DataFrame,
        valid_pct: float = 0.2,
        user_name: str | None = None,
        item_name: str | None = None,
        rating_name: str | None = None,
        seed: int | None = None,
        *,
        splitter: Splitter | None = None,
        implicit: bool = False,
        negatives: int = 4,
        bs: int = 64,
        device: torch.device | str | None = None,
    ) -> CollabDataLoaders:
        r"""Return loaders of a table with one rating per row.

        Args:
            ratings: the table.
            valid_pct: the share of the rows to validate on.
            user_name: the column of users; the first one by default.
            item_name: the column of items; the second one by default.
            rating_name: the column of ratings; the third one by default.
            seed: decides the split and the order; a split is drawn anew each time by default.
            splitter: another split: a function of the table that returns (training, validation) positions.
            implicit: there are no ratings: each row means that a user had an item. For each, `negatives` items that the
                user never had are drawn anew each epoch.
            negatives: see `implicit`.
            bs: batch size.
            device: where batches go; the best at hand by default.

        Raises:
            TableError: there is no such column, or a rating is no number.
            InputError: the split leaves nothing on one side.

        Examples:
            >>> from foveal.collab.all import *
            >>> names = ["user", "film", "rating", "time"]
            >>> ratings = pd.read_csv(untar_data(URLs.SAMPLE_ML) / "u.data", sep="\t", names=names)
            >>> dls = CollabDataLoaders.from_df(ratings, valid_pct=0.1, seed=42)
            >>> dls.train.n, dls.valid.n, dls.bs
            (8166, 907, 64)
        """
        columns = _columns(ratings, user_name, item_name, rating_name, implicit=implicit)
        train, valid = check_split((splitter or RandomSplitter(valid_pct, seed))(ratings), len(ratings))
        users, items = (ratings[name].to_numpy() for name in columns[:2])
        values = np.ones(len(ratings)) if implicit else _numbers(ratings, columns[2])
        low, high = range_of_ratings(values, values[train], columns[2])
        kind = ImplicitFeedback if implicit else Rating
        task = kind(Ids.of(users[train]), Ids.of(items[train]), columns, low, high)
        pairs = task.pairs(users.tolist(), items.tolist())
        targets = torch.tensor(values, dtype=torch.float32)
        sides = [(pairs[side], targets[side]) for side in (train, valid)]
        return cls.of(task, sides, seed=0 if seed is None else seed, negatives=negatives, bs=bs, device=device)

    @classmethod
    def of(
        cls,
        task: Rating,
        sides: Sequence[tuple[Tensor, Tensor]],
        *,
        seed: int = 0,
        negatives: int = 4,
        bs: int = 64,
        device: torch.device | str | None = None,
    ) -> CollabDataLoaders:
        """Return loaders of pairs whose numbers are known.

        Args:
            task: whom the numbers stand for.
            sides: (pairs int64 [n, 2], ratings [n]) to train on, and to validate on.
            seed: decides the order.
            negatives: of an implicit task: so many items that a user never had are drawn for each that they had.
            bs: batch size.
            device: where batches go; the best at hand by default.

        Examples:
            >>> from foveal.collab.all import *
            >>> from foveal.collab.task import Ids, Rating
            >>> task = Rating(Ids(("ann", "ben")), Ids(("Alien", "Brazil")), low=1, high=5)
            >>> pairs, ratings = torch.tensor([[1, 1], [1, 2], [2, 1], [2, 2]]), torch.tensor([5, 3, 4, 1])
            >>> dls = CollabDataLoaders.of(task, [(pairs[:3], ratings[:3]), (pairs[3:], ratings[3:])])
            >>> len(dls.train.dataset), dls.valid.one_batch()[1]
            (3, tensor([[1.]]))
        """
        implicit = isinstance(task, ImplicitFeedback)
        datasets = [RatingDataset(pairs, ratings.float()[:, None], task) for pairs, ratings in sides]
        where = torch.device(device) if device is not None else runtime.default_device()
        known = None
        if implicit:
            pairs = torch.cat([pairs for pairs, _ in sides])
            known = torch.unique(pairs[:, 0] * len(task.items) + pairs[:, 1]).to(where)
        batchers = [RatingBatcher(side, where, negatives if implicit else 0, known) for side in datasets]
        return cls(
            DataLoader(batchers[0], min(bs, len(datasets[0])), shuffle=True, drop_last=True, seed=seed),
            DataLoader(batchers[1], max(bs, 4096), seed=seed),
        )

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], **options: Any) -> CollabDataLoaders:
        r"""Return loaders of a CSV file with one rating per row; see `from_df`.

        Args:
            path: of the file.
            options: arguments of `from_df`.

        Examples:
            >>> import tempfile
            >>> from foveal.collab.all import *
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     file = Path(folder) / "ratings.csv"
            ...     n = file.write_text("user,film,rating\nann,Alien,5\nann,Brazil,3\nben,Alien,4\nben,Brazil,1")
            ...     dls = CollabDataLoaders.from_csv(file, splitter=IndexSplitter([3]))
            >>> dls.classes["user"]
            (#3) ['#na#','ann','ben']
        """
        return cls.from_df(pd.read_csv(path), **options)

    @property
    def classes(self) -> dict[str, Classes]:
        """The users and the items by number, under the names of their columns; number 0, `#na#`, is all others.

        Examples:
            >>> from foveal.collab.all import *
            >>> films = {"user": ["ann", "ann", "ben", "ben"], "film": ["Alien", "Brazil", "Alien", "Brazil"]}
            >>> ratings = pd.DataFrame(films | {"rating": [5, 3, 4, 1]})
            >>> CollabDataLoaders.from_df(ratings, splitter=IndexSplitter([3])).classes
            {'user': (#3) ['#na#','ann','ben'], 'film': (#3) ['#na#','Alien','Brazil']}
        """
        user, item, _ = self.task.columns
        return {user: Classes(self.task.users.names), item: Classes(self.task.items.names)}

    @property
    def n_threads(self) -> int | None:
        """One thread for the usual batch, as two would only wait for each other; None for very large ones."""
        return 1 if self.bs < _SHARED_BATCH else None

    @property
    def task(self) -> Rating:
        """What is learned: the users and items that training knows, and the range of the ratings."""
        task: Rating = self.train.dataset.task
        return task

    def normalised_like(self, other: DataLoaders) -> CollabDataLoaders:
        """Return the same loaders, for users and items known by the same numbers.

        Args:
            other: loaders of a learner, in whose place these are to be.

        Raises:
            InputError: the numbers mean others.
        """
        if not isinstance(other, CollabDataLoaders) or other.task.to_dict() != self.task.to_dict():
            raise InputError("The new loaders have other users or items: make a new learner.")
        return self

    def test_dl(self, items: pd.DataFrame, *, with_labels: bool = False) -> DataLoader:
        """Return a loader for other rows of users and items, which `learn.get_preds(dl=...)` takes.

        Args:
            items: a table with the columns of users and items.
            with_labels: read its column of ratings too.

        Raises:
            TableError: a rating is no number.

        Examples:
            >>> from foveal.collab.all import *
            >>> films = {"user": ["ann", "ann", "ben", "ben"], "film": ["Alien", "Brazil", "Alien", "Brazil"]}
            >>> ratings = pd.DataFrame(films | {"rating": [5, 3, 4, 1]})
            >>> dls = CollabDataLoaders.from_df(ratings, splitter=IndexSplitter([3]))
            >>> dls.test_dl(pd.DataFrame({"user": ["ben", "cleo"], "film": ["Brazil", "Alien"]})).one_batch()[0]
            tensor([[2, 2],
                    [0, 1]])
        """
        user, item, rating = self.task.columns
        pairs = self.task.pairs(items[user].tolist(), items[item].tolist())
        values = _numbers(items, rating) if with_labels else np.full(len(items), np.nan)
        dataset = RatingDataset(pairs, torch.tensor(values, dtype=torch.float32)[:, None], self.task)
        return DataLoader(RatingBatcher(dataset, self.device), self._valid.batch_size)


def range_of_ratings(values: np.ndarray, trained: np.ndarray, name: str) -> tuple[float, float]:
    """Return the range of the ratings that are trained on.

    Args:
        values: all of them, NaN where one is missing, float64 [n].
        trained: those of the training side, float64 [m].
        name: of their column.

    Raises:
        TableError: they cannot be learned in single precision.
    """
    if np.nanmax(np.abs(values)) > _LARGEST:
        raise TableError(f"Ratings up to {_LARGEST:g} can be learned, for errors are squared in 32 bits.")
    low, high = float(trained.min()), float(trained.max())
    check_single_precision(name, low, high, float(trained.std()) if high > low else 0.0)
    return low, high


def TimeSplitter(column: str, valid_pct: float = 0.2, *, group: str | None = None) -> Splitter:
    """Return a splitter that puts the latest rows into validation, of each `group` (a user) where one is named.

    Args:
        column: of the times, anything that sorts.
        valid_pct: the share of the rows to validate on.
        group: a column; the share is taken of the rows of each of its values.

    Returns:
        A function of a table that returns the positions of its rows to train on and to validate on.

    Raises:
        TableError: there is no such column, when the splitter is called.

    Examples:
        >>> from foveal.collab.all import *
        >>> ratings = pd.DataFrame({"user": ["ann", "ann", "ben", "ben"], "time": [1, 2, 3, 4]})
        >>> TimeSplitter("time", 0.25)(ratings), TimeSplitter("time", 0.5, group="user")(ratings)
        (([0, 1, 2], [3]), ([0, 2], [1, 3]))
    """

    def split(frame: pd.DataFrame) -> tuple[list[int], list[int]]:
        for name in (column, group):
            if name is not None:
                _check_column(frame, name)
        within = frame[column].groupby(frame[group]) if group is not None else frame[column]
        share = within.rank(method="first", pct=True).to_numpy()
        latest = share > 1 - valid_pct
        return np.flatnonzero(~latest).tolist(), np.flatnonzero(latest).tolist()

    return split


def _columns(
    frame: pd.DataFrame, user: str | None, item: str | None, rating: str | None, *, implicit: bool
) -> tuple[str, str, str]:
    names = [str(name) for name in frame.columns]
    if len(names) < (2 if implicit else 3):
        raise TableError(f"Columns of users, items and ratings are expected; there are {', '.join(names)}.")
    usual = (names[0], names[1], "seen" if implicit else names[2])
    chosen = tuple(given or default for given, default in zip((user, item, rating), usual, strict=True))
    for name in chosen[: 2 if implicit else 3]:
        _check_column(frame, name)
    for name in chosen[:2]:
        if frame[name].isna().any():
            raise TableError(f"Column `{name}` is empty in row {int(frame[name].isna().to_numpy().argmax()) + 2}.")
    return chosen[0], chosen[1], chosen[2]


def _check_column(frame: pd.DataFrame, name: str) -> None:
    known = [str(column) for column in frame.columns]
    if name not in known:
        raise TableError(f"The table has no column `{name}`.{near_match(name, known)} Its columns: {', '.join(known)}.")


def _numbers(frame: pd.DataFrame, name: str) -> np.ndarray:
    values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float)
    if not np.isfinite(values).all():
        row = int((~np.isfinite(values)).argmax())
        raise TableError(f"A rating is a number; column `{name}` holds {frame[name].iloc[row]!r} in row {row + 2}.")
    return values
