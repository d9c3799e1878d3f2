"""Files that are either whole or absent, the lock of a folder at work, and tensors with a hash each.

A file is written beside its target, synced, renamed, and its folder synced: a reader sees the old file or the new one,
never a part of it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from foveal.core import distributed
from foveal.core.errors import InputError, ModelFileError

if TYPE_CHECKING:  # readers of settings and of tables come here, and torch takes a second to import
    from torch import Tensor

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""What `json.loads` returns."""

fcntl = importlib.import_module("fcntl") if os.name == "posix" else None  # Windows has no such locks
_SUFFIX = ".kept"  # of the files of a `BoundedFolder`
LOCK = ".lock"
"""The file by which a process holds a folder; see `working_in`."""


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it replaces `path` if the block ends without an error.

    Of the processes of one run only rank 0 replaces the file.

    Raises:
        OSError: it cannot be written; the error names `path`.
    """
    target = Path(path)
    try:
        with _beside(target) as beside:
            yield beside
    except OSError as error:
        if error.errno is not None and (
            error.filename is None or Path(error.filename).name.startswith(f".{target.name}.")
        ):
            error.filename = str(target)  # a full disk names no file
        raise


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        if not distributed.is_first():
            return
        sync(beside)
        beside.chmod(0o666 & ~_umask())
        beside.replace(target)
        sync(target.parent)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def open_replacing(path: str | os.PathLike[str], *, newline: str | None = None) -> Iterator[IO[str]]:
    """Open a UTF-8 text file for writing that replaces `path` if the block ends without an error.

    Names of files that are no UTF-8 are shown with codes, which JSON reads as the same names.

    Args:
        path: the file.
        newline: as of `open`.

    Yields:
        The open file.
    """
    with (
        replacing(path) as beside,
        beside.open("w", encoding="utf-8", errors="backslashreplace", newline=newline) as file,
    ):
        yield file


def place_folder(beside: Path, folder: Path, *, replace: bool = False) -> None:
    """Give a folder that is whole its final name.

    A folder that is there already stays, for another process may have made it meanwhile and others may read it; what
    was made beside it is then left where it is.

    Args:
        beside: in the same file system.
        folder: the final name.
        replace: whether a folder of that name is replaced all the same.

    Raises:
        OSError: it cannot be renamed.
    """
    beside.chmod(0o755)
    if replace and folder.is_dir():
        prefix = f".{folder.name}."
        with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent, ignore_cleanup_errors=True) as old:
            folder.rename(Path(old) / folder.name)
            beside.rename(folder)
        return
    try:
        beside.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def whole_path(path: str | os.PathLike[str]) -> Path:
    """Return a path from the root on, without `..`; links stay as they are, for they are as somebody meant them."""
    return Path(os.path.abspath(path))  # noqa: PTH100 -- `resolve` follows links


def require_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a file that could not be written, before the work that it is for.

    Raises:
        InputError: it is a folder, or its folder cannot be made or written to.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"`{target}` is a folder: name a file.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise InputError(f"`{target}` cannot be written: {error.strerror or error}.") from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text as UTF-8, atomically.

    Args:
        path: the file.
        text: all of its content.
    """
    with open_replacing(path) as file:
        file.write(text)


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Write a value as indented JSON, atomically; NaN is written as null.

    Args:
        path: the file.
        value: of mappings, lists, tuples, texts, numbers, truth values, paths and None.
    """
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n")


def finite(value: object) -> object:
    """Return a value as JSON can hold it: a NaN or infinite float as None, a path as text."""
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def with_nan(value: Any) -> Any:
    """Return JSON values that `finite` has made, with NaN in place of None."""
    if isinstance(value, dict):
        return {key: with_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [with_nan(entry) for entry in value]
    return float("nan") if value is None else value


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write one .safetensors file, atomically.

    Args:
        path: the file.
        tensors: by name, on any device.
        metadata: texts by name.
    """
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(plain, dict(metadata))
    with replacing(path) as beside:
        beside.write_bytes(data)


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a .safetensors file by name, and its metadata.

    Raises:
        ModelFileError: there is no such file, or it is not a .safetensors file.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelFileError(f"There is no file `{file}`.")
    try:
        with safe_open(file, "pt") as opened:
            names = opened.keys()
            return {name: opened.get_tensor(name) for name in names}, dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"`{file}` is no file of tensors by foveal, or is damaged ({error}).") from error


@contextmanager
def working_in(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a folder for this run in the block; a folder that is still empty at the end is removed.

    A process that was killed holds a folder no longer. The lock's file stays if the block ends with an error, and shows
    that foveal created the folder.

    Raises:
        InputError: another process is at work there.
    """
    root = Path(folder)
    if not distributed.is_first():
        yield
        return
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK).open("a") as file:
        if not lock(file):
            raise InputError(f"Another process is at work in `{folder}`. Wait for its end, or name another folder.")
        try:
            yield
            (root / LOCK).unlink(missing_ok=True)
        finally:
            if {file.name for file in root.iterdir()} <= {LOCK}:
                (root / LOCK).unlink(missing_ok=True)
                root.rmdir()


def is_worked_in(folder: str | os.PathLike[str]) -> bool:
    """Return whether a process is at work in a folder, as `working_in` holds it."""
    path = Path(folder) / LOCK
    if not path.exists():
        return False
    with path.open("a") as file:
        return not lock(file)


def lock(file: IO[Any]) -> bool:
    """Return whether a file could be locked until it is closed; where the system has no locks it always could."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def kept_bytes(variable: str, usual_mib: int) -> int:
    """Return how many bytes may be kept, as a variable of the environment says in MiB; 0 keeps nothing.

    Args:
        variable: its name.
        usual_mib: where it is not set.

    Raises:
        InputError: it is no number of MiB.
    """
    given = os.environ.get(variable, "") or str(usual_mib)
    if not given.isdecimal():
        raise InputError(f"{variable} must be a whole number of MiB, 0 to keep nothing; got {given!r}.")
    return int(given) << 20


def keep_within(folder: Path, pattern: str, n_bytes: int) -> None:
    """Delete files, those changed longest ago first, until the others hold no more than so many bytes.

    Args:
        folder: where they are; other processes may be at work there.
        pattern: of their paths below it, as of `Path.glob`.
        n_bytes: of all together.
    """
    entries = []
    for file in folder.glob(pattern):
        with suppress(OSError):  # another process took it away
            entries.append((file.stat().st_mtime_ns, file.stat().st_size, file))
    total = sum(size for _, size, _ in entries)
    for _, size, file in sorted(entries):
        if total <= n_bytes:
            break
        file.unlink(missing_ok=True)
        total -= size


class BoundedFolder:
    """Bytes by key in files of a folder, up to a total size: the least recently used go first.

    Processes may share it.
    """

    def __init__(self, folder: str | os.PathLike[str], n_bytes: int) -> None:
        """Open a folder, with what is there already.

        Args:
            folder: is created when something is put into it.
            n_bytes: the most that all files hold together.
        """
        self._folder, self._n_bytes = Path(folder), n_bytes

    def get(self, key: str) -> bytes | None:
        """Return the bytes of a key; None if they are not there, or not any more."""
        file = self._file(key)
        try:
            data = file.read_bytes()
            os.utime(file)
        except OSError:
            return None
        return data

    def put(self, key: str, data: bytes) -> None:
        """Keep bytes, unless they are more than the folder may hold.

        Args:
            key: by which `get` returns them.
            data: the bytes.
        """
        if len(data) > self._n_bytes:
            return
        with distributed.single_process(), replacing(self._file(key)) as beside:
            beside.write_bytes(data)
        keep_within(self._folder, f"*{_SUFFIX}", self._n_bytes)

    def _file(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}{_SUFFIX}"


def tensor_hash(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's type, shape and bytes."""
    import torch

    plain = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{plain.dtype}{list(plain.shape)}".encode())
    # A tensor of one number is contiguous whatever its stride, but only a stride of 1 can be read as bytes.
    digest.update(plain.as_strided((plain.numel(),), (1,)).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def text_hash(text: str) -> str:
    """Return the first 16 digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def file_hash(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Have what a file holds, or a folder names, on disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
