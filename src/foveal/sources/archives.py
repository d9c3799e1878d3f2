"""Archives from the network: data sets by name, downloaded, checked and unpacked into a folder, whole or not at all.

Only regular files and folders inside the target come out of an archive; links, devices, absolute paths, `..`, too many
files and too many bytes are refused before anything takes its final name.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from foveal.core import progress
from foveal.core.download import Checksum, cache_folder, download
from foveal.core.errors import FetchError, InputError
from foveal.core.listing import Path as ListingPath

_HEAD_BYTES = 1 << 20  # of which fast.ai publishes the MD5
_MAX_FILES = 500_000  # in an archive; chosen by hand: ten times those of the largest data set below
_MAX_BYTES = 40 << 30  # of the files in an archive together; chosen by hand


@dataclass(frozen=True, slots=True)
class Archive:
    """A data set on the network.

    Attributes:
        address: of a .tgz or .zip.
        folder: what it unpacks to.
        n_bytes: its size.
        md5_head: the MD5 of its first MiB, as the fast.ai data sets publish it.
        instead: what to use without a network.
    """

    address: str
    folder: str
    n_bytes: int
    md5_head: str
    instead: str = "`untar_data(URLs.SAMPLE_PASCAL)` and the other samples are drawn without a network"


class URLs:
    """The data sets of the fast.ai book that foveal's chapters use."""

    PASCAL_2007 = Archive(
        "https://s3.amazonaws.com/fast-ai-imagelocal/pascal_2007.tgz",
        "pascal_2007",
        1_637_796_771,
        "433b4706eb7c42bd74e7f784e3fdf244",
    )
    BIWI_HEAD_POSE = Archive(
        "https://s3.amazonaws.com/fast-ai-imagelocal/biwi_head_pose.tgz",
        "biwi_head_pose",
        452_316_199,
        "00f4ccf66e8cba184bc292fdc08fb237",
    )
    PETS = Archive(
        "https://s3.amazonaws.com/fast-ai-imageclas/oxford-iiit-pet.tgz",
        "oxford-iiit-pet",
        811_706_944,
        "e4db5c768afd933bb91f5f594d7417a4",
    )
    ML_100k = Archive(
        "http://files.grouplens.org/datasets/movielens/ml-100k.zip",
        "ml-100k",
        4_924_029,
        "39f6af2d7ea4e117f8838e4a302fec70",
    )


def untar_data(archive: Archive) -> ListingPath:
    """Return the folder of a data set: as it is on disk, or downloaded, checked and unpacked.

    Raises:
        FetchError: it is not on disk and cannot be downloaded; the message says where to put it by hand.
    """
    own = cache_folder() / "data" / archive.folder
    for folder in (own, Path.home() / ".fastai" / "data" / archive.folder):
        if folder.is_dir():
            return ListingPath(folder)
    file = cache_folder() / "archives" / archive.address.rsplit("/", 1)[1]
    try:
        with progress.Bar(f"fetching {archive.folder}", archive.n_bytes) as bar:
            checksum = Checksum(archive.md5_head, "md5", _HEAD_BYTES)
            download(archive.address, file, checksum, n_bytes=archive.n_bytes, advance=bar.advance)
    except FetchError as error:
        raise FetchError(
            f"{error} By hand: unpack {archive.address} so that `{own}` is the data set's folder. "
            f"Without it: {archive.instead}."
        ) from error
    unpack(file, own.parent, expect=archive.folder)
    return ListingPath(own)


def unpack(file: Path, target: Path, *, expect: str) -> None:
    """Unpack a .tar, .tgz or .zip so that `target`/`expect` appears, whole.

    Args:
        file: the archive.
        target: the folder in which it is unpacked.
        expect: the folder that the archive holds.

    Raises:
        InputError: the archive holds a member that is refused, or no folder `expect`.
    """
    target.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target))
    try:
        n_files = n_bytes = 0
        for name, size, content in _members(file):
            n_files, n_bytes = n_files + 1, n_bytes + size
            if n_files > _MAX_FILES or n_bytes > _MAX_BYTES:
                raise InputError(f"`{file}` holds more than {_MAX_FILES:,} files or {_MAX_BYTES >> 30} GiB.")
            unpacked = beside / _relative_path(file, name)
            unpacked.parent.mkdir(parents=True, exist_ok=True)
            with content, unpacked.open("xb") as out:
                shutil.copyfileobj(content, out)
        if not (beside / expect).is_dir():
            raise InputError(f"`{file}` holds no folder `{expect}`.")
        (beside / expect).rename(target / expect)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise InputError(f"`{file}` cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _members(file: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield (name, size, content) of every regular file; refuse what is neither file nor folder."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                kind = info.external_attr >> 28
                if kind not in {0, 4, 8}:  # unknown, folder, file
                    raise InputError(f"`{file}`: `{info.filename}` is neither a file nor a folder.")
                if not info.is_dir():
                    yield info.filename, info.file_size, archive.open(info)
        return
    with tarfile.open(file) as tar:
        for member in tar:
            if not (member.isreg() or member.isdir()):
                raise InputError(f"`{file}`: `{member.name}` is neither a file nor a folder.")
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name, member.size, content


def _relative_path(file: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise InputError(f"`{file}`: `{name}` would lie outside the folder it is unpacked to.")
    return path
