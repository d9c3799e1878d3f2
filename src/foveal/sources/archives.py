"""Archives from the network: data sets by name, downloaded, checked and unpacked into a folder, whole or not at all.

Only regular files and folders inside the target come out of an archive; links, devices, absolute paths, `..`, too many
files and too many bytes are refused before anything takes its final name.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from foveal import _moved
from foveal.core import progress, storage
from foveal.core.download import Checksum, Limits, download
from foveal.core.errors import FetchError, InputError

_HEAD_BYTES = 1 << 20  # of which fast.ai publishes the MD5
_MAX_FILES = 500_000  # in an archive; chosen by hand: ten times those of the largest data set below
_MAX_UNKNOWN = 8 << 30  # bytes of an archive whose size is not known; chosen by hand
_JUNK = frozenset({"__MACOSX", ".DS_Store"})  # beside the folder in an archive, and no part of it
_MAX_BYTES = 40 << 30  # of the files in an archive together; chosen by hand
_MAX_HEADER_BYTES = 1 << 20  # of a header of a member; chosen by hand: long names take some hundred
_HEADERS = frozenset(
    {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
)


@dataclass(frozen=True, slots=True)
class Archive:
    """A data set on the network.

    Attributes:
        address: of a .tgz or .zip.
        folder: what it unpacks to.
        n_bytes: its size; where it is not known, up to 8 GiB are accepted.
        md5_head: the MD5 of its first MiB, as the fast.ai data sets publish it.
        sha256: the SHA-256 of all of it; of this and `md5_head` the first that is given is checked.
        layout: what the folder holds.
        instead: what to use without a network.
    """

    address: str
    folder: str
    n_bytes: int | None = None
    md5_head: str = ""
    sha256: str = ""
    layout: str = ""
    instead: str = "`untar_data(URLs.SAMPLE_PASCAL)` and the other samples are drawn without a network"

    def __str__(self) -> str:
        return self.address

    @property
    def checksum(self) -> Checksum | None:
        """What it must hash to, if that is known."""
        if self.sha256:
            return Checksum(self.sha256)
        return Checksum(self.md5_head, "md5", _HEAD_BYTES) if self.md5_head else None


def fetch_archive(archive: Archive, own: Path, archives: Path, *, force: bool = False) -> Path:
    """Return the folder of a data set: as it is on disk, or downloaded, checked and unpacked.

    Args:
        archive: the data set.
        own: its folder.
        archives: the folder in which downloads are kept.
        force: whether to download it again, and to replace what is on disk.

    Raises:
        FetchError: it is not on disk and cannot be downloaded; the message says where to put it by hand.
        InputError: it is no archive, or one that is refused.
    """
    if own.is_dir() and not force:
        return own
    file = archives / archive.address.partition("?")[0].rsplit("/", 1)[1]
    if archive.checksum is None:
        file = archives / f"{own.name}.archive"  # others may have a file of this address' name
    if force:
        file.unlink(missing_ok=True)
    limits = Limits(n_bytes=_MAX_UNKNOWN)
    try:
        with progress.Bar(f"fetching {archive.folder}", archive.n_bytes or 0) as bar:
            download(
                archive.address, file, archive.checksum, n_bytes=archive.n_bytes, limits=limits, advance=bar.advance
            )
    except FetchError as error:
        raise FetchError(
            f"{error} By hand: unpack {archive.address} so that `{own}` is the data set's folder. "
            f"Without it: {archive.instead}."
        ) from error
    if own.is_dir() and not force:  # another process unpacked it during the download
        return own
    try:
        unpack(file, own, replace=force)
    except InputError as error:
        if archive.checksum is not None:
            raise
        file.unlink()
        raise InputError(f"{archive.address} is no .tgz or .zip that can be unpacked ({error}).") from error
    if archive.checksum is None:
        digest = Checksum("").of(file)
        progress.say(f"{archive.address} could not be checked. From now on: untar_data(..., sha256={digest!r}).")
    return own


def unpack(file: Path, own: Path, *, replace: bool = False) -> None:
    """Unpack a .tar, .tgz or .zip to a folder, which appears when it is whole; one that appears meanwhile stays.

    An archive that holds one folder and nothing beside it is unpacked as that folder, whatever its name.

    Args:
        file: the archive.
        own: the folder; it must not be there.
        replace: whether it may be there, and is replaced.

    Raises:
        InputError: it is no archive, it is empty, or it holds a member that is refused; or the folder is there.
    """
    if own.exists() and not replace:
        raise InputError(f"`{file}` cannot be unpacked: `{own}` is there already.")
    own.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=own.parent))
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
        top = [entry for entry in beside.iterdir() if entry.name not in _JUNK and not entry.name.startswith("._")]
        if not top:
            raise InputError(f"`{file}` is empty.")
        whole = top[0] if len(top) == 1 and top[0].is_dir() else beside
        storage.place_folder(whole, own, replace=replace)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
        raise InputError(f"`{file}` cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _members(file: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield (name, size, content) of every regular file; refuse what is neither file nor folder.

    Raises:
        InputError: a member is neither a file nor a folder.
    """
    with file.open("rb") as opened:  # not `is_zipfile`, which finds a zip behind anything
        is_zip = opened.read(2) == b"PK"
    if is_zip:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                kind = info.external_attr >> 28
                if kind not in {0, 4, 8}:  # unknown, folder, file
                    raise InputError(f"`{file}`: `{info.filename}` is neither a file nor a folder.")
                if not info.is_dir():
                    yield info.filename, info.file_size, archive.open(info)
        return
    with tarfile.open(file, tarinfo=_Member) as tar:
        for member in tar:
            if not (member.isreg() or member.isdir()):
                raise InputError(f"`{file}`: `{member.name}` is neither a file nor a folder.")
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name, member.size, content


class _Member(tarfile.TarInfo):
    """A member whose extended header, which tarfile reads as a whole in a method of this name, is of a usual size."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HEADERS and self.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return member


def _relative_path(file: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise InputError(f"`{file}`: `{name}` would lie outside the folder it is unpacked to.")
    return path


def __getattr__(name: str) -> object:
    return _moved.from_home(__name__, name)
