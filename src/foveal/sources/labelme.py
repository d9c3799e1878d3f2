"""LabelMe: a .json beside each image, with its shapes, its flags and perhaps the image itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.core.errors import TableError
from foveal.sources.finder import ImageFinder
from foveal.sources.formats import ANNOTATIONS, Match, ReadOptions, load_json, sniff
from foveal.sources.gather import Entry, NotLabelled, gather
from foveal.sources.items import BAD_ANNOTATION, POINT_TWICE, Finding, Source
from foveal.sources.sides import side_of_path
from foveal.sources.tree import Tree, tree_of
from foveal.tasks.kinds import form_of

Record = Mapping[str, Any]
_DEPTH = 3  # folders down
_LOOKED_INTO = 3  # files of a folder that it is recognised by


def read_labelme(path: Path, options: ReadOptions) -> Source:
    """Return the labels of every image's shapes and the flags that are set, or its points where all shapes are points.

    Args:
        path: a folder, or one file.
        options: how it should be read.

    Raises:
        TableError: points are wanted, and the shapes are others.
    """
    root = path if path.is_dir() else path.parent
    files = [path] if path.is_file() else _files(tree_of(path))
    findings: list[Finding] = []
    records: list[tuple[Path, Record]] = []
    for file in files:
        try:
            records.append((file, _checked(load_json(file))))
        except TableError as error:
            findings.append(Finding("error", BAD_ANNOTATION, str(file.relative_to(root)), str(error)))
    kinds = {str(shape.get("shape_type", "polygon")) for _, record in records for shape in record["shapes"]}
    points = form_of(options.task, usual="points_xy" if kinds == {"point"} else "names") == "points_xy"
    shapes = [shape for _, record in records for shape in record["shapes"] if shape.get("shape_type") == "point"]
    names = sorted({str(shape["label"]) for shape in shapes}) if points else []
    if points and not names:
        raise TableError(f"`{path}` holds no points: its shapes are {', '.join(sorted(kinds)) or 'none'}.")
    entries = []
    for file, record in records:
        origin = str(file.relative_to(root))
        side = side_of_path(file, root)
        label: object = sorted({*_labels(record["shapes"]), *_flags(record)})
        if points:
            label = _points(record["shapes"], names, origin, findings)
        elif not label:
            label = NotLabelled("image without a shape or a flag")
        written = PureWindowsPath(str(record.get("imagePath") or "")).name
        readings = [name for name in (written, file.stem) if name]
        if record.get("imageData"):  # the file holds its image
            readings.append(file.name)
        here = file.parent
        bases = (options.images,) if options.images else (here, here / "images", here.parent / "images", here.parent)
        entries.append(Entry(names=tuple(readings), origin=origin, side=side, bases=bases, label=label))
    return gather(
        "LabelMe",
        entries,
        ImageFinder(options.images or root),
        task=options.task,
        usual="points_xy" if points else "names",
        empty=options.empty,
        point_names=names,
        findings=findings,
    )


def _files(tree: Tree) -> list[Path]:
    """Return the files of LabelMe, and those beside them that cannot be told from one: a .json for an image."""
    files = tree.files(".json", depth=_DEPTH)
    ours = {file for file in files if is_labelme(file)}
    folders = {file.parent for file in ours}
    stems = {image.with_suffix("") for image in tree.images}
    return [file for file in files if file in ours or (file.parent in folders and file.with_suffix("") in stems)]


def _checked(record: object) -> Record:
    if not isinstance(record, dict) or not isinstance(record.get("shapes"), list):
        raise TableError("it is not as LabelMe writes it: expected a list of shapes.")
    if not all(isinstance(shape, dict) and str(shape.get("label") or "").strip() for shape in record["shapes"]):
        raise TableError("it is not as LabelMe writes it: a shape without a label.")
    return record


def _labels(shapes: Sequence[Record]) -> set[str]:
    return {str(shape["label"]).strip() for shape in shapes}


def _flags(record: Record) -> set[str]:
    flags = record.get("flags") or {}
    return {str(name) for name, is_set in flags.items() if is_set is True} if isinstance(flags, dict) else set()


def _points(
    shapes: Sequence[Record], names: Sequence[str], origin: str, findings: list[Finding]
) -> NDArray[np.float64] | NotLabelled:
    points = np.full((len(names), 2), np.nan)
    for shape in shapes:
        if shape.get("shape_type") != "point":
            continue
        at = names.index(str(shape["label"]))
        if not np.isnan(points[at, 0]):
            findings.append(Finding("error", POINT_TWICE, origin, names[at], "Keep one of a name in each image."))
        try:
            points[at] = np.asarray(shape["points"][0], dtype=float)
        except (KeyError, IndexError, TypeError, ValueError):
            findings.append(Finding("error", "point without a place", origin, names[at]))
    return points if shapes else NotLabelled("image without a point")


def is_labelme(file: Path) -> bool:
    """Return whether a .json is one of LabelMe, by its keys.

    Args:
        file: the .json.
    """
    data = sniff(file)
    return b'"shapes"' in data and any(key in data for key in (b'"imagePath"', b'"imageData"', b'"imageHeight"'))


def match_labelme(path: Path) -> Match | None:
    """Return a match for LabelMe, recognised by the keys of the .json files beside images; else None."""
    if path.is_file():
        if path.suffix.lower() != ".json" or not is_labelme(path):
            return None
        return Match(
            0.9, lambda options: read_labelme(path, options), ANNOTATIONS, f"`{path.name}` holds shapes of LabelMe"
        )
    if not path.is_dir():
        return None
    tree = tree_of(path)
    by_folder: dict[Path, list[Path]] = {}
    for file in tree.files(".json", depth=_DEPTH):
        by_folder.setdefault(file.parent, []).append(file)
    found = next((file for files in by_folder.values() for file in files[:_LOOKED_INTO] if is_labelme(file)), None)
    if found is None:
        return None
    why = f"`{found.relative_to(path)}` and others hold shapes of LabelMe"
    return Match(0.85, lambda options: read_labelme(path, options), ANNOTATIONS, why)
