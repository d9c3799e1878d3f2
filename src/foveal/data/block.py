"""The data block: a plan that turns a source into datasets and loaders.

A *block* says what kind of thing one part of an item is. The last one becomes the task, bound to what the training
side taught (its vocabulary).
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from foveal import _moved
from foveal.audit.checks import Audit
from foveal.core import runtime
from foveal.core.arguments import checked_methods
from foveal.core.errors import FovealError, InputError, NothingToLearnError, UnknownNameError
from foveal.data.auditing import audit_datasets, without_bad_images
from foveal.data.datasets import Datasets, ImageDataset, Tuples
from foveal.data.image_block import ImageBlock
from foveal.data.labels import ColReader, Getter, Getters, composed
from foveal.data.loaders import DataLoaders
from foveal.data.samples import Pipeline, Transforms
from foveal.data.sampling import Sampling
from foveal.data.splits.rows import Rows, rows_of
from foveal.data.splits.splitters import MaskSplitter, RandomSplitter, Splitter, check_split
from foveal.data.summary import walk
from foveal.images.channels import RGB
from foveal.images.decode import name_of
from foveal.sources.items import Item, Source
from foveal.tasks.base import AnyTask
from foveal.tasks.encoding import encode_all, encode_known, no_labels
from foveal.tasks.kinds import TASKS, AnyKind, SourceLabels, TargetBlock
from foveal.tasks.vocab import ClassLabel

OnBad = Literal["stop", "skip"]
PathLike = str | os.PathLike[str]


@checked_methods
class DataBlock:
    r"""A plan for data: what the parts of an item are, how they are found, split, resized and augmented.

    A plan reads nothing by itself; `dataloaders(source)` carries it out. It can be used for several sources.

    Attributes:
        transforms: `item_tfms` and `batch_tfms`.

    Examples:
        >>> from foveal.vision.all import *
        >>> pets = DataBlock(
        ...     blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, splitter=RandomSplitter(seed=42),
        ...     get_y=using_attr(RegexLabeller(r"(.+)_\d+.jpg$"), "name"), item_tfms=Resize(32))
        >>> dls = pets.dataloaders(untar_data(URLs.SAMPLE_PETS), bs=4)
        >>> dls.one_batch()[0].shape, dls.vocab
        (torch.Size([4, 3, 32, 32]), (#8) ['Boat','House','Mushroom','Tree','balloon','flower','kite','sun'])
    """

    def __init__(
        self,
        blocks: Sequence[object] | None = None,
        *,
        get_items: Getter | None = None,
        get_x: Getters | None = None,
        get_y: Getters | None = None,
        splitter: Splitter | None = None,
        item_tfms: Transforms = None,
        batch_tfms: Transforms = None,
        getters: Sequence[Getters] | None = None,
        n_inp: int = 1,
    ) -> None:
        """Make the plan; nothing is read yet.

        Args:
            blocks: (ImageBlock, a target block), as classes or instances: `CategoryBlock`, `MultiCategoryBlock`,
                `PointBlock` or `RegressionBlock`; without, items stay what the getters find.
            get_items: a function that turns the source into items, for instance `get_image_files`; the source itself is
                a list or a table of items by default.
            get_x: a function that finds the image of an item (a row, a path, ...); the item itself by default. Of
                several functions in a list, each gets what the one before it returned.
            get_y: a function that finds the label of an item, likewise; points are (x, y) in source pixels.
            splitter: a function of all items that returns their positions for (training, validation); a random fifth is
                for validation by default.
            item_tfms: a resize step such as `Resize(224)`, and other transforms.
            batch_tfms: more of them, such as `aug_transforms()`.
            getters: `get_x` and `get_y` in one list.
            n_inp: how many of the blocks are inputs; only one can be.

        Raises:
            InputError: an argument is not of the right form, or not supported.
            UnknownNameError: there is no such argument; the message offers the nearest one.
        """
        if n_inp != 1:
            raise InputError(
                f"A model of foveal takes one input, an image; got n_inp={n_inp}. Lay the inputs side by side in one "
                "image, or train with loaders and a model of your own: Learner(DataLoaders(train, valid), model, ...)."
            )
        if getters is not None:
            if get_x is not None or get_y is not None or len(getters) != 2:
                raise InputError("`getters` is [get_x, get_y], in place of these two arguments.")
            get_x, get_y = getters
        self._n_channels = RGB
        self._target: TargetBlock | None = None
        if blocks is not None:
            self._n_channels, self._target = _channels_and_target(blocks)
        self._get_items, self._get_x, self._get_y = get_items, composed(get_x), composed(get_y)
        self._splitter = splitter or RandomSplitter()
        self.transforms = item_tfms, batch_tfms
        self._pipeline()

    def __repr__(self) -> str:
        blocks = "" if self._target is None else f"ImageBlock, {type(self._target).__name__}"
        return f"{type(self).__name__}({blocks})"

    def new(self, item_tfms: Transforms = None, batch_tfms: Transforms = None) -> DataBlock:
        """Return the same plan with these transforms in place of its own.

        Args:
            item_tfms: as of `DataBlock`; none by default.
            batch_tfms: likewise.

        Raises:
            InputError: a transform is of no known kind.

        Examples:
            >>> from foveal.vision.all import *
            >>> block = DataBlock(blocks=(ImageBlock, CategoryBlock), item_tfms=Resize(128))
            >>> block.new(item_tfms=Resize(32), batch_tfms=aug_transforms()).transforms[0]
            Resize(size=32, method='crop', pad_mode='reflection')
        """
        changed = copy.copy(self)
        changed.transforms = item_tfms, batch_tfms
        Pipeline.of(item_tfms, batch_tfms, self._n_channels)
        return changed

    @runtime.without_collecting()
    def datasets(self, source: object) -> Datasets:
        """Read a source, split it, learn the vocabulary from the training side and encode all labels once.

        Args:
            source: what `get_items`, or the splitter and the getters, take: a folder, a table, a list.

        Returns:
            The two sides as `.train` and `.valid`; an item is (image, target), the image as its file has it.

        Raises:
            InputError: something in the source is not as expected; the message names the item.

        Examples:
            >>> from foveal.vision.all import *
            >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))
            >>> block = DataBlock(blocks=(ImageBlock, CategoryBlock), get_y=lambda file: file.name[0].isupper())
            >>> sides = block.datasets(files)
            >>> len(sides.train), len(sides.valid), sides.vocab
            (192, 48, (#2) [False,True])
        """
        found = self._found(source)
        items = rows_of(found)
        train, valid = check_split(self._splitter(found), len(items))
        if self._target is None:
            slots = tuple((_Getting(getter, role),) for getter, role in self._getters)
            return Datasets.of(Tuples(items, slots, train), Tuples(items, slots, valid))
        sides = [_Side.read(items, side, *self._getters) for side in (train, valid)]
        task = _bind(self._target, sides[0].labels, sides[0].name)
        train_targets = encode_all(sides[0].labels, sides[0].name, task)
        valid_targets = encode_known(sides[1].labels, sides[1].name, task)
        targets, n_channels = (train_targets, valid_targets), self._n_channels
        return Datasets.of(*(side.dataset(of, task, n_channels) for side, of in zip(sides, targets, strict=True)))

    def summary(self, source: object) -> None:
        """Walk one item through every step and print what each step makes of it; the first thing to try when one fails.

        Args:
            source: as of `datasets`.

        Raises:
            InputError: a step fails; the message says what to add or mend.

        Examples:
            >>> from foveal.vision.all import *
            >>> image = PILImage.create(np.zeros((48, 64, 3), np.uint8))
            >>> block = DataBlock(
            ...     blocks=(ImageBlock, CategoryBlock), get_x=lambda item: image, get_y=lambda item: item,
            ...     splitter=IndexSplitter([1]), item_tfms=Resize(32))
            >>> block.summary(["cat", "cat"])
            split     1 items to train on, 1 to validate
            task      single-label, 1 outputs: cat
            ...
              sample  pixels [32, 32, 3] uint8, target 0
        """
        for line in walk(self.datasets(source), self._pipeline()):
            print(line)  # noqa: T201 -- printing is what it is for

    def check(self, source: object) -> Audit:
        """Audit labels, split and every image of a source before training; see `foveal.audit.checks`.

        Args:
            source: as of `datasets`.

        Returns:
            What was found: errors, warnings and notes, and facts about the source; it prints as a summary.

        Raises:
            InputError: something in the source is not as expected; the message names the item.

        Examples:
            >>> from foveal.vision.all import *
            >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::40]
            >>> block = DataBlock(blocks=(ImageBlock, CategoryBlock), get_y=lambda file: file.name[0].isupper())
            >>> block.check(files).errors
            []
        """
        return audit_datasets(self.datasets(source))

    def dataloaders(
        self,
        source: object,
        path: PathLike = ".",
        *,
        bs: int = 64,
        batch_size: int | None = None,
        seed: int = 0,
        num_workers: int | None = None,
        device: torch.device | str | None = None,
        on_bad: OnBad = "stop",
        sampling: Sampling = "uniform",
    ) -> DataLoaders:
        """Read a source and build the loaders of its training and its validation side.

        Args:
            source: a folder, a table, a list: what `get_items`, or the splitter and the getters, take.
            path: where a learner saves.
            bs: batch size; `batch_size` is another name for it.
            batch_size: see `bs`.
            seed: decides the order of the items and every random draw.
            num_workers: threads that load images; 0 loads them in this one, one per core by default.
            device: where batches go; the best at hand by default.
            on_bad: with "stop" an image that cannot be used stops training when its turn comes; with "skip" all are
                looked at first, and those are left out with a warning that names them.
            sampling: how often images are drawn for training: `uniform`, `balanced`, `square-root`, or a weight per
                training item; see `DataLoader`.

        Returns:
            The loaders; a batch is (images float32 [B, C, h, w], encoded labels [B, ...]).

        Raises:
            InputError: something in the source is not as expected, or no transform sets the size of images of several
                sizes; the message names the item.
            UnknownNameError: `on_bad` or `sampling` is no known name.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> block = DataBlock(
            ...     blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, item_tfms=Resize((32, 48)),
            ...     get_y=lambda file: "big" if file.name[0].isupper() else "small")
            >>> dls = block.dataloaders(path, bs=8)
            >>> [part.shape for part in dls.one_batch()], dls.vocab
            ([torch.Size([8, 3, 32, 48]), torch.Size([8])], (#2) ['big','small'])
        """
        datasets = self.datasets(source)
        if on_bad not in get_args(OnBad):
            raise UnknownNameError.of("way to treat bad images", on_bad, get_args(OnBad))
        if on_bad == "skip" and self._target:
            datasets = without_bad_images(datasets)
        item_tfms, batch_tfms = self.transforms
        return DataLoaders.from_dsets(
            datasets,
            bs=batch_size or bs,
            path=path,
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
            seed=seed,
            num_workers=num_workers,
            device=device,
            reader=partial(self._read_new, datasets.train.task) if self._target else None,
            sampling=sampling,
        )

    def weighted_dataloaders(
        self, source: object, wgts: Sequence[float] | Tensor, bs: int = 64, **options: Any
    ) -> DataLoaders:
        """Return `dataloaders(source, sampling=wgts)`, in the form of the course.

        Args:
            source: see `dataloaders`.
            wgts: how often each training item is drawn, in proportion; one per item of the training side.
            bs: batch size.
            options: see `dataloaders`.

        Raises:
            InputError: there is not one weight, a number from 0 up, per training item.

        Examples:
            >>> from foveal.vision.all import *
            >>> block = DataBlock(
            ...     blocks=(ImageBlock, CategoryBlock), get_x=lambda label: np.zeros((32, 32, 3), np.uint8),
            ...     get_y=lambda label: label, splitter=IndexSplitter([3]), item_tfms=Resize(32))
            >>> dls = block.weighted_dataloaders(["cat", "dog", "dog", "cat"], [2, 1, 0], bs=3)
            >>> sorted(dls.train.order(epoch=0))
            [0, 0, 1]
        """
        return self.dataloaders(source, bs=bs, sampling=wgts, **options)

    def _pipeline(self) -> Pipeline:
        return Pipeline.of(*self.transforms, self._n_channels)

    @property
    def _getters(self) -> tuple[tuple[Getter | None, str], tuple[Getter | None, str]]:
        return (self._get_x, "get_x"), (self._get_y, "get_y")

    def _found(self, source: Any) -> Any:
        found = self._get_items(source) if self._get_items else source
        if isinstance(found, Source):
            found.require_usable()
            found = found.items
        if not len(found):
            raise InputError("The source holds no items. Is it the right folder or table?")
        return found

    def _read_new(self, task: AnyTask, source: Any, with_labels: bool) -> ImageDataset:
        """Return the dataset of new items, read as those of training were, without a split."""
        a_place = isinstance(source, str | os.PathLike) and Path(source).is_dir()
        if not a_place and isinstance(source, str | bytes | os.PathLike):
            raise InputError(f"New items come as a list, a table or a folder; got {name_of(source)}. Write [image].")
        items = rows_of(self._found(source) if a_place or isinstance(source, Source) else source)
        getters = self._getters if with_labels else (self._getters[0], (lambda _: None, "get_y"))
        side = _Side.read(items, range(len(items)), *getters)
        targets = encode_known(side.labels, side.name, task) if with_labels else no_labels(len(items), task)
        return side.dataset(targets, task, self._n_channels)


@dataclass(frozen=True, slots=True)
class _Getting:
    """A getter that names the item on which it fails."""

    getter: Getter | None
    role: str

    def __call__(self, item: object, at: int | None = None) -> object:
        if self.getter is None:
            return item
        try:
            return self.getter(item)
        except FovealError as error:
            raise InputError(f"{_name(item, at)}: {error}") from error
        except Exception as error:
            raise InputError(
                f"{_name(item, at)}: `{self.role}` failed on this item with {type(error).__name__}: {error}. "
                f"The item was: {_short(item)}"
            ) from error

    def all_of(self, items: Sequence[object], at: Sequence[int]) -> list[Any]:
        if isinstance(self.getter, ColReader) and isinstance(items, Rows):
            with contextlib.suppress(FovealError):  # which row it was is found below, row by row
                return self.getter.read_rows(items, at)
        return [self(items[i], i) for i in at]


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """Images and labels of one side, and the items that they came from."""

    items: Sequence[object]
    at: Sequence[int]
    images: list[Any]
    labels: list[object]

    @classmethod
    def read(cls, items: Sequence[object], at: Sequence[int], *getters: tuple[Getter | None, str]) -> _Side:
        images, labels = (_Getting(*getter).all_of(items, at) for getter in getters)
        return cls(items, at, images, labels)

    def dataset(self, targets: Tensor, task: AnyTask, n_channels: int) -> ImageDataset:
        """Return the dataset of these images.

        Args:
            targets: their encoded labels.
            task: encoded them.
            n_channels: that the images are read with.
        """
        table = self.items.table.iloc[list(self.at)] if isinstance(self.items, Rows) else None
        return ImageDataset(self.images, targets, task, n_channels, table)

    def name(self, index: int) -> str:
        """Return what a message calls an item."""
        return _name(self.items[self.at[index]], self.at[index], self.images[index])


def kind_of_labels(source: Source) -> AnyKind:
    """Return the kind of task of a source's labels.

    Args:
        source: of images.

    Raises:
        InputError: it has no labels.
    """
    kind = TASKS.find(source.task)
    if kind is None or kind.block is None:
        why = f" It was taken for {source.why}." if source.why else ""
        raise InputError(
            f"The source ({source.kind}) says nothing of labels: it can be predicted, not trained on.{why} "
            "Name a table or a file of annotations, or say --format if it was not recognised."
        )
    return kind


def block_for(
    source: Source,
    *,
    splitter: Splitter | None = None,
    vocab: Sequence[ClassLabel] | None = None,
    flip_pairs: Sequence[tuple[str, str]] = (),
    n_channels: int = RGB,
    item_tfms: Transforms,
    batch_tfms: Transforms = None,
) -> DataBlock:
    """Return the data block for what a reader found: its task's block, its split where it has one.

    Args:
        source: what the reader found.
        splitter: a split in place of the source's own.
        vocab: the classes, in place of those of the training side.
        flip_pairs: names of points that change places in a mirrored image.
        n_channels: see `ImageBlock`.
        item_tfms: a resize step, and other transforms.
        batch_tfms: more of them.
    """
    kind = kind_of_labels(source)
    assert kind.block is not None
    target = kind.block(
        SourceLabels(
            vocab=vocab,
            point_names=source.point_names,
            flip_pairs=flip_pairs,
            target_names=source.target_names,
        )
    )
    if splitter is None and source.has_split:
        splitter = MaskSplitter(item.is_valid for item in source.items)
    return DataBlock(
        blocks=(ImageBlock(n_channels=n_channels), target),
        get_x=lambda item: item.image,
        get_y=lambda item: item.label,
        splitter=splitter,
        item_tfms=item_tfms,
        batch_tfms=batch_tfms,
    )


def _channels_and_target(blocks: Sequence[object]) -> tuple[int, TargetBlock]:
    made = [block() if isinstance(block, type) or callable(block) else block for block in blocks]
    if len(made) != 2 or not isinstance(made[0], ImageBlock) or not isinstance(made[1], TargetBlock):
        raise InputError(
            "`blocks` says what the input and the target are, for instance blocks=(ImageBlock, MultiCategoryBlock); "
            f"got {blocks!r}."
        )
    return made[0].n_channels, made[1]


def _bind(block: TargetBlock, labels: list[object], name: Callable[[int], str]) -> AnyTask:
    try:
        return block.bind(labels)
    except InputError as error:
        for at, label in enumerate(labels):
            try:
                block.bind([label])
            except NothingToLearnError:
                continue
            except InputError as first:
                raise InputError(f"{name(at)}: {first}") from error
        raise


def _name(item: object, at: int | None, image: object = None) -> str:
    """Return what a message calls an item: its origin, or its image, or its number."""
    if isinstance(item, Item) and item.origin:
        return item.origin
    if image is not None and not isinstance(image, np.ndarray | bytes | float) and len(str(image)) < 500:
        return str(image)
    return "an item" if at is None else f"item {at}"


def _short(item: object) -> str:
    text = repr(item)
    return text if len(text) <= 300 else text[:300] + " …"


def __getattr__(name: str) -> object:
    return _moved.from_home(__name__, name)
