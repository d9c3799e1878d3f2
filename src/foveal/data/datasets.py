"""Datasets: what a block makes of a source, item by item.

`Dataset` holds images with every target encoded once. `Tuples` is the general form: items, and for each slot of
the tuple the functions that make it, called when an item is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from foveal._moved import attribute
from foveal.core import storage
from foveal.core.errors import InputError
from foveal.core.listing import L
from foveal.images.decode import name_of
from foveal.images.pil import PILImage
from foveal.tasks.base import Task
from foveal.tasks.display import ShownTensor, shown
from foveal.tasks.kinds import kind_of


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Images (paths, bytes, arrays) and their encoded targets [n, ...]."""

    images: Sequence[Any]
    targets: Tensor
    task: Task[Any]
    pictures = attribute("pictures", "images")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[PILImage, ShownTensor]:
        return PILImage.create(self.images[index]), self.shown(index)

    @property
    def vocab(self) -> L[str]:
        """The class names, in order."""
        return L(self.task.names)

    @property
    def fingerprint(self) -> str:
        """A hash of the names of all images, in order, and of all targets."""
        names = "\n".join(name_of(image) for image in self.images)
        return storage.text_hash(names + storage.tensor_hash(self.targets))

    def subset(self, indices: Sequence[int]) -> Dataset:
        """Return the items at these positions."""
        return Dataset([self.images[index] for index in indices], self.targets[list(indices)], self.task)

    def name(self, index: int) -> str:
        """Return what a message calls an item."""
        return name_of(self.images[index])

    def shown(self, index: int) -> ShownTensor:
        """Return one target, printing its kind."""
        return shown(self.targets[index], kind_of(self.task).shown_as or ShownTensor)

    def label(self, index: int) -> Any:
        """Return what a person would write down for one item."""
        return self.task.decode_target(self.targets[index])


@dataclass(frozen=True, slots=True, eq=False)
class Tuples(Sequence[Any]):
    """Items, each as a tuple: a slot for each list of functions, which are called one after the other.

    Attributes:
        items: what there is.
        slots: the functions of each slot; one that takes the item as it is by default.
        at: positions in `items`; all by default.
    """

    items: Sequence[Any]
    slots: Sequence[Sequence[Callable[[Any], Any]]] = ((),)
    at: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.items if self.at is None else self.at)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, int):
            return [self[one] for one in range(len(self))[index]]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        item = self.items[index if self.at is None else self.at[index]]
        return tuple(_composed(functions, item) for functions in self.slots)


class Datasets:
    """The two sides of a split.

    Attributes:
        train, valid: `Dataset`, `Tuples` or any sequence.
    """

    __slots__ = ("train", "valid")

    def __init__(
        self,
        items: Sequence[Any],
        tfms: Iterable[Iterable[Callable[[Any], Any]]] | None = None,
        *,
        splits: tuple[Sequence[int], Sequence[int]] | None = None,
    ) -> None:
        """Make tuples of items.

        Args:
            items: what there is.
            tfms: for each slot of the tuple its functions: `[[f1, f2]]` composes them, `[[f1], [f2]]` makes two slots.
            splits: positions to train on and to validate; all to train on by default.
        """
        slots = ((),) if tfms is None else tuple(tuple(functions) for functions in tfms)
        train, valid = splits or (range(len(items)), ())
        self.train: Any = Tuples(items, slots, train)
        self.valid: Any = Tuples(items, slots, valid)

    @classmethod
    def of(cls, train: Any, valid: Any) -> Datasets:
        """Put two sides together."""
        both = cls.__new__(cls)
        both.train, both.valid = train, valid
        return both

    def __len__(self) -> int:
        return len(self.train) + len(self.valid)

    def __getitem__(self, index: int) -> Any:
        """Return an item, the training side first."""
        n_train = len(self.train)
        return self.train[index] if index < n_train else self.valid[index - n_train]

    @property
    def vocab(self) -> L[str]:
        """The class names, learned from the training side."""
        if not isinstance(self.train, Dataset):
            raise InputError("These datasets have no task, so no vocabulary: give DataBlock a target block.")
        return self.train.vocab


def _composed(functions: Sequence[Callable[[Any], Any]], item: Any) -> Any:
    for function in functions:
        item = function(item)
    return item
