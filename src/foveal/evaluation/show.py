"""Sheets of images with their true and predicted labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.core.rng import order_for
from foveal.evaluation.predictions import Predictions
from foveal.images.canvas import Canvas, sheet, small_copy
from foveal.tasks.confidence import legend_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    """
    shown = order_for(0, 0, len(predictions.labels))[:max_n].tolist()

    def draw(canvas: Canvas, number: int) -> None:
        predictions.draw(canvas, shown[number])

    images = [small_copy(predictions.images[i], predictions.n_channels) for i in shown]
    return sheet(images, draw, rows=rows, figsize=figsize, figure=figure, caption=legend_of(predictions.task))
