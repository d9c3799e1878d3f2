"""The rows of a data frame, one by one or a column at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import pandas as pd

from foveal.core.errors import TableError, near_match


class Row(Mapping[str, Any]):
    """One row of a data frame, cheap to make: `row["fname"]`, `row.fname`."""

    __slots__ = ("_at", "_columns")

    def __init__(self, columns: Mapping[str, Sequence[Any]], at: int) -> None:
        self._columns = columns
        self._at = at

    def __getitem__(self, column: str) -> Any:
        try:
            return self._columns[column][self._at]
        except KeyError:
            raise _no_column(column, self._columns) from None

    def __getattr__(self, column: str) -> Any:
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

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self._n = len(frame)
        self._columns = {str(column): frame[column].tolist() for column in frame.columns}

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [Row(self._columns, at) for at in range(*index.indices(self._n))]
        if not -self._n <= index < self._n:
            raise IndexError(index)
        return Row(self._columns, index % self._n)

    def column(self, name: str) -> Sequence[Any]:
        """Return the cells of a column.

        Raises:
            TableError: there is none of that name.
        """
        if name not in self._columns:
            raise _no_column(name, self._columns)
        return self._columns[name]


def _no_column(name: str, columns: Iterable[str]) -> TableError:
    known = list(map(str, columns))
    return TableError(f"The table has no column `{name}`.{near_match(name, known)} Its columns: {', '.join(known)}.")


def rows_of(items: Any) -> Sequence[Any]:
    """Return items to index: the rows of a data frame, anything else as it is."""
    return Rows(items) if isinstance(items, pd.DataFrame) else items
