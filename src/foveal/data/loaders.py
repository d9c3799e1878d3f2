"""Loaders: the items of a dataset in batches, in an order that only the seed and the epoch decide."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import torch

from foveal.audit.checks import Audit
from foveal.core import distributed, progress, runtime
from foveal.core.errors import InputError
from foveal.core.listing import L
from foveal.core.rng import order_for, seed_for, windowed_order
from foveal.core.seeds import check_seed
from foveal.data.auditing import audit_datasets
from foveal.data.batchers import Batcher, ImageBatcher, TupleBatcher, image_batcher
from foveal.data.batches import Batch
from foveal.data.datasets import Dataset, Datasets, ImageDataset
from foveal.data.pixel_ops import refuse_moving
from foveal.data.samples import Pipeline, Transforms
from foveal.data.summary import require_size
from foveal.images.canvas import grid
from foveal.images.channels import require_channels
from foveal.images.parquet_rows import windows_of
from foveal.images.prepare import Preparation
from foveal.losses import FlattenedLoss
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of
from foveal.tasks.vocab import Classes, classes_of

Reader = Callable[[Any, bool], ImageDataset]
"""Turns new items, of whatever kind the data block takes, into a dataset; the flag says whether to read labels."""


class DataLoader:
    """Turns a dataset into batches; iterating yields tuples, each pass over it with draws of its own.

    Attributes:
        batcher: makes the batches.
        batch_size: items in a batch.
        shuffle: a fresh order each epoch, and random draws.
        drop_last: leave out a last partial batch, unless it is the only one.
        seed: decides orders and draws.
    """

    def __init__(
        self,
        dataset: Batcher | Sequence[Any],
        batch_size: int = 64,
        shuffle: bool = False,
        *,
        bs: int | None = None,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        """Load items in batches.

        Args:
            dataset: any sequence of items, or a batcher that knows better than to lay tuples side by side.
            batch_size: items in a batch.
            shuffle: a fresh order each epoch, and random draws.
            bs: another name for `batch_size`.
            drop_last: leave out a last partial batch, unless it is the only one.
            seed: decides orders and draws; 64 bits.

        Raises:
            InputError: the batch size is below 1, or the seed is no seed.
        """
        self.batcher: Batcher = dataset if isinstance(dataset, Batcher) else TupleBatcher(dataset)
        self.batch_size = batch_size if bs is None else bs
        if self.batch_size < 1:
            raise InputError(f"A batch holds at least one item; got a batch size of {self.batch_size}.")
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, check_seed(seed)
        self._passes = count()
        self._windows: tuple[Sequence[int], int] | None = None

    @property
    def dataset(self) -> Any:
        """The source of the items: a `Dataset`, or any sequence."""
        return self.batcher.dataset

    @property
    def n(self) -> int:
        """The number of items."""
        return len(self.dataset)

    def __len__(self) -> int:
        n_full, n_over = divmod(self.n, self.batch_size)
        return n_full + (n_over > 0 and not (self.drop_last and n_full > 0))

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in self.batches(epoch=next(self._passes)):
            yield batch.parts

    def one_batch(self) -> tuple[Any, ...]:
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
        """Return the positions of each batch of an epoch."""
        order = self.order(epoch)
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def order(self, epoch: int) -> list[int]:
        """Return the positions that an epoch visits, in order."""
        order = self._shuffled(epoch) if self.shuffle else list(range(self.n))
        return order[: len(self) * self.batch_size]

    def _shuffled(self, epoch: int) -> list[int]:
        if self._windows is None:
            dataset = self.dataset
            self._windows = (windows_of(dataset.images) if isinstance(dataset, ImageDataset) else None) or ((), 0)
        groups, n_open = self._windows
        order = windowed_order(self.seed, epoch, groups, n_open) if groups else order_for(self.seed, epoch, self.n)
        positions: list[int] = order.tolist()
        return positions

    def in_order(self) -> DataLoader:
        """Return a loader of the same items in data order, prepared as in validation, the last partial batch too."""
        return DataLoader(self.batcher, self.batch_size)

    def with_batcher(self, batcher: Batcher) -> DataLoader:
        """Return the same loader over another batcher."""
        return DataLoader(batcher, self.batch_size, self.shuffle, drop_last=self.drop_last, seed=self.seed)

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

    def show_batch(
        self,
        max_n: int = 9,
        *,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> None:
        """Show items of a batch with their labels: images as the model sees them.

        Args:
            max_n: how many items, where `nrows` and `ncols` do not say.
            nrows: rows of the grid; as many as suit by default.
            ncols: columns of the grid; as many as suit by default.
            figsize: (width, height) in inches; as large as suits by default.
        """
        n, rows = grid(max_n, nrows, ncols)
        batch = next(self.batches(epoch=next(self._passes)))
        self.batcher.show(batch, max_n=n, rows=rows, figsize=figsize)


class DataLoaders:
    """The loaders of a training and a validation side, and what they share.

    Attributes:
        path: the folder of the data, as `DataBlock.dataloaders(source, path)` was told; where a learner saves.
        learner: "module:class" of what `Learner(dls, model)` makes for them, where that is no `Learner` of images.
    """

    learner: ClassVar[str | None] = None
    path: Path = Path()

    def __init__(self, train: DataLoader, valid: DataLoader, *, reader: Reader | None = None) -> None:
        """Put two loaders together.

        Args:
            train: of the training side.
            valid: of the validation side.
            reader: turns new items into a dataset, for `test_dl`.
        """
        self.train, self._valid, self._reader = train, valid, reader

    @classmethod
    def from_dsets(
        cls,
        datasets: Datasets,
        *,
        bs: int = 64,
        batch_size: int | None = None,
        shuffle: bool = True,
        item_tfms: Transforms = None,
        batch_tfms: Transforms = None,
        seed: int = 0,
        num_workers: int | None = None,
        device: torch.device | str | None = None,
        reader: Reader | None = None,
    ) -> DataLoaders:
        """Build both loaders.

        Args:
            datasets: the two sides.
            bs: batch size; `batch_size` is another name for it.
            batch_size: see `bs`.
            shuffle: whether training visits its items in a fresh order each epoch.
            item_tfms: for images: one that sets the size, such as `Resize(224)`, and other transforms.
            batch_tfms: more of them.
            seed: decides the order of the items and every random draw.
            num_workers: threads that load images; 0 loads them in this one, one per core by default.
            device: where batches go; the best at hand by default.
            reader: see `DataLoaders`.

        Raises:
            InputError: no transform sets the size of images, or an operation would leave points behind.
        """
        n_train, n_batch = len(datasets.train), batch_size or bs
        batchers: list[Batcher] = [TupleBatcher(datasets.train), TupleBatcher(datasets.valid)]
        if isinstance(datasets.train, ImageDataset):
            pipeline = Pipeline.of(item_tfms, batch_tfms, datasets.train.n_channels)
            require_size(pipeline, datasets.train)
            if kind_of(datasets.train.task).has_points:
                refuse_moving(pipeline.operations, pipeline.n_channels)
            target = torch.device(device) if device is not None else runtime.default_device()
            batchers = [ImageBatcher(side, pipeline, num_workers, target) for side in (datasets.train, datasets.valid)]
        if n_train < n_batch:
            warnings.warn(
                f"There are {n_train} items to train on, fewer than a batch of {n_batch}: batches shrink to {n_train}.",
                stacklevel=3,
            )
        train = DataLoader(batchers[0], min(n_batch, n_train) or n_batch, shuffle, drop_last=True, seed=seed)
        return cls(train, DataLoader(batchers[1], n_batch, seed=seed), reader=reader)

    @property
    def valid(self) -> DataLoader:
        """The loader of the validation side."""
        if not self._valid.n:
            raise InputError("There is no validation side: the datasets were made without a split.")
        return self._valid

    @property
    def bs(self) -> int:
        """The batch size of training."""
        return self.train.batch_size

    @property
    def task(self) -> AnyTask:
        """What is learned."""
        dataset = self.train.dataset
        if not isinstance(dataset, Dataset):
            raise InputError(
                "These loaders say nothing of a task, so there is no loss: build them with a DataBlock and its blocks."
            )
        return dataset.task

    @property
    def vocab(self) -> Classes:
        """The classes, in order, as they stood in the source; numbers where all are."""
        return classes_of(self.task)

    @property
    def classes(self) -> Classes | Mapping[str, L[Any]]:
        """The classes, in order; of tables with several vocabularies, each by the name of its column."""
        return self.vocab

    @property
    def loss_func(self) -> FlattenedLoss:
        """The task's loss."""
        return FlattenedLoss(self.task.loss, self.task.loss_name)

    @property
    def pipeline(self) -> Pipeline:
        """The transforms of images."""
        return image_batcher(self.train.batcher).pipeline

    @property
    def preparation(self) -> Preparation:
        """How images are prepared in validation; a model of `vision_learner` may go on to normalise them."""
        return self.pipeline.preparation

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        return self.train.batcher.device

    @property
    def n_threads(self) -> int | None:
        """The number of torch's threads for a training step; None is all of them."""
        return None

    @property
    def loaders(self) -> Sequence[DataLoader]:
        """Training, then validation."""
        return self.train, self._valid

    def normalised_like(self, other: DataLoaders) -> DataLoaders:
        """Return the same loaders, normalised like others of the same task; say so where they have their own way.

        Raises:
            InputError: the task is another one.
        """
        ours, theirs = ((dls.task.kind, ", ".join(dls.task.names)[:200]) for dls in (self, other))
        if (self.task.kind, self.task.names) != (other.task.kind, other.task.names):
            raise InputError(
                f"The new loaders are for another task: {ours[0]} of {ours[1]}; this model answers {theirs[0]} of "
                f"{theirs[1]}. Build the data block with vocab=dls.vocab, or make a new learner."
            )
        train, valid = (loader.normalised_like(other.train) for loader in self)
        return DataLoaders(train, valid, reader=self._reader)

    def one_batch(self) -> tuple[Any, ...]:
        """Return the first training batch."""
        return self.train.one_batch()

    def show_batch(
        self,
        max_n: int = 9,
        *,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> None:
        """Show items of a training batch with their labels.

        Args:
            max_n: how many items, where `nrows` and `ncols` do not say.
            nrows: rows of the grid; as many as suit by default.
            ncols: columns of the grid; as many as suit by default.
            figsize: (width, height) in inches; as large as suits by default.
        """
        self.train.show_batch(max_n, nrows=nrows, ncols=ncols, figsize=figsize)

    def test_dl(self, items: Any, *, with_labels: bool = False) -> DataLoader:
        """Return a loader for new items, prepared as in validation.

        Args:
            items: a data frame, files, or another source that the data block reads.
            with_labels: read labels too; without them all targets are unknown.

        Raises:
            InputError: the loaders were not made by a data block.
        """
        if self._reader is None:
            raise InputError("These loaders were not made by a DataBlock: they cannot read new items.")
        batcher = image_batcher(self.train.batcher).with_dataset(self._reader(items, with_labels))
        return DataLoader(batcher, self._valid.batch_size)

    def check(self) -> Audit:
        """Audit labels, split and every image; see `foveal.audit.checks`."""
        return audit_datasets(Datasets.of(self.train.dataset, self._valid.dataset))

    def __iter__(self) -> Iterator[DataLoader]:
        return iter(self.loaders)

    def __getitem__(self, index: int) -> DataLoader:
        return self.loaders[index]
