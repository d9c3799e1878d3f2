"""Explanations as figures: one image in a notebook, or a sheet of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from foveal.evaluation import plots
from foveal.images.canvas import Canvas, sheet
from foveal.images.decode import ImageSource
from foveal.inference.explain import overlay
from foveal.inference.predictor import Predictor
from foveal.tasks.vocab import ClassLabel

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def show_overlay(predictor: Predictor, image: ImageSource, label: ClassLabel | None) -> None:
    """Show where the model looked on one image, in a figure of pyplot.

    Args:
        predictor: of labels or points.
        image: path, bytes, array or PIL image.
        label: the class, as in the vocab or as text, number or point; by default the most probable class, or the first.
    """
    pixels, name = overlay(predictor, image, label)
    sheet([pixels], lambda canvas, _: canvas.below(name), figure=plots.new_figure())


def explanation_sheet(predictor: Predictor, images: Sequence[ImageSource], figure: Figure) -> Figure:
    """Draw where the model looked for its most probable answer, image by image.

    Args:
        predictor: of labels or points.
        images: paths, bytes, arrays or PIL images.
        figure: of matplotlib, to draw in.

    Returns:
        The figure.
    """
    overlays = [overlay(predictor, image) for image in images]

    def draw(canvas: Canvas, number: int) -> None:
        canvas.below(overlays[number][1])

    return sheet(
        [pixels for pixels, _ in overlays], draw, figure=figure, caption="bright: what spoke for the label below"
    )
