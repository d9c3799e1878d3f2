"""Splitters: functions of all items that return (training indices, validation indices).

A split is a value: it comes from the items and a seed alone and touches no global random state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence, Sized
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.core.arguments import are_numbers, check_list, checked_keywords
from foveal.core.errors import InputError, TableError
from foveal.core.seeds import check_seed
from foveal.core.warn import warn
from foveal.data.splits.rows import rows_of
from foveal.sources.cells import is_blank
from foveal.sources.sides import side_of_cell

Split = tuple[list[int], list[int]]
Splitter = Callable[[Any], Any]
"""A user's function of all items, a sequence or a data frame; `check_split` checks its answer."""


@checked_keywords
def RandomSplitter(valid_pct: float = 0.2, seed: int | None = None) -> Splitter:
    """Return a splitter that puts a random share of the items into validation.

    Args:
        valid_pct: the share, between 0 and 1; the number of items is rounded down.
        seed: the same one gives the same split on any machine; by default each split is another one.

    Raises:
        InputError: the share is not between 0 and 1, or the seed is no whole number of 64 bits; or, while splitting,
            the items are too few for an item on each side.

    Examples:
        >>> from foveal.vision.all import *
        >>> train, valid = RandomSplitter(valid_pct=0.2, seed=42)(range(10))
        >>> len(train), len(valid), sorted(train + valid) == list(range(10))
        (8, 2, True)
    """
    check_share("valid_pct", valid_pct)
    number = None if seed is None else check_seed(seed)

    def split(items: Sized) -> Split:
        generator = torch.Generator()
        generator.manual_seed(number) if number is not None else generator.seed()
        order = torch.randperm(len(items), generator=generator).tolist()
        cut = int(valid_pct * len(items))
        return both_sides(order[cut:], order[:cut], len(items))

    return split


def MaskSplitter(mask: Iterable[object]) -> Splitter:
    """Return a splitter that puts the items where `mask` is true into validation.

    Args:
        mask: one value per item, true or false.

    Raises:
        InputError: while splitting: there is not one value per item.

    Examples:
        >>> from foveal.vision.all import *
        >>> MaskSplitter([True, False, False])(["a.jpg", "b.jpg", "c.jpg"])
        ([1, 2], [0])
    """
    sides = list(mask)

    def split(items: Sized) -> Split:
        if len(sides) != len(items):
            raise InputError(f"The mask has {len(sides)} entries for {len(items)} items.")
        return _by_side([bool(side) for side in sides])

    return split


def FuncSplitter(function: Callable[[Any], object]) -> Splitter:
    """Return a splitter that puts the items for which `function` is true into validation.

    Args:
        function: of one item: a path, or a row of a data frame.

    Examples:
        >>> from foveal.vision.all import *
        >>> FuncSplitter(lambda file: file.parent.name == "13")([Path("13/a.jpg"), Path("20/b.jpg")])
        ([1], [0])
    """
    return lambda items: _by_side([bool(function(item)) for item in rows_of(items)])


def IndexSplitter(valid_idx: Iterable[int]) -> Splitter:
    """Return a splitter that puts the items at these positions into validation.

    Args:
        valid_idx: positions from 0.

    Raises:
        InputError: they are no whole numbers from 0; or, while splitting, there is no item at one of them.

    Examples:
        >>> from foveal.vision.all import *
        >>> IndexSplitter([0, 3])(["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
        ([1, 2], [0, 3])
    """
    check_list("valid_idx", valid_idx, "positions")
    expected = "`valid_idx` is a list of positions, whole numbers from 0"
    validation = set(_positions(valid_idx, expected).tolist())
    if min(validation, default=0) < 0:
        raise InputError(f"{expected}; got {min(validation)}.")

    def split(items: Sized) -> Split:
        if max(validation, default=0) >= len(items):
            raise InputError(f"{expected}; got {max(validation)}, and there are {len(items)} items.")
        return _by_side([index in validation for index in range(len(items))])

    return split


@checked_keywords
def ColSplitter(col: str | int = "is_valid", on: object = None) -> Splitter:
    """Return a splitter that puts the rows where column `col` is true, or names validation, into validation.

    Texts are read as they are in tables: True, 1, yes; False, 0, no; train, valid. A row that names a test side is on
    neither, with a warning.

    Args:
        col: the column, by its name or its number.
        on: the value, or a list of those, that puts a row into validation; every other one puts it into training.

    Raises:
        TableError: while splitting: there is no such column, a cell is blank or names no side, or no row has one of the
            values `on`.

    Examples:
        >>> from foveal.vision.all import *
        >>> df = pd.DataFrame({"fname": ["a.jpg", "b.jpg", "c.jpg"], "is_valid": [0, 1, 0], "day": [1, 1, 2]})
        >>> ColSplitter()(df), ColSplitter("day", on=2)(df)
        (([0, 2], [1]), ([0, 1], [2]))
    """

    def split(items: Any) -> Split:
        cells = [row[col] for row in rows_of(items)]
        if on is not None:
            wanted = list(on) if isinstance(on, list | tuple | set) else [on]
            if absent := [one for one in wanted if one not in cells]:
                known = ", ".join(map(repr, list(dict.fromkeys(cells))[:8]))
                raise TableError(f"No row of column `{col}` holds {absent[0]!r}. It holds {known}.")
            return _by_side([cell in wanted for cell in cells])
        sides = [None if is_blank(cell) else side_of_cell(cell) for cell in cells]
        if None in sides:
            at = sides.index(None)
            shown = "empty" if is_blank(cells[at]) else repr(cells[at])
            raise TableError(
                f"Column `{col}` must be true or false, 1 or 0, or name a side such as train; item {at} has {shown}."
            )
        if n_test := sides.count("test"):
            warn(f"{n_test} items are of the test side by column `{col}`: they are left out.")
        train, valid = ([at for at, side in enumerate(sides) if side == wanted] for wanted in ("train", "valid"))
        return train, valid

    return split


def GrandparentSplitter(train_name: str = "train", valid_name: str = "valid") -> Splitter:
    """Return a splitter by the folder above the folder that a file lies in; files under neither name are left out.

    Args:
        train_name: the name of the folder to train on.
        valid_name: the name of the folder to validate on.

    Examples:
        >>> from foveal.vision.all import *
        >>> GrandparentSplitter()(["train/cat/1.jpg", "valid/cat/2.jpg", "test/cat/3.jpg", "train/dog/4.jpg"])
        ([0, 3], [1])
    """

    def split(items: Iterable[str | os.PathLike[str]]) -> Split:
        grandparents = [Path(item).parent.parent.name for item in items]
        return (
            [i for i, name in enumerate(grandparents) if name == train_name],
            [i for i, name in enumerate(grandparents) if name == valid_name],
        )

    return split


def FileSplitter(path: str | os.PathLike[str]) -> Splitter:
    """Return a splitter that puts the files whose names stand in a text file, one per line, into validation.

    Args:
        path: the text file, in UTF-8; it is read at once. Names are compared without their folders.

    Raises:
        InputError: there is no such text file, it cannot be read, or an item is no path.

    Examples:
        >>> from foveal.vision.all import *
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "valid.txt").write_text("b.jpg")
        ...     splitter = FileSplitter(Path(folder, "valid.txt"))
        >>> splitter(["images/a.jpg", "images/b.jpg"])
        ([0], [1])
    """
    try:
        names = {line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()}
    except OSError as error:
        raise InputError(f"The list of files `{path}` cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"`{path}` is no text in UTF-8; FileSplitter takes a file with a name per line.") from error

    def is_named(item: object) -> bool:
        if not isinstance(item, str | os.PathLike):
            raise InputError(
                f"FileSplitter splits paths by their names; the items are of type {type(item).__name__}. For rows of a "
                "table: FuncSplitter(lambda row: row['fname'] in names)."
            )
        return Path(item).name in names

    return FuncSplitter(is_named)


def check_share(name: str, share: object) -> None:
    """Refuse what is no share of the items.

    Args:
        name: of the argument.
        share: as the user gave it.

    Raises:
        InputError: it is no number between 0 and 1.
    """
    if not (are_numbers(share) and 0 < cast("float", share) < 1):
        raise InputError(f"`{name}` is a share between 0 and 1; got {share!r}.")


def both_sides(train: Sequence[int], valid: Sequence[int], n_items: int) -> Split:
    """Return positions as the two sides of a split.

    Args:
        train: positions to train on.
        valid: positions to validate on.
        n_items: the number of all items.

    Raises:
        InputError: a side is empty.
    """
    for name, side in (("training", train), ("validation", valid)):
        if not len(side):
            raise InputError(f"The split leaves nothing for {name} ({n_items} items in all).")
    return list(train), list(valid)


def check_split(split: object, n_items: int) -> Split:
    """Return the answer of a splitter as two lists of positions.

    Args:
        split: the answer: a pair of collections of whole numbers.
        n_items: the number of all items.

    Raises:
        InputError: it is no pair of lists of positions, a side is empty, they overlap or point outside the items.
    """
    expected = "A splitter returns two lists of positions, (training, validation)"
    if not isinstance(split, tuple | list) or len(split) != 2:
        raise InputError(f"{expected}; got {type(split).__name__}.")
    train, valid = (_positions(side, expected) for side in split)
    sides = both_sides(train.tolist(), valid.tolist(), n_items)
    for name, side in (("training", train), ("validation", valid)):
        if side.min() < 0 or side.max() >= n_items:
            raise InputError(f"{expected} from 0 to {n_items - 1}; one for {name} is {side.max()}.")
    is_train, is_valid = (np.bincount(side, minlength=n_items) > 0 for side in (train, valid))
    if (both := np.flatnonzero(is_train & is_valid)).size:
        raise InputError(f"{both.size} items are on both sides of the split, for instance number {both[0]}.")
    return sides


def _positions(side: Iterable[int], expected: str) -> NDArray[np.int64]:
    """Return positions as an array.

    Raises:
        InputError: they are no whole numbers.
    """
    listed = list(side)
    values = np.asarray(listed)
    if values.dtype == bool:
        raise InputError(
            f"{expected}; got booleans. Use `MaskSplitter`, or `FuncSplitter` for a function that answers for one item."
        )
    if len(values) and not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"{expected}; got values such as {listed[0]!r}.")
    return values


def _by_side(sides: Sequence[bool]) -> Split:
    return [i for i, side in enumerate(sides) if not side], [i for i, side in enumerate(sides) if side]
