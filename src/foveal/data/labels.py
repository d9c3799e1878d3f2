"""Getters: small functions that find an item's label."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from foveal._moved import attribute
from foveal.core.errors import InputError
from foveal.data.splits.rows import Rows
from foveal.sources.cells import is_blank, split_labels

Getter = Callable[[Any], Any]
"""A user's function of one item, whatever that is: a path, a row of a table, a tuple."""


Getters = Getter | Sequence[Getter]
"""One function of an item, or several, one after the other."""
Column = str | int
"""A column by its name, or by its number from 0."""


def composed(getters: Getters | None) -> Getter | None:
    """Return one function for several, each of which gets what the one before it returned.

    Raises:
        InputError: what is given is no function, or a list of functions.
    """
    if getters is None or not isinstance(getters, Sequence):
        return getters
    if not getters or not all(map(callable, getters)):
        raise InputError(f"A getter is a function of an item, or a list of functions; got {getters!r}.")
    return getters[0] if len(getters) == 1 else lambda item: reduce(lambda value, getter: getter(value), getters, item)


@dataclass(frozen=True, slots=True)
class ColReader:
    """Read one cell of a row, or several: a getter for `get_x` and `get_y` where the items are rows of a data frame.

    Attributes:
        column: the name of the column, or its number from 0; of several in a list, their cells are read into a list.
        pref: put before the value, for instance a folder.
        suff: put behind the value, for instance an extension.
        label_delim: splits the value into a list of labels; by default the value is one label.

    Raises:
        TableError: at a call: the table has no such column; the message offers the nearest one.
        InputError: at a call: a cell holds no text where `label_delim` is to split it.

    Examples:
        >>> from foveal.vision.all import *
        >>> row = pd.Series({"fname": "000012", "labels": "cat dog"})
        >>> ColReader("fname", pref="train/", suff=".jpg")(row)
        'train/000012.jpg'
        >>> ColReader("labels", label_delim=" ")(row)
        ['cat', 'dog']
    """

    column: Column | Sequence[Column]
    pref: str | os.PathLike[str] = ""
    suff: str = ""
    label_delim: str | None = None

    def __call__(self, row: Mapping[Any, object]) -> object:
        """Return the value, or the list of labels, of one row."""
        if isinstance(self.column, str | int):
            return self._read(row[self.column])
        return [self._read(row[column]) for column in self.column]

    def read_rows(self, rows: Rows, positions: Sequence[int]) -> list[object]:
        """Return what a call returns for each of these rows, faster; rows with equal labels share one list.

        Args:
            rows: the table.
            positions: numbers of rows, from 0.

        Raises:
            TableError, InputError: as at a call.

        Examples:
            >>> from foveal.data.splits.rows import Rows
            >>> import pandas as pd
            >>> rows = Rows(pd.DataFrame({"fname": ["a.jpg", "b.jpg"], "labels": ["cat", "dog cat"]}))
            >>> ColReader("labels", label_delim=" ").read_rows(rows, [1, 0])
            [['dog', 'cat'], ['cat']]
        """
        if not isinstance(self.column, str | int):
            return [self(rows[position]) for position in positions]
        column = rows.column(self.column)
        cells = [column[position] for position in positions]
        if self.label_delim is not None:
            labels = {cell: self._read(cell) for cell in dict.fromkeys(cells)}
            return [labels[cell] for cell in cells]
        if isinstance(self.pref, str):
            return [f"{self.pref}{cell}{self.suff}" for cell in cells] if self.pref or self.suff else cells
        return [self._read(cell) for cell in cells]

    def _read(self, value: object) -> object:
        if self.label_delim is not None:
            if not isinstance(value, str) and is_blank(value):  # an empty text has no label, and says so
                raise InputError(
                    f"Column `{self.column}` holds no label ({value!r}) where text is expected. Leave such rows out "
                    "(`table.dropna()`), or read the table with `pd.read_csv(..., keep_default_na=False)` where an "
                    "empty cell says that nothing is in the image."
                )
            return split_labels(str(value), self.label_delim)
        if isinstance(self.pref, Path):
            return self.pref / f"{value}{self.suff}"
        if isinstance(self.pref, os.PathLike):
            return Path(self.pref) / f"{value}{self.suff}"
        return f"{self.pref}{value}{self.suff}" if self.pref or self.suff else value


@dataclass(frozen=True, slots=True)
class RegexLabeller:
    r"""Read a label out of a text: the first group of a regular expression.

    Attributes:
        pat: the expression, with one group in it.
        match: whether it must match from the start of the text; by default it is searched for anywhere.

    Examples:
        >>> from foveal.vision.all import *
        >>> RegexLabeller(r"(.+)_\d+.jpg$")("great_pyrenees_173.jpg")
        'great_pyrenees'
    """

    pat: str
    match: bool = False
    pattern = attribute("RegexLabeller.pattern", "pat")

    def __call__(self, text: str | os.PathLike[str]) -> str:
        """Return the label in a text.

        Raises:
            InputError: the pattern does not match.
        """
        finder = re.match if self.match else re.search
        match = finder(self.pat, str(text))
        if match is None:
            raise InputError(
                f"The pattern {self.pat!r} does not match {str(text)!r}. "
                "Try it on that name, or leave such files out with `get_items`."
            )
        return str(match.group(1))


def using_attr(function: Getter, attribute: str) -> Getter:
    r"""Return a getter that calls `function` with an attribute of the item, such as the `name` of a path.

    Args:
        function: takes the value of the attribute.
        attribute: the name of an attribute that each item has.

    Examples:
        >>> from foveal.vision.all import *
        >>> label_of = using_attr(RegexLabeller(r"(.+)_\d+.jpg$"), "name")
        >>> label_of(Path("images/beagle_7.jpg"))
        'beagle'
    """
    return lambda item: function(getattr(item, attribute))


def parent_label(path: str | os.PathLike[str]) -> str:
    """Return the name of the folder that a file lies in: the label where there is one folder per class.

    Args:
        path: the file; it need not exist.

    Examples:
        >>> from foveal.vision.all import *
        >>> parent_label("train/cat/12.jpg")
        'cat'
    """
    return Path(path).parent.name
