"""Writers of rows: CSV, JSON lines and parquet, each atomic and in constant memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from foveal import storage
from foveal.errors import InputError
from foveal.results.predictions import write_rows

Rows = Iterable[Mapping[str, Any]]
_ROWS_AT_ONCE = 4096


def writer_for(path: Path) -> Callable[[Rows], int]:
    """Return what writes rows to `path` and says how many there were.

    Raises:
        InputError: the file's ending names no format.
    """
    writers = {".csv": write_rows, ".jsonl": _write_jsonl, ".parquet": _write_parquet}
    if path.suffix not in writers:
        raise InputError(f"`{path}` must end in .csv, .jsonl or .parquet.")
    write = writers[path.suffix]
    return lambda rows: write(path, rows)


def _write_jsonl(path: Path, rows: Rows) -> int:
    count = 0
    with storage.open_replacing(path) as file:
        for row in rows:
            file.write(json.dumps(storage.finite(dict(row)), ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_parquet(path: Path, rows: Rows) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    iterator, count = iter(rows), 0
    with storage.replacing(path) as beside:
        writer = None
        while group := list(islice(iterator, _ROWS_AT_ONCE)):
            table = pa.Table.from_pylist([dict(row) for row in group])
            writer = writer or pq.ParquetWriter(beside, table.schema)
            writer.write_table(table)
            count += len(group)
        if writer is not None:
            writer.close()
    return count
