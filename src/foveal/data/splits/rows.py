"""The rows of a data frame, one by one or a column at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

import pandas as pd

from foveal.core.errors import TableError, near_match

Item = TypeVar("Item")
Cell = Any
"""A cell of a data frame: text, a number, or any object."""


class Row(Mapping[str, Cell]):
    """One row of a data frame, cheap to make: `row["fname"]`, `row.fname`, `row[0]`; what else a series has, it has."""

    __slots__ = ("_columns", "_number")

    def __init__(self, columns: Mapping[str, Sequence[Cell]], number: int) -> None:
        self._columns = columns
        self._number = number

    def __getitem__(self, column: Any) -> Cell:
        """Return the cell of a column, given by its name or its number; of several in a list, a series."""
        if isinstance(column, str | int):
            return column_of(self._columns, column)[self._number]
        return self.series[column]

    def __getattr__(self, column: str) -> Cell:
        if column.startswith("__"):
            raise AttributeError(column)
        if column not in self._columns and hasattr(pd.Series, column):
            return getattr(self.series, column)
        return self[column]

    @property
    def series(self) -> pd.Series[Any]:
        """The row as pandas has it."""
        return pd.Series({column: self[column] for column in self})

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return repr(self.series)


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

    def column(self, name: str | int) -> Sequence[Cell]:
        """Return the cells of a column, given by its name or its number.

        Raises:
            TableError: there is no such column.
        """
        return column_of(self._columns, name)


def column_of(columns: Mapping[str, Sequence[Cell]], name: str | int) -> Sequence[Cell]:
    """Return the cells of a column.

    Args:
        columns: of a table, in order.
        name: of the column; a number that is no name counts from 0.

    Raises:
        TableError: there is no such column.
    """
    known = list(columns)
    if str(name) in columns:
        return columns[str(name)]
    if isinstance(name, int) and -len(known) <= name < len(known):
        return columns[known[name]]
    raise TableError(f"The table has no column `{name}`.{near_match(name, known)} Its columns: {', '.join(known)}.")


@overload
def rows_of(items: pd.DataFrame) -> Rows: ...
@overload
def rows_of(items: Sequence[Item]) -> Sequence[Item]: ...
def rows_of(items: pd.DataFrame | Sequence[Item]) -> Rows | Sequence[Item]:
    """Return items by position: the rows of a data frame, anything else as it is."""
    return Rows(items) if isinstance(items, pd.DataFrame) else items
