"""Table files to data frames: text, parquet, JSON lines and workbooks; text stays text."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pandas as pd

from foveal.core.errors import MissingDependencyError, TableError, near_match
from foveal.core.storage import Json
from foveal.images.parquet_rows import StoredRow, bytes_column, open_table
from foveal.sources.delimited import read_delimited
from foveal.sources.finder import clean_name
from foveal.sources.formats import load_json
from foveal.sources.items import Finding
from foveal.sources.sides import side_of_word

BOOKS = (".xlsx", ".xls", ".ods")
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
TABLES = frozenset({".csv", ".tsv", ".tab", *PARQUET, *BOOKS, *JSON_LINES})
STORED = "stored_image"
"""The column with the paths of rows that hold their image."""
_PARTS = "*.parquet"


def is_parquet(folder: Path) -> bool:
    """Return whether a folder holds parquet files and, but for what begins with `_` or `.`, nothing else."""
    shown = {file for file in folder.iterdir() if not file.name.startswith(("_", "."))}
    return bool(shown) and shown == set(folder.glob(_PARTS))


def load_frame(path: str | os.PathLike[str], encoding: str | None = None) -> tuple[pd.DataFrame, list[Finding]]:
    """Return a table, or a folder of parquet files, and findings; text stays text, and only an empty cell is missing.

    Of a parquet file with images' bytes the bytes stay where they are: column `image` has the paths of its rows.

    Args:
        path: text (.csv, .tsv, .txt, with or without .gz), .parquet, .jsonl, .xlsx, or a folder of .parquet.
        encoding: of a text; found out by default.

    Raises:
        TableError: there is no such file, or it cannot be read as a table.
    """
    file = Path(path)
    if file.is_dir():
        return pd.concat([load_frame(part)[0] for part in sorted(file.glob(_PARTS))], ignore_index=True), []
    if not file.is_file():
        beside = [other.name for other in file.parent.glob("*")] if file.parent.is_dir() else []
        raise TableError(f"There is no table `{file}`.{near_match(file.name, beside)}")
    ending = file.suffix.lower()
    try:
        if ending in PARQUET:
            return _without_bytes(file), []
        if ending in JSON_LINES:
            return pd.DataFrame(_json_lines(file)), []
        if ending == ".json":
            return pd.DataFrame(records_of(file)), []
        if ending in BOOKS:
            return _workbook(file)
        return read_delimited(file, encoding)
    except TableError:
        raise
    except (ValueError, OSError) as error:
        raise TableError(f"`{file}` cannot be read as a table: {error}") from error


def records_of(file: Path) -> list[dict[str, Json]]:
    """Return the rows of a .json that is a list of objects; nothing where it is something else.

    Args:
        file: the .json.
    """
    value = load_json(file)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _json_lines(file: Path) -> list[dict[str, object]]:
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise TableError(f"`{file}`, line {number}: {error}") from error
            if not isinstance(row, dict):
                raise TableError(f"`{file}`, line {number}: expected an object, got {line.strip()[:40]}")
            rows.append(row)
    return rows


def _workbook(file: Path) -> tuple[pd.DataFrame, list[Finding]]:
    """Return the first sheet of a workbook, or all of them where each is for a side of a split, and findings.

    Raises:
        MissingDependencyError: openpyxl, which reads workbooks, is not installed.
        TableError: the workbook is damaged, has a password, or its sheets are empty.
    """
    if file.suffix.lower() == ".xlsx" and importlib.util.find_spec("openpyxl") is None:
        raise MissingDependencyError(
            f"Reading `{file.name}` needs openpyxl: pip install openpyxl. Or save the sheet as CSV (UTF-8)."
        )
    try:
        sheets = pd.read_excel(file, sheet_name=None, dtype=str, keep_default_na=False, na_values=[""])
    except ImportError as error:
        raise MissingDependencyError(f"Reading `{file.name}`: {error} Or save the sheet as CSV (UTF-8).") from error
    except Exception as error:  # a damaged workbook meets zipfile, zlib, an XML parser and openpyxl, each with its own
        reason = f"{type(error).__name__}: {error}"
        raise TableError(f"`{file}` is a damaged workbook, or has a password ({reason}).") from error
    sheets = {name: sheet for name, sheet in sheets.items() if len(sheet.columns)}
    if not sheets:
        raise TableError(f"`{file}` cannot be read as a table: its sheets are empty.")
    names, findings = list(sheets), []
    if len(names) > 1 and all(map(side_of_word, names)):
        frame = pd.concat([sheet.assign(split=name) for name, sheet in sheets.items()], ignore_index=True)
        findings.append(Finding("note", "sheets are the sides of a split", file.name, ", ".join(names)))
    else:
        frame = sheets[names[0]]
        if len(names) > 1:
            value = f"{names[0]} is read; not read: {', '.join(names[1:])}"
            findings.append(Finding("note", "workbook of several sheets", file.name, value))
    frame.columns = pd.Index([clean_name(str(name)) for name in frame.columns])
    return frame, findings


def _without_bytes(file: Path) -> pd.DataFrame:
    with open_table(str(file)) as table:
        schema = table.schema_arrow
        names, column = schema.names, bytes_column(schema)
    frame = pd.read_parquet(file, columns=[name for name in names if name != column])
    for name, values in _class_names(schema.metadata or {}).items():
        if name in frame:
            frame[name] = [None if pd.isna(at) or int(at) < 0 else values[int(at)] for at in frame[name]]
    if column is not None:
        rows = [StoredRow(str(file), number).path for number in range(len(frame))]
        frame[STORED] = pd.Series(rows, frame.index, object)
    return frame


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return what numbers of a column stand for, as data sets of Hugging Face write it into their schema."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {name: one["names"] for name, one in features.items() if one.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
