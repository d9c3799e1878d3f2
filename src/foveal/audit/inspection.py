"""Inspections of image files, kept from one audit to the next, and the search for copies among them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
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


@dataclass(slots=True)
class Ledger:
    """What is known of files: inspections by content, and the content that each path was accepted with.

    Attributes:
        path: of the ledger's file.
        known: inspections by SHA-256.
        accepted: by path, the SHA-256 and the modification time in nanoseconds.
        changes: files that were accepted with other bytes before; `silently` if their modification time is the same.
        is_new: whether there is anything to save.
        n_channels: that images are inspected with: four, or RGB for all others.
    """

    path: Path
    known: dict[str, Inspection] = field(default_factory=dict)
    accepted: dict[str, tuple[str, int]] = field(default_factory=dict)
    changes: dict[Path, Change] = field(default_factory=dict)
    is_new: bool = False
    n_channels: int = RGB

    @classmethod
    def load(cls, n_channels: int = RGB) -> Ledger:
        """Return the ledger under `FOVEAL_HOME`; one that cannot be read is begun anew.

        Args:
            n_channels: that images are read with; what is inspected with four has a ledger of its own.
        """
        n_channels, name = (n_channels, "inspections-4") if n_channels > RGB else (RGB, "inspections")
        ledger = cls(kept.cache_folder() / f"{name}.jsonl", n_channels=n_channels)
        try:
            for line in ledger.path.read_text(encoding="utf-8").splitlines():
                key, stored = json.loads(line)
                if isinstance(stored, list):
                    ledger.accepted[key] = (str(stored[0]), int(stored[1]))
                    continue
                stored["thumb"] = bytes.fromhex(stored["thumb"])
                stored["size_hw"] = tuple(stored["size_hw"])
                ledger.known[key] = Inspection(**stored)
        except (OSError, ValueError, TypeError, KeyError, IndexError):
            return cls(ledger.path, n_channels=n_channels)
        return ledger

    def inspect(self, file: Path) -> Inspection:
        """Return what is known of a file by its content; it is read, and decoded unless its content is known."""
        try:
            data, modified_at = read_bytes(file)
        except OSError:
            return inspect(file, b"", "", self.n_channels)
        sha256 = hashlib.sha256(data).hexdigest()
        inspection = self.known.get(sha256) or inspect(file, data, sha256, self.n_channels)
        key = str(file.absolute())
        before = self.accepted.get(key, ("", 0))
        if before[0] not in {"", sha256}:
            self.changes[file] = "silently" if before[1] == modified_at else "openly"
        if before != (sha256, modified_at) and not inspection.fault and self.changes.get(file) != "silently":
            self.known[sha256], self.accepted[key] = inspection, (sha256, modified_at)
            self.is_new = True
        return inspection

    def save(self) -> None:
        """Write the ledger, if anything is new."""
        if not self.is_new:
            return
        accepted = dict(list(self.accepted.items())[-_MAX_ACCEPTED:])
        contents = {sha256 for sha256, _ in accepted.values()}
        with kept.keeping(), storage.open_replacing(self.path) as out:
            for sha256, inspection in self.known.items():
                if sha256 in contents:
                    stored = asdict(inspection) | {"thumb": inspection.thumb.hex()}
                    out.write(json.dumps([sha256, stored]) + "\n")
            for key, record in accepted.items():
                out.write(json.dumps([key, record]) + "\n")
        self.is_new = False


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
