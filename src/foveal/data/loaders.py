"""Loaders: the items of a dataset in batches, in an order that only the seed and the epoch decide."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import torch

from foveal.audit.checks import Audit, audit
from foveal.core import distributed, runtime
from foveal.core.errors import InputError
from foveal.core.listing import L, Path
from foveal.core.rng import check_seed, order_for, seed_for, windowed_order
from foveal.data.batchers import Batcher, ImageBatcher, TupleBatcher
from foveal.data.batches import Batch
from foveal.data.datasets import Dataset, Datasets
from foveal.data.pixel_ops import refuse_moving
from foveal.data.samples import Pipeline
from foveal.data.summary import require_size
from foveal.images.canvas import grid
from foveal.images.decode import name_of
from foveal.images.parquet_rows import windows_of
from foveal.images.prepare import Preparation, Statistics
from foveal.losses import FlattenedLoss
from foveal.sources.items import Item, Source
from foveal.tasks.base import Task
from foveal.tasks.points import Points

Reader = Callable[[Any, bool], Dataset]
_LISTED = 10


class DataLoader:
    """Turns a dataset into batches; iterating yields tuples, each pass over it with draws of its own.

    Attributes:
        batch_size: items in a batch.
        shuffle: a fresh order each epoch, and random draws.
        drop_last: leave out a last partial batch, unless it is the only one.
        seed: decides orders and draws.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 64,
        shuffle: bool = False,
        *,
        bs: int | None = None,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        """Load any sequence of items (or what a `Feed` makes of one); `bs` is another name for `batch_size`."""
        self.batcher: Batcher = dataset if hasattr(dataset, "batches") else TupleBatcher(dataset)
        self.batch_size = batch_size if bs is None else bs
        if self.batch_size < 1:
            raise InputError(f"A batch holds at least one item; got a batch size of {self.batch_size}.")
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, check_seed(seed)
        self._passes = count()
        self._windows: tuple[Sequence[int], int] | None = None

    @property
    def dataset(self) -> Any:
        """What the items come from."""
        return self.batcher.dataset

    @property
    def n(self) -> int:
        """How many items there are."""
        return len(self.dataset)

    def __len__(self) -> int:
        whole, rest = divmod(self.n, self.batch_size)
        return whole + (rest > 0 and not (self.drop_last and whole > 0))

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in self.batches(epoch=next(self._passes)):
            yield batch.parts

    def one_batch(self) -> tuple[Any, ...]:
        """Return the first batch of a pass."""
        if not self.n:
            raise InputError("There are no items to make a batch of.")
        return next(iter(self))

    def batches(self, *, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, from the one of number `first` on.

        Raises:
            ImageError: an image is refused.
        """
        return self._batches(self.groups(epoch)[first:], epoch)

    def parts(self, *, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield this process's part of each batch of an epoch, and name torch's random state after part and batch.

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

    def dealt(self) -> Iterator[Batch]:
        """Yield the batches of one pass that this process is dealt: the first, then every as many as there are."""
        return self._batches(distributed.shard(self.groups(0)), 0)

    def _batches(self, groups: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        return self.batcher.batches(groups, (self.seed, epoch) if self.shuffle else None)

    def groups(self, epoch: int) -> list[list[int]]:
        """Return the items of each batch of an epoch."""
        order = self.order(epoch)
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def order(self, epoch: int) -> list[int]:
        """Return the items that an epoch visits, in order."""
        order = self._shuffled(epoch) if self.shuffle else list(range(self.n))
        return order[: len(self) * self.batch_size]

    def _shuffled(self, epoch: int) -> list[int]:
        if self._windows is None:
            self._windows = windows_of(getattr(self.dataset, "images", ())) or ((), 0)
        groups, at_once = self._windows
        found = windowed_order(self.seed, epoch, groups, at_once) if groups else order_for(self.seed, epoch, self.n)
        order: list[int] = found.tolist()
        return order

    def in_order(self) -> DataLoader:
        """Return a loader of the same items in data order, prepared as in validation, the last partial batch too."""
        return DataLoader(self.batcher, self.batch_size)

    def over(self, batcher: Batcher) -> DataLoader:
        """Return the same loader over another batcher."""
        return DataLoader(batcher, self.batch_size, self.shuffle, drop_last=self.drop_last, seed=self.seed)

    def show_batch(
        self,
        max_n: int = 9,
        *,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> None:
        """Show items of a batch with their labels: images as the model sees them."""
        n, rows = grid(max_n, nrows, ncols)
        batch = next(self.batches(epoch=next(self._passes)))
        self.batcher.show(batch, max_n=n, rows=rows, figsize=figsize)


class DataLoaders:
    """The loaders of a training and a validation side, and what they share."""

    def __init__(self, train: DataLoader, valid: DataLoader, *, reader: Reader | None = None) -> None:
        """Put two loaders together; `reader` turns new items into a dataset for `test_dl`."""
        self.train, self._valid, self._reader = train, valid, reader

    @classmethod
    def from_dsets(
        cls,
        datasets: Datasets,
        *,
        bs: int = 64,
        batch_size: int | None = None,
        shuffle: bool = True,
        item_tfms: Any = None,
        batch_tfms: Any = None,
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
            item_tfms: for images: a fit such as `Resize(224)`, and other transforms.
            batch_tfms: more of them.
            seed: decides the order of the items and every random draw.
            num_workers: threads that load images (0: none); one a core by default.
            device: where batches go; the best at hand by default.
            reader: see `DataLoaders`.
        """
        n_train, wanted = len(datasets.train), batch_size or bs
        batchers: list[Batcher] = [TupleBatcher(datasets.train), TupleBatcher(datasets.valid)]
        if isinstance(datasets.train, Dataset):
            pipeline = Pipeline.of(item_tfms, batch_tfms)
            require_size(pipeline, datasets.train)
            if datasets.train.task.kind == Points.kind:
                refuse_moving(pipeline.operations)
            where = torch.device(device) if device is not None else runtime.default_device()
            batchers = [ImageBatcher(side, pipeline, num_workers, where) for side in (datasets.train, datasets.valid)]
        if n_train < wanted:
            warnings.warn(
                f"There are {n_train} items to train on, fewer than a batch of {wanted}: batches shrink to {n_train}.",
                stacklevel=3,
            )
        train = DataLoader(batchers[0], min(wanted, n_train) or wanted, shuffle, drop_last=True, seed=seed)
        return cls(train, DataLoader(batchers[1], wanted, seed=seed), reader=reader)

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
    def task(self) -> Task[Any]:
        """What is learned."""
        if not hasattr(self.train.dataset, "task"):
            raise InputError(
                "These loaders say nothing of a task, so there is no loss: build them with a DataBlock and its blocks."
            )
        task: Task[Any] = self.train.dataset.task
        return task

    @property
    def vocab(self) -> L[str]:
        """The class names, in order."""
        return L(self.task.names)

    @property
    def classes(self) -> Any:
        """The class names, in order."""
        return self.vocab

    @property
    def loss_func(self) -> FlattenedLoss:
        """The task's loss."""
        return FlattenedLoss(self.task.loss, self.task.loss_name)

    @property
    def pipeline(self) -> Pipeline:
        """What happens to an image."""
        return _images(self.train).pipeline

    @property
    def preparation(self) -> Preparation:
        """How images are prepared in validation and in service."""
        return self.pipeline.preparation

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        return self.train.batcher.device

    @property
    def n_threads(self) -> int | None:
        """How many of torch's threads help a training step; None is all."""
        return None

    @property
    def loaders(self) -> Sequence[DataLoader]:
        """Training, then validation."""
        return self.train, self._valid

    def normalised(self, statistics: Statistics) -> DataLoaders:
        """Return the same loaders with statistics for their images, unless they have their own."""
        train, valid = (loader.over(_images(loader).normalised(statistics)) for loader in self)
        return DataLoaders(train, valid, reader=self._reader)

    def in_place_of(self, other: DataLoaders) -> DataLoaders:
        """Return the same loaders, normalised like others of the same task.

        Raises:
            InputError: the task is another one.
        """
        ours, theirs = ((dls.task.kind, ", ".join(dls.task.names)[:200]) for dls in (self, other))
        if (self.task.kind, self.task.names) != (other.task.kind, other.task.names):
            raise InputError(
                f"The new loaders are for another task: {ours[0]} of {ours[1]}; this model answers {theirs[0]} of "
                f"{theirs[1]}. Build the data block with vocab=dls.vocab, or make a new learner."
            )
        return self.normalised(other.preparation.statistics)

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
        """Show items of a training batch with their labels."""
        self.train.show_batch(max_n, nrows=nrows, ncols=ncols, figsize=figsize)

    def test_dl(self, items: Any, *, with_labels: bool = False) -> DataLoader:
        """Return a loader for new items, prepared as in validation.

        Args:
            items: a data frame, files, or whatever the data block was given items from.
            with_labels: read labels too; without, targets say nothing.
        """
        if self._reader is None:
            raise InputError("These loaders were not made by a DataBlock: they cannot read new items.")
        batcher = _images(self.train).over(self._reader(items, with_labels))
        return DataLoader(batcher, self._valid.batch_size)

    def check(self) -> Audit:
        """Audit labels, split and every image; see `foveal.audit.checks`."""
        return audit_datasets(Datasets.of(self.train.dataset, self._valid.dataset))

    def __iter__(self) -> Iterator[DataLoader]:
        return iter(self.loaders)

    def __getitem__(self, index: int) -> DataLoader:
        return self.loaders[index]


def _images(loader: DataLoader) -> ImageBatcher:
    if not isinstance(loader.batcher, ImageBatcher):
        raise InputError("These loaders carry no images: build them with a DataBlock and its blocks.")
    return loader.batcher


def audit_datasets(datasets: Datasets) -> Audit:
    """Audit both sides of a split of images."""
    items = [
        Item(Path(name_of(image)), dataset.label(at), side, name_of(image))
        for dataset, side in ((datasets.train, False), (datasets.valid, True))
        for at, image in enumerate(dataset.images)
    ]
    return audit(Source("data block", datasets.train.task.kind, items))


def without_bad_images(datasets: Datasets) -> Datasets:
    """Leave out images that cannot be used, and warn of each of them by name, with their number.

    Raises:
        InputError: nothing is left of a side.
    """
    found = audit_datasets(datasets)
    bad, names = found.unusable, found.bad_images
    if not bad:
        return datasets
    lines = "\n".join(f"  {finding.value}" for finding in bad[:_LISTED]) + ("\n  …" if len(bad) > _LISTED else "")
    warnings.warn(f"{len(bad)} images cannot be used and are left out:\n{lines}", stacklevel=3)
    sides = []
    for side in (datasets.train, datasets.valid):
        kept = [at for at, image in enumerate(side.images) if Path(name_of(image)) not in names]
        if not kept:
            raise InputError("No image of one side of the split can be used.")
        sides.append(side.subset(kept))
    return Datasets.of(*sides)
