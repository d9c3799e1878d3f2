"""Data sets by name: those of the fast.ai course, and built-in samples laid out alike, so that the book's cells run.

    path = untar_data(URLs.SAMPLE_PASCAL)

The samples need no network: everything in them is drawn, small, and the same on every machine: scenes in a table with
several labels, frames with pose files, images named by what they show, and a table of who liked which invented film.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shutil
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from foveal.core import storage
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.kept import cache_folder, home
from foveal.core.listing import Path as ListingPath
from foveal.core.registry import resolve
from foveal.sources import course_sets
from foveal.sources.archives import Archive, fetch_archive
from foveal.sources.course_sets import known_by_address
from foveal.sources.synthetic import KINDS, Scene, draw_scene

_ENDING = re.compile(r"\.(?:zip|tar|tgz|tar\.\w+)$", re.IGNORECASE)  # of archives
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
    write: Callable[[Path], None] | str = field(repr=False)


def untar_data(
    url: Archive | Sample | str | object,
    archive: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    c_key: str = "data",
    force_download: bool = False,
    base: str | os.PathLike[str] | None = None,
    *,
    dest: str | os.PathLike[str] | None = None,
    sha256: str = "",
    **unknown: object,
) -> ListingPath:
    """Return the folder of a data set: as it is on disk, or downloaded, checked and unpacked; a sample is drawn.

    It is looked for under `FOVEAL_HOME`/data (by default ~/.foveal/data), then in ~/.fastai/data; where `data`, `dest`
    or `base` is given, only there. A download that broke off continues where it stopped.

    Args:
        url: one of `URLs`, or the address of a .tgz or .zip of your own.
        archive: the folder that keeps the downloaded file.
        data: the folder below which the data set's folder is.
        c_key: only "data" is supported.
        force_download: download it again and replace what is there.
        base: a folder for both, in `base`/archives and `base`/data.
        dest: another name of `data`.
        sha256: what the file at an address of your own must hash to; without it, it is not checked.
        unknown: refused.

    Raises:
        FetchError: it is not on disk and cannot be downloaded; the message says where to put it by hand.
        InputError: an argument is not supported, or an archive is refused.
        UnknownNameError: it is not one of `URLs`, or there is no such argument.

    Examples:
        >>> from foveal.vision.all import *
        >>> path = untar_data(URLs.SAMPLE_PASCAL)
        >>> path.ls().attrgot("name")
        (#4) ['test','test.csv','train','train.csv']
    """
    if unknown:
        known = ("archive", "data", "force_download", "base", "dest", "sha256")
        hint = "For instance: untar_data(URLs.PETS, data=folder)."
        raise UnknownNameError.of("argument", next(iter(unknown)), known, hint)
    if c_key != "data":
        raise InputError(f"`c_key` can be 'data' only, got {c_key!r}; another folder: untar_data(..., data=folder).")
    if data is not None and dest is not None:
        raise InputError("`dest` is another name of `data`; give one of them.")
    source = _set_of(url, sha256)
    kept_in = cache_folder() if base is None else Path(base).expanduser()
    given = data if dest is None else dest
    own = (kept_in / "data" if given is None else Path(given).expanduser()) / source.folder
    if isinstance(source, Archive):
        usual = home() / ".fastai" / "data" / source.folder
        if base is data is dest is None and usual.is_dir() and not own.is_dir() and not force_download:
            return ListingPath(usual)
        archives = kept_in / "archives" if archive is None else Path(archive).expanduser()
        return ListingPath(fetch_archive(source, own, archives, force=force_download))
    if force_download or not own.is_dir():
        _draw(source, own, replace=force_download)
    return ListingPath(own)


def _set_of(url: object, sha256: str) -> Archive | Sample:
    """Return the data set that a user means.

    Raises:
        UnknownNameError: it is neither one of `URLs` nor an address.
        InputError: a hash is given for a data set whose hash is known.
    """
    if isinstance(url, str) and url.startswith(("http://", "https://")):
        if known := known_by_address(url):
            url = known
        else:
            name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rsplit("/", 1)[-1]
            stem = re.sub(r"[^\w-]", "_", _ENDING.sub("", name))[:64] or "data"
            return Archive(url, f"{stem}-{hashlib.sha256(url.encode()).hexdigest()[:8]}", sha256=sha256)
    if isinstance(url, str) and url in URLs.known():
        raise UnknownNameError(f"A data set is named without quotes: write untar_data(URLs.{url}).")
    if not isinstance(url, Archive | Sample):
        raise UnknownNameError.of("data set", url, URLs.known(), "For instance: untar_data(URLs.PETS).")
    if sha256:
        raise InputError("`sha256` is for an address of your own; that of this data set is known.")
    return url


def _draw(sample: Sample, folder: Path, *, replace: bool) -> None:
    """Draw a sample; its folder appears when it is whole, and one that another process has drawn meanwhile stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{sample.folder}.", dir=folder.parent))
    try:
        write: Callable[[Path], None] = resolve(sample.write) if isinstance(sample.write, str) else sample.write
        write(beside)
        storage.place_folder(beside, folder, replace=replace)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


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


class URLs(course_sets.URLs):
    """The data sets of the fast.ai course by the course's names, and `SAMPLE_...`, drawn ones laid out alike.

    Those of the course have an `address`, a size `n_bytes` and a `layout`: what their folder holds. The samples need no
    network: `SAMPLE_PASCAL` has several labels per image in a table, `SAMPLE_BIWI` a point per image, `SAMPLE_PETS` one
    label in each file's name, `SAMPLE_ML` a table of users, films and how much they liked them. What foveal has no
    models for, such as text, is refused by name.

    Examples:
        >>> from foveal.vision.all import *
        >>> URLs.PETS.n_bytes, URLs.PETS.layout
        (811706944, 'images/BREED_number.jpg, cats with a capital; annotations/')
        >>> len(get_image_files(untar_data(URLs.SAMPLE_PETS)))
        240
    """

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
