"""The built-in sample sets, laid out on disk as the fast.ai book's data sets are: its cells run without a network.

    path = untar_data(URLs.SAMPLE_PASCAL)

Everything is drawn, small, and the same on every machine: scenes in a table with several labels, frames with pose
files, images named by what they show, and a table of who liked which invented film.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from foveal.core.download import cache_folder
from foveal.core.errors import UnknownNameError
from foveal.core.listing import Path as ListingPath
from foveal.core.registry import resolve
from foveal.sources import archives
from foveal.sources.synthetic import KINDS, Scene, draw_scene

_SEED = 2  # of all drawings
# The camera matrix, in pixels: focal lengths on the diagonal, the centre of 320 x 240 px in the last column.
_CALIBRATION = ((517.679, 0.0, 160.0), (0.0, 517.679, 120.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Sample:
    """A data set that is drawn when it is first used.

    Attributes:
        folder: its name.
        write: fills a folder with it; a function, or "module:function".
    """

    folder: str
    write: Callable[[Path], None] | str


def untar_data(what: archives.Archive | Sample | object) -> ListingPath:
    """Return the folder of a data set: as it is on disk, or downloaded, checked and unpacked; a sample is drawn.

    It is looked for under `FOVEAL_HOME`/data (by default ~/.foveal/data), then in ~/.fastai/data. A download that broke
    off continues where it stopped.

    Raises:
        FetchError: it is not on disk and cannot be downloaded; the message says where to put it by hand.
        UnknownNameError: it is not one of `URLs`.
    """
    if isinstance(what, archives.Archive):
        return archives.untar_data(what)
    if not isinstance(what, Sample):
        known = [name for name in dir(URLs) if not name.startswith("_")]
        raise UnknownNameError.of("data set", what, known, "For instance: untar_data(URLs.PETS).")
    folder = cache_folder() / "data" / what.folder
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{what.folder}.", dir=folder.parent))
        try:
            write: Callable[[Path], None] = resolve(what.write) if isinstance(what.write, str) else what.write
            write(beside)
            beside.chmod(0o755)
            beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return ListingPath(folder)


def write_pascal(folder: Path) -> None:
    """Write `train/` with train.csv (fname, labels, is_valid), and `test/` with test.csv (fname)."""
    for side, seeds in (("train", range(240)), ("test", range(240, 270))):
        rows = []
        for index in seeds:
            scene = draw_scene(_SEED, index)
            if scene.labels or side == "test":
                rows.append((f"{index:06d}.jpg", " ".join(scene.labels), index % 5 == 0))
                _save(scene, folder / side / rows[-1][0])
        names = ("fname", "labels", "is_valid")[: 3 if side == "train" else 1]
        _table(folder / f"{side}.csv", names, (row[: len(names)] for row in rows))


def write_biwi(folder: Path) -> None:
    """Write frames in a folder per person, each with a balloon whose position is in a pose file, and `rgb.cal`."""
    for at, person in enumerate(("01", "05", "13", "20")):
        for frame in range(3, 48):
            scene = draw_scene(_SEED + 1, 100 * at + frame, kinds=("balloon",), size_wh=(320, 240))
            stem = folder / person / f"frame_{frame:05d}"
            _save(scene, Path(f"{stem}_rgb.jpg"))
            assert scene.balloon_xy is not None
            (fx, _, cx), (_, fy, cy), _ = _CALIBRATION
            depth = 900.0 + frame
            x, y = (scene.balloon_xy[0] - cx) * depth / fx, (scene.balloon_xy[1] - cy) * depth / fy
            pose = "1 0 0 \n0 1 0 \n0 0 1 \n\n" + f"{x:.6f} {y:.6f} {depth:.6f} \n"
            Path(f"{stem}_pose.txt").write_text(pose, encoding="ascii")
        matrix = "\n".join(" ".join(f"{value:g}" for value in row) + " " for row in _CALIBRATION)
        rest = "0 0 0 0 \n\n1 0 0 \n0 1 0 \n0 0 1 \n\n0 0 0 \n\n320 240\n"
        (folder / person / "rgb.cal").write_text(f"{matrix}\n\n{rest}", encoding="ascii")


def write_pets(folder: Path) -> None:
    """Write `images/KIND_number.jpg`, one thing per image; as with the pets, half of the kinds have a capital."""
    for at, kind in enumerate(KINDS):
        name = kind.capitalize() if at % 2 else kind
        for number in range(1, 31):
            _save(draw_scene(_SEED + 2 + at, number, kinds=(kind,)), folder / "images" / f"{name}_{number}.jpg")


class URLs(archives.URLs):
    """The data sets of the fast.ai book that foveal's chapters use, and drawn ones laid out alike."""

    SAMPLE_PASCAL = Sample("sample_pascal", write_pascal)
    SAMPLE_BIWI = Sample("sample_biwi", write_biwi)
    SAMPLE_PETS = Sample("sample_pets", write_pets)
    SAMPLE_ML = Sample("sample_ml", "foveal.collab.drawn:write_ratings")


def _save(scene: Scene, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    scene.image.save(file, quality=90)


def _table(path: Path, names: Iterable[str], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([tuple(names), *rows])
