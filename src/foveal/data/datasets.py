"""Datasets: what a block makes of a source, item by item.

`Dataset` is what training needs of any of them; `ImageDataset` holds images with every target encoded once. `Tuples` is
the general form without a task: items, and for each slot of the tuple the functions that make it, called when an item
is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

from pandas import DataFrame
from torch import Tensor

from foveal._moved import attribute
from foveal.core import storage
from foveal.core.arguments import checked_methods
from foveal.core.errors import InputError
from foveal.core.listing import L
from foveal.data.labels import Getter
from foveal.images.channels import RGB
from foveal.images.decode import ImageSource, name_of
from foveal.images.pil import PILImage, pil_image
from foveal.tasks.base import AnyTask
from foveal.tasks.display import ShownTensor, shown
from foveal.tasks.kinds import kind_of
from foveal.tasks.vocab import Classes, classes_of


class Dataset(ABC):
    """Inputs with encoded targets, and the task that encoded them: what a learner can be trained on."""

    __slots__ = ()

    @property
    @abstractmethod
    def task(self) -> AnyTask:
        """What is learned."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of all inputs and targets, in order; a resumed run must find the same one."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return what a message calls the item at position `index`."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[object, Tensor]: ...


@dataclass(frozen=True, slots=True, eq=False)
class ImageDataset(Dataset):
    """Images and their encoded targets.

    Attributes:
        images: paths, bytes, arrays, Pillow or stored images.
        targets: what `task` encoded, [n, ...]; points in source pixels.
        task: what is learned.
        n_channels: that the images are read with, 1, 3 or 4.
        table: the rows that they are from, where they are from a table.
    """

    images: Sequence[ImageSource]
    targets: Tensor
    task: AnyTask = field()  # `field()`: dataclass would take the property of the base for a default
    n_channels: int = RGB
    table: DataFrame | None = None
    pictures = attribute("pictures", "images")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} images, {self.task.kind})"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[PILImage, ShownTensor]:
        return pil_image(self.images[index], self.n_channels), self.display_target(index)

    @property
    def vocab(self) -> Classes:
        """The classes, in order."""
        return classes_of(self.task)

    @property
    def items(self) -> L[ImageSource] | DataFrame:
        """The images, or the rows of the table that they are from."""
        return L(self.images) if self.table is None else self.table

    @property
    def fingerprint(self) -> str:
        """A hash of the names of all images, in order, of all targets, and of the channels where they are not RGB."""
        names = "\n".join(name_of(image) for image in self.images)
        if self.n_channels != RGB:
            names += f"\n{self.n_channels} channels"
        return storage.text_hash(names + storage.tensor_hash(self.targets))

    def subset(self, indices: Sequence[int]) -> ImageDataset:
        """Return the items at these positions."""
        at = list(indices)
        table = None if self.table is None else self.table.iloc[at]
        return replace(self, images=[self.images[index] for index in at], targets=self.targets[at], table=table)

    def name(self, index: int) -> str:
        """Return the name of an image."""
        return name_of(self.images[index])

    def display_target(self, index: int) -> ShownTensor:
        """Return one target as a tensor that prints its kind."""
        return shown(self.targets[index], kind_of(self.task).shown_as or ShownTensor)

    def label(self, index: int) -> Any:
        """Return the label of one item as a person would write it down."""
        return self.task.decode_target(self.targets[index])


@dataclass(frozen=True, slots=True, eq=False)
class Tuples(Sequence[tuple[object, ...]]):
    """Items, each as a tuple: one slot per list of functions, which are called one after the other.

    Attributes:
        items: the whole source, of which `positions` are used.
        slots: the functions of each slot; by default one slot that holds the item itself.
        positions: positions in `items`; all by default.
    """

    items: Sequence[object]
    slots: Sequence[Sequence[Getter]] = ((),)
    positions: Sequence[int] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} items)"

    def __len__(self) -> int:
        return len(self.items if self.positions is None else self.positions)

    @overload
    def __getitem__(self, index: int) -> tuple[object, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[object, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[object, ...] | list[tuple[object, ...]]:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        item = self.items[index if self.positions is None else self.positions[index]]
        return tuple(_apply_all(functions, item) for functions in self.slots)


@checked_methods
class Datasets:
    """The two sides of a split.

    Attributes:
        train, valid: an `ImageDataset`, `Tuples` or any sequence.
    """

    __slots__ = ("train", "valid")

    def __init__(
        self,
        items: Sequence[object],
        tfms: Iterable[Iterable[Getter]] | None = None,
        *,
        splits: tuple[Sequence[int], Sequence[int]] | None = None,
    ) -> None:
        """Make tuples of items.

        Args:
            items: the source, item by item.
            tfms: for each slot of the tuple its functions: `[[f1, f2]]` composes them, `[[f1], [f2]]` makes two slots.
            splits: positions to train on and to validate on; by default all are for training.
        """
        slots = ((),) if tfms is None else tuple(tuple(functions) for functions in tfms)
        train, valid = splits or (range(len(items)), ())
        self.train: Any = Tuples(items, slots, train)
        self.valid: Any = Tuples(items, slots, valid)

    @classmethod
    def of(cls, train: Sequence[object] | Dataset, valid: Sequence[object] | Dataset) -> Datasets:
        """Return two sides as one value.

        Args:
            train: the side to train on.
            valid: the side to validate on, of the same kind.
        """
        both = cls.__new__(cls)
        both.train, both.valid = train, valid
        return both

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.train):,} items to train on, {len(self.valid):,} to validate)"

    def __len__(self) -> int:
        return len(self.train) + len(self.valid)

    def __getitem__(self, index: int | slice | Sequence[int]) -> Any:
        """Return an item, the training side first; of several positions, a list."""
        if not isinstance(index, int):
            return L(self[at] for at in (range(len(self))[index] if isinstance(index, slice) else index))
        n_train = len(self.train)
        return self.train[index] if index < n_train else self.valid[index - n_train]

    @property
    def vocab(self) -> Classes:
        """The classes, learned from the training side.

        Raises:
            InputError: the datasets have no task.
        """
        if not isinstance(self.train, ImageDataset):
            raise InputError("These datasets have no task, so no vocabulary: give DataBlock a target block.")
        return self.train.vocab


def _apply_all(functions: Sequence[Getter], item: object) -> object:
    for function in functions:
        item = function(item)
    return item
