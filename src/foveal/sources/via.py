"""VGG Image Annotator: one .json with the regions and attributes of all images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from foveal.core.errors import TableError, near_match
from foveal.sources.finder import ImageFinder
from foveal.sources.formats import ANNOTATIONS, Match, ReadOptions, load_json, sniff
from foveal.sources.gather import Entry, NotLabelled, gather
from foveal.sources.items import Source
from foveal.sources.parts import Part, choose, parts_at, place_of

Record = Mapping[str, Any]


def read_via(path: Path, parts: Sequence[Part], options: ReadOptions) -> Source:
    """Return the values of one attribute, of regions or of whole images, as labels.

    Args:
        path: the file or folder that was given.
        parts: the files below it.
        options: how it should be read.

    Raises:
        TableError: a file is not as the annotator writes it, or has several attributes.
    """
    chosen, notes = choose(parts, path)
    images = [(part, image) for part in chosen for image in _images(part.file)]
    attribute = _attribute(path, [image for _, image in images], options.columns.label if options.columns else None)
    entries = []
    for part, image in images:
        name = str(image.get("filename", ""))
        labels = sorted({value for key, value in _values(image) if key == attribute})
        label: object = labels or NotLabelled("image without a region or an attribute")
        here = part.file.parent
        bases = (options.images,) if options.images else (here, here / "images", here.parent)
        origin = f"{part.name}, {name}"
        entries.append(Entry(names=(name,), origin=origin, side=part.side, bases=bases, label=label))
    finder = ImageFinder(options.images or (path if path.is_dir() else path.parent))
    place = place_of(chosen, path)
    source = gather("VIA", entries, finder, task=options.task, empty=options.empty, place=place)
    return replace(source, notes=notes)


def _images(file: Path) -> list[Record]:
    data = load_json(file)
    images = data.get("_via_img_metadata", data) if isinstance(data, dict) else None
    if not isinstance(images, dict) or not all(isinstance(one, dict) and "filename" in one for one in images.values()):
        raise TableError(f"`{file}` is not as VGG Image Annotator writes it: expected images with a filename.")
    return cast("list[Record]", list(images.values()))


def _regions(image: Record) -> list[Record]:
    regions = image.get("regions") or ()
    return [one for one in (regions.values() if isinstance(regions, dict) else regions) if isinstance(one, dict)]


def _values(image: Record) -> Iterator[tuple[str, str]]:
    """Yield (attribute, value) of an image and its regions; of a checkbox, each that is set."""
    for attributes in (image.get("file_attributes"), *(one.get("region_attributes") for one in _regions(image))):
        for key, value in (attributes or {}).items():
            if isinstance(value, dict):
                yield from ((key, str(name)) for name, is_set in value.items() if is_set)
            elif str(value).strip():
                yield key, str(value).strip()


def _attribute(path: Path, images: Sequence[Record], given: str | None) -> str:
    known = Counter(key for image in images for key, _ in _values(image))
    if given is not None:
        if given not in known:
            raise TableError(
                f"`{path}` has no attribute `{given}`.{near_match(given, known)} It has: {', '.join(known)}."
            )
        return given
    if not known:
        raise TableError(f"`{path}` names no class: its regions and images have no attribute that is filled in.")
    if len(known) != 1:
        named = ", ".join(f"{name} ({n:,})" for name, n in known.items())
        raise TableError(f"`{path}` must have one attribute to learn; it has: {named}. Name one with --label-column.")
    return next(iter(known))


def is_via(file: Path) -> bool:
    """Return whether a .json is one of VGG Image Annotator, by its keys.

    Args:
        file: the .json.
    """
    data = sniff(file)
    return (b'"region_attributes"' in data and b'"filename"' in data) or b'"_via_img_metadata"' in data


def match_via(path: Path) -> Match | None:
    """Return a match for VGG Image Annotator, recognised by its keys, in a file or in those below a folder, or None."""
    parts = parts_at(path, ".json", is_one=is_via)
    if not parts:
        return None
    why = f"`{place_of(parts, path)}` holds regions of VGG Image Annotator"
    return Match(0.9, lambda options: read_via(path, parts, options), ANNOTATIONS | {"label"}, why)
