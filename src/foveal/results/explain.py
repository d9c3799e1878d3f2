"""Where a model looked, in figures."""

from __future__ import annotations

from typing import Any

from foveal.bundle.explain import overlay
from foveal.bundle.predictor import Predictor
from foveal.canvas import Canvas, sheet
from foveal.image.decode import PictureSource
from foveal.results import plots


def show_overlay(predictor: Predictor, picture: PictureSource, label: str | None) -> None:
    """Show one picture so, in a figure of pyplot."""
    pixels, said = overlay(predictor, picture, label)
    sheet([pixels], lambda canvas, _: canvas.below(said), figure=plots.new_figure())


def explained_sheet(predictor: Predictor, pictures: list[Any], figure: Any) -> Any:
    """Draw pictures with what the model looked at for its most probable answer."""
    seen = [overlay(predictor, picture) for picture in pictures]

    def draw(canvas: Canvas, at: int) -> None:
        canvas.below(seen[at][1])

    return sheet([pixels for pixels, _ in seen], draw, figure=figure, caption="bright: what spoke for the label below")
