"""Images in rows of parquet files: `train.parquet#17` names one. They are read through a cache of a bounded size."""

from __future__ import annotations

import os
import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.core import storage
from foveal.core.errors import InputError
from foveal.images.embedded import ENDING as EMBEDDED
from foveal.images.embedded import embedded_image
from foveal.images.files import MAX_BYTES, content

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

PATH_COLUMNS = ("fname", "path", "file", "file_name", "filename", "image_path", "image")
BYTES_COLUMNS = ("bytes", "image", "picture", "jpg", "png", "data")
_NAME = re.compile(r"(.+\.(?:parquet|pq))#(\d+)", re.DOTALL)
_ONE_SLASH = re.compile(r"^(\w{2,}):/(?!/)")  # what `Path` makes of `s3://`; one letter is a drive of Windows
_MAX_OPEN_FILES = 8  # chosen by hand: far below the limit of a process
_CACHE_MIB = 1024  # of row groups in memory; chosen by hand


def open_table(address: str) -> pq.ParquetFile:
    """Return a parquet table opened, with its footer read.

    Raises:
        InputError: it cannot be opened, or is no parquet table.
    """
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(fsspec.open(address).open())
    except pa.ArrowInvalid as error:
        raise InputError(f"`{address}` is no parquet table: {error}") from error
    except Exception as error:
        raise InputError(f"`{address}` cannot be opened: {error}") from error


def bytes_column(schema: pa.Schema) -> str | None:
    """Return the name of the column with images' bytes, or pairs of bytes and path; None if there is no such column."""
    import pyarrow as pa

    kinds: dict[str, pa.DataType] = {field.name: field.type for field in schema}
    there = [name for name, kind in kinds.items() if pa.types.is_binary(kind) or pa.types.is_large_binary(kind)]
    there += [name for name, kind in kinds.items() if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0]
    named = [name for name in BYTES_COLUMNS if name in there]
    return named[0] if named else there[0] if len(there) == 1 and not kinds.keys() & {*PATH_COLUMNS} else None


@dataclass(frozen=True, slots=True)
class _Footer:
    """What the footer of a table says.

    Attributes:
        column: of images' bytes.
        ends: 0, then the row after each row group.
        largest: bytes of the largest row group.
        modified_at: nanoseconds, see `_modified_at`.
        version: part of the key of row groups on the disk; differs when the file has changed.
    """

    column: str
    ends: Sequence[int]
    largest: int
    modified_at: int
    version: str


class ImageRows:
    """Reads images' bytes one row group at a time, and keeps the groups read last; at most eight files are open."""

    def __init__(self, cache_mib: int = _CACHE_MIB, disk: storage.BoundedFolder | None = None) -> None:
        """Begin with an empty cache.

        Args:
            cache_mib: MiB of row groups that are kept in memory; at least four groups are.
            disk: keeps row groups from one run to the next.
        """
        self._lock, self._disk = threading.Lock(), disk
        self._size = cache_mib << 20
        self._footers: dict[str, _Footer] = {}
        self._files: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._kept: OrderedDict[tuple[str, int], pa.ChunkedArray] = OrderedDict()

    @property
    def n_groups_at_once(self) -> int:
        """How many row groups a window holds: those that fit into half of the cache."""
        return max(2, self._size // 2 // max((footer.largest for footer in self._footers.values()), default=1))

    def locate(self, table: str, number: int) -> tuple[int, int]:
        """Return the row group of a row, and where in it.

        Args:
            table: a path, or an address of fsspec.
            number: of the row, from 0.

        Raises:
            InputError: the table cannot be opened, has no images' bytes, or no such row.
        """
        footer = self._footers.get(table)
        if footer is None or footer.modified_at != _modified_at(table):
            self._forget(table)
            footer = self._footers[table] = self._footer(table)
        if number >= footer.ends[-1]:
            raise InputError(f"`{table}` has {footer.ends[-1]} rows; the last one is #{footer.ends[-1] - 1}.")
        at = bisect_right(footer.ends, number) - 1
        return at, number - footer.ends[at]

    def read(self, table: str, number: int) -> bytes:
        """Return the bytes in a row of a table; `b""` where the cell is empty.

        Args:
            table: a path, or an address of fsspec.
            number: of the row, from 0.

        Raises:
            InputError: as `locate`.
            OSError: the table cannot be read any more.
        """
        with self._lock:
            at, row = self.locate(table, number)
            if (table, at) in self._kept:
                self._kept.move_to_end((table, at))
            else:
                self._kept[table, at] = self._column(table, at)
                while len(self._kept) > 2 * self.n_groups_at_once:
                    self._kept.popitem(last=False)
            cell = self._kept[table, at][row].as_py()
        data: bytes = (cell["bytes"] if isinstance(cell, dict) else cell) or b""
        return data

    def _column(self, table: str, at: int) -> pa.ChunkedArray:
        """Return the images of a row group, from the disk or from the table."""
        footer = self._footers[table]
        if self._disk is None:
            return self._file(table).read_row_group(at, columns=[footer.column]).column(0)
        import pyarrow as pa

        key = f"{table} {footer.version} {at}"
        if (data := self._disk.get(key)) is not None:
            return pa.ipc.open_file(data).read_all().column(0)
        group = self._file(table).read_row_group(at, columns=[footer.column])
        out = pa.BufferOutputStream()
        with pa.ipc.new_file(out, group.schema) as writer:
            writer.write_table(group)
        self._disk.put(key, out.getvalue().to_pybytes())
        return group.column(0)

    def _footer(self, table: str) -> _Footer:
        file = self._file(table)
        if (column := bytes_column(file.schema_arrow)) is None:
            raise InputError(
                f"`{table}` has no column of images' bytes among {', '.join(file.schema_arrow.names)}. "
                f"Call it {BYTES_COLUMNS[0]}."
            )
        groups = [file.metadata.row_group(at) for at in range(file.num_row_groups)]
        ends = [*accumulate((group.num_rows for group in groups), initial=0)]
        largest = max((group.total_byte_size for group in groups), default=1)
        return _Footer(column, ends, largest, _modified_at(table), _version(table) if self._disk else "")

    def _forget(self, table: str) -> None:
        self._files.pop(table, None)
        for key in [key for key in self._kept if key[0] == table]:
            del self._kept[key]

    def _file(self, table: str) -> pq.ParquetFile:
        if table in self._files:
            self._files.move_to_end(table)
        else:
            self._files[table] = open_table(table)
            while len(self._files) > _MAX_OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        return self._files[table]


def _modified_at(address: str) -> int:
    """Return when a file on this machine was last modified, in nanoseconds; 0 for one elsewhere or gone."""
    try:
        return Path(address).stat().st_mtime_ns
    except OSError:
        return 0


def _version(address: str) -> str:
    import fsspec

    system, path = fsspec.core.url_to_fs(address)
    return str(system.ukey(path))


_SHARED = ImageRows()


@dataclass(frozen=True, slots=True)
class StoredRow:
    """An image in a row of a parquet file.

    Attributes:
        table: a path, or an address of fsspec.
        number: of the row, from 0.
        rows: what reads it.
    """

    table: str
    number: int
    rows: ImageRows = _SHARED

    @property
    def name(self) -> str:
        """The table and the number."""
        return f"{self.table}#{self.number}"

    @property
    def path(self) -> Path:
        """The name as a path: `open_image` and whatever uses it read it like that of a file."""
        return Path(self.name)

    @property
    def group(self) -> tuple[str, int]:
        """The table and the row group that it lies in."""
        return self.table, self.rows.locate(self.table, self.number)[0]

    def read(self) -> bytes:
        """Return the bytes of its file.

        Raises:
            OSError: its parquet file cannot be read, or has no such row.
        """
        try:
            return self.rows.read(self.table, self.number)
        except InputError as error:
            raise OSError(str(error)) from error


def row_of(image: object) -> StoredRow | None:
    """Return the row that a path or a text names, such as `train.parquet#17`; None if it names no row.

    A path has lost a slash of `s3://`.
    """
    if isinstance(image, StoredRow):
        return image
    match = _NAME.fullmatch(os.fspath(image)) if isinstance(image, str | Path) else None
    return None if match is None else StoredRow(_ONE_SLASH.sub(r"\1://", match[1]), int(match[2]))


def read_bytes(file: Path) -> tuple[bytes, int]:
    """Return the bytes of an image's file or row, and when the file was last modified, in nanoseconds; 0 is unknown.

    Raises:
        OSError: it cannot be read.
    """
    if (row := row_of(file)) is not None:
        return row.read(), _modified_at(row.table)
    data = content(file)
    if data is None:
        raise OSError(f"it is larger than {MAX_BYTES >> 20} MiB")
    return embedded_image(data) if file.suffix.lower() == EMBEDDED else data, file.stat().st_mtime_ns


def windows_of(images: Sequence[object]) -> tuple[Sequence[int], int] | None:
    """Return a number for the row group of each image, and how many groups make a window; None unless all are rows.

    Raises:
        InputError: a table cannot be opened.
    """
    rows = []
    for image in images:
        if (row := row_of(image)) is None:
            return None
        rows.append(row)
    if not rows:
        return None
    numbers: dict[tuple[str, int], int] = {}
    return [numbers.setdefault(row.group, len(numbers)) for row in rows], rows[0].rows.n_groups_at_once
