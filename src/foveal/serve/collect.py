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
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.core import storage
from foveal.core.errors import ImageError, InputError
from foveal.core.tables import write_rows
from foveal.images.channels import RGB
from foveal.images.decode import decode
from foveal.images.jpeg import bare_jpeg, read_jpeg_header
from foveal.images.png import encoded_png
from foveal.serve.admission import RequestRefusedError
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of

TABLE, IMAGES = "corrections.csv", "images"
_COLUMNS = ("fname", "labels", "answered", "model", "day")
DELIMITER = ";"
"""Of labels in a cell."""
_LOCK = threading.Lock()
_TRIES, _WAIT_SECONDS = 100, 0.05  # for a folder that another process holds; chosen by hand


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
        """Keep an image and its right labels.

        Args:
            image: the bytes of its file.
            labels: what is right; none where nothing of the classes is there.
            answered: what the model answered.

        Returns:
            The name that it is kept under.

        Raises:
            RequestRefusedError: 422, the model has no such label, or one label is needed; 507, the folder is full.
            ImageError: it is no image.
        """
        self._check(labels)
        content, suffix = without_traces(image)
        name = f"{IMAGES}/{hashlib.sha256(content).hexdigest()[:32]}{suffix}"
        with _LOCK, held(self.folder):
            rows = self._rows()
            target = self.folder / name
            if not target.is_file():
                n_bytes = sum(file.stat().st_size for file in (self.folder / IMAGES).glob("*"))
                if n_bytes + len(content) > self.max_bytes:
                    raise RequestRefusedError(507, "The service keeps no more corrections: its folder is full.")
                with storage.replacing(target) as beside:
                    beside.write_bytes(content)
            day = dt.datetime.now(dt.UTC).date().isoformat()
            line = (name, DELIMITER.join(labels), DELIMITER.join(answered), self.model[:16], day)
            rows[name] = dict(zip(_COLUMNS, line, strict=True))
            write_rows(self.folder / TABLE, rows.values())
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
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, which another process may hold for a moment.

    Args:
        folder: with corrections.

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
        return encoded_png(pixels), ".png"
    bare = bare_jpeg(read_jpeg_header(image))
    try:
        if np.array_equal(decode(bare, RGB), pixels):
            return bare, ".jpg"
    except ImageError:
        pass
    return encoded_png(pixels), ".png"
