"""Writers of answers: as rows of a table, or in the layout of a labelling tool."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from foveal.core.errors import InputError, UnknownNameError
from foveal.core.registry import resolve
from foveal.core.tables import FORMATS, printable
from foveal.images.channels import RGB
from foveal.images.decode import ImageSource, name_of, open_image
from foveal.inference.prediction import Prediction
from foveal.tasks.base import Task
from foveal.tasks.confidence import row_of as columns_of

Label = TypeVar("Label")
LabelledImages = Iterable[tuple[str, tuple[int, int], Label]]
"""The file name, (height, width) in pixels, and label of each image."""
# Each is imported when it is used: with pandas they take a tenth of the time of one answer.
LAYOUTS = {"coco": "foveal.sources.coco:write_coco", "label-studio": "foveal.sources.label_studio:write_label_studio"}


def check_target(path: Path, layout: str) -> None:
    """Refuse a file that answers cannot be written to.

    Args:
        path: of the file to be written.
        layout: a name in `LAYOUTS`, for .json.

    Raises:
        InputError: the file's ending names no format.
        UnknownNameError: `layout` is no layout of .json.
    """
    if path.suffix not in {*FORMATS, ".json"}:
        raise InputError(f"`{path}` must end in .csv, .jsonl, .parquet or .json.")
    if layout not in LAYOUTS:
        raise UnknownNameError.of("layout", layout, LAYOUTS)


def write_answers(
    path: Path,
    layout: str,
    answers: Iterable[tuple[ImageSource, Prediction]],
    task: Task[Label],
    n_channels: int = RGB,
) -> int:
    """Write answers to a .json in a layout.

    Args:
        path: of the file to be written.
        layout: a name in `LAYOUTS`.
        answers: images with their answers.
        task: of the answers.
        n_channels: that the images are read with.

    Returns:
        How many images were written.
    """
    labelled = (
        (Path(name_of(image)).name, open_image(image, n_channels).size_hw, answer.label) for image, answer in answers
    )
    return write_labels(path, layout, labelled, task)


def write_labels(
    path: Path, layout: str, labelled: LabelledImages[Label], task: Task[Label], *, by_hand: bool = False
) -> int:
    """Write labels to a .json in a layout.

    Args:
        path: of the file to be written.
        layout: a name in `LAYOUTS`.
        labelled: file name, (height, width) and label of each image; points in source pixels.
        task: of the labels.
        by_hand: whether a person gave them, which some layouts tell from answers.

    Returns:
        How many images were written.
    """
    write: Callable[..., int] = resolve(LAYOUTS[layout])
    return write(path, labelled, task, by_hand=by_hand)


def row_of(image: ImageSource, answer: Prediction, task: Task[Label]) -> dict[str, object]:
    """Return an answer as a row of a table.

    Args:
        image: has the name that the row begins with.
        answer: for it.
        task: names the columns.
    """
    return {"fname": printable(name_of(image))} | columns_of(
        task, answer.values, answer.label, answer.radius, answer.is_known
    )
