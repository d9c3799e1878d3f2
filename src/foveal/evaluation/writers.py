"""Writers of answers: as rows of a table, or in the layout of a labelling tool."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from foveal.core.errors import InputError, UnknownNameError
from foveal.core.tables import FORMATS, printable
from foveal.images.decode import open_image
from foveal.inference.predictor import Prediction
from foveal.sources.coco import write_coco
from foveal.sources.label_studio import write_label_studio
from foveal.tasks.base import Task

Labelled = Iterable[tuple[str, tuple[int, int], Any]]
Answered = Iterable[tuple[Path, Prediction]]
LAYOUTS = {"coco": write_coco, "label-studio": write_label_studio}


def check_target(path: Path, layout: str) -> None:
    """Refuse a file that answers cannot be written to.

    Raises:
        InputError: the file's ending names no format, or `layout` no layout of .json.
    """
    if path.suffix not in {*FORMATS, ".json"}:
        raise InputError(f"`{path}` must end in .csv, .jsonl, .parquet or .json.")
    if layout not in LAYOUTS:
        raise UnknownNameError.of("layout", layout, LAYOUTS)


def write_answers(path: Path, layout: str, answered: Answered, task: Task[Any]) -> int:
    """Write answers to a .json in a layout; return how many."""
    found = ((file.name, open_image(file).size_hw, answer.label) for file, answer in answered)
    return write_labels(path, layout, found, task)


def write_labels(path: Path, layout: str, labelled: Labelled, task: Task[Any]) -> int:
    """Write (file name, (height, width), label) to a .json in a layout; return how many."""
    return LAYOUTS[layout](path, labelled, task)


def row_of(file: Path, answer: Prediction, task: Task[Any]) -> dict[str, Any]:
    """Return an answer as a row of a table."""
    return {"fname": printable(file)} | task.to_row(answer.values, answer.label)
