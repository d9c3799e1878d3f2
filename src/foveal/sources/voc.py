"""Pascal VOC: an XML file for each image, in Annotations/ or beside it, and perhaps lists of the sides in ImageSets."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

from foveal.core.errors import TableError
from foveal.sources.finder import ImageFinder
from foveal.sources.formats import ANNOTATIONS, Match, ReadOptions, sniff
from foveal.sources.gather import Entry, NotLabelled, gather, left_out
from foveal.sources.items import BAD_ANNOTATION, Finding, Source
from foveal.sources.sides import Side, side_of, side_of_path
from foveal.sources.tree import Tree, is_image_name, tree_of
from foveal.tasks.label_lists import PartialLabels

_MAX_BYTES = 1 << 22  # of an annotation; chosen by hand: those of VOC 2012 have a few kB
_FOLDERS = re.compile(r"annotations?|xmls?|labels?|labels?_xml", re.IGNORECASE)
_IMAGES = ("JPEGImages", "images", "Images", "imgs", "img", "image", "photos")
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["'][^>]*\?>""")
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_LISTED = re.compile(r"\s+-?[01]$")
_LOOKED_INTO = 3  # files of a folder; chosen by hand


def read_voc(folder: Path, options: ReadOptions | None = None) -> Source:
    """Return the object names of every image as its labels.

    A class of which an image has only `difficult` objects is unknown for it. Where ImageSets/Main holds train.txt and
    others, they say which images belong to the set, and the split; else the folders' names do.

    Args:
        folder: with Annotations/ and JPEGImages/, or with XML files beside the images.
        options: how it should be read.
    """
    options, tree = options or ReadOptions(), tree_of(folder)
    findings: list[Finding] = []
    xmls = _annotations(tree)
    sides = _image_sets(folder, findings)
    entries = []
    if sides:
        by_stem = {xml.stem: xml for xml in xmls}
        for name, side in sorted(sides.items()):
            xml = by_stem.get(name)
            entries.append(_entry(tree, xml, name, side, options, findings))
        if extra := [xml.name for xml in xmls if xml.stem not in sides]:
            rule = "annotation of no set in ImageSets"
            findings.append(left_out(rule, extra, len(extra), level="note"))
    else:
        entries = [_entry(tree, xml, xml.stem, side_of_path(xml, folder), options, findings) for xml in xmls]
    finder = ImageFinder(options.images or folder)
    source = gather(
        "Pascal VOC",
        [entry for entry in entries if entry is not None],
        finder,
        task=options.task,
        empty=options.empty,
        findings=findings,
    )
    used = {item.image for item in (*source.items, *source.test)}
    bad = {file for finding in findings for file in finding.images}
    missing = [file.name for file in tree.images if file not in used | bad and _is_for_annotation(file, used)]
    more = (left_out("image without an annotation", missing, len(missing)),) if missing and not sides else ()
    return replace(source, findings=(*source.findings, *more), n_left_out=source.n_left_out + len(missing) * bool(more))


def _is_for_annotation(file: Path, used: Iterable[Path]) -> bool:
    """Return whether an image lies in a folder of which others are annotated."""
    return file.parent in {one.parent for one in used}


def _entry(
    tree: Tree, xml: Path | None, stem: str, side: Side | None, options: ReadOptions, findings: list[Finding]
) -> Entry | None:
    """Return what an annotation says of its image; None where it cannot be read, and a finding says so."""
    folder = tree.root
    names, bases = [stem], _bases(folder, xml, options.images)
    label: object = NotLabelled("image without an annotation")
    origin = str(xml.relative_to(folder)) if xml is not None else f"ImageSets, {stem}"
    if xml is not None:
        try:
            root = _parse(xml)
            label = _labels(root)
        except TableError as error:
            findings.append(Finding("error", BAD_ANNOTATION, origin, str(error), "", tuple(_images_of(stem, bases))))
            return None
        if written := Path((root.findtext("filename") or "").strip().replace("\\", "/")).name:
            names.append(written)
    return Entry(names=tuple(names), origin=origin, side=side, bases=bases, label=label)


def _images_of(stem: str, bases: Iterable[Path]) -> list[Path]:
    return [
        file for base in bases for ending in (".jpg", ".jpeg", ".png") if (file := base / f"{stem}{ending}").is_file()
    ]


def _bases(folder: Path, xml: Path | None, images: Path | None) -> tuple[Path, ...]:
    if images is not None:
        return (images,)
    here = folder if xml is None else xml.parent
    above = here.parent if here != folder and _FOLDERS.fullmatch(here.name) else here
    beside = tuple(place / name for place in dict.fromkeys((above, folder)) for name in _IMAGES)
    first = tuple(place for place in beside if place.is_dir())
    return (*first, here, above) if above != here else (here, *first)


def _annotations(tree: Tree) -> list[Path]:
    """Return the XML files of a folder, those in Annotations/ alone where there are any."""
    all_files = [
        folder / name for folder, names in tree.names.items() for name in names if name.lower().endswith(".xml")
    ]
    inside = [file for file in all_files if _FOLDERS.fullmatch(file.parent.name)]
    return sorted(inside or [file for file in all_files if is_annotation(file)])


def is_annotation(file: Path) -> bool:
    """Return whether an XML file is the annotation of one image.

    Args:
        file: the XML file.
    """
    data = sniff(file).replace(b"\0", b"")
    return b"<annotation>" in data or b"<annotation " in data


def _image_sets(folder: Path, findings: list[Finding]) -> dict[str, Side | None]:
    """Return the images that ImageSets name, with their side; nothing where there is no list of a whole side."""
    files: dict[str, Path] = {}
    for place in (folder / "ImageSets", folder / "ImageSets" / "Main"):
        for file in sorted(place.glob("*.txt")) if place.is_dir() else ():
            name = file.stem.lower()
            if side := "trainval" if name == "trainval" else side_of(name):
                files[side] = file
    if "train" in files and "valid" in files:
        files.pop("trainval", None)
    elif "trainval" in files:
        files.pop("train", None)
    sides: dict[str, Side | None] = {}
    for name, file in files.items():
        lines = [line.strip() for line in _text_of(file.read_bytes()).splitlines() if line.strip()]
        are_marked = all(_LISTED.search(line) for line in lines)  # with 1 or -1, as lists of a class have it
        for line in lines:
            stem = (_LISTED.sub("", line) if are_marked else line).replace("\\", "/").rpartition("/")[2]
            stem = stem.rpartition(".")[0] if is_image_name(stem) else stem
            side = "train" if name == "trainval" else side_of(name)
            if sides.setdefault(stem, side) != side:
                value = f"{stem}: {sides[stem]} and {side}"
                findings.append(Finding("error", "image on several sides", f"ImageSets/Main/{file.name}", value))
    return sides


def _labels(root: ET.Element) -> PartialLabels:
    sure: set[str] = set()
    difficult: set[str] = set()
    for thing in root.iter("object"):
        name = (thing.findtext("name") or "").strip()
        if not name:
            raise TableError("an object without a name.")
        (difficult if (thing.findtext("difficult") or "").strip() == "1" else sure).add(name)
    return PartialLabels(tuple(sorted(sure)), tuple(sorted(difficult - sure)))


def parse_xml(file: Path) -> ET.Element:
    """Return the root of an XML file, in whatever encoding it declares.

    Args:
        file: the XML file.

    Raises:
        TableError: it cannot be read; the message does not name it.
    """
    try:
        data = file.read_bytes()
        text = _text_of(data)
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise TableError("document types and entities are refused.")
        return ET.fromstring(text)
    except UnicodeDecodeError as error:
        raise TableError(f"it is not in the encoding that it declares, or in UTF-8: {error}.") from error
    except (OSError, ET.ParseError, LookupError, ValueError) as error:
        raise TableError(f"cannot be read as XML: {error}.") from error


def _parse(file: Path) -> ET.Element:
    if file.stat().st_size > _MAX_BYTES:
        raise TableError("an annotation over 4 MiB is refused.")
    return parse_xml(file)


def _text_of(data: bytes) -> str:
    """Return the text of a file that may begin with a mark or declare its encoding; the declaration is left out."""
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    declared = _DECLARED.match(data)
    if encoding is None:
        if data.startswith((b"<\0", b"\0<")):
            encoding = "utf-16-le" if data.startswith(b"<\0") else "utf-16-be"
        else:
            encoding = declared[1].decode("ascii") if declared else "utf-8"
            if encoding.lower().startswith("utf-16"):  # declared by a program that then wrote something else
                encoding = "utf-8"
    text = data.decode(encoding)
    return re.sub(r"^\s*<\?xml.*?\?>", "", text, flags=re.DOTALL)


def match_voc(path: Path) -> Match | None:
    """Return a match for Pascal VOC, recognised by its folders, or by XML annotations beside the images; else None."""
    if not path.is_dir():
        return None
    tree = tree_of(path)
    if (path / "Annotations").is_dir() and (path / "JPEGImages").is_dir():
        why = "folders Annotations and JPEGImages"
    else:
        near = [path, *(folder for folder in tree.folders() if side_of(folder.name) or _FOLDERS.fullmatch(folder.name))]
        near += [inner for folder in near[1:] for inner in tree.folders(folder) if _FOLDERS.fullmatch(inner.name)]
        xmls = [file for folder in near for file in tree.files(".xml", of=folder)[:_LOOKED_INTO]]
        if not xmls or not any(map(is_annotation, xmls)):
            return None
        why = f"`{os.path.relpath(xmls[0], path)}` and others are annotations of Pascal VOC"
    return Match(0.9, lambda options: read_voc(path, options), ANNOTATIONS, why)
