"""A loader: the items of a dataset in batches, in an order that only the seed and the epoch decide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Self

import numpy as np
import torch
from torch import Tensor

from foveal.core import distributed, progress, storage
from foveal.core.arguments import checked_methods, is_whole
from foveal.core.errors import InputError
from foveal.core.listing import L
from foveal.core.rng import draws_for, order_for, seed_for, windowed_order
from foveal.core.seeds import check_seed
from foveal.data.batchers import Batcher, ImageBatcher, TupleBatcher
from foveal.data.batches import Batch, Item, Parts
from foveal.data.datasets import Dataset, ImageDataset
from foveal.data.sampling import Sampling, item_weights, sampling_text
from foveal.images.canvas import grid
from foveal.images.channels import require_channels
from foveal.images.parquet_rows import windows_of
from foveal.tasks.vocab import Classes, classes_of


@checked_methods
class DataLoader:
    """The items of a dataset in batches: each iteration is one pass over them, as tuples of tensors.

    A `DataBlock` makes two of them, for images; it also takes any sequence of items or tuples. Seed and number of the
    pass alone decide order and random draws, so a run can be repeated and resumed bit-exactly.

    Attributes:
        batcher: makes the batches.
        batch_size: items in a batch.
        shuffle: whether each epoch has a fresh order, and random draws.
        drop_last: whether a last partial batch is left out, unless it is the only one.
        seed: decides orders and draws.
        labelled: whether iterating yields the targets too; without labels all of them are unknown.
        sampling: how often items are drawn.

    Examples:
        >>> from foveal.vision.all import *
        >>> dl = DataLoader([(1, "cat"), (2, "dog"), (3, "cat")], batch_size=2)
        >>> list(dl)
        [(tensor([1, 2]), ('cat', 'dog')), (tensor([3]), ('cat',))]
        >>> len(dl), dl.n, dl.bs
        (2, 3, 2)
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
            shuffle: whether each epoch has a fresh order, and random draws.
            bs: another name for `batch_size`.
            drop_last: leave out a last partial batch, unless it is the only one.
            seed: decides orders and draws; 64 bits.
            sampling: `uniform` visits each item once an epoch; `balanced` draws as many with replacement, each by
                1 / frequency of its class, of several the mean, and `square-root` by the square root of that (Kang et
                al. 2020, "Decoupling Representation and Classifier for Long-Tailed Recognition"); or a weight per item,
                from 0 up.

        Raises:
            InputError: the batch size is below 1, the seed is no seed, or the sampling does not suit the items.
            UnknownNameError: there is no such sampling, or no such argument.
        """
        self.batcher: Batcher = dataset if isinstance(dataset, Batcher) else TupleBatcher(dataset)
        self.batch_size = check_batch_size(batch_size if bs is None else bs)
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
        """The source of the items: a `Dataset`, or any sequence.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoader(["a.jpg", "b.jpg"]).dataset
            ['a.jpg', 'b.jpg']
        """
        return self.batcher.dataset

    @property
    def n(self) -> int:
        """The number of items.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoader([5, 6, 7], batch_size=2).n
            3
        """
        return len(self.dataset)

    def __len__(self) -> int:
        n_full, n_over = divmod(self.n, self.batch_size)
        return n_full + (n_over > 0 and not (self.drop_last and n_full > 0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n:,} items, bs={self.batch_size})"

    def __iter__(self) -> Iterator[Parts]:
        for batch in self.batches(epoch=next(self._passes)):
            yield batch.parts if self.labelled else batch.parts[:-1]

    def one_batch(self) -> Parts:
        """Return the first batch of a pass; each call is another pass, with an order of its own if shuffled.

        Raises:
            InputError: there are no items.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoader([(1, 0.5), (2, 1.5)], batch_size=2).one_batch()
            (tensor([1, 2]), tensor([0.5000, 1.5000]))
        """
        if not self.n:
            raise InputError("There are no items to make a batch of.")
        return next(iter(self))

    def batches(self, *, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Return the batches of one epoch, one by one, with the positions of their items in the dataset.

        Args:
            epoch: from 0; decides order and draws.
            first: the number of the first batch, where an epoch is resumed.

        Yields:
            A `Batch`: `parts` is what iterating yields, `indices` are positions.

        Raises:
            ImageError: an image is refused.

        Examples:
            >>> from foveal.vision.all import *
            >>> dl = DataLoader([(1, 0.5), (2, 1.5), (3, 2.5)], batch_size=2)
            >>> [(batch.parts, batch.indices) for batch in dl.batches(epoch=0, first=1)]
            [((tensor([3]), tensor([2.5000])), [2])]
        """
        return self._batches(self.groups(epoch)[first:], epoch)

    def rank_batches(self, *, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield this process's slice of each batch of an epoch; torch's random state is seeded from slice and batch.

        Args:
            epoch: from 0; decides order and draws.
            first: the number of the first batch, where an epoch is resumed.

        Yields:
            A `Batch` of one W-th of the items of each batch, with W processes; the whole batch where there is one
            process.

        Raises:
            InputError: there are fewer items in a batch than processes.

        Examples:
            >>> from foveal.vision.all import *
            >>> [batch.indices for batch in DataLoader([5, 6, 7], batch_size=2).rank_batches(epoch=0)]
            [[0, 1], [2]]
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
        """Return an iterator over this process's batches of one pass: of W processes rank r has r, r + W, ...

        Examples:
            >>> from foveal.vision.all import *
            >>> [batch.indices for batch in DataLoader([5, 6, 7], batch_size=2).shard_batches()]  # one process: all
            [[0, 1], [2]]
        """
        return self._batches(distributed.shard(self.groups(0)), 0)

    def _batches(self, groups: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        return self.batcher.batches(groups, (self.seed, epoch) if self.shuffle else None)

    def groups(self, epoch: int) -> list[list[int]]:
        """Return the positions of each batch of an epoch; the repetition k of one of n items is its position + k n.

        Args:
            epoch: from 0.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoader("abcde", batch_size=2).groups(epoch=0)
            [[0, 1], [2, 3], [4]]
            >>> sorted(DataLoader("abc", batch_size=3, shuffle=True, sampling=[1, 0, 2]).groups(epoch=0)[0])
            [0, 2, 5]
        """
        order = self.slots(epoch)[: len(self) * self.batch_size]
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def slots(self, epoch: int) -> list[int]:
        """Return what `groups` takes its positions from, those too that a last partial batch would hold.

        Args:
            epoch: from 0.

        Examples:
            >>> from foveal.vision.all import *
            >>> dl = DataLoader([5, 6, 7], batch_size=2, drop_last=True)
            >>> dl.slots(epoch=0), dl.groups(epoch=0)
            ([0, 1, 2], [[0, 1]])
        """
        return self._shuffled(epoch) if self.shuffle else list(range(self.n))

    def order(self, epoch: int) -> list[int]:
        """Return the positions that an epoch visits, in order; with `sampling` some are repeated, others left out.

        Args:
            epoch: from 0.

        Examples:
            >>> from foveal.vision.all import *
            >>> sorted(DataLoader("abcd", batch_size=2, shuffle=True, sampling=[1, 0, 0, 3]).order(epoch=0))
            [0, 3, 3, 3]
        """
        return [at for group in self.groups(epoch) for at in self.batcher.positions(group)]

    def drawn(self, epochs: int) -> torch.Tensor | None:
        """Return the positions that the first epochs draw, int64 [epochs x n]; None where each visits every item once.

        Args:
            epochs: how many epochs, from the first one.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoader("abcd", shuffle=True, sampling=[1, 0, 0, 3]).drawn(epochs=1)
            tensor([0, 3, 3, 3])
        """
        if self._weights is None:
            return None
        return torch.from_numpy(np.concatenate([draws_for(self.seed, at, self._weights) for at in range(epochs)]))

    @property
    def fingerprint(self) -> dict[str, str]:
        """What decides the order besides seed and number of items, by name; empty where nothing does.

        Examples:
            >>> from foveal.vision.all import *
            >>> list(DataLoader([5, 6], shuffle=True, sampling=[1, 3]).fingerprint), DataLoader([5, 6]).fingerprint
            (['sampling'], {})
        """
        return {} if self._weights is None else {"sampling": storage.text_hash(self._weights.tobytes().hex())}

    @property
    def sampling_text(self) -> str:
        """How items are drawn, in words; empty where each is visited once an epoch.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoader([5, 6], shuffle=True, sampling=[1, 3]).sampling_text
            'with replacement, by a weight per image'
        """
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
        """Return a loader of the same items in data order, prepared as in validation, the last partial batch too.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoader([5, 6, 7], 2, shuffle=True, drop_last=True).in_order().order(epoch=0)
            [0, 1, 2]
        """
        return DataLoader(self.batcher, self.batch_size)

    def with_batcher(self, batcher: Batcher) -> DataLoader:
        """Return the same loader over another batcher.

        Args:
            batcher: makes the batches in place of its own.
        """
        made = self.new()
        made.batcher = batcher
        return made

    def normalised_like(self, other: DataLoader) -> DataLoader:
        """Return the same loader, normalised like another one; print a line where it has a `Normalize` of its own.

        Args:
            other: a loader of images with as many channels.

        Raises:
            InputError: the images of the two loaders differ in their number of channels.

        Examples:
            >>> from foveal.vision.all import *
            >>> dl, other = DataLoader([(1, "cat")]), DataLoader([(2, "dog")])
            >>> dl.normalised_like(other) is dl  # they hold no images
            True
        """
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
            dataset: other items; its own by default.
            bs: batch size; `batch_size` is another name for it.
            batch_size: see `bs`.
            shuffle: whether each epoch has a fresh order, and random draws.
            drop_last: leave out a last partial batch.
            seed: decides orders and draws.
            sampling: how often items are drawn, see `DataLoader`.

        Raises:
            InputError: as of `DataLoader`.

        Examples:
            >>> from foveal.vision.all import *
            >>> dl = DataLoader([5, 6, 7], batch_size=2, drop_last=True)
            >>> list(dl.new(bs=3)), len(dl.new(drop_last=False))
            ([(tensor([5, 6, 7]),)], 2)
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
        """Return this loader, whose batches go to a device from now on.

        Args:
            device: torch's, or its name.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoader([1, 2]).to("cpu").device
            device(type='cpu')
        """
        self.batcher = self.batcher.to(torch.device(device))
        return self

    @property
    def bs(self) -> int:
        """Another name for `batch_size`.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoader([5, 6, 7], batch_size=2).bs
            2
        """
        return self.batch_size

    @property
    def device(self) -> torch.device:
        """The device that batches are on.

        Examples:
            >>> from foveal.vision.all import *
            >>> DataLoader([5, 6, 7]).device
            device(type='cpu')
        """
        return self.batcher.device

    @property
    def items(self) -> Item:
        """The items of the source: files, or rows of its table.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> len(dls.valid.items), dls.valid.items[0].suffix
            (6, '.jpg')
        """
        return getattr(self.dataset, "items", self.dataset)

    @property
    def vocab(self) -> Classes:
        """The classes, in order, as they stood in the source; numbers where all of them are numbers.

        Raises:
            InputError: the items have no task: they were not made by a `DataBlock` with blocks.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> dls.train.vocab
            (#2) [False,True]
        """
        if not isinstance(self.dataset, Dataset):
            raise InputError("These items have no task, so no classes: build the loaders with a DataBlock's blocks.")
        return classes_of(self.dataset.task)

    def decode(self, batch: Parts) -> Parts:
        """Return a batch as it was before normalisation: images float32 [B, C, h, w] from 0 to 1.

        Args:
            batch: of this loader, as `one_batch` returns it.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::8], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4,
            ...     batch_tfms=Normalize.from_stats(*imagenet_stats))
            >>> batch = dls.train.one_batch()
            >>> bool(batch[0].min() < 0), bool(dls.train.decode(batch)[0].min() >= 0)
            (True, True)
        """
        return self.batcher.decode(batch)

    def decode_batch(self, batch: Parts, max_n: int = 9) -> L[Parts]:
        """Return the items of a batch one by one, with labels as a person would write them.

        Args:
            batch: of this loader, as `one_batch` returns it.
            max_n: the most items.

        Returns:
            (image float32 [C, h, w] from 0 to 1, label) for each; points are in pixels of that image.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path)[::40], lambda name: name[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> image, label = dls.train.decode_batch(dls.train.one_batch(), max_n=1)[0]
            >>> image.shape, label in dls.vocab
            (torch.Size([3, 32, 32]), True)
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
        """Show items of a batch with their labels: images as the model sees them; items of other kinds are printed.

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
            >>> DataLoader([(1, "cat"), (2, "dog")], batch_size=2).show_batch()
            (1, 'cat')
            (2, 'dog')
        """
        n, rows = grid(max_n, nrows, ncols)
        epoch = next(self._passes)
        if unique:
            first = self.groups(epoch)[0][:1]
            batch = Batch.joined([next(self._batches([first], next(self._passes))) for _ in range(n)])
        else:
            batch = next(self.batches(epoch=epoch))
        self.batcher.show(batch, max_n=n, rows=rows, figsize=figsize)


def require_loader(dl: object) -> DataLoader:
    """Return a loader that was given in place of a side of the split.

    Raises:
        InputError: it is something else: images, for instance.
    """
    if not isinstance(dl, DataLoader):
        raise InputError(f"`dl` is a loader, such as `dls.test_dl(images)` returns; got {type(dl).__name__}.")
    return dl


def require_batches(dl: object) -> Iterator[Parts]:
    """Yield batches that were given in place of a loader.

    Raises:
        InputError: they are something else: images, for instance.
    """
    for parts in dl if isinstance(dl, Iterable) and not isinstance(dl, str | bytes) else (dl,):
        if not isinstance(parts, tuple | list) or not all(isinstance(part, Tensor) for part in parts):
            raise InputError(
                "`dl` is a loader, such as `dls.test_dl(images)` returns, or batches (inputs, targets) of tensors; got "
                f"{type(dl).__name__}{'' if parts is dl else f' of {type(parts).__name__}'}."
            )
        yield tuple(parts)


def check_batch_size(size: int) -> int:
    """Return a batch size.

    Raises:
        InputError: it is no whole number of items.
    """
    if not (is_whole(size) and size >= 1):
        raise InputError(f"A batch holds at least one item; got a batch size of {size!r}.")
    return size
