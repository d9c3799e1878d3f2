"""What comes back: images whose answer was wrong, with the labels that are right, kept for the next training.

A folder holds `images/`, one file for each image, named by its hash, and `corrections.csv`, whose latest line about an
image counts: `foveal check FOLDER/corrections.csv --empty none` and `foveal train` read it. Nothing of the sender is
kept: no names, and of what a file says besides its pixels only how it is turned and its colours.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import hashlib
import io
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from foveal.core import storage
from foveal.core.errors import ImageError, InputError
from foveal.geometry.pixels import Pixels
from foveal.images.channels import RGB
from foveal.images.decode import decode
from foveal.images.jpeg import read_jpeg_header
from foveal.serve.admission import RequestRefusedError
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of

TABLE, IMAGES = "corrections.csv", "images"
_COLUMNS = ("fname", "labels", "answered", "model", "day")
_DELIMITER = ";"  # of labels in a cell
_ORIENTATION = 0x0112
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_LOCK = threading.Lock()
_TRIES, _WAIT_SECONDS = 100, 0.05  # for a folder that another process holds; chosen by hand
_MOST_SEGMENT = 65_500  # bytes of a part of a colour profile in a JPEG


@dataclass(frozen=True, slots=True)
class Collector:
    """Keeps corrections in a folder, up to a size.

    Attributes:
        folder: see above.
        max_bytes: of all images; beyond it nothing is kept any more.
        task: of the model that is corrected; its classes are the labels.
        model: the hash of its bundle.
    """

    folder: Path
    max_bytes: int
    task: AnyTask
    model: str

    def keep(self, image: bytes, labels: Sequence[str], answered: Sequence[str]) -> str:
        """Keep an image and its right labels; return the name it is kept under.

        Args:
            image: the bytes of its file.
            labels: what is right; none where nothing of the classes is there.
            answered: what the model answered.

        Raises:
            RequestRefusedError: 422, the model has no such label, or one label is needed; 507, the folder is full.
            ImageError: it is no image.
        """
        self._check(labels)
        content, suffix = without_traces(image)
        name = f"{IMAGES}/{hashlib.sha256(content).hexdigest()[:32]}{suffix}"
        with _LOCK, _held(self.folder):
            rows = self._rows()
            target = self.folder / name
            if not target.is_file():
                held = sum(file.stat().st_size for file in (self.folder / IMAGES).glob("*"))
                if held + len(content) > self.max_bytes:
                    raise RequestRefusedError(507, "The service keeps no more corrections: its folder is full.")
                with storage.replacing(target) as beside:
                    beside.write_bytes(content)
            day = dt.datetime.now(dt.UTC).date().isoformat()
            line = (name, _DELIMITER.join(labels), _DELIMITER.join(answered), self.model[:16], day)
            rows[name] = dict(zip(_COLUMNS, line, strict=True))
            with storage.open_replacing(self.folder / TABLE, newline="") as file:
                writer = csv.DictWriter(file, _COLUMNS)
                writer.writeheader()
                writer.writerows(rows.values())
        return name

    def _rows(self) -> dict[str, dict[str, str]]:
        try:
            with (self.folder / TABLE).open(encoding="utf-8", newline="") as file:
                return {row["fname"]: row for row in csv.DictReader(file)}
        except FileNotFoundError:
            return {}

    def _check(self, labels: Sequence[str]) -> None:
        known, kind = set(self.task.names), kind_of(self.task)
        if odd := [label for label in labels if label not in known]:
            raise RequestRefusedError(422, f"`labels`: {odd[0]!r} is no class of the model.")
        if not kind.has_thresholds and len(labels) != 1:
            raise RequestRefusedError(422, f"`labels`: the model gives one label, so one is right; got {len(labels)}.")


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder, which another process may hold for a moment.

    Raises:
        RequestRefusedError: 503, it was held all the time.
    """
    for _ in range(_TRIES):
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(storage.working_in(folder))
            except InputError:
                time.sleep(_WAIT_SECONDS)
                continue
            yield
            return
    raise RequestRefusedError(503, "The folder for corrections is in use; try again.", retry_after=1)


def without_traces(image: bytes) -> tuple[bytes, str]:
    """Return an image without what its file says besides its pixels, and the suffix of its format.

    A JPEG keeps its pixels as they are coded, how it is turned, and its colour profile; everything else becomes a PNG.

    Args:
        image: the bytes of its file.

    Raises:
        ImageError: it is no image.
    """
    pixels = decode(image, RGB)
    if not image.startswith(b"\xff\xd8"):
        return _png(pixels), ".png"
    header = read_jpeg_header(image)
    parts = [header.pixels[:2]]
    if header.orientation != 1:
        exif = Image.Exif()
        exif[_ORIENTATION] = header.orientation
        parts.append(_segment(0xE1, exif.tobytes()))
    profile = header.icc_profile
    pieces = [profile[at : at + _MOST_SEGMENT] for at in range(0, len(profile), _MOST_SEGMENT)]
    parts += [_segment(0xE2, b"ICC_PROFILE\0" + bytes([at, len(pieces)]) + one) for at, one in enumerate(pieces, 1)]
    end = header.pixels.find(_END, header.pixels.find(_SCAN)) + len(_END)  # behind it other images may follow
    whole = b"".join([*parts, header.pixels[2:end]])
    try:
        if np.array_equal(decode(whole, RGB), pixels):
            return whole, ".jpg"
    except ImageError:
        pass
    return _png(pixels), ".png"


def _png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2) + content
