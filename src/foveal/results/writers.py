"""Writers of rows: CSV, JSON lines and parquet, each atomic and in constant memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from foveal import storage
from foveal.bundle.predictor import Prediction
from foveal.errors import InputError, UnknownNameError
from foveal.image.decode import open_picture
from foveal.results.predictions import write_rows
from foveal.sources.coco import write_coco
from foveal.sources.label_studio import write_label_studio
from foveal.tasks.base import Task

Rows = Iterable[Mapping[str, Any]]
Labelled = Iterable[tuple[str, tuple[int, int], Any]]
Answered = Iterable[tuple[Path, Prediction]]
LAYOUTS = {"coco": write_coco, "label-studio": write_label_studio}
_ROWS_AT_ONCE = 4096


def check_table(path: Path) -> None:
    """Refuse a file that rows cannot be written to.

    Raises:
        InputError: the file's ending names no format of tables.
    """
    if path.suffix not in _ROW_WRITERS:
        raise InputError(f"`{path}` must end in .csv, .jsonl or .parquet.")


def check_target(path: Path, layout: str) -> None:
    """Refuse a file that answers cannot be written to.

    Raises:
        InputError: the file's ending names no format, or `layout` no layout of .json.
    """
    if path.suffix not in {*_ROW_WRITERS, ".json"}:
        raise InputError(f"`{path}` must end in .csv, .jsonl, .parquet or .json.")
    if layout not in LAYOUTS:
        raise UnknownNameError.of("layout", layout, LAYOUTS)


def write_answers(path: Path, layout: str, answered: Answered, task: Task[Any]) -> int:
    """Write answers to a .csv, .jsonl or .parquet, or to a .json in a layout; return how many."""
    if path.suffix == ".json":
        found = ((file.name, open_picture(file).size_hw, answer.label) for file, answer in answered)
        return write_labels(path, layout, found, task)
    return write_table(path, (row_of(file, answer, task) for file, answer in answered))


def write_labels(path: Path, layout: str, labelled: Labelled, task: Task[Any]) -> int:
    """Write (file name, (height, width), label) to a .json in a layout; return how many."""
    return LAYOUTS[layout](path, labelled, task)


def write_table(path: Path, rows: Rows) -> int:
    """Write rows to a .csv, .jsonl or .parquet; return how many."""
    return _ROW_WRITERS[path.suffix](path, rows)


def row_of(file: Path, answer: Prediction, task: Task[Any]) -> dict[str, Any]:
    """Return an answer as a row of a table."""
    return {"fname": printable(file)} | task.to_row(answer.values, answer.label)


def printable(file: Path) -> str:
    """Return a path as text that every file can hold: bytes that are no UTF-8 as their codes."""
    return os.fsencode(file).decode("utf-8", "backslashreplace")


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
        (writer or pq.ParquetWriter(beside, pa.schema([("fname", pa.string())]))).close()
    return count


_ROW_WRITERS: dict[str, Callable[[Path, Rows], int]] = {
    ".csv": write_rows,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
