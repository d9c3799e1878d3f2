"""Images by address: local files, files wherever fsspec reaches, and rows of parquet tables, in parts of one size."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from foveal.core.errors import ImageError, InputError
from foveal.core.storage import whole_path
from foveal.images.decode import EXTENSIONS, StoredImage
from foveal.images.files import MAX_BYTES, Unreadable
from foveal.images.parquet_rows import BYTES_COLUMNS, PATH_COLUMNS, bytes_column, open_table
from foveal.images.video import Video, is_video
from foveal.sources.folders import images_in

if TYPE_CHECKING:
    import pyarrow as pa

_TABLE = ".parquet"
_CellValue = str | bytes | dict[str, str | bytes | None] | None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that fsspec reads when it is needed: `s3://bucket/a.jpg`, `hdfs://...`."""

    name: str

    def read(self) -> bytes:
        """Return its bytes.

        Raises:
            OSError: it cannot be read.
        """
        import fsspec

        try:
            with fsspec.open(self.name) as file:
                data: bytes = file.read(MAX_BYTES + 1)
        except Exception as error:  # each file system has errors of its own
            raise OSError(str(error) or type(error).__name__) from error
        if len(data) > MAX_BYTES:
            raise OSError(f"it is larger than {MAX_BYTES >> 20} MiB")
        return data


@dataclass(frozen=True, slots=True)
class Cell:
    """An image's bytes in a row of a table."""

    name: str
    data: bytes

    def read(self) -> bytes:
        """Return its bytes."""
        return self.data


@dataclass(frozen=True, slots=True)
class Part:
    """Images that make one shard: files, or the rows from `start` to `stop` of a parquet table.

    Attributes:
        files: addresses.
        table: an address, instead of files.
        start: the first row.
        stop: the row after the last one.
        anywhere: whether the table may name images that lie elsewhere than it does.
    """

    files: tuple[str, ...] = ()
    table: str = ""
    start: int = 0
    stop: int = 0
    anywhere: bool = False

    def __len__(self) -> int:
        return len(self.files) or self.stop - self.start

    @property
    def text(self) -> str:
        """The part as text, for `of_text`."""
        values = asdict(self)
        return json.dumps(values if self.anywhere else {name: values[name] for name in values if name != "anywhere"})

    @classmethod
    def of_text(cls, text: str) -> Part:
        """Return the part that a text stands for."""
        values = json.loads(text)
        return cls(**(values | {"files": tuple(values["files"])}))

    def images(self) -> Iterator[Path | StoredImage]:
        """Return an iterator over the images; tables are read one row group at a time."""
        return _read_rows(self) if self.table else map(_image_at, self.files)


def parts_of(addresses: Iterable[str], size: int, *, anywhere: bool = False) -> Iterator[Part]:
    """Yield parts of `size` images or fewer, always the same ones for the same addresses and files.

    Args:
        addresses: images, folders, patterns, and parquet tables (or folders of them) with a column of paths or of
            images' bytes; local, or with a protocol of fsspec before them (`s3://`).
        size: images per part, at most.
        anywhere: whether tables may name images that lie elsewhere than they do.

    Raises:
        InputError: there is nothing at an address.
    """
    files: Iterable[str] = ()
    for address in addresses:
        more, tables = _list_address(address)
        files = chain(files, more)
        for table in tables:
            n = _count_rows(table)
            yield from (Part((), table, start, min(n, start + size), anywhere) for start in range(0, n, size))
    files = iter(files)
    while group := tuple(islice(files, size)):
        yield Part(group)


def files_at(pattern: str) -> Sequence[Path]:
    """Return the local images that a path, a folder or a pattern stands for.

    Raises:
        InputError: no image matches.
    """
    path = Path(pattern)
    if path.is_dir():
        return [Path(file) for file in images_in(path)]
    if path.exists() or not glob.has_magic(pattern):
        return [path]
    matches = _matches(pattern)
    if not matches:
        raise InputError(f"There is no image in `{pattern}`.")
    return [Path(file) for file in matches]


def _matches(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 -- absolute patterns too


def videos_at(pattern: str, every: float) -> list[Video]:
    """Return the videos and cameras that an address, a folder or a pattern stands for; none where it is for images.

    Args:
        pattern: a path, a folder, a pattern, or the address of a camera.
        every: seconds between two frames.
    """
    if "://" in pattern or is_video(pattern):
        return [Video(pattern, every)]
    path = Path(pattern)
    names = map(str, sorted(path.rglob("*"))) if path.is_dir() else _matches(pattern)
    return [Video(name, every) for name in names if is_video(name)]


def tables_at(address: str) -> list[str]:
    """Return the parquet tables at an address.

    Raises:
        InputError: there is nothing.
    """
    return _list_address(address)[1]


def image_column(schema: pa.Schema, table: str) -> str:
    """Return the name of the column of images: of their bytes, or else of their paths.

    Args:
        schema: of the table.
        table: its address, for messages.

    Raises:
        InputError: the table has no column of images or of paths.
    """
    import pyarrow as pa

    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    paths = [name for name in PATH_COLUMNS if name in texts] or (texts if len(texts) == 1 else [])
    if column := bytes_column(schema) or (paths[0] if paths else None):
        return column
    raise InputError(
        f"`{table}` has no column of images among {', '.join(schema.names)}. "
        f"Call it {BYTES_COLUMNS[0]} for images' bytes, {PATH_COLUMNS[0]} for paths."
    )


def _list_address(address: str) -> tuple[Iterable[str], list[str]]:
    """Return the files and the tables at an address.

    Raises:
        InputError: it cannot be listed, or holds no image.
    """
    if address.endswith(_TABLE) and not glob.has_magic(address):
        return (), [address]
    if "://" not in address:
        tables = sorted(map(str, Path(address).rglob(f"*{_TABLE}"))) if Path(address).is_dir() else []
        names = tables or [str(file) for file in files_at(address)]
        return [name for name in names if not name.endswith(_TABLE)], [name for name in names if name.endswith(_TABLE)]
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(address)
        names = sorted(system.glob(path) if glob.has_magic(path) else system.find(path))
    except Exception as error:
        raise InputError(f"`{address}` cannot be listed: {error}") from error
    full_names = [str(system.unstrip_protocol(name)) for name in names]
    tables = [name for name in full_names if name.endswith(_TABLE)]
    images = [name for name in full_names if Path(name).suffix.lower() in EXTENSIONS]
    if not tables and not images:
        raise InputError(f"There is no image in `{address}`.")
    return ((), tables) if tables else (images, [])


def _image_at(address: str) -> Path | RemoteFile:
    return RemoteFile(address) if "://" in address else Path(address)


def _count_rows(address: str) -> int:
    with open_table(address) as table:
        image_column(table.schema_arrow, address)
        n: int = table.metadata.num_rows
    return n


def _read_rows(part: Part) -> Iterator[Path | StoredImage]:
    """Yield the rows of a part, going through the row groups that hold them."""
    with open_table(part.table) as table:
        column = image_column(table.schema_arrow, part.table)
        group_start = 0
        for number in range(table.num_row_groups):
            n = table.metadata.row_group(number).num_rows
            first, last = max(part.start - group_start, 0), min(part.stop - group_start, n)
            if first < last:
                cells = table.read_row_group(number, columns=[column]).column(0)[first:last]
                for row, cell in enumerate(cells, group_start + first):
                    yield _image_of_cell(cell.as_py(), part, row)
            group_start += n


def _image_of_cell(value: _CellValue, part: Part, row: int) -> Path | StoredImage:
    name = f"{part.table}#{row}"
    if isinstance(value, dict):  # as data sets of Hugging Face store them
        name, value = str(value.get("path") or name), value.get("bytes")
    if isinstance(value, bytes):
        return Cell(name, value)
    if not value:
        return Cell(name, b"")
    folder = part.table.rpartition("/")[0] or "."
    address = value if "://" in value or Path(value).is_absolute() else f"{folder}/{value}"
    if part.anywhere or _is_below(address, folder):
        return _image_at(address)
    reason = f"`{part.table}` names it, and it lies elsewhere; --anywhere reads it all the same."
    return Unreadable(ImageError(value, reason))


def _is_below(address: str, folder: str) -> bool:
    """Return whether an address lies in a folder; of addresses with a protocol it is enough that both have one host."""
    if "://" in address or "://" in folder:
        ours, theirs = urlsplit(folder), urlsplit(address)
        return (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)
    return whole_path(address).is_relative_to(whole_path(folder))
