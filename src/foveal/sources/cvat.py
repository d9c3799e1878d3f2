"""CVAT's own XML for images: tags, shapes and skeletons of all images in one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from foveal.core.errors import TableError
from foveal.sources.finder import ImageFinder
from foveal.sources.formats import ANNOTATIONS, Match, ReadOptions, sniff
from foveal.sources.gather import Entry, NotLabelled, gather
from foveal.sources.items import Finding, Source
from foveal.sources.parts import Part, choose, parts_at, place_of
from foveal.sources.sides import side_of, side_of_path
from foveal.sources.voc import parse_xml
from foveal.tasks.kinds import form_of

_SHAPES = ("box", "polygon", "polyline", "mask", "ellipse", "cuboid", "points", "skeleton")
_POINT_SHAPES = frozenset({"points", "skeleton"})
_EMPTY = "image without an annotation"


def read_cvat(path: Path, parts: Sequence[Part], options: ReadOptions) -> Source:
    """Return the tags of every image, or without tags the labels of its shapes; or points where all are points.

    Args:
        path: the file or folder that was given.
        parts: the files below it.
        options: how it should be read.

    Raises:
        TableError: a file cannot be read, or holds the tracks of a video.
    """
    chosen, notes = choose(parts, path)
    images = [(part, image) for part in chosen for image in _images(part.file)]
    kinds = {shape.tag for _, image in images for shape in image if shape.tag in _SHAPES}
    tagged = any(image.find("tag") is not None for _, image in images)
    usual = "points_xy" if kinds and kinds <= _POINT_SHAPES and not tagged else "names"
    points = form_of(options.task, usual=usual) == "points_xy"  # type: ignore[arg-type]
    names = _names_of([image for _, image in images]) if points else []
    if points and not names:
        raise TableError(f"`{path}` holds no points: its shapes are {', '.join(sorted(kinds)) or 'none'}.")
    if tagged and kinds and not points:
        notes = (*notes, "Images have tags and shapes: the tags are their labels.")
    findings: list[Finding] = []
    entries = []
    for part, image in images:
        name = image.get("name", "")
        origin = f"{part.name}, image {image.get('id')}"
        wanted = ("tag",) if tagged else _SHAPES
        label: object = sorted({_label(shape) for shape in image if shape.tag in wanted}) or NotLabelled(_EMPTY)
        if points:
            label = _points(image, names, origin, findings)
        here = part.file.parent
        bases = (options.images,) if options.images else (here / "images", here, here.parent / "images", here.parent)
        side = side_of(image.get("subset") or "") or part.side or side_of_path(Path(name))
        entries.append(Entry(names=(name,), origin=origin, side=side, bases=bases, label=label))
    source = gather(
        "CVAT points" if points else "CVAT",
        entries,
        ImageFinder(options.images or (path if path.is_dir() else path.parent)),
        task=options.task,
        usual="points_xy" if points else "names",
        empty=options.empty,
        point_names=names,
        findings=findings,
        place=place_of(chosen, path),
    )
    return replace(source, notes=notes)


def _images(file: Path) -> list[ET.Element]:
    try:
        root = parse_xml(file)
    except TableError as error:
        raise TableError(f"`{file}`: {error}") from error
    images = root.findall("image")
    if root.find("track") is not None and not images:
        raise TableError(f"`{file}` holds the tracks of a video: export the job as `CVAT for images`, with its frames.")
    return images


def _label(shape: ET.Element) -> str:
    return (shape.get("label") or "").strip()


def _points_of(image: ET.Element) -> dict[str, list[str]]:
    """Return the places of an image's points by label, in their order; of several skeletons those of the largest."""
    skeletons = image.findall("skeleton")
    shapes = [*image.findall("points"), *(max(skeletons, key=_extent).findall("points") if skeletons else ())]
    places: dict[str, list[str]] = {}
    for shape in shapes:
        given = (shape.get("points") or "").split(";")
        places.setdefault(_label(shape), []).extend(given if shape.get("outside") != "1" else [""] * len(given))
    return places


def _extent(skeleton: ET.Element) -> float:
    xy = np.array([_place(shape.get("points") or "") for shape in skeleton.findall("points")] or [[0.0, 0.0]])
    return float(np.prod(np.nan_to_num(np.nanmax(xy, axis=0) - np.nanmin(xy, axis=0)))) if not np.isnan(xy).all() else 0


def _place(text: str) -> list[float]:
    """Return x and y; NaN of a point that lies outside. One that cannot be read is a `ValueError`."""
    if not text:
        return [np.nan, np.nan]
    x, y = (float(part) for part in text.split(","))
    return [x, y]


def _names_of(images: Sequence[ET.Element]) -> list[str]:
    """Return what points are called: by their label, and where it has several in every image by their number too."""
    counts: dict[str, int] = {}
    for image in images:
        for label, places in _points_of(image).items():
            counts[label] = max(counts.get(label, 0), len(places))
    return [label if n == 1 else f"{label} {at + 1}" for label, n in sorted(counts.items()) for at in range(n)]


def _points(
    image: ET.Element, names: Sequence[str], origin: str, findings: list[Finding]
) -> NDArray[np.float64] | NotLabelled:
    points = np.full((len(names), 2), np.nan)
    found = _points_of(image)
    for label, places in found.items():
        chosen = [at for at, name in enumerate(names) if name == label or name.rpartition(" ")[0] == label]
        if len(places) != len(chosen):
            value = f"{label}: {len(places)} points, where other images have {len(chosen)}"
            findings.append(
                Finding("error", "another number of points", origin, value, "Their order tells them apart.")
            )
            continue
        try:
            points[chosen] = [_place(place) for place in places]
        except ValueError:
            findings.append(Finding("error", "point without a place", origin, label))
    return points if found else NotLabelled(_EMPTY)


def is_cvat(file: Path) -> bool:
    """Return whether an XML file is one of CVAT, by its elements.

    Args:
        file: the XML file.
    """
    data = sniff(file)
    return b"<annotations>" in data and (b"<image " in data or b"<track " in data)


def match_cvat(path: Path) -> Match | None:
    """Return a match for CVAT's XML, recognised by its elements, in a file or in those below a folder; else None."""
    parts = parts_at(path, ".xml", is_one=is_cvat)
    if not parts:
        return None
    why = f"`{place_of(parts, path)}` holds images as CVAT writes them"
    return Match(0.9, lambda options: read_cvat(path, parts, options), ANNOTATIONS, why)
