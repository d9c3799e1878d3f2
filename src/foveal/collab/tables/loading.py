"""Whatever holds a table of ratings, opened: text with any ending, parquet, JSON lines, workbooks, data frames."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json as arrow_json
import pyarrow.parquet as arrow_parquet

from foveal.collab.tables.text import load_text
from foveal.core.errors import TableError, near_match
from foveal.core.packed import unpacked
from foveal.sources.frames import BOOKS, JSON_LINES, PARQUET, load_frame
from foveal.sources.items import Finding

_SAMPLE = 5_000  # rows by which columns are recognised
_USUAL = {",": "", "\t": "tab", ";": "semicolon", "|": "`|`", " ": "spaces"}


@dataclass(frozen=True, slots=True)
class Opened:
    """A table before its columns are read.

    Attributes:
        name: for messages.
        folder: that it lies in; None for a data frame.
        sample: the first rows.
        has_header: whether its columns have names of their own.
        written: what is unusual about how it is written.
        notes: about its encoding.
        read: returns columns; the second argument names those that are numbers.
        where: names rows by their positions.
        broken: where rows lie that have another number of cells, after reading, and how many.
    """

    name: str
    folder: Path | None
    sample: pd.DataFrame
    has_header: bool
    written: tuple[str, ...]
    notes: tuple[Finding, ...]
    read: Callable[[Sequence[str], Sequence[str]], pd.DataFrame]
    where: Callable[[Sequence[int]], str]
    broken: Callable[[], list[tuple[int, int]]]


def open_table(source: Path | pd.DataFrame, encoding: str | None = None) -> Opened:
    """Return a table, opened, of which a sample is read.

    Args:
        source: a file, or a data frame.
        encoding: of a text; found out by default.

    Raises:
        TableError: there is no such file, or it cannot be read as a table.
    """
    if isinstance(source, pd.DataFrame):
        return _of_frame(source, "the table", None)
    if not source.is_file():
        beside = [other.name for other in source.parent.glob("*")] if source.parent.is_dir() else []
        raise TableError(f"There is no table `{source}`.{near_match(source.name, beside)}")
    ending = plain_ending(source)
    try:
        if ending in PARQUET:
            return _of_frame(_parquet(source), source.name, source.parent)
        if ending in JSON_LINES or (ending == ".json" and _is_json_lines(source)):
            return _of_frame(_json_lines(source), source.name, source.parent)
        if ending in BOOKS or ending == ".json":
            return _of_frame(load_frame(source)[0], source.name, source.parent)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise TableError(f"`{source}` cannot be read as a table: {error}") from error
    return _of_text(source, encoding)


def plain_ending(file: Path) -> str:
    """Return the ending of a file's name in lower case, without that of gzip.

    Args:
        file: its path.
    """
    return Path(file.name.lower().removesuffix(".gz")).suffix


def _of_text(file: Path, encoding: str | None) -> Opened:
    text = load_text(file, encoding)
    layout = text.layout
    written = [f"cells separated by {name}"] if (name := _USUAL.get(layout.separator, f"`{layout.separator}`")) else []
    if layout.separator == "\t" and plain_ending(file) in {".tsv", ".tab", ".data", ".dat"}:
        written = []
    if layout.names is None:
        written.append("no header")

    def where(rows: Sequence[int]) -> str:
        lines = [str(line) for line in text.lines(rows)]
        return f"{text.name}, line {' and '.join(lines) if len(lines) < 3 else ', '.join(lines)}"

    return Opened(
        text.name,
        file.parent,
        layout.sample(),
        layout.names is not None,
        tuple(written),
        text.notes,
        text.read,
        where,
        text.broken_lines,
    )


def _of_frame(frame: pd.DataFrame, name: str, folder: Path | None) -> Opened:
    has_header = not all(isinstance(column, int) for column in frame.columns)
    frame = frame.set_axis(
        [str(column) if has_header else f"column {at + 1}" for at, column in enumerate(frame.columns)], axis=1
    ).reset_index(drop=True)
    if not frame.columns.is_unique:
        raise TableError(f"{name} has two columns called `{frame.columns[frame.columns.duplicated()][0]}`.")

    def where(rows: Sequence[int]) -> str:
        return f"{name}, row {', '.join(str(row + 1) for row in rows)}"

    return Opened(
        name,
        folder,
        _sample(frame),
        has_header,
        () if has_header else ("no header",),
        (),
        lambda columns, _: pd.DataFrame({name: _categorical(frame[name]) for name in columns}),
        where,
        list,
    )


def _sample(frame: pd.DataFrame) -> pd.DataFrame:
    head = frame.head(_SAMPLE)
    cells = head.astype(object).where(head.notna(), None)
    return cells.map(lambda cell: _text(cell) if isinstance(cell, list | tuple | set | np.ndarray | dict) else cell)


def _categorical(column: pd.Series) -> pd.Series:
    """Return texts as a categorical of texts; numbers and times as they are."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        cells = pd.Index([str(cell) for cell in column.cat.categories], dtype=object)
        codes, known = pd.factorize(cells)
        return pd.Series(pd.Categorical.from_codes(np.append(codes, -1)[column.cat.codes.to_numpy()], known))
    if pd.api.types.is_bool_dtype(column):
        return column.astype(float)
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return column
    missing = column.isna().to_numpy()
    texts = [None if gone else _text(cell) for cell, gone in zip(column.tolist(), missing, strict=True)]
    return pd.Series(pd.Categorical(pd.Series(texts, dtype=object)))


def _text(cell: object) -> str:
    return "|".join(map(str, cell)) if isinstance(cell, list | tuple | set | np.ndarray) else str(cell)


def _parquet(file: Path) -> pd.DataFrame:
    table = arrow_parquet.read_table(file)
    return _of_arrow(table)


def _of_arrow(table: pa.Table) -> pd.DataFrame:
    """Return a table of Arrow as a frame whose texts are categorical, so that it stays small."""
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            columns[name] = column.dictionary_encode().to_pandas()
        else:
            columns[name] = column.to_pandas()
    return pd.DataFrame(columns)


def _json_lines(file: Path) -> pd.DataFrame:
    data = file.read_bytes()
    data = unpacked(io.BytesIO(data), file) if data.startswith(b"\x1f\x8b") else data
    block = max(1 << 24, min(len(data), 1 << 30))
    return _of_arrow(
        arrow_json.read_json(io.BytesIO(data.removeprefix(b"\xef\xbb\xbf")), arrow_json.ReadOptions(block_size=block))
    )


def _is_json_lines(file: Path) -> bool:
    with gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb") as stream:
        return stream.read(1 << 12).lstrip().startswith(b"{")
