"""A loader: the items of a dataset in batches, in an order that only the seed and the epoch decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Self

import numpy as np
import torch

from foveal.core import distributed, progress, storage
from foveal.core.arguments import checked_methods
from foveal.core.errors import InputError
from foveal.core.listing import L
from foveal.core.rng import draws_for, order_for, seed_for, windowed_order
from foveal.core.seeds import check_seed
from foveal.data.batchers import Batcher, ImageBatcher, TupleBatcher
from foveal.data.batches import Batch, Item, Parts
from foveal.data.datasets import ImageDataset
from foveal.data.sampling import Sampling, item_weights, sampling_text
from foveal.images.canvas import grid
from foveal.images.channels import require_channels
from foveal.images.parquet_rows import windows_of
from foveal.tasks.vocab import Classes, classes_of


@checked_methods
class DataLoader:
    """Turns a dataset into batches; iterating yields tuples, each pass over it with draws of its own.

    Attributes:
        batcher: makes the batches.
        batch_size: items in a batch.
        shuffle: a fresh order each epoch, and random draws.
        drop_last: leave out a last partial batch, unless it is the only one.
        seed: decides orders and draws.
        labelled: whether iterating yields the targets too; without labels all of them are unknown.
        sampling: how often items are drawn.
    """

    def __init__(
        self,
        dataset: Batcher | Sequence[Item],
        batch_size: int = 64,
        shuffle: bool = False,
        *,
        bs: int | None = None,
        drop_last: bool = False,
        seed: int = 0,
        sampling: Sampling = "uniform",
    ) -> None:
        """Load items in batches.

        Args:
            dataset: any sequence of items, or a batcher that knows better than to lay tuples side by side.
            batch_size: items in a batch.
            shuffle: a fresh order each epoch, and random draws.
            bs: another name for `batch_size`.
            drop_last: leave out a last partial batch, unless it is the only one.
            seed: decides orders and draws; 64 bits.
            sampling: `uniform` visits each item once an epoch; `balanced` draws as many with replacement, each by
                1 / frequency of its class, of several the mean, and `square-root` by the square root of that; or a
                weight per item, from 0 up.

        Raises:
            InputError: the batch size is below 1, the seed is no seed, or the sampling does not suit the items.
        """
        self.batcher: Batcher = dataset if isinstance(dataset, Batcher) else TupleBatcher(dataset)
        self.batch_size = batch_size if bs is None else bs
        if self.batch_size < 1:
            raise InputError(f"A batch holds at least one item; got a batch size of {self.batch_size}.")
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, check_seed(seed)
        self.sampling, self._weights = sampling, item_weights(self.dataset, sampling)
        if self._weights is not None and not shuffle:
            raise InputError(
                "Items that are drawn by weight come in a random order: give shuffle=True with `sampling`."
            )
        self._passes = count()
        self.labelled = True
        self._windows: tuple[Sequence[int], int] | None = None

    @property
    def dataset(self) -> Item:
        """The source of the items: a `Dataset`, or any sequence."""
        return self.batcher.dataset

    @property
    def n(self) -> int:
        """The number of items."""
        return len(self.dataset)

    def __len__(self) -> int:
        n_full, n_over = divmod(self.n, self.batch_size)
        return n_full + (n_over > 0 and not (self.drop_last and n_full > 0))

    def __iter__(self) -> Iterator[Parts]:
        for batch in self.batches(epoch=next(self._passes)):
            yield batch.parts if self.labelled else batch.parts[:-1]

    def one_batch(self) -> Parts:
        """Return the first batch of a pass."""
        if not self.n:
            raise InputError("There are no items to make a batch of.")
        return next(iter(self))

    def batches(self, *, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Args:
            epoch: from 0; decides order and draws.
            first: the number of the first batch, where an epoch is resumed.

        Raises:
            ImageError: an image is refused.
        """
        return self._batches(self.groups(epoch)[first:], epoch)

    def rank_batches(self, *, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield this process's slice of each batch of an epoch; torch's random state is seeded from slice and batch.

        Args:
            epoch: from 0; decides order and draws.
            first: the number of the first batch, where an epoch is resumed.

        Raises:
            InputError: there are fewer items in a batch than processes.
        """
        groups = self.groups(epoch)
        n = distributed.world_size()
        if n > min(map(len, groups), default=n):
            raise InputError(f"A batch of {len(groups[0])} cannot be shared by {n} processes: take a larger `bs`.")
        for step, batch in enumerate(
            self._batches([distributed.slice_for_rank(group) for group in groups[first:]], epoch), first
        ):
            if n > 1:
                torch.manual_seed(seed_for(self.seed, epoch, step * n + distributed.rank()))
            yield batch

    def shard_batches(self) -> Iterator[Batch]:
        """Yield this process's batches of one pass: of W processes that of rank r takes batches r, r + W, ..."""
        return self._batches(distributed.shard(self.groups(0)), 0)

    def _batches(self, groups: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        return self.batcher.batches(groups, (self.seed, epoch) if self.shuffle else None)

    def groups(self, epoch: int) -> list[list[int]]:
        """Return the positions of each batch of an epoch; the repetition k of one of n items is its position + k n."""
        order = self.slots(epoch)[: len(self) * self.batch_size]
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def slots(self, epoch: int) -> list[int]:
        """Return what `groups` takes its positions from, those too that a last partial batch would hold."""
        return self._shuffled(epoch) if self.shuffle else list(range(self.n))

    def order(self, epoch: int) -> list[int]:
        """Return the positions that an epoch visits, in order; with `sampling` some are repeated, others left out."""
        return [at for group in self.groups(epoch) for at in self.batcher.positions(group)]

    def drawn(self, epochs: int) -> torch.Tensor | None:
        """Return the positions that the first epochs draw, int64 [epochs x n]; None where each visits every item once.

        Args:
            epochs: how many.
        """
        if self._weights is None:
            return None
        return torch.from_numpy(np.concatenate([draws_for(self.seed, at, self._weights) for at in range(epochs)]))

    @property
    def fingerprint(self) -> dict[str, str]:
        """What decides the order besides seed and number of items, by name; empty where nothing does."""
        return {} if self._weights is None else {"sampling": storage.text_hash(self._weights.tobytes().hex())}

    @property
    def sampling_text(self) -> str:
        """How items are drawn, in words; empty where each is visited once an epoch."""
        return sampling_text(self.sampling)

    def _shuffled(self, epoch: int) -> list[int]:
        if self._windows is None:
            dataset = self.dataset
            self._windows = (windows_of(dataset.images) if isinstance(dataset, ImageDataset) else None) or ((), 0)
        groups, n_open = self._windows
        drawn = np.arange(self.n) if self._weights is None else draws_for(self.seed, epoch, self._weights)
        repetition = np.arange(self.n) - np.searchsorted(drawn, drawn)
        if groups:
            order = windowed_order(self.seed, epoch, np.asarray(groups)[drawn], n_open)
        else:
            order = order_for(self.seed, epoch, self.n)
        slots: list[int] = (drawn + repetition * self.n)[order].tolist()
        return slots

    def in_order(self) -> DataLoader:
        """Return a loader of the same items in data order, prepared as in validation, the last partial batch too."""
        return DataLoader(self.batcher, self.batch_size)

    def with_batcher(self, batcher: Batcher) -> DataLoader:
        """Return the same loader over another batcher."""
        made = self.new()
        made.batcher = batcher
        return made

    def normalised_like(self, other: DataLoader) -> DataLoader:
        """Return the same loader with images normalised like another's; say so where it has `Normalize` of its own."""
        ours, theirs = self.batcher, other.batcher
        if not isinstance(ours, ImageBatcher) or not isinstance(theirs, ImageBatcher):
            return self
        require_channels(ours.pipeline.n_channels, theirs.pipeline.n_channels)
        own, wanted = ours.pipeline.statistics, theirs.pipeline.statistics
        if own == wanted:
            return self
        if own is not None:
            progress.say(f"These loaders normalise by {own}; the model was made for {wanted or 'values from 0 to 1'}.")
        return self.with_batcher(ours.with_statistics(wanted))

    def new(
        self,
        dataset: Item = None,
        *,
        bs: int | None = None,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        drop_last: bool | None = None,
        seed: int | None = None,
        sampling: Sampling | None = None,
    ) -> DataLoader:
        """Return a loader that differs from this one in what is given.

        Args:
            dataset: other items.
            bs: batch size; `batch_size` is another name for it.
            batch_size: see `bs`.
            shuffle: a fresh order each epoch, and random draws.
            drop_last: leave out a last partial batch.
            seed: decides orders and draws.
            sampling: how often items are drawn, see `DataLoader`.
        """
        made = DataLoader(
            self.batcher if dataset is None else self.batcher.with_dataset(dataset),
            bs or batch_size or self.batch_size,
            self.shuffle if shuffle is None else shuffle,
            drop_last=self.drop_last if drop_last is None else drop_last,
            seed=self.seed if seed is None else seed,
            sampling=self.sampling if sampling is None else sampling,
        )
        made.labelled = self.labelled or dataset is not None
        return made

    def to(self, device: torch.device | str) -> Self:
        """Let batches go to a device from now on; return the loader."""
        self.batcher = self.batcher.to(torch.device(device))
        return self

    @property
    def bs(self) -> int:
        """Another name for `batch_size`."""
        return self.batch_size

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self.batcher.device

    @property
    def items(self) -> Item:
        """The items of the source: files, or rows of its table."""
        return getattr(self.dataset, "items", self.dataset)

    @property
    def vocab(self) -> Classes:
        """The classes, in order, as they stood in the source; numbers where all are."""
        return classes_of(self.dataset.task)

    def decode(self, batch: Parts) -> Parts:
        """Return a batch as it was before normalisation: images float32 [B, C, h, w] from 0 to 1."""
        return self.batcher.decode(batch)

    def decode_batch(self, batch: Parts, max_n: int = 9) -> L[Parts]:
        """Return the items of a batch one by one, with labels as a person would write them.

        Args:
            batch: of this loader, as `one_batch` returns it.
            max_n: the most items; points are in pixels of the image that is returned.
        """
        return L(self.batcher.decode_items(batch, max_n))

    def show_batch(
        self,
        max_n: int = 9,
        *,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
        unique: bool = False,
    ) -> None:
        """Show items of a batch with their labels: images as the model sees them.

        Args:
            max_n: how many items, where `nrows` and `ncols` do not say.
            nrows: rows of the grid; as many as suit by default.
            ncols: columns of the grid; as many as suit by default.
            figsize: (width, height) in inches; as large as suits by default.
            unique: show one item again and again, each time with other random draws.
        """
        n, rows = grid(max_n, nrows, ncols)
        epoch = next(self._passes)
        if unique:
            first = self.groups(epoch)[0][:1]
            batch = Batch.joined([next(self._batches([first], next(self._passes))) for _ in range(n)])
        else:
            batch = next(self.batches(epoch=epoch))
        self.batcher.show(batch, max_n=n, rows=rows, figsize=figsize)
