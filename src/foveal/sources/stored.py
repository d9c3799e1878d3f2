"""Pictures in parquet files to train on: any row is read when it is needed, through a cache of a bounded size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from foveal.errors import InputError
from foveal.sources.addresses import opened_table, picture_column, tables_at

_OPEN_FILES = 8


@dataclass(frozen=True, slots=True, eq=False)
class StoredRow:
    """A picture in a row of `ParquetPictures`.

    Attributes:
        group: which of all row groups it lies in, over all files.
        row: where in the group.
    """

    pictures: ParquetPictures
    name: str
    group: int
    row: int

    def read(self) -> bytes:
        """Return the bytes of its file.

        Raises:
            OSError: its parquet file cannot be read any more.
        """
        return self.pictures.read(self.group, self.row)


class ParquetPictures:
    """Parquet files with a column of pictures' bytes; the footers are read once, the bytes when they are needed.

    ```python
    pictures = ParquetPictures("s3://bucket/train/*.parquet")
    block = DataBlock((ImageBlock, MultiCategoryBlock), get_x=ColReader("picture"), get_y=ColReader("labels"), ...)
    dls = block.dataloaders(pictures.frame)
    ```

    Bytes are read a row group at a time and kept in memory up to `cache_mib`. A loader that shuffles goes through
    windows of row groups that fit into half of it, so that an epoch reads each group once.

    Attributes:
        frame: all other columns, and `picture`: what `get_x` finds.
        at_once: how many row groups make a window.
    """

    def __init__(self, *addresses: str, cache_mib: int = 1024) -> None:
        """Read the footers and all columns but the pictures'.

        Args:
            addresses: parquet files, patterns or folders; here, or with the protocol of fsspec before it.
            cache_mib: memory for pictures' bytes; at least four row groups are kept.

        Raises:
            InputError: there is no such file, or none with a column of pictures' bytes.
        """
        self._lock = threading.Lock()
        self._files: OrderedDict[str, Any] = OrderedDict()
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._groups: list[tuple[str, int, str]] = []
        frames, sizes = [], [1]
        for address in [table for one in addresses for table in tables_at(one)]:
            with opened_table(address) as table:
                column = picture_column(table.schema_arrow, address, paths=False)
                frame = table.read([name for name in table.schema_arrow.names if name != column]).to_pandas()
                metas = [table.metadata.row_group(at) for at in range(table.num_row_groups)]
            frame["picture"] = list(self._rows(address, [meta.num_rows for meta in metas]))
            frames.append(frame)
            sizes += [meta.total_byte_size for meta in metas]
            self._groups += [(address, at, column) for at in range(len(metas))]
        if not frames:
            raise InputError(f"There is no parquet file at {', '.join(addresses) or 'no address'}.")
        self.frame = pd.concat(frames, ignore_index=True)
        self.at_once = max(2, (cache_mib << 20) // 2 // max(sizes))

    def read(self, group: int, row: int) -> bytes:
        """Return the bytes in a row of a group."""
        with self._lock:
            if group in self._kept:
                self._kept.move_to_end(group)
            else:
                address, at, column = self._groups[group]
                self._kept[group] = self._file(address).read_row_group(at, columns=[column]).column(0)
                while len(self._kept) > 2 * self.at_once:
                    self._kept.popitem(last=False)
            cell = self._kept[group][row].as_py()
        data: bytes = (cell["bytes"] if isinstance(cell, dict) else cell) or b""
        return data

    def _file(self, address: str) -> Any:
        if address in self._files:
            self._files.move_to_end(address)
        else:
            self._files[address] = opened_table(address)
            while len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        return self._files[address]

    def _rows(self, address: str, counts: Sequence[int]) -> Iterator[StoredRow]:
        number = 0
        for group, n in enumerate(counts, len(self._groups)):
            for row in range(n):
                yield StoredRow(self, f"{address}#{number}", group, row)
                number += 1


def windows_of(pictures: Sequence[object]) -> tuple[Sequence[int], int] | None:
    """Return the row group of each picture and how many make a window; None for pictures of another kind."""
    first = pictures[0] if len(pictures) else None
    if not isinstance(first, StoredRow) or not all(isinstance(one, StoredRow) for one in pictures):
        return None
    return [one.group for one in pictures if isinstance(one, StoredRow)], first.pictures.at_once
