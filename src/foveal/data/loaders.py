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
from foveal.core.arguments import checked_methods, is_whole
from foveal.core.errors import InputError
from foveal.core.listing import L
from foveal.core.warn import warn
from foveal.data.auditing import audit_datasets
from foveal.data.batchers import Batcher, ImageBatcher, TupleBatcher, image_batcher
from foveal.data.batches import Item, Parts
from foveal.data.datasets import Dataset, Datasets, ImageDataset
from foveal.data.loader import DataLoader, check_batch_size
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
    """The loaders of a training and a validation side, and what they share: what a `Learner` learns from.

    A `DataBlock` or `ImageDataLoaders` makes them of images. Of two loaders of your own, torch's for instance, make
    them with `DataLoaders(train, valid)`. `dls.train` and `dls[0]` are the loader of training, `dls.valid` and `dls[1]`
    that of validation.

    Attributes:
        path: the folder of the data, as given to `DataBlock.dataloaders(source, path)`; where a learner saves.
        learner: "module:class" of what `Learner(dls, model)` makes for them, where that is no `Learner` of images.

    Examples:
        >>> from foveal.vision.all import *
        >>> path = untar_data(URLs.SAMPLE_PETS)
        >>> dls = ImageDataLoaders.from_name_func(
        ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> [len(side.dataset) for side in dls], dls.bs, dls.c, dls.vocab, dls.loss_func
        ([24, 6], 4, 2, (#2) [False,True], FlattenedLoss of CrossEntropyLoss())
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
            train: of the training side: a loader, or anything that yields batches (inputs, targets) and has a length,
                torch's `DataLoader` for instance.
            valid: of the validation side, likewise.
            path: where a learner saves.
            device: where batches go; as the loaders say by default.
            reader: turns new items into a dataset, for `test_dl`.

        Raises:
            InputError: a loader cannot be iterated over, or has no length.
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
        """Return the loaders of two datasets.

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

        Examples:
            >>> from foveal.vision.all import *
            >>> sides = Datasets(L.range(10), [[lambda x: x, float], [lambda x: x % 2]], splits=(L.range(8), [8, 9]))
            >>> dls = DataLoaders.from_dsets(sides, bs=4, shuffle=False)
            >>> dls.one_batch()
            (tensor([0., 1., 2., 3.]), tensor([0, 1, 0, 1]))
        """
        n_train, n_batch = len(datasets.train), check_batch_size(batch_size or bs)
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
        """The loader of the validation side.

        Raises:
            InputError: there is no validation side.

        Examples:
            >>> from foveal.vision.all import *
            >>> list(DataLoaders(DataLoader([1, 2, 3]), DataLoader([4, 5])).valid)
            [(tensor([4, 5]),)]
        """
        if not self._valid.n:
            raise InputError("There is no validation side: the datasets were made without a split.")
        return self._valid

    @property
    def bs(self) -> int:
        """The batch size of training.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoaders(DataLoader([1, 2, 3], 2), DataLoader([4, 5], 2)).bs
            2
        """
        return self.train.batch_size

    @property
    def train_ds(self) -> Item:
        """The dataset of the training side.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> dls.train_ds[0]
            (PILImage mode=RGB size=..., TensorCategory(...))
        """
        return self.train.dataset

    @property
    def valid_ds(self) -> Item:
        """The dataset of the validation side.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoaders(DataLoader([1, 2, 3]), DataLoader([4, 5])).valid_ds
            [4, 5]
        """
        return self.valid.dataset

    @property
    def dataset(self) -> Item:
        """The dataset of the training side; another name for `train_ds`.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoaders(DataLoader([1, 2, 3]), DataLoader([4, 5])).dataset
            [1, 2, 3]
        """
        return self.train.dataset

    @property
    def items(self) -> Item:
        """The items of the training side: files, or rows of its table.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> len(dls.items), dls.items[0].suffix
            (24, '.jpg')
        """
        return self.train.items

    @property
    def c(self) -> int:
        """How many numbers a model returns for an item: the number of classes, where there are classes.

        Raises:
            InputError: the loaders have no task, see `task`.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> dls.c
            2
        """
        return self.task.n_outputs

    def new(self, *, bs: int | None = None, sampling: Sampling | None = None, **options: Item) -> Self:
        """Return the same loaders, but for the batch size and what else `DataLoader.new` takes.

        Args:
            bs: batch size of both sides.
            sampling: of the training side, see `DataLoader`; validation is never sampled.
            options: of both loaders.

        Raises:
            InputError: as of `DataLoader`.

        Examples:
            >>> from foveal.vision.all import *
            >>> dls = DataLoaders(DataLoader(L.range(8), 4), DataLoader(L.range(2), 4))
            >>> dls.new(bs=2).bs
            2
        """
        train = self.train.new(bs=bs, sampling=sampling, **options)
        valid = self._valid.new(bs=bs, **options)
        return type(self)(train, valid, path=self.path, reader=self._reader)

    def to(self, device: torch.device | str) -> Self:
        """Return these loaders, whose batches go to a device from now on.

        Args:
            device: torch's, or its name.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoaders(DataLoader([1, 2]), DataLoader([3])).to("cpu").device
            device(type='cpu')
        """
        for loader in self.loaders:
            loader.to(device)
        return self

    def cuda(self, device: torch.device | str = "cuda") -> Self:
        """Return these loaders, whose batches go to a GPU from now on.

        Args:
            device: which one, where there are several.
        """
        return self.to(device)

    def cpu(self) -> Self:
        """Return these loaders, whose batches stay on the CPU from now on.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoaders(DataLoader([1, 2]), DataLoader([3])).cpu().device
            device(type='cpu')
        """
        return self.to("cpu")

    @property
    def learner_class(self) -> str | None:
        """What `Learner(dls, model)` makes, as "module:class"; None for a learner of images.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoaders(DataLoader([1, 2, 3]), DataLoader([4, 5])).learner_class
            'foveal.learner.plain:PlainLearner'
        """
        return self.learner or (None if isinstance(self.train.dataset, Dataset) else _PLAIN)

    @property
    def task(self) -> AnyTask:
        """What is learned: the task that the blocks of a `DataBlock` led to.

        Raises:
            InputError: the loaders were made without blocks.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> dls.task.kind, dls.task.decode_target(tensor(1))
            ('single-label', True)
        """
        dataset = self.train.dataset
        if not isinstance(dataset, Dataset):
            raise InputError(
                "These loaders say nothing of a task, so there is no loss: build them with a DataBlock and its blocks, "
                "or give the learner `loss_func`."
            )
        return dataset.task

    @property
    def mix(self) -> Callable[[Tensor, Tensor, Tensor], Tensor | None] | None:
        """The task's way to mix the targets of two images, see `Task.mix`; None without a task.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoaders(DataLoader([1, 2, 3]), DataLoader([4, 5])).mix is None
            True
        """
        return self.task.mix if isinstance(self.train.dataset, Dataset) else None

    @property
    def vocab(self) -> Classes:
        """The classes, in order, as they stood in the source; numbers where all of them are numbers.

        Raises:
            InputError: the loaders have no task, see `task`.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> dls.vocab, dls.vocab.o2i
            ((#2) [False,True], {False: 0, True: 1})
        """
        return classes_of(self.task)

    @property
    def classes(self) -> Classes | Mapping[str, L[Item]]:
        """The classes, in order; of tables with several vocabularies, each by the name of its column.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> dls.classes
            (#2) [False,True]
        """
        return self.vocab

    @property
    def loss_func(self) -> FlattenedLoss:
        """The task's loss, as a function of a model's outputs and of encoded labels.

        Raises:
            InputError: the loaders have no task, see `task`.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> dls.loss_func(tensor([[0.0, 0.0]]), tensor([1]))
            tensor(0.6931)
        """
        return FlattenedLoss(self.task.loss, self.task.loss_name)

    def keep_decoded(self, decoded: DecodedImages | None = None) -> Self:
        """Return these loaders, which decode each image once for all epochs and runs, and keep its pixels in files.

        It pays where images are large or epochs many (`decoding_cost`); the samples are bit-identical. Images that
        functions of yours change first (`item_tfms`), and rows of tables, are not kept.

        Args:
            decoded: where they are kept; 4 GiB under `FOVEAL_HOME` by default, or FOVEAL_DECODED_MIB.

        Raises:
            InputError: the loaders carry no images.

        Examples:
            >>> import tempfile
            >>> from foveal.vision.all import *
            >>> from foveal.images.decoded import DecodedImages
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> before = dls.valid.one_batch()[0]
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     after = dls.keep_decoded(DecodedImages(Path(folder), 2**24)).valid.one_batch()[0]
            >>> bool((after == before).all())
            True
        """
        kept = decoded or DecodedImages.usual()
        for loader in self.loaders:
            batcher = image_batcher(loader.batcher)
            loader.batcher = replace(batcher, pipeline=replace(batcher.pipeline, decoded=kept))
        return self

    @property
    def pipeline(self) -> Pipeline:
        """The transforms of images, sorted by kind.

        Raises:
            InputError: the loaders carry no images.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, files, lambda name: name[0].isupper(), bs=4, item_tfms=Resize(32), batch_tfms=Flip())
            >>> dls.pipeline.input_size_hw, dls.pipeline.moves
            ((32, 32), (Flip(p=0.5, vertical=False),))
        """
        return image_batcher(self.train.batcher).pipeline

    @property
    def preparation(self) -> Preparation:
        """How images are prepared in validation: resize step and statistics.

        Where no `Normalize` is among the transforms, a model of `vision_learner` normalises its input itself.

        Raises:
            InputError: the loaders carry no images.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), bs=4, item_tfms=Resize(32),
            ...     batch_tfms=Normalize.from_stats(*imagenet_stats))
            >>> dls.preparation.statistics.mean
            (0.485, 0.456, 0.406)
        """
        return self.pipeline.preparation

    @property
    def device(self) -> torch.device:
        """The device that batches go to.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoaders(DataLoader([1, 2, 3]), DataLoader([4, 5]), device="cpu").device
            device(type='cpu')
        """
        return self.train.batcher.device

    @property
    def n_threads(self) -> int | None:
        """The number of torch's threads for a training step; None is all of them.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoaders(DataLoader([1, 2, 3]), DataLoader([4, 5])).n_threads is None
            True
        """
        return None

    @property
    def loaders(self) -> Sequence[DataLoader]:
        """Both loaders: that of training, then that of validation.

        Examples:
            >>> from foveal.vision.all import *
            >>> [loader.n for loader in DataLoaders(DataLoader([1, 2, 3]), DataLoader([4, 5])).loaders]
            [3, 2]
        """
        return self.train, self._valid

    def normalised_like(self, other: DataLoaders) -> DataLoaders:
        """Return the same loaders, normalised like others of the same task; print a line where they have their own way.

        Args:
            other: the loaders that a model was made for.

        Raises:
            InputError: the task is another one, or the images differ in their number of channels.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files, is_big = get_image_files(path)[::8], lambda name: name[0].isupper()
            >>> dls = ImageDataLoaders.from_name_func(path, files, is_big, item_tfms=Resize(32), bs=4)
            >>> other = dls.from_dsets(
            ...     Datasets.of(dls.train_ds, dls.valid_ds), item_tfms=Resize(32), bs=4,
            ...     batch_tfms=Normalize.from_stats(*imagenet_stats))
            >>> dls.normalised_like(other).preparation.statistics.mean
            (0.485, 0.456, 0.406)
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
        """Return the first batch of training; of images (images float32 [B, C, h, w], encoded labels [B, ...]).

        Raises:
            InputError: there are no items.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> images, targets = dls.one_batch()
            >>> images.shape, targets.dtype
            (torch.Size([4, 3, 32, 32]), torch.int64)
        """
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
        """Show items of a training batch with their labels, images as the model sees them; print other items.

        Args:
            max_n: how many items, where neither `nrows` nor `ncols` is given.
            nrows: rows of the grid; as many as suit by default.
            ncols: columns of the grid; as many as suit by default.
            figsize: (width, height) in inches; as large as suits by default.
            unique: show one item again and again, each time with other random draws.

        Raises:
            ImageError: an image is refused.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> dls.show_batch(nrows=1, ncols=3)
            >>> len(plt.gcf().axes)
            3
            >>> plt.close()
        """
        self.train.show_batch(max_n, nrows=nrows, ncols=ncols, figsize=figsize, unique=unique)

    def decode(self, batch: Parts) -> Parts:
        """Return a batch as it was before normalisation, as `DataLoader.decode` does.

        Args:
            batch: as `one_batch` returns it.

        Examples:
            >>> from foveal.vision.all import *
            >>> dls = DataLoaders(DataLoader([1, 2, 3]), DataLoader([4, 5]))
            >>> dls.decode(dls.one_batch())  # nothing was normalised
            (tensor([1, 2, 3]),)
        """
        return self.train.decode(batch)

    def decode_batch(self, batch: Parts, max_n: int = 9) -> L[Parts]:
        """Return the items of a batch one by one, with labels as a person would write them; see `DataLoader`.

        Args:
            batch: as `one_batch` returns it.
            max_n: the most items.

        Examples:
            >>> from foveal.vision.all import *
            >>> dls = DataLoaders(DataLoader([(1, "cat"), (2, "dog")]), DataLoader([(3, "cat")]))
            >>> dls.decode_batch(dls.one_batch())
            (#2) [(tensor(1), 'cat'),(tensor(2), 'dog')]
        """
        return self.train.decode_batch(batch, max_n)

    def test_dl(self, items: Item, *, with_labels: bool = False) -> DataLoader:
        """Return a loader for new items, prepared as in validation.

        Args:
            items: a data frame, files, or another source that the data block reads.
            with_labels: read labels too; without them a batch is (inputs,).

        Raises:
            InputError: the loaders were not made by a data block.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, files[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> [part.shape for part in dls.test_dl(files[:3]).one_batch()]
            [torch.Size([3, 3, 32, 32])]
        """
        if self._reader is None:
            raise InputError("These loaders were not made by a DataBlock: they cannot read new items.")
        batcher = image_batcher(self.train.batcher).with_dataset(self._reader(items, with_labels))
        loader = DataLoader(batcher, self._valid.batch_size)
        loader.labelled = with_labels
        return loader

    def check(self) -> Audit:
        """Audit labels, split and every image before training; see `foveal.audit.checks`.

        Returns:
            What was found: errors, warnings and notes, and facts about the source; it prints as a summary.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::40], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> dls.check().errors
            []
        """
        return audit_datasets(Datasets.of(self.train.dataset, self._valid.dataset))

    def __repr__(self) -> str:
        n_train, n_valid = (loader.n for loader in self.loaders)
        return f"{type(self).__name__}({n_train:,} items to train on, {n_valid:,} to validate, bs={self.bs})"

    def __iter__(self) -> Iterator[DataLoader]:
        return iter(self.loaders)

    def __getitem__(self, index: int) -> DataLoader:
        if not is_whole(index) or not -2 <= index < 2:
            raise InputError(f"Loaders have two sides, 0 to train on and 1 to validate; got {index!r}.")
        return self.loaders[index]
