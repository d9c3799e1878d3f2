"""Pascal VOC: a folder with JPEGImages, Annotations (XML) and, if there are any, ImageSets/Main."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from foveal.core.errors import TableError
from foveal.sources.formats import NO_OPTIONS, Match
from foveal.sources.items import Item, Source, missing_image
from foveal.tasks.multi_label import MultiLabel, PartialLabels

_MAX_BYTES = 1 << 22  # of an annotation; chosen by hand: those of VOC 2012 have a few kB


def is_voc(folder: Path) -> bool:
    """Return whether a folder looks like Pascal VOC."""
    return (folder / "Annotations").is_dir() and (folder / "JPEGImages").is_dir()


def read_voc(folder: Path) -> Source:
    """Read the object names of every image as its labels.

    A class of which an image has only `difficult` objects is unknown for it. Where ImageSets/Main holds train.txt and
    val.txt, they say which images belong to the set, and the split.

    Raises:
        TableError: an annotation cannot be read.
    """
    sides = _image_sets(folder / "ImageSets" / "Main")
    names = sorted(sides) if sides else sorted(path.stem for path in (folder / "Annotations").glob("*.xml"))
    items, findings = [], []
    for name in names:
        annotation = folder / "Annotations" / f"{name}.xml"
        image = folder / "JPEGImages" / f"{name}.jpg"
        origin = str(annotation.relative_to(folder))
        if image.is_file():
            items.append(Item(image, _labels(annotation), sides.get(name), origin))
        else:
            findings.append(missing_image(origin, image))
    return Source("Pascal VOC", MultiLabel.kind, items, findings=tuple(findings))


def _image_sets(folder: Path) -> dict[str, bool | None]:
    files = {folder / "train.txt": False, folder / "val.txt": True}
    if not all(file.is_file() for file in files):
        return {}
    return {name: side for file, side in files.items() for name in file.read_text(encoding="utf-8").split()}


def _labels(annotation: Path) -> PartialLabels:
    sure: set[str] = set()
    difficult: set[str] = set()
    for thing in _parse(annotation).iter("object"):
        name = (thing.findtext("name") or "").strip()
        if not name:
            raise TableError(f"{annotation}: an object without a name.")
        (difficult if (thing.findtext("difficult") or "").strip() == "1" else sure).add(name)
    return PartialLabels(tuple(sorted(sure)), tuple(sorted(difficult - sure)))


def _parse(annotation: Path) -> ET.Element:
    try:
        data = annotation.read_bytes()
        if len(data) > _MAX_BYTES or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise TableError(f"{annotation}: document types, entities and files over 4 MiB are refused.")
        return ET.fromstring(data)
    except (OSError, ET.ParseError) as error:
        raise TableError(f"{annotation}: cannot be read as XML: {error}") from error


def match_voc(path: Path) -> Match | None:
    """Recognise Pascal VOC by its folders."""
    return Match(0.9, lambda _: read_voc(path), NO_OPTIONS) if path.is_dir() and is_voc(path) else None
