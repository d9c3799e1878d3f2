"""The rows of a data frame, one by one or a column at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

import pandas as pd

from foveal.core.errors import TableError, near_match

Item = TypeVar("Item")
Cell = Any
"""A cell of a data frame: text, a number, or any object."""


class Row(Mapping[str, Cell]):
    """One row of a data frame, cheap to make: `row["fname"]`, `row.fname`."""

    __slots__ = ("_columns", "_number")

    def __init__(self, columns: Mapping[str, Sequence[Cell]], number: int) -> None:
        self._columns = columns
        self._number = number

    def __getitem__(self, column: str) -> Cell:
        try:
            return self._columns[column][self._number]
        except KeyError:
            raise _no_column(column, self._columns) from None

    def __getattr__(self, column: str) -> Cell:
        if column.startswith("__"):
            raise AttributeError(column)
        return self[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return repr(pd.Series({column: self[column] for column in self}))


class Rows(Sequence[Row]):
    """The rows of a data frame."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table
        self._n = len(table)
        self._columns = {str(column): table[column].tolist() for column in table.columns}

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [Row(self._columns, number) for number in range(*index.indices(self._n))]
        if not -self._n <= index < self._n:
            raise IndexError(index)
        return Row(self._columns, index % self._n)

    def column(self, name: str) -> Sequence[Cell]:
        """Return the cells of a column.

        Raises:
            TableError: there is no column of that name.
        """
        if name not in self._columns:
            raise _no_column(name, self._columns)
        return self._columns[name]


def _no_column(name: str, columns: Iterable[str]) -> TableError:
    known = list(map(str, columns))
    return TableError(f"The table has no column `{name}`.{near_match(name, known)} Its columns: {', '.join(known)}.")


@overload
def rows_of(items: pd.DataFrame) -> Rows: ...
@overload
def rows_of(items: Sequence[Item]) -> Sequence[Item]: ...
def rows_of(items: pd.DataFrame | Sequence[Item]) -> Rows | Sequence[Item]:
    """Return items by position: the rows of a data frame, anything else as it is."""
    return Rows(items) if isinstance(items, pd.DataFrame) else items
