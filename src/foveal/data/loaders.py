"""Loaders: the items of a dataset in batches, in an order that only the seed and the epoch decide."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import torch

from foveal import processes, runtime
from foveal.audit.checks import Audit, audit
from foveal.canvas import grid
from foveal.data.batches import Batch
from foveal.data.datasets import Dataset, Datasets
from foveal.data.feeds import Feed, PictureFeed, TupleFeed
from foveal.data.operations import refuse_moving
from foveal.data.samples import Pipeline
from foveal.data.summary import require_size
from foveal.errors import InputError
from foveal.image.decode import name_of
from foveal.image.prepare import Preparation, Statistics
from foveal.image.rows import windows_of
from foveal.listing import L, Path
from foveal.losses import FlattenedLoss
from foveal.rng import check_seed, order_for, seed_for, windowed_order
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
        self.feed: Feed = dataset if hasattr(dataset, "batches") else TupleFeed(dataset)
        self.batch_size = batch_size if bs is None else bs
        if self.batch_size < 1:
            raise InputError(f"A batch holds at least one item; got a batch size of {self.batch_size}.")
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, check_seed(seed)
        self._passes = count()
        self._windows: tuple[Sequence[int], int] | None = None

    @property
    def dataset(self) -> Any:
        """What the items come from."""
        return self.feed.dataset

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
            PictureError: a picture is refused.
        """
        return self._batches(self.groups(epoch)[first:], epoch)

    def parts(self, *, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield this process's part of each batch of an epoch, and name torch's random state after part and batch.

        Raises:
            InputError: there are fewer items in a batch than processes.
        """
        groups = self.groups(epoch)
        n = processes.count()
        if n > min(map(len, groups), default=n):
            raise InputError(f"A batch of {len(groups[0])} cannot be shared by {n} processes: take a larger `bs`.")
        for step, batch in enumerate(self._batches([processes.part(group) for group in groups[first:]], epoch), first):
            if n > 1:
                torch.manual_seed(seed_for(self.seed, epoch, step * n + processes.rank()))
            yield batch

    def dealt(self) -> Iterator[Batch]:
        """Yield the batches of one pass that this process is dealt: the first, then every as many as there are."""
        return self._batches(processes.dealt(self.groups(0)), 0)

    def _batches(self, groups: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        return self.feed.batches(groups, (self.seed, epoch) if self.shuffle else None)

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
            self._windows = windows_of(getattr(self.dataset, "pictures", ())) or ((), 0)
        groups, at_once = self._windows
        found = windowed_order(self.seed, epoch, groups, at_once) if groups else order_for(self.seed, epoch, self.n)
        order: list[int] = found.tolist()
        return order

    def over(self, feed: Feed) -> DataLoader:
        """Return the same loader over another feed."""
        return DataLoader(feed, self.batch_size, self.shuffle, drop_last=self.drop_last, seed=self.seed)

    def show_batch(
        self,
        max_n: int = 9,
        *,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> None:
        """Show items of a batch with their labels: pictures as the model sees them."""
        n, rows = grid(max_n, nrows, ncols)
        batch = next(self.batches(epoch=next(self._passes)))
        self.feed.show(batch, max_n=n, rows=rows, figsize=figsize)


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
            item_tfms: for pictures: a fit such as `Resize(224)`, and other transforms.
            batch_tfms: more of them.
            seed: decides the order of the items and every random draw.
            num_workers: threads that load pictures (0: none); one a core by default.
            device: where batches go; the best at hand by default.
            reader: see `DataLoaders`.
        """
        n_train, wanted = len(datasets.train), batch_size or bs
        feeds: list[Feed] = [TupleFeed(datasets.train), TupleFeed(datasets.valid)]
        if isinstance(datasets.train, Dataset):
            pipeline = Pipeline.of(item_tfms, batch_tfms)
            require_size(pipeline, datasets.train)
            if datasets.train.task.kind == Points.kind:
                refuse_moving(pipeline.operations)
            where = torch.device(device) if device is not None else runtime.default_device()
            feeds = [PictureFeed(side, pipeline, num_workers, where) for side in (datasets.train, datasets.valid)]
        if n_train < wanted:
            warnings.warn(
                f"There are {n_train} items to train on, fewer than a batch of {wanted}: batches shrink to {n_train}.",
                stacklevel=3,
            )
        train = DataLoader(feeds[0], min(wanted, n_train) or wanted, shuffle, drop_last=True, seed=seed)
        return cls(train, DataLoader(feeds[1], wanted, seed=seed), reader=reader)

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
        """What happens to a picture."""
        return _pictures(self.train).pipeline

    @property
    def preparation(self) -> Preparation:
        """How pictures are prepared in validation and in service."""
        return self.pipeline.preparation

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        return self.train.feed.device

    @property
    def n_threads(self) -> int | None:
        """How many of torch's threads help a training step; None is all."""
        return None

    @property
    def loaders(self) -> Sequence[DataLoader]:
        """Training, then validation."""
        return self.train, self._valid

    def normalised(self, statistics: Statistics) -> DataLoaders:
        """Return the same loaders with statistics for their pictures, unless they have their own."""
        train, valid = (loader.over(_pictures(loader).normalised(statistics)) for loader in self)
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
        feed = _pictures(self.train).over(self._reader(items, with_labels))
        return DataLoader(feed, self._valid.batch_size)

    def check(self) -> Audit:
        """Audit labels, split and every picture; see `foveal.audit.checks`."""
        return audit_datasets(Datasets.of(self.train.dataset, self._valid.dataset))

    def __iter__(self) -> Iterator[DataLoader]:
        return iter(self.loaders)

    def __getitem__(self, index: int) -> DataLoader:
        return self.loaders[index]


def _pictures(loader: DataLoader) -> PictureFeed:
    if not isinstance(loader.feed, PictureFeed):
        raise InputError("These loaders carry no pictures: build them with a DataBlock and its blocks.")
    return loader.feed


def audit_datasets(datasets: Datasets) -> Audit:
    """Audit both sides of a split of pictures."""
    items = [
        Item(Path(name_of(picture)), dataset.label(at), side, name_of(picture))
        for dataset, side in ((datasets.train, False), (datasets.valid, True))
        for at, picture in enumerate(dataset.pictures)
    ]
    return audit(Source("data block", datasets.train.task.kind, items))


def without_bad_pictures(datasets: Datasets) -> Datasets:
    """Leave out pictures that cannot be used, and warn of each of them by name, with their number.

    Raises:
        InputError: nothing is left of a side.
    """
    found = audit_datasets(datasets)
    bad, names = found.unusable, found.bad_pictures
    if not bad:
        return datasets
    lines = "\n".join(f"  {finding.value}" for finding in bad[:_LISTED]) + ("\n  …" if len(bad) > _LISTED else "")
    warnings.warn(f"{len(bad)} pictures cannot be used and are left out:\n{lines}", stacklevel=3)
    sides = []
    for side in (datasets.train, datasets.valid):
        kept = [at for at, picture in enumerate(side.pictures) if Path(name_of(picture)) not in names]
        if not kept:
            raise InputError("No picture of one side of the split can be used.")
        sides.append(side.subset(kept))
    return Datasets.of(*sides)
