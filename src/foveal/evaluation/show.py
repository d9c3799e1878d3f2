"""Sheets of images with their true and predicted labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.core.rng import order_for
from foveal.core.tables import printable
from foveal.evaluation.predictions import Predictions
from foveal.images import canvas
from foveal.images.canvas import Canvas, sheet, small_copy
from foveal.images.channels import RGB
from foveal.images.decode import ImageSource, name_of
from foveal.inference.prediction import Prediction
from foveal.sources.tree import is_image_name
from foveal.tasks.base import AnyTask
from foveal.tasks.confidence import draw_answer, legend_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRAWN_PIXELS = 1000  # the long side of a drawn answer is decoded at this size or a little more: as wide as a page
_DRAWN_INCHES = 8.0  # the same side in the figure, at 110 dots per inch
_NARROWEST = 2.0  # inches: room for a title above the thinnest image


def drawn_answers(
    answers: Iterable[tuple[ImageSource, Prediction]], task: AnyTask, folder: Path, n_channels: int = RGB
) -> Iterator[tuple[ImageSource, Prediction]]:
    """Yield answers as they come, and write each image with its answer drawn on it as a PNG.

    Args:
        answers: images with their answers.
        task: of the answers.
        folder: where NAME.png is written, or NAME-2.png where two images have one name; it is made.
        n_channels: that the images are read with.

    Yields:
        Each of them unchanged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken = Counter[str]()
    for image, answer in answers:
        name = printable(Path(name_of(image)).name)
        name = name.rpartition(".")[0] if is_image_name(name) else name
        taken[name] += 1
        number = f"-{taken[name]}" if taken[name] > 1 else ""
        canvas.save(_drawn(image, answer, task, n_channels), folder / f"{name}{number}.png")
        yield image, answer


def _drawn(image: ImageSource, answer: Prediction, task: AnyTask, n_channels: int) -> Figure:
    shown = small_copy(image, n_channels, side=_DRAWN_PIXELS)
    height, width = shown.size_hw
    share = _DRAWN_INCHES / max(height, width)

    def draw(drawn_on: Canvas, _: int) -> None:
        draw_answer(task, drawn_on, answer.label, None, answer.radius)

    return sheet([shown], draw, figsize=(max(_NARROWEST, share * width), max(_NARROWEST, share * height) + 0.5))


def results_sheet(
    predictions: Predictions,
    *,
    max_n: int = 12,
    rows: int | None = None,
    figsize: tuple[float, float] | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draw images, chosen at random but always the same, with true and predicted labels.

    Args:
        predictions: with their images.
        max_n: images at most.
        rows: of the grid; as many as suit by default.
        figsize: (width, height) in inches; as large as suits by default.
        figure: of matplotlib, to draw in; a new one by default.

    Returns:
        The figure.
    """
    shown = order_for(0, 0, len(predictions.labels))[:max_n].tolist()

    def draw(canvas: Canvas, number: int) -> None:
        predictions.draw(canvas, shown[number])

    images = [small_copy(predictions.images[i], predictions.n_channels) for i in shown]
    return sheet(images, draw, rows=rows, figsize=figsize, figure=figure, caption=legend_of(predictions.task))
