"""Decoded images, kept in files that are mapped: each is decoded once, for all epochs, runs and processes.

An entry holds what `OpenedImage.decode` returned, bit for bit: the pixels of one image at one of its scales (1, 1/2,
1/4, 1/8). It is found by the hash of the image's file, so that nothing in the folder can be out of date. All that is
kept stays within a size, 4 GiB unless FOVEAL_DECODED_MIB says otherwise; where that is full, what was used longest ago
makes room, but nothing that this process has used: what then does not fit is decoded each time.

An entry is a header of 128 bytes, little-endian: magic, height, width, channels, CRC-32 of the pixels, the white that
was guessed, and the nine numbers of `source_to_decoded`; then the pixels, uint8 [H, W, C].
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import PIL
import simplejpeg

from foveal.core import kept, storage
from foveal.geometry.homography import IDENTITY, Homography
from foveal.images.channels import RGB
from foveal.images.decode import Decoded, ImageSource, OpenedImage, max_pixels, open_image
from foveal.images.means import reduction_factor

_USUAL_MIB = 4096
"""7,000 photographs of 500 x 375 pixels; chosen by hand."""
_MAGIC = b"fovdec01"
_HEADER = struct.Struct("<8s4Id9d")
_HEADER_BYTES = 128  # of which the last ones are unused
_PARTS = 16  # of the folder's size: so much is deleted at once, for each time all files are looked at
_KEY_BYTES = 16
"""Of an image's hash: two of 10^9 images have the same with a probability of 1e-21."""


_Identity = tuple[str, int, int, int]
"""Of a file within this process: its path, size and time, and the channels wanted."""


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """The key of a file's entries, and the file opened, without its bytes."""

    key: str
    opened: OpenedImage


@dataclass(slots=True, eq=False)
class DecodedImages:
    """The entries of a folder; threads and processes may share it.

    Attributes:
        folder: where they are.
        n_bytes: the most that all of them hold.
    """

    folder: Path
    n_bytes: int
    _known: dict[_Identity, _Known] = field(default_factory=dict)
    _checked: set[str] = field(default_factory=set)
    _began: float = field(default_factory=time.time)
    _room: int | None = None
    _may_delete: bool = True
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def usual(cls) -> DecodedImages | None:
        """Return the folder under `FOVEAL_HOME`; None where the environment says that nothing is kept.

        Raises:
            InputError: FOVEAL_DECODED_MIB is no number of MiB.
        """
        n_bytes = storage.kept_bytes("FOVEAL_DECODED_MIB", _USUAL_MIB)
        return cls(kept.cache_folder() / "decoded", n_bytes) if n_bytes else None

    def open(self, source: ImageSource, n_channels: int = RGB) -> OpenedImage:
        """Return an image opened; its pixels are decoded where they are not kept. What is no file is opened as always.

        Args:
            source: as of `open_image`.
            n_channels: that its pixels are to have.

        Raises:
            ImageError: see `open_image`.
        """
        if not isinstance(source, str | os.PathLike):
            return open_image(source, n_channels)
        try:
            about = Path(source).stat()
        except (OSError, ValueError):  # a row of a table, or an image that `open_image` refuses by name
            return open_image(source, n_channels)
        identity = (os.fspath(source), about.st_size, about.st_mtime_ns, n_channels)
        known = self._known.get(identity)
        if known is None:
            opened = open_image(source, n_channels)
            known = self._known[identity] = _Known(
                _key_of(Path(source), n_channels), replace(opened, _decode=partial(_decode_anew, source, n_channels))
            )
            decode = opened.decode
        else:
            decode = known.opened.decode
        return replace(known.opened, _decode=partial(self._decode, known.key, decode))

    def _decode(self, key: str, decode: Callable[..., Decoded], scale: float, quick: bool) -> Decoded:
        factor = reduction_factor(scale)
        file = self.folder / key[:2] / f"{key}-{factor}{'q' if quick and factor > 1 else ''}"
        if (found := self._read(file)) is not None:
            return found
        decoded = decode(scale, quick=quick)
        self._write(file, decoded)
        return decoded

    def _read(self, file: Path) -> Decoded | None:
        try:
            with file.open("rb", buffering=0) as opened:
                data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # not there, or empty
            return None
        if len(data) < _HEADER_BYTES:
            _delete(file)
            return None
        magic, height, width, n_channels, checksum, white, *matrix = _HEADER.unpack_from(data)
        is_whole = magic == _MAGIC and len(data) == _HEADER_BYTES + height * width * n_channels
        is_checked = file.name in self._checked  # once a process: it takes as long as a third of decoding
        if not is_whole or not (is_checked or zlib.crc32(memoryview(data)[_HEADER_BYTES:]) == checksum):
            _delete(file)
            return None
        if not is_checked:
            self._checked.add(file.name)
            with contextlib.suppress(OSError):
                os.utime(file)
        pixels = np.frombuffer(data, np.uint8, offset=_HEADER_BYTES).reshape(height, width, n_channels)
        to_decoded = Homography(np.array(matrix).reshape(3, 3))
        return Decoded(pixels, IDENTITY if np.array_equal(to_decoded.matrix, IDENTITY.matrix) else to_decoded, white)

    def _write(self, file: Path, decoded: Decoded) -> None:
        pixels, shape = decoded.pixels.tobytes(), decoded.pixels.shape
        if not self._take(_HEADER_BYTES + len(pixels)):
            return
        matrix = decoded.source_to_decoded.matrix.ravel().tolist()
        header = _HEADER.pack(_MAGIC, *shape, zlib.crc32(pixels), decoded.guessed_white, *matrix)
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            # Not synced, which would take longer than decoding: the checksum tells what a power cut left behind.
            handle, beside = tempfile.mkstemp(dir=file.parent, prefix=".")
            with os.fdopen(handle, "wb") as opened:
                opened.write(header.ljust(_HEADER_BYTES, b"\0"))
                opened.write(pixels)
            Path(beside).replace(file)
            self._checked.add(file.name)

    def _take(self, n_bytes: int) -> bool:
        """Return whether so many bytes fit into the folder's size, and count them; what is old makes room for them."""
        with self._lock:
            if self._room is None:
                self._room = self.n_bytes - sum(size for _, size, _ in self._entries())
            if n_bytes > self._room:
                self._room += self._make_room(max(n_bytes, self.n_bytes // _PARTS))
            if n_bytes > self._room:
                return False
            self._room -= n_bytes
            return True

    def _make_room(self, n_bytes: int) -> int:
        """Delete what was used longest ago, and not by this process.

        Returns:
            The bytes that are free then.
        """
        freed = 0
        for used, size, file in sorted(self._entries()) if self._may_delete else ():
            if freed >= n_bytes or used >= self._began:
                break
            _delete(file)
            freed += size
        self._may_delete = freed >= n_bytes  # else all that is left is of this process, and will stay
        return freed

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Return when each file was used last, its bytes, and its path."""
        entries = []
        for file in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):  # another process took it away
                about = file.stat()
                entries.append((about.st_mtime, about.st_size, file))
        return entries


def _delete(file: Path) -> None:
    """Delete what a power cut left behind."""
    with contextlib.suppress(OSError):
        file.unlink()


def _key_of(file: Path, n_channels: int) -> str:
    """Return the hash of a file, and of all else that decides its pixels."""
    decoders = f"{simplejpeg.__version__} {PIL.__version__} {cv2.__version__}"
    about = f"{n_channels} {max_pixels()} {os.environ.get('FOVEAL_WHITE', '')} {decoders}"
    return hashlib.blake2b(file.read_bytes(), digest_size=_KEY_BYTES, key=about.encode()[-64:]).hexdigest()


def _decode_anew(source: ImageSource, n_channels: int, scale: float, quick: bool) -> Decoded:
    return open_image(source, n_channels).decode(scale, quick=quick)
