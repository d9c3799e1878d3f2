"""YOLO's pose layout: images/ and labels/ side by side, a text file per image, coordinates as shares of its size."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.core.errors import TableError
from foveal.images.decode import open_image
from foveal.sources.folders import get_image_files
from foveal.sources.formats import NO_OPTIONS, Match
from foveal.sources.items import Item, Source
from foveal.tasks.points import Points

_SIDES = {"train": False, "val": True, "valid": True}
_BOX = 5  # values before the keypoints: class, centre x and y, width, height


def is_yolo_pose(folder: Path) -> bool:
    """Return whether a folder looks like YOLO's pose layout."""
    return (folder / "images").is_dir() and (folder / "labels").is_dir()


def read_yolo_pose(folder: Path) -> Source:
    """Read the keypoints of the largest object of every image, in its pixels; visibility 0 is a missing point.

    `kpt_shape: [points, 2 or 3]` is read from the data's .yaml where there is one.

    Raises:
        TableError: a line has the wrong number of values.
    """
    shape = _shape(folder)
    items = []
    for image in get_image_files(folder / "images"):
        inside = image.relative_to(folder / "images")
        side = _SIDES.get(inside.parts[0]) if len(inside.parts) > 1 else None
        annotation = (folder / "labels" / inside).with_suffix(".txt")
        lines = annotation.read_text(encoding="utf-8").split("\n") if annotation.is_file() else []
        rows = [np.array(line.split(), dtype=float) for line in lines if line.strip()]
        shape = shape or (_guess_shape(rows[0], annotation) if rows else None)
        items.append((image, side, annotation, rows))
    if shape is None:
        raise TableError(f"No keypoints were found in `{folder / 'labels'}`.")
    return Source(
        "YOLO pose",
        Points.kind,
        [Item(p, _points(p, rows, shape, a), side, str(a.relative_to(folder))) for p, side, a, rows in items],
    )


def _points(image: Path, rows: list[NDArray[np.float64]], shape: tuple[int, int], annotation: Path) -> object:
    n_points, n_values = shape
    if not rows:
        return np.full((n_points, 2), np.nan)
    row = max(rows, key=lambda values: values[3] * values[4] if len(values) >= _BOX else 0)
    if len(row) != _BOX + n_points * n_values:
        raise TableError(f"{annotation}: expected {_BOX + n_points * n_values} values per line, got {len(row)}.")
    points = row[_BOX:].reshape(n_points, n_values)
    height, width = open_image(image).size_hw
    missing = points[:, 2] == 0 if n_values == 3 else (points == 0).all(axis=1)
    return np.where(missing[:, None], np.nan, points[:, :2] * (width, height))


def _shape(folder: Path) -> tuple[int, int] | None:
    for file in (*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*.yml"))):
        shape = re.search(r"^kpt_shape:\s*\[\s*(\d+)\s*,\s*([23])\s*\]", file.read_text(encoding="utf-8"), re.MULTILINE)
        if shape:
            return int(shape[1]), int(shape[2])
    return None


def _guess_shape(row: NDArray[np.float64], annotation: Path) -> tuple[int, int]:
    n = len(row) - _BOX
    if n > 0 and n % 3 == 0 and np.isin(row[_BOX + 2 :: 3], (0, 1, 2)).all():
        return n // 3, 3
    if n > 0 and n % 2 == 0:
        return n // 2, 2
    raise TableError(f"{annotation}: {len(row)} values per line are no class, box and keypoints.")


def match_yolo_pose(path: Path) -> Match | None:
    """Recognise YOLO pose by its folders."""
    return Match(0.9, lambda _: read_yolo_pose(path), NO_OPTIONS) if path.is_dir() and is_yolo_pose(path) else None
