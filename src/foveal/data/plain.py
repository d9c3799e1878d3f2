"""Loaders of a user's own: anything that yields batches of (inputs, targets)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch

from foveal.core import runtime
from foveal.core.errors import InputError
from foveal.data.batchers import Batcher
from foveal.data.batches import Batch, Item, on_device
from foveal.data.loader import DataLoader


class PlainBatcher(Batcher):
    """Passes on the batches of a loader of a user's own, in its order."""

    def __init__(self, loader: Iterable[Item], device: torch.device) -> None:
        self.loader, self._device = loader, device

    @property
    def dataset(self) -> Item:
        """What the loader says it loads; itself where it says nothing."""
        return getattr(self.loader, "dataset", self.loader)

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self._device

    def to(self, device: torch.device) -> PlainBatcher:
        """Return the same batcher for batches on a device."""
        return PlainBatcher(self.loader, device)

    def with_dataset(self, dataset: Item) -> PlainBatcher:
        """Refuse: only the loader knows how it loads.

        Raises:
            InputError: always.
        """
        raise InputError("This loader is your own, so it cannot be made again over another dataset: make a new one.")

    def batches(self, groups: Sequence[Sequence[int]], draw: tuple[int, int] | None) -> Iterator[Batch]:
        """Yield as many batches as there are groups, as they come.

        Args:
            groups: only their number counts.
            draw: not used: the loader draws itself.

        Raises:
            InputError: a batch is no pair.
        """
        del draw
        for number, parts in enumerate(islice(self.loader, len(groups))):
            if not isinstance(parts, tuple | list) or len(parts) != 2:
                got = f"{len(parts)} parts" if isinstance(parts, tuple | list) else type(parts).__name__
                raise InputError(f"A batch is a pair (inputs, targets); the loader gave {got}.")
            yield Batch(on_device(tuple(parts), self._device), range(number, number + len(parts[0])))

    def show(self, batch: Batch, *, max_n: int, rows: int | None, figsize: tuple[float, float] | None) -> None:
        """Print the first items.

        Args:
            batch: made by `batches`.
            max_n: how many items.
            rows: not used.
            figsize: not used.
        """
        del rows, figsize
        for item in self.decode_items(batch.parts, max_n):
            print(item)  # noqa: T201 -- printing is what it is for


class PlainLoader(DataLoader):
    """A loader of a user's own, such as torch's `DataLoader`: its batches, its order."""

    def __init__(self, loader: Iterable[Item], device: torch.device | None = None) -> None:
        """Take a loader.

        Args:
            loader: yields batches (inputs, targets) each time it is iterated, and knows how many.
            device: where batches go; the best at hand by default.

        Raises:
            InputError: it does not know how many batches there are.
        """
        if not hasattr(loader, "__len__") or not hasattr(loader, "__iter__"):
            raise InputError(
                f"A loader yields batches (inputs, targets) each time it is iterated, and has a length; got "
                f"{type(loader).__name__}."
            )
        batch_size = getattr(loader, "batch_size", None) or 1
        super().__init__(PlainBatcher(loader, device or runtime.default_device()), batch_size)
        self._loader: Item = loader

    @property
    def n(self) -> int:
        """The number of items, as far as the loader tells: of its dataset, or of its batches."""
        dataset = self.dataset
        return len(dataset) if hasattr(dataset, "__len__") else len(self)

    def __len__(self) -> int:
        return len(self._loader)

    def groups(self, epoch: int) -> list[list[int]]:
        """Return as many groups as there are batches; what is in them only the loader knows."""
        del epoch
        return [[number] for number in range(len(self))]

    def new(self, dataset: Item = None, **options: Item) -> DataLoader:
        """Return a loader that differs in what is given; see `DataLoader.new`.

        Args:
            dataset: refused, see `PlainBatcher.with_dataset`.
            options: see `DataLoader.new`; `sampling` is refused.

        Raises:
            InputError: only the loader knows how it draws.
        """
        if options.get("sampling") is not None:
            raise InputError("This loader is your own and draws its items itself: give it a sampler of its library.")
        return super().new(dataset, **options)

    def in_order(self) -> PlainLoader:
        """Return this loader: only it knows its order."""
        return self
