"""Sheets of images with what was said of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.core.rng import order_for
from foveal.evaluation.predictions import Predictions
from foveal.images.canvas import Canvas, sheet
from foveal.images.decode import decode

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
    """Draw images, chosen at random but always the same, with the truth and what was predicted."""
    task = predictions.task
    chosen = order_for(0, 0, len(predictions.labels))[:max_n].tolist()

    def draw(canvas: Canvas, at: int) -> None:
        index = chosen[at]
        task.draw(canvas, predictions.labels[index], task.decode_target(predictions.targets[index]))

    images = [decode(predictions.images[i]) for i in chosen]
    return sheet(images, draw, rows=rows, figsize=figsize, figure=figure, caption=task.legend)
