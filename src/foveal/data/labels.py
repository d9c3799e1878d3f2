"""Getters: small functions that find an item's label."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.core.errors import InputError
from foveal.data.splits.rows import Rows
from foveal.sources.table import split_labels


@dataclass(frozen=True, slots=True)
class ColReader:
    """Read column `column` of a row; with `label_delim`, split it into several labels.

    `pref` and `suff` are put before and behind the value, for instance a folder and an extension.
    """

    column: str
    pref: str | os.PathLike[str] = ""
    suff: str = ""
    label_delim: str | None = None

    def __call__(self, row: Any) -> Any:
        """Return the value, or the list of labels, of one row."""
        return self._read(row[self.column])

    def of_rows(self, rows: Rows, at: Sequence[int]) -> list[Any]:
        """Return what a call returns for each of these rows, quicker; rows with equal labels share one list."""
        cells = rows.column(self.column)
        chosen = [cells[i] for i in at]
        if self.label_delim is not None:
            labels = {cell: self._read(cell) for cell in dict.fromkeys(chosen)}
            return [labels[cell] for cell in chosen]
        if isinstance(self.pref, str):
            return [f"{self.pref}{cell}{self.suff}" for cell in chosen] if self.pref or self.suff else chosen
        return [self._read(cell) for cell in chosen]

    def _read(self, value: Any) -> Any:
        if self.label_delim is not None:
            if isinstance(value, float):
                raise InputError(f"Column `{self.column}` holds no label ({value!r}) where text is expected.")
            return split_labels(str(value), self.label_delim)
        if isinstance(self.pref, Path):
            return self.pref / f"{value}{self.suff}"
        if isinstance(self.pref, os.PathLike):
            return Path(self.pref) / f"{value}{self.suff}"
        return f"{self.pref}{value}{self.suff}" if self.pref or self.suff else value


@dataclass(frozen=True, slots=True)
class RegexLabeller:
    """Take the first group of `pattern`, searched for (with `match=True`: from the start) in a text."""

    pattern: str
    match: bool = False

    def __call__(self, text: str | os.PathLike[str]) -> str:
        """Return the label in a text."""
        finder = re.match if self.match else re.search
        found = finder(self.pattern, str(text))
        if found is None:
            raise InputError(
                f"The pattern {self.pattern!r} does not match {str(text)!r}. "
                "Try it on that name, or leave such files out with `get_items`."
            )
        return str(found.group(1))


def using_attr(function: Callable[[Any], Any], attribute: str) -> Callable[[Any], Any]:
    r"""Return `function` of an attribute: `using_attr(RegexLabeller(r"(.+)_\d+.jpg$"), "name")`."""
    return lambda item: function(getattr(item, attribute))


def parent_label(path: str | os.PathLike[str]) -> str:
    """Return the name of the folder that a file lies in."""
    return Path(path).parent.name
