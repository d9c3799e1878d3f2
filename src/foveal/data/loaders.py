"""Loaders: those of a training and a validation side, and what they share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from foveal.audit.checks import Audit
from foveal.core import runtime
from foveal.core.arguments import checked_methods
from foveal.core.errors import InputError
from foveal.core.listing import L
from foveal.core.warn import warn
from foveal.data.auditing import audit_datasets
from foveal.data.batchers import Batcher, ImageBatcher, TupleBatcher, image_batcher
from foveal.data.batches import Item, Parts
from foveal.data.datasets import Dataset, Datasets, ImageDataset
from foveal.data.loader import DataLoader
from foveal.data.measured import measured_statistics
from foveal.data.pixel_ops import OfBatch, refuse_moving
from foveal.data.plain import PlainLoader
from foveal.data.samples import Pipeline, Transforms
from foveal.data.sampling import Sampling
from foveal.data.summary import with_size
from foveal.images.decoded import DecodedImages
from foveal.images.prepare import Preparation
from foveal.losses import FlattenedLoss
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of
from foveal.tasks.vocab import Classes, classes_of

Reader = Callable[[Item, bool], ImageDataset]
"""Turns new items, of whatever kind the data block takes, into a dataset; the flag says whether to read labels."""
_PLAIN = "foveal.learner.plain:PlainLearner"


@checked_methods
class DataLoaders:
    """The loaders of a training and a validation side, and what they share.

    Attributes:
        path: the folder of the data, as `DataBlock.dataloaders(source, path)` was told; where a learner saves.
        learner: "module:class" of what `Learner(dls, model)` makes for them, where that is no `Learner` of images.
    """

    learner: ClassVar[str | None] = None
    path: Path = Path()

    def __init__(
        self,
        train: DataLoader | Iterable[Item],
        valid: DataLoader | Iterable[Item],
        *,
        path: str | os.PathLike[str] = ".",
        device: torch.device | str | None = None,
        reader: Reader | None = None,
    ) -> None:
        """Put two loaders together.

        Args:
            train: of the training side: a loader, or anything that yields batches (inputs, targets), torch's
                `DataLoader` for instance.
            valid: of the validation side, likewise.
            path: where a learner saves.
            device: where batches go; as the loaders say by default.
            reader: turns new items into a dataset, for `test_dl`.
        """
        self.train, self._valid = (
            loader if isinstance(loader, DataLoader) else PlainLoader(loader) for loader in (train, valid)
        )
        self.path, self._reader = Path(path), reader
        if device is not None:
            self.to(device)

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
        path: str | os.PathLike[str] = ".",
        reader: Reader | None = None,
        sampling: Sampling = "uniform",
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
            path: see `DataLoaders`.
            reader: see `DataLoaders`.
            sampling: how often items of the training side are drawn, see `DataLoader`.

        Raises:
            InputError: no transform sets the size of images, or an operation would leave points behind.
        """
        n_train, n_batch = len(datasets.train), batch_size or bs
        batchers: list[Batcher] = [TupleBatcher(datasets.train), TupleBatcher(datasets.valid)]
        if isinstance(datasets.train, ImageDataset):
            pipeline = Pipeline.of(item_tfms, batch_tfms, datasets.train.n_channels)
            pipeline = with_size(pipeline, datasets.train, datasets.valid)
            if kind_of(datasets.train.task).has_points:
                changes = [OfBatch(change) for change in pipeline.changes]
                refuse_moving([*changes, *pipeline.operations], pipeline.n_channels)
            target = torch.device(device) if device is not None else runtime.default_device()
            if pipeline.measures:
                pipeline = pipeline.with_statistics(measured_statistics(pipeline, datasets.train, num_workers))
            batchers = [ImageBatcher(side, pipeline, num_workers, target) for side in (datasets.train, datasets.valid)]
        if n_train < n_batch:
            warn(
                f"There are {n_train} items to train on, fewer than a batch of {n_batch}: batches shrink to {n_train}."
            )
        n_batch_train = min(n_batch, n_train) or n_batch
        train = DataLoader(batchers[0], n_batch_train, shuffle, drop_last=True, seed=seed, sampling=sampling)
        return cls(train, DataLoader(batchers[1], n_batch, seed=seed), path=path, reader=reader)

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
    def train_ds(self) -> Item:
        """The dataset of the training side."""
        return self.train.dataset

    @property
    def valid_ds(self) -> Item:
        """The dataset of the validation side."""
        return self.valid.dataset

    @property
    def dataset(self) -> Item:
        """The dataset of the training side."""
        return self.train.dataset

    @property
    def items(self) -> Item:
        """The items of the training side: files, or rows of its table."""
        return self.train.items

    @property
    def c(self) -> int:
        """How many numbers a model returns for an item: the number of classes, where there are classes."""
        return self.task.n_outputs

    def new(self, *, bs: int | None = None, sampling: Sampling | None = None, **options: Item) -> Self:
        """Return the same loaders, but for the batch size and what else `DataLoader.new` takes.

        Args:
            bs: batch size.
            sampling: of the training side, see `DataLoader`; validation is never sampled.
            options: of both loaders.
        """
        train = self.train.new(bs=bs, sampling=sampling, **options)
        valid = self._valid.new(bs=bs, **options)
        return type(self)(train, valid, path=self.path, reader=self._reader)

    def to(self, device: torch.device | str) -> Self:
        """Let batches go to a device from now on; return the loaders."""
        for loader in self.loaders:
            loader.to(device)
        return self

    def cuda(self, device: torch.device | str = "cuda") -> Self:
        """Let batches go to a GPU from now on; return the loaders."""
        return self.to(device)

    def cpu(self) -> Self:
        """Let batches stay on the CPU from now on; return the loaders."""
        return self.to("cpu")

    @property
    def learner_class(self) -> str | None:
        """What `Learner(dls, model)` makes, as "module:class"; None for a learner of images."""
        return self.learner or (None if isinstance(self.train.dataset, Dataset) else _PLAIN)

    @property
    def task(self) -> AnyTask:
        """What is learned."""
        dataset = self.train.dataset
        if not isinstance(dataset, Dataset):
            raise InputError(
                "These loaders say nothing of a task, so there is no loss: build them with a DataBlock and its blocks, "
                "or give the learner `loss_func`."
            )
        return dataset.task

    @property
    def mix(self) -> Callable[[Tensor, Tensor, Tensor], Tensor | None] | None:
        """The task's way to mix two targets; None without a task."""
        return self.task.mix if isinstance(self.train.dataset, Dataset) else None

    @property
    def vocab(self) -> Classes:
        """The classes, in order, as they stood in the source; numbers where all are."""
        return classes_of(self.task)

    @property
    def classes(self) -> Classes | Mapping[str, L[Item]]:
        """The classes, in order; of tables with several vocabularies, each by the name of its column."""
        return self.vocab

    @property
    def loss_func(self) -> FlattenedLoss:
        """The task's loss."""
        return FlattenedLoss(self.task.loss, self.task.loss_name)

    def keep_decoded(self, decoded: DecodedImages | None = None) -> Self:
        """Decode each image once, for all epochs and runs, and keep its pixels in files; return the loaders.

        It pays where images are large or epochs many (`decoding_cost`); the samples are bit-identical. Images
        that functions of yours change first (`item_tfms`), and rows of tables, are not kept.

        Args:
            decoded: where they are kept; 4 GiB under `FOVEAL_HOME` by default, or FOVEAL_DECODED_MIB.
        """
        kept = decoded or DecodedImages.usual()
        for loader in self.loaders:
            batcher = image_batcher(loader.batcher)
            loader.batcher = replace(batcher, pipeline=replace(batcher.pipeline, decoded=kept))
        return self

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
        if self.learner_class == other.learner_class == _PLAIN:
            return self
        ours, theirs = ((dls.task.kind, ", ".join(dls.task.names)[:200]) for dls in (self, other))
        if (self.task.kind, self.task.names) != (other.task.kind, other.task.names):
            raise InputError(
                f"The new loaders are for another task: {ours[0]} of {ours[1]}; this model answers {theirs[0]} of "
                f"{theirs[1]}. Build the data block with vocab=dls.vocab, or make a new learner."
            )
        train, valid = (loader.normalised_like(other.train) for loader in self)
        return DataLoaders(train, valid, path=self.path, reader=self._reader)

    def one_batch(self) -> Parts:
        """Return the first training batch."""
        return self.train.one_batch()

    def show_batch(
        self,
        max_n: int = 9,
        *,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
        unique: bool = False,
    ) -> None:
        """Show items of a training batch with their labels.

        Args:
            max_n: how many items, where `nrows` and `ncols` do not say.
            nrows: rows of the grid; as many as suit by default.
            ncols: columns of the grid; as many as suit by default.
            figsize: (width, height) in inches; as large as suits by default.
            unique: show one item again and again, each time with other random draws.
        """
        self.train.show_batch(max_n, nrows=nrows, ncols=ncols, figsize=figsize, unique=unique)

    def decode(self, batch: Parts) -> Parts:
        """See `DataLoader.decode`."""
        return self.train.decode(batch)

    def decode_batch(self, batch: Parts, max_n: int = 9) -> L[Parts]:
        """Return the items of a batch one by one, with labels as a person would write them.

        Args:
            batch: as `one_batch` returns it.
            max_n: the most items; points are in pixels of the image that is returned.
        """
        return self.train.decode_batch(batch, max_n)

    def test_dl(self, items: Item, *, with_labels: bool = False) -> DataLoader:
        """Return a loader for new items, prepared as in validation.

        Args:
            items: a data frame, files, or another source that the data block reads.
            with_labels: read labels too; without them a batch is (inputs,).

        Raises:
            InputError: the loaders were not made by a data block.
        """
        if self._reader is None:
            raise InputError("These loaders were not made by a DataBlock: they cannot read new items.")
        batcher = image_batcher(self.train.batcher).with_dataset(self._reader(items, with_labels))
        loader = DataLoader(batcher, self._valid.batch_size)
        loader.labelled = with_labels
        return loader

    def check(self) -> Audit:
        """Audit labels, split and every image; see `foveal.audit.checks`."""
        return audit_datasets(Datasets.of(self.train.dataset, self._valid.dataset))

    def __iter__(self) -> Iterator[DataLoader]:
        return iter(self.loaders)

    def __getitem__(self, index: int) -> DataLoader:
        return self.loaders[index]
