"""Tables that are packed with gzip, up to a size: a few megabytes may stand for all the memory."""

from __future__ import annotations

import gzip
import zlib
from typing import IO

from foveal.core.errors import TableError

MAX_BYTES = 4 << 30
"""Of a table as text; chosen by hand: 100 million short rows."""


def unpacked(stream: IO[bytes], name: object, most: int | None = None) -> bytes:
    """Return what a stream of gzip holds.

    Args:
        stream: at its beginning.
        name: of the file, for messages.
        most: bytes to return; all by default.

    Raises:
        TableError: it is damaged, or holds more than `MAX_BYTES`.
    """
    try:
        with gzip.GzipFile(fileobj=stream) as packed:
            data = packed.read(MAX_BYTES + 1 if most is None else most)
    except (OSError, EOFError, zlib.error) as error:
        raise TableError(f"`{name}` cannot be unpacked: {error}") from error
    if len(data) > MAX_BYTES:
        raise TableError(f"`{name}` unpacks to more than {MAX_BYTES >> 30} GiB. Unpack it, and write it as parquet.")
    return data
