"""Tables that foveal writes: CSV, JSON lines and parquet, each atomically and in constant memory."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, overload

from foveal.core import storage
from foveal.core.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Row = Mapping[str, object]
"""Cells by column: text, numbers, truth values or None."""
Rows = Iterable[Row]
_COLUMNS = ("fname",)  # of a table without rows; most have images
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ROWS_PER_GROUP = 4096  # rows of a parquet row group, and in memory; chosen by hand


def check_table(path: Path) -> None:
    """Refuse a file whose ending is not that of a table.

    Raises:
        InputError: it ends otherwise than in .csv, .jsonl or .parquet.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"`{path}` must end in .csv, .jsonl or .parquet.")


def write_table(path: Path, rows: Rows, columns: Sequence[str] = _COLUMNS) -> int:
    """Write rows to a .csv, .jsonl or .parquet, atomically.

    Args:
        path: its ending is the format.
        rows: all with the same columns; read one by one.
        columns: what a .csv or .parquet names where there are no rows.

    Returns:
        The number of rows.
    """
    return FORMATS[path.suffix](path, rows, columns)


def _write_csv(path: Path, rows: Rows, columns: Sequence[str]) -> int:
    """Write rows for people: no spreadsheet takes a cell for a formula.

    Returns:
        The number of rows.
    """
    return write_rows(path, ({defused(name): defused(cell) for name, cell in row.items()} for row in rows), columns)


@overload
def defused(cell: str) -> str: ...
@overload
def defused(cell: object) -> object: ...
def defused(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: a text that would be one has an apostrophe before it.

    >>> defused("=1+1"), defused("-1"), defused("cat"), defused(-1)
    ("'=1+1", '-1', 'cat', -1)
    """
    return f"'{cell}" if isinstance(cell, str) and _is_formula(cell) else cell


def restored(cell: str) -> str:
    """Return the text that `defused` was given.

    >>> restored("'=1+1"), restored("'tis"), restored(defused("'=1"))
    ('=1+1', "'tis", "'=1")
    """
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    if _FORMULA.match(text) is None:
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def write_rows(path: Path, rows: Rows, columns: Sequence[str] = _COLUMNS) -> int:
    """Write rows as CSV, every cell as it is and numbers with all their digits, atomically.

    Args:
        path: the file.
        rows: all with the same columns; read one by one.
        columns: what the file names where there are no rows.

    Returns:
        The number of rows.
    """
    count = 0
    with storage.open_replacing(path, newline="") as file:
        writer: csv.DictWriter[str] | None = None
        for row in rows:
            if writer is None:
                writer = _headed(file, list(row))
            writer.writerow(row)
            count += 1
        if writer is None:
            _headed(file, columns)
    return count


def _headed(file: IO[str], columns: Sequence[str]) -> csv.DictWriter[str]:
    writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="raise")
    writer.writeheader()
    return writer


def printable(name: str | os.PathLike[str]) -> str:
    """Return a name as text that is valid UTF-8: other bytes are shown as their codes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _write_jsonl(path: Path, rows: Rows, _: Sequence[str]) -> int:
    count = 0
    with storage.open_replacing(path) as file:
        for row in rows:
            file.write(json.dumps(storage.finite(dict(row)), ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_parquet(path: Path, rows: Rows, columns: Sequence[str]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    iterator, count = iter(rows), 0
    with storage.replacing(path) as beside:
        schema, writer = pa.schema([]), None
        while group := list(islice(iterator, _ROWS_PER_GROUP)):
            table = pa.Table.from_pylist([dict(row) for row in group])
            wider = pa.unify_schemas([schema, table.schema], promote_options="permissive")
            if writer is not None and wider != schema:  # a column had no values so far, or only whole numbers
                writer.close()
                writer = _rewrite(beside, wider)
            schema, writer = wider, writer or pq.ParquetWriter(beside, wider)
            writer.write_table(_as_schema(table, schema))
            count += len(group)
        (writer or pq.ParquetWriter(beside, pa.schema([(name, pa.string()) for name in columns]))).close()
    return count


def _rewrite(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Write what a file holds again with a wider schema, group by group.

    Returns:
        The writer, still open.
    """
    import pyarrow.parquet as pq

    before = path.with_name(f"{path.name}.before")
    path.replace(before)
    try:
        writer = pq.ParquetWriter(path, schema)
        with pq.ParquetFile(before) as file:
            for number in range(file.num_row_groups):
                writer.write_table(_as_schema(file.read_row_group(number), schema))
    finally:
        before.unlink()
    return writer


def _as_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    empty = {field.name: pa.nulls(len(table), field.type) for field in schema if field.name not in table.column_names}
    columns = [empty[field.name] if field.name in empty else table[field.name].cast(field.type) for field in schema]
    return pa.table(columns, schema=schema)


FORMATS: dict[str, Callable[[Path, Rows, Sequence[str]], int]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
