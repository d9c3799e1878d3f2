"""Where a model looked, in figures."""

from __future__ import annotations

from typing import Any

from foveal.evaluation import plots
from foveal.images.canvas import Canvas, sheet
from foveal.images.decode import ImageSource
from foveal.inference.explain import overlay
from foveal.inference.predictor import Predictor


def show_overlay(predictor: Predictor, image: ImageSource, label: str | None) -> None:
    """Show one image so, in a figure of pyplot."""
    pixels, said = overlay(predictor, image, label)
    sheet([pixels], lambda canvas, _: canvas.below(said), figure=plots.new_figure())


def explanation_sheet(predictor: Predictor, images: list[Any], figure: Any) -> Any:
    """Draw images with what the model looked at for its most probable answer."""
    seen = [overlay(predictor, image) for image in images]

    def draw(canvas: Canvas, at: int) -> None:
        canvas.below(seen[at][1])

    return sheet([pixels for pixels, _ in seen], draw, figure=figure, caption="bright: what spoke for the label below")
