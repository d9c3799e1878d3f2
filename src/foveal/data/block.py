"""The data block: a plan that turns a source into datasets and loaders.

A *block* says what kind of thing one part of an item is. The last one becomes the task, bound to what the training
side taught (its vocabulary).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch

from foveal.data.checks import Audit, audit
from foveal.data.datasets import Dataset, Datasets, encode_all, encode_known
from foveal.data.loaders import DataLoaders
from foveal.data.samples import Pipeline
from foveal.data.splits import MaskSplitter, RandomSplitter, Splitter, check_split
from foveal.data.summary import walk
from foveal.errors import FovealError, InputError, UnknownNameError
from foveal.sources.items import Item, Source
from foveal.sources.table import Rows
from foveal.tasks.base import Decision, Task
from foveal.tasks.multi_label import MultiLabel, all_names
from foveal.tasks.points import Points
from foveal.tasks.single_label import SingleLabel, check_label
from foveal.tasks.vocab import Vocab


@dataclass(frozen=True, slots=True)
class ImageBlock:
    """The input is a picture: a path, bytes, an array or a PIL picture."""


@runtime_checkable
class TargetBlock(Protocol):
    """The target's recipe."""

    def bind(self, labels: Iterable[Any]) -> Task[Any]:
        """Return the task that these training labels teach."""


@dataclass(frozen=True, slots=True)
class CategoryBlock:
    """The target is one class name. A `vocab` that is given keeps its order."""

    vocab: Sequence[str] | None = None

    def bind(self, labels: Iterable[Any]) -> SingleLabel:
        """Return the task that these training labels teach."""
        return SingleLabel(_vocab(self.vocab, (check_label(label) for label in labels)))


@dataclass(frozen=True, slots=True)
class MultiCategoryBlock:
    """The target is a list of class names, possibly empty. A `vocab` that is given keeps its order."""

    vocab: Sequence[str] | None = None

    def bind(self, labels: Iterable[Any]) -> MultiLabel:
        """Return the task that these training labels teach."""
        return MultiLabel(_vocab(self.vocab, (name for label in labels for name in all_names(label))))


@dataclass(frozen=True, slots=True)
class PointBlock:
    """The target is one point (x, y), or N of them [N, 2], in the picture's pixels.

    Attributes:
        names: what the points are called, in order.
        flip_pairs: names, or numbers, of points that change places in a mirrored picture: (("left eye", "right eye"),).
        skeleton: pairs that are joined by a line where points are drawn.
        n_points: how many there are; counted on the first label by default.
    """

    names: Sequence[str] = ()
    flip_pairs: Sequence[tuple[str | int, str | int]] = ()
    skeleton: Sequence[tuple[str | int, str | int]] = ()
    n_points: int | None = None

    def bind(self, labels: Iterable[Any]) -> Points:
        """Return the task that these training labels teach."""
        first = np.asarray(next(iter(labels)), dtype=float)
        if first.size % 2:
            raise InputError(f"A point is (x, y); got {first.size} numbers: {first.tolist()}.")
        n_points = self.n_points or len(self.names) or max(1, first.size // 2)
        pairs = (self._numbers(self.flip_pairs), self._numbers(self.skeleton))
        return Points(n_points, Decision(), tuple(self.names), *pairs)

    def _numbers(self, pairs: Sequence[tuple[str | int, str | int]]) -> tuple[tuple[int, int], ...]:
        return tuple((self._number(first), self._number(second)) for first, second in pairs)

    def _number(self, point: str | int) -> int:
        if isinstance(point, int):
            return point
        if point not in self.names:
            raise UnknownNameError.of("point", point, self.names)
        return list(self.names).index(point)


BLOCKS: dict[str, Callable[[], TargetBlock]] = {
    MultiLabel.kind: MultiCategoryBlock,
    SingleLabel.kind: CategoryBlock,
    Points.kind: PointBlock,
}


class DataBlock:
    """A plan: what the parts of an item are, how they are found, how items are split and pictures are transformed."""

    def __init__(
        self,
        blocks: Sequence[Any] | None = None,
        *,
        get_items: Callable[[Any], Any] | None = None,
        get_x: Callable[[Any], Any] | None = None,
        get_y: Callable[[Any], Any] | None = None,
        splitter: Splitter | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        **unknown: Any,
    ) -> None:
        """Write down the plan; nothing is read yet.

        Args:
            blocks: (ImageBlock, a target block), as classes or instances.
            get_items: turns the source into items, for instance `get_image_files`.
            get_x: finds the picture of an item (a row, a path, ...); the item itself by default.
            get_y: finds the label of an item; the item itself by default.
            splitter: a function of all items that returns (training, validation); a random fifth by default.
            item_tfms: a fit such as `Resize(224)`, and other transforms.
            batch_tfms: more of them, such as `aug_transforms()`.
            unknown: is refused with the near match.
        """
        arguments = ("blocks", "get_items", "get_x", "get_y", "splitter", "item_tfms", "batch_tfms")
        for name in unknown:
            raise UnknownNameError.of("argument of DataBlock", name, arguments)
        self._target = _target_block(blocks)
        self._get_items, self._get_x, self._get_y = get_items, get_x, get_y
        self._splitter = splitter or RandomSplitter()
        self._pipeline = Pipeline.of(item_tfms, batch_tfms)

    def datasets(self, source: Any) -> Datasets:
        """Read a source, split it, learn the vocabulary from the training side, encode all targets once.

        Raises:
            InputError: something in the source is not as expected; the message names the item.
        """
        found = self._get_items(source) if self._get_items else source
        if isinstance(found, Source):
            found = found.items
        items = Rows(found) if isinstance(found, pd.DataFrame) else found
        if not len(items):
            raise InputError("The source holds no items. Is it the right folder or table?")
        train, valid = check_split(self._splitter(found), len(items))
        pictures = _each(self._get_x, items, "get_x")
        labels = _each(self._get_y, items, "get_y")
        names = [_name(items[i], i, pictures[i]) for i in range(len(items))]
        train_labels = [labels[i] for i in train]
        task = _bind(self._target, train_labels, [names[i] for i in train])
        train_targets = encode_all(train_labels, [names[i] for i in train], task)
        valid_targets = encode_known([labels[i] for i in valid], [names[i] for i in valid], task)
        return Datasets(
            Dataset([pictures[i] for i in train], train_targets, task),
            Dataset([pictures[i] for i in valid], valid_targets, task),
        )

    def summary(self, source: Any) -> None:
        """Walk one item through every step and print what each step makes of it.

        Raises:
            InputError: a step fails; the message says what to add or mend.
        """
        for line in walk(self.datasets(source), self._pipeline):
            print(line)  # noqa: T201 -- printing is what it is for

    def check(self, source: Any) -> Audit:
        """Audit labels, split and every picture of a source; see `foveal.data.checks`."""
        datasets = self.datasets(source)
        items = [
            Item(Path(picture), dataset.label(at), side, str(picture))
            for dataset, side in ((datasets.train, False), (datasets.valid, True))
            for at, picture in enumerate(dataset.pictures)
        ]
        return audit(Source("data block", datasets.train.task.kind, items))

    def dataloaders(
        self,
        source: Any,
        *,
        bs: int = 64,
        seed: int = 0,
        workers: int | None = None,
        device: torch.device | str | None = None,
    ) -> DataLoaders:
        """Read a source and build its loaders; see `DataLoaders` for the arguments."""
        datasets = self.datasets(source)
        return DataLoaders(datasets, self._pipeline, bs=bs, seed=seed, workers=workers, device=device)


def block_for(
    source: Source,
    *,
    splitter: Splitter | None = None,
    flip_pairs: Sequence[tuple[str, str]] = (),
    item_tfms: Any,
    batch_tfms: Any = None,
) -> DataBlock:
    """Return the data block for what a reader found: its task's block, its split where it has one."""
    if source.task not in BLOCKS:
        raise InputError(f"The source ({source.kind}) says nothing of labels: it can be predicted, not trained on.")
    target = BLOCKS[source.task]()
    if isinstance(target, PointBlock):
        target = PointBlock(source.point_names, flip_pairs)
    if splitter is None and source.has_split:
        splitter = MaskSplitter(item.is_valid for item in source.items)
    return DataBlock(
        blocks=(ImageBlock, target),
        get_x=lambda item: item.picture,
        get_y=lambda item: item.label,
        splitter=splitter,
        item_tfms=item_tfms,
        batch_tfms=batch_tfms,
    )


def _target_block(blocks: Sequence[Any] | None) -> TargetBlock:
    made = [block() if isinstance(block, type) or callable(block) else block for block in blocks or ()]
    if len(made) != 2 or not isinstance(made[0], ImageBlock) or not isinstance(made[1], TargetBlock):
        raise InputError(
            "`blocks` says what the input and the target are, for instance blocks=(ImageBlock, MultiCategoryBlock); "
            f"got {blocks!r}."
        )
    return made[1]


def _vocab(given: Sequence[str] | None, found: Iterable[str]) -> Vocab:
    return Vocab(tuple(given)) if given is not None else Vocab.of(found)


def _each(getter: Callable[[Any], Any] | None, items: Sequence[Any], role: str) -> list[Any]:
    if getter is None:
        return list(items)
    found = []
    for at, item in enumerate(items):
        try:
            found.append(getter(item))
        except FovealError as error:
            raise InputError(f"{_name(item, at)}: {error}") from error
        except Exception as error:
            raise InputError(
                f"{_name(item, at)}: `{role}` failed on this item with {type(error).__name__}: {error}. "
                f"The item was: {_short(item)}"
            ) from error
    return found


def _bind(block: TargetBlock, labels: list[Any], names: list[object]) -> Task[Any]:
    try:
        return block.bind(labels)
    except InputError as error:
        for label, name in zip(labels, names, strict=True):
            try:
                block.bind([label])
            except InputError as first:
                raise InputError(f"{name}: {first}") from error
        raise


def _name(item: Any, at: int, picture: Any = None) -> str:
    """Return what a message calls an item: where it was said, or its picture, or its number."""
    if isinstance(item, Item) and item.origin:
        return item.origin
    if picture is not None and not isinstance(picture, np.ndarray | bytes | float) and len(str(picture)) < 500:
        return str(picture)
    return f"item {at}"


def _short(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= 300 else text[:300] + " …"
