"""Images in parquet files to train on, here or at any address of fsspec."""

from __future__ import annotations

import os

import pandas as pd

from foveal.core.errors import InputError
from foveal.core.storage import BoundedFolder
from foveal.images.parquet_rows import ImageRows, StoredRow, bytes_column, open_table
from foveal.sources.addresses import tables_at


class ParquetImages:
    """Parquet files with a column of images' bytes; the footers are read once, the bytes when they are needed.

    ```python
    images = ParquetImages("s3://bucket/train/*.parquet")
    block = DataBlock((ImageBlock, MultiCategoryBlock), get_x=ColReader("stored_image"), get_y=ColReader("labels"), ...)
    dls = block.dataloaders(images.frame)
    ```

    Bytes are read one row group at a time and kept in memory up to `cache_mib`. A loader that shuffles goes through
    windows of row groups that fit into half of it, so that an epoch reads each group once; with a `cache_folder`, row
    groups that fit there are fetched once for all epochs, runs and processes of a machine.

    Attributes:
        frame: all other columns, and `stored_image`, for `get_x`.
        rows: reads the images.
    """

    def __init__(
        self,
        *addresses: str,
        cache_mib: int = 1024,
        cache_folder: str | os.PathLike[str] | None = None,
        cache_folder_mib: int = 1 << 16,
    ) -> None:
        """Read the footers and all columns but the images'.

        Args:
            addresses: parquet files, patterns or folders; local, or with a protocol of fsspec before them.
            cache_mib: memory for images' bytes; at least four row groups are kept.
            cache_folder: a folder on this machine's disk where row groups are kept as well.
            cache_folder_mib: MiB that they take there at most; the least recently used go first.

        Raises:
            InputError: there is no such file, or one without a column of images' bytes.
        """
        disk = None if cache_folder is None else BoundedFolder(cache_folder, cache_folder_mib << 20)
        self.rows = ImageRows(cache_mib, disk)
        frames = [self._frame(table) for address in addresses for table in tables_at(address)]
        if not frames:
            raise InputError(f"There is no parquet file at {', '.join(addresses) or 'no address'}.")
        self.frame = pd.concat(frames, ignore_index=True)

    def _frame(self, address: str) -> pd.DataFrame:
        with open_table(address) as table:
            names = table.schema_arrow.names
            column = bytes_column(table.schema_arrow)
            frame: pd.DataFrame = table.read([name for name in names if name != column]).to_pandas()
        rows = [StoredRow(address, number, self.rows) for number in range(len(frame))]
        if rows:
            self.rows.locate(address, 0)  # reads the footer, so that a table that is refused is refused now
        frame["stored_image"] = pd.Series(rows, frame.index, object)
        return frame
