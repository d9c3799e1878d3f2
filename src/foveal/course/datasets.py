"""`Datasets` with the course's transforms: classes are learned from the training side, and loaders are made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from foveal.core.arguments import checked_methods
from foveal.core.errors import InputError
from foveal.course.transforms import Categorize, MultiCategorize, RegressionSetup, Transform
from foveal.data import datasets
from foveal.data.batches import Item
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.loaders import DataLoaders
from foveal.data.samples import Transforms
from foveal.data.sampling import Sampling
from foveal.images.pil import PILImage
from foveal.images.show import show_image
from foveal.tasks.kinds import TargetBlock
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.tasks.regression import RegressionBlock
from foveal.tasks.single_label import CategoryBlock
from foveal.tasks.vocab import Classes

Function = Callable[[Item], Item]
Splits = tuple[Sequence[int], Sequence[int]]


@checked_methods
class Datasets(datasets.Datasets):
    r"""The two sides of a split, `train` and `valid`, each item a tuple: one slot per list of functions.

    Attributes:
        items: the source, item by item.
        tfms: the functions of each slot.
        splits: positions to train on and to validate on.

    Examples:
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))
        >>> label = using_attr(RegexLabeller(r"(.+)_\d+.jpg$"), "name")
        >>> dsets = Datasets(files, [[PILImage.create], [label, Categorize]], splits=RandomSplitter(seed=42)(files))
        >>> image, target = dsets.train[0]
        >>> image.shape, dsets.vocab[target]
        ((320, 240), 'sun')
    """

    __slots__ = ("items", "splits", "tfms")

    def __init__(
        self,
        items: Sequence[Item],
        tfms: Iterable[Iterable[Function | type[Transform]]] | None = None,
        *,
        splits: Splits | None = None,
    ) -> None:
        """Make tuples of items.

        Args:
            items: the source, item by item.
            tfms: for each slot of the tuple its functions; a `Transform` such as `Categorize` learns from the training
                side what it needs, and may be given as a class.
            splits: positions to train on and to validate on; by default all are for training.
        """
        self.items, self.splits = items, splits or (range(len(items)), ())
        self.tfms: list[list[Function]] = [
            [one() if isinstance(one, type) and issubclass(one, Transform) else one for one in slot]
            for slot in tfms or ((),)
        ]
        for slot in self.tfms:
            self._set_up(slot)
        super().__init__(items, self.tfms, splits=self.splits)

    @property
    def vocab(self) -> Classes:
        """The classes that the slots learned, in order; of the last slot that has some.

        Raises:
            InputError: no slot ends in `Categorize` or `MultiCategorize`.
        """
        for slot in reversed(self.tfms):
            for function in reversed(slot):
                if isinstance(function, Categorize | MultiCategorize):
                    found: Classes = function.vocab
                    return found
        raise InputError("These datasets have no classes: put `Categorize()` at the end of a slot.")

    def dataloaders(
        self,
        bs: int = 64,
        *,
        after_item: Transforms = None,
        after_batch: Transforms = None,
        path: str | os.PathLike[str] = ".",
        batch_size: int | None = None,
        seed: int = 0,
        num_workers: int | None = None,
        device: torch.device | str | None = None,
        sampling: Sampling = "uniform",
    ) -> DataLoaders:
        """Return loaders of images with one label, several, or numbers.

        Args:
            bs: batch size; `batch_size` is another name for it.
            after_item: as `item_tfms` of a `DataBlock`; `ToTensor` may be left out.
            after_batch: as `batch_tfms`; `IntToFloatTensor` may be left out.
            path: where a learner saves.
            batch_size: see `bs`.
            seed: decides the order of the items and every random draw.
            num_workers: threads that load images.
            device: where batches go.
            sampling: how often images are drawn for training, see `DataBlock.dataloaders`.

        Raises:
            InputError: the slots are not an image and its label.

        Examples:
            >>> from foveal.vision.all import *
            >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::8]
            >>> tfms = [[PILImage.create], [lambda file: file.name[0].isupper(), Categorize]]
            >>> dls = Datasets(files, tfms, splits=EndSplitter()(files)).dataloaders(bs=4, after_item=Resize(32))
            >>> dls.one_batch()[0].shape
            torch.Size([4, 3, 32, 32])
        """
        block, get_x, get_y = self._read()
        made = DataBlock(
            block,
            get_x=get_x,
            get_y=get_y,
            splitter=lambda _: self.splits,
            item_tfms=after_item,
            batch_tfms=after_batch,
        )
        return made.dataloaders(
            self.items,
            path,
            bs=batch_size or bs,
            seed=seed,
            num_workers=num_workers,
            device=device,
            sampling=sampling,
        )

    def weighted_dataloaders(self, wgts: Sequence[float] | Tensor, bs: int = 64, **options: Any) -> DataLoaders:
        """Return `dataloaders(sampling=wgts)`: loaders that draw each training item in proportion to its weight.

        Args:
            wgts: how often each training item is drawn, in proportion; one per item of the training side.
            bs: batch size.
            options: see `dataloaders`.

        Raises:
            InputError: the weights do not suit the items, or see `dataloaders`.
        """
        return self.dataloaders(bs, sampling=wgts, **options)

    def show(self, item: tuple[Item, ...], ctx: Item = None) -> None:
        """Draw the image of an item, with its label above.

        Args:
            item: of one of the sides, as `dsets.train[0]`.
            ctx: axes to draw on; new ones by default.
        """
        image, *labels = item
        last = self.tfms[-1][-1] if labels and self.tfms[-1] else None
        shown = last.decode(labels[0]) if isinstance(last, Transform) else labels[0] if labels else None
        show_image(image, ctx, title=None if shown is None else str(shown))

    def _read(self) -> tuple[tuple[ImageBlock, TargetBlock], list[Function], list[Function]]:
        """Return the blocks that the slots stand for, and what finds image and label of an item.

        Raises:
            InputError: the slots are not an image and its label.
        """
        expected = (
            "Loaders are made of two slots, an image and its label: tfms=[[PILImage.create], [parent_label, "
            "Categorize()]]. For anything else use a DataBlock."
        )
        if len(self.tfms) != 2 or not self.tfms[0] or not self.tfms[1]:
            raise InputError(f"{expected} There are {len(self.tfms)} slots.")
        (*get_x, create), (*get_y, last) = self.tfms
        kind = getattr(create, "__self__", None)
        if not (isinstance(kind, type) and issubclass(kind, PILImage)):
            raise InputError(f"{expected} The first slot ends with {create!r}.")
        if isinstance(last, RegressionSetup):
            return (ImageBlock(cls=kind), RegressionBlock(last.c)), get_x or [_itself], get_y or [_itself]
        if not isinstance(last, Categorize | MultiCategorize):
            raise InputError(f"{expected} The second slot ends with {last!r}.")
        block = CategoryBlock if isinstance(last, Categorize) else MultiCategoryBlock
        target: TargetBlock = block(vocab=list(last.vocab))
        return (ImageBlock(cls=kind), target), get_x or [_itself], get_y or [_itself]

    def _set_up(self, slot: Sequence[Function]) -> None:
        """Let each transform of a slot learn from the training side, as the functions before it leave the items."""
        learning = [isinstance(one, Transform) and one.learns for one in slot]
        if not any(learning):
            return
        values = [self.items[at] for at in self.splits[0]]
        for function, learns in zip(slot, learning, strict=True):
            if learns and isinstance(function, Transform):
                function.setup(values)
            values = [function(value) for value in values]


def _itself(item: Item) -> Item:
    return item
