"""Inspections of image files, kept from one audit to the next, and the search for copies among them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from foveal.core import kept, storage, threads
from foveal.core.errors import ImageError
from foveal.images.channels import RGB
from foveal.images.colours import DAMAGE, Pixels
from foveal.images.decode import Decoded, OpenedImage, open_image
from foveal.images.parquet_rows import read_bytes

_MAX_DISTANCE = 7  # bits of 64 by which hashes of near copies differ (benchmarks/results/2026-11-22-near-copies.md)
_MAX_DIFFERENCE = 6.0  # grey levels by which their miniatures differ on average; as above
_MOST_COMPARED = 2000  # miniatures, 0.3 ms; more look alike only where files are nearly empty
_THUMB = 12  # pixels of a miniature's side; as above
_SHARPNESS_SIDE = 256  # pixels of the long side at which sharpness is measured; chosen by hand
_AT_ONCE = 16  # images whose inspections are handed over together; chosen by hand: a bar still moves smoothly
_MAX_ACCEPTED = 2_000_000  # paths in the ledger; chosen by hand


@dataclass(frozen=True, slots=True)
class Inspection:
    """One image file.

    Attributes:
        sha256: of the file's bytes.
        fault: why it is refused; empty if it is not.
        size_hw: upright, in pixels.
        difference_hash: 64 bits: whether each of 8 x 8 cells is brighter than its left neighbour.
        thumb: a grey 12 x 12 miniature.
        brightness: mean grey, 0 to 255.
        sharpness: variance of the Laplacian at 256 px.
        has_more_frames: whether it has more frames or pages, of which the first is used.
        guessed_white: the value in the file that becomes 255, where nothing states it; else 0.
    """

    sha256: str
    fault: str = ""
    size_hw: tuple[int, int] = (0, 0)
    difference_hash: int = 0
    thumb: bytes = b""
    brightness: float = 0.0
    sharpness: float = 0.0
    has_more_frames: bool = False
    guessed_white: float = 0.0


Change = Literal["openly", "silently"]


@dataclass(frozen=True, slots=True)
class _Lines:
    """The file of a ledger: a line [key, value] of JSON per entry, each of which is parsed when it is looked up.

    The file holds whatever was ever inspected, and to parse the lines of 100,000 images takes more than a second.

    Attributes:
        version: modification time in nanoseconds and size of the file that was read.
        known: lines of inspections by SHA-256; this key too is JSON.
        accepted: lines of SHA-256 and modification time by path, likewise.
    """

    version: tuple[int, int] = (0, 0)
    known: Mapping[bytes, bytes] = field(default_factory=dict)
    accepted: Mapping[bytes, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> _Lines:
        """Return the lines of a file, which is read once in a process for as long as it stays as it is.

        A file that is not there has no lines.
        """
        try:
            version = _version(path)
            if (read := _READ.get(path)) is not None and read.version == version:
                return read
            content = path.read_bytes()
        except OSError:
            return cls()
        known, accepted = dict[bytes, bytes](), dict[bytes, bytes]()
        for line in content.split(b"\n"):
            if line[_SHA_END - 1 : _SHA_END + 3] == _INSPECTED and line[_SHA_END - 2] != _ESCAPE:
                known[line[1:_SHA_END]] = line
            elif (end := line.rfind(_ACCEPTED)) > 0:
                accepted[line[1:end]] = line
        _READ[path] = cls(version, known, accepted)
        return _READ[path]

    def write(self, path: Path) -> None:
        """Write them; this is then what is known to have been read."""
        with storage.replacing(path) as beside, beside.open("wb") as out:
            out.writelines(line + b"\n" for entries in (self.known, self.accepted) for line in entries.values())
        _READ[path] = replace(self, version=_version(path))


_READ: dict[Path, _Lines] = {}
_SHA_END = 67  # where the key of an inspection ends in its line: a bracket, and 64 digits in quotation marks
_INSPECTED = b'", {'  # what stands there; in a path, which may hold anything, the quotation mark is escaped
_ESCAPE = ord("\\")
_ACCEPTED = b', ["'  # what stands between a path and what it was accepted with, and not in that


def _line(key: str, value: object) -> tuple[bytes, bytes]:
    """Return a key and a line as a file has them."""
    return json.dumps(key).encode(), json.dumps([key, value]).encode()


def _version(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


@dataclass(slots=True)
class Ledger:
    """What is known of files: inspections by content, and the content that each path was accepted with.

    Attributes:
        path: of the ledger's file.
        changes: files that were accepted with other bytes before; `silently` if their modification time is the same.
        n_channels: that images are inspected with: four, or RGB for all others.
    """

    path: Path
    changes: dict[Path, Change] = field(default_factory=dict)
    n_channels: int = RGB
    _lines: _Lines = field(default_factory=_Lines)
    _new_known: dict[str, Inspection] = field(default_factory=dict)
    _new_accepted: dict[str, tuple[str, int]] = field(default_factory=dict)

    @classmethod
    def load(cls, n_channels: int = RGB) -> Ledger:
        """Return the ledger under `FOVEAL_HOME`; lines that cannot be read are as if they were not there.

        Args:
            n_channels: that images are read with; what is inspected with four has a ledger of its own.
        """
        n_channels, name = (n_channels, "inspections-4") if n_channels > RGB else (RGB, "inspections")
        path = kept.cache_folder() / f"{name}.jsonl"
        return cls(path, n_channels=n_channels, _lines=_Lines.read(path))

    def known_as(self, sha256: str) -> Inspection | None:
        """Return the inspection of a file by its content; None where there was none."""
        if sha256 in self._new_known:
            return self._new_known[sha256]
        try:
            _, stored = json.loads(self._lines.known[json.dumps(sha256).encode()])
            stored |= {"thumb": bytes.fromhex(stored["thumb"]), "size_hw": tuple(stored["size_hw"])}
            return Inspection(**stored)
        except (ValueError, TypeError, KeyError):
            return None

    def accepted_as(self, file: Path) -> tuple[str, int]:
        """Return the SHA-256 that a file was accepted with, and its modification time in nanoseconds; else "" and 0."""
        key = str(file.absolute())
        if key in self._new_accepted:
            return self._new_accepted[key]
        try:
            _, (sha256, modified_at) = json.loads(self._lines.accepted[json.dumps(key).encode()])
            return str(sha256), int(modified_at)
        except (ValueError, TypeError, KeyError):
            return "", 0

    def inspect(self, file: Path) -> Inspection:
        """Return what is known of a file by its content; it is read, and decoded unless its content is known."""
        try:
            data, modified_at = read_bytes(file)
        except OSError:
            return inspect(file, b"", "", self.n_channels)
        sha256 = hashlib.sha256(data).hexdigest()
        known, before = self.known_as(sha256), self.accepted_as(file)
        inspection = known or inspect(file, data, sha256, self.n_channels)
        if before[0] not in {"", sha256}:
            self.changes[file] = "silently" if before[1] == modified_at else "openly"
        is_new = known is None or before != (sha256, modified_at)
        if is_new and not inspection.fault and self.changes.get(file) != "silently":
            self._new_known[sha256], self._new_accepted[str(file.absolute())] = inspection, (sha256, modified_at)
        return inspection

    def save(self) -> None:
        """Write the ledger, if anything is new."""
        if not self._new_accepted:
            return
        new = dict(_line(key, value) for key, value in self._new_accepted.items())
        accepted = dict(list({**self._lines.accepted, **new}.items())[-_MAX_ACCEPTED:])
        starts = ((line, line.rfind(_ACCEPTED) + len(_ACCEPTED) - 1) for line in accepted.values())
        contents = {line[at : at + _SHA_END - 1] for line, at in starts}
        inspected = self._new_known.items()
        known = dict(_line(sha256, asdict(one) | {"thumb": one.thumb.hex()}) for sha256, one in inspected)
        known = {key: line for key, line in {**self._lines.known, **known}.items() if key in contents}
        lines = _Lines(known=known, accepted=accepted)
        with kept.keeping():
            lines.write(self.path)
        self._lines, self._new_known, self._new_accepted = lines, {}, {}


def inspect(file: Path, data: bytes, sha256: str, n_channels: int = RGB) -> Inspection:
    """Return what decoding and measuring one image file shows, faults included.

    Args:
        file: where it lies.
        data: its bytes; empty if they cannot be read, for which the decoder then gives the reason.
        sha256: of `data`.
        n_channels: that it is read with.
    """
    threads.limit_opencv_threads()
    try:
        opened = open_image(data or file, n_channels)
        decoded = opened.decode()
        return _measure(opened, decoded, sha256, n_channels)
    except ImageError as error:
        return Inspection(sha256, fault=error.reason)
    except (cv2.error, *DAMAGE) as error:  # of a kind that nobody has seen: it is the image's, and not the end of all
        return Inspection(sha256, fault=f"cannot be measured ({type(error).__name__}: {error}).")


def _measure(opened: OpenedImage, decoded: Decoded, sha256: str, n_channels: int) -> Inspection:
    pixels = decoded.pixels
    grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels[..., :RGB]), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    if n_channels > RGB:  # images that differ in their fourth channel alone are no copies
        grey = np.asarray(cv2.addWeighted(grey, 0.5, np.ascontiguousarray(pixels[..., RGB]), 0.5, 0.0), dtype=np.uint8)
    cells = np.asarray(cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA))
    bits = (cells[:, 1:] > cells[:, :-1]).ravel()
    thumb = np.asarray(cv2.resize(grey, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return Inspection(
        sha256,
        size_hw=opened.size_hw,
        difference_hash=int.from_bytes(np.packbits(bits).tobytes(), "big"),
        thumb=thumb.tobytes(),
        brightness=round(cv2.mean(grey)[0], 2),
        sharpness=round(_sharpness(grey), 2),
        has_more_frames=opened.has_more_frames,
        guessed_white=decoded.guessed_white,
    )


def inspect_all(
    ledger: Ledger,
    files: Sequence[Path],
    *,
    num_workers: int | None = None,
    advance: Callable[[], object] = lambda: None,
) -> dict[Path, Inspection]:
    """Return the inspection of each file, made in threads; the ledger is saved.

    Args:
        ledger: what is known of them.
        files: each once.
        num_workers: threads that read images; see `threads.default_workers`.
        advance: called after each image.
    """
    inspected: dict[Path, Inspection] = {}
    groups = [files[at : at + _AT_ONCE] for at in range(0, len(files), _AT_ONCE)]
    inspections = threads.grouped_map(ledger.inspect, groups, num_workers=num_workers)
    for group, found in zip(groups, inspections, strict=True):
        inspected |= zip(group, found, strict=True)
        for _ in group:
            advance()
    ledger.save()
    return inspected


def copies_among(
    files: Sequence[Path], inspected: Mapping[Path, Inspection]
) -> tuple[list[tuple[Path, Path, bool]], int]:
    """Return (first, copy, whether exact) for every file that is a copy of an earlier one.

    Near copies agree in all but 7 of 64 bits of the difference hash, and in their miniatures within 6 grey levels on
    average. The hashes of all files are compared, 40 us for a file among 100,000; miniatures with those of the 2,000
    files whose hashes are nearest.

    Args:
        files: in the order in which the first of several copies is the original.
        inspected: what is known of each.

    Returns:
        The copies, and how many files have more than 2,000 others of a near hash.
    """
    by_content: dict[str, Path] = {}
    kept: list[Path] = []
    hashes = np.zeros(len(files), dtype=np.uint64)
    thumbs = np.zeros((len(files), _THUMB * _THUMB), dtype=np.uint8)
    copies, n_crowded = [], 0
    for file in files:
        seen = inspected[file]
        if seen.sha256 in by_content:
            copies.append((by_content[seen.sha256], file, True))
            continue
        by_content[seen.sha256] = file
        distances = np.bitwise_count(hashes[: len(kept)] ^ np.uint64(seen.difference_hash))
        near = np.flatnonzero(distances <= _MAX_DISTANCE)
        if len(near) > _MOST_COMPARED:
            n_crowded += 1
            near = np.sort(near[np.argsort(distances[near], kind="stable")[:_MOST_COMPARED]])
        thumb = np.frombuffer(seen.thumb, dtype=np.uint8)
        differences = np.abs(thumbs[near].astype(np.int16) - thumb).mean(axis=1)
        alike = near[differences <= _MAX_DIFFERENCE]
        if len(alike):
            copies.append((kept[alike[0]], file, False))
        hashes[len(kept)], thumbs[len(kept)] = seen.difference_hash, thumb
        kept.append(file)
    return copies, n_crowded


def _sharpness(grey: Pixels) -> float:
    scale = _SHARPNESS_SIDE / max(grey.shape)
    if scale < 1:
        size_wh = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        grey = np.asarray(cv2.resize(grey, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1]  # whole numbers, which 16 bits hold
    return float(deviation[0, 0]) ** 2
