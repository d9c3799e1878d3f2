"""Where a model looked, drawn over the picture as the model saw it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from foveal.bundle.predictor import Predictor
from foveal.canvas import Canvas, sheet
from foveal.errors import InputError, UnknownNameError
from foveal.image.decode import PictureSource
from foveal.image.prepare import collate
from foveal.models.explain import grad_cam
from foveal.results import plots
from foveal.tasks.catalog import CLASSES

_STRENGTH = 0.6


def overlay(predictor: Predictor, picture: PictureSource, label: str | None = None) -> tuple[NDArray[np.uint8], str]:
    """Return the picture as the model saw it, uint8 [h, w, 3], dark where it did not look, and what it looked for.

    Args:
        predictor: answers for labels or points.
        picture: path, bytes, array or PIL picture.
        label: the class, number or point; by default the most probable class, or the first.

    Raises:
        UnknownNameError: there is no such class.
    """
    task = predictor.task
    names = getattr(task, "point_names", task.names)
    if label is not None and label not in names:
        raise UnknownNameError.of("label", label, names)
    if predictor.model.spec.head != "spatial" and task.kind not in CLASSES and label is None and len(names) > 1:
        raise InputError(f"Say what to explain: one of {', '.join(names)}.")
    prepared = predictor.preparation.picture(picture)
    image = predictor.preparation.normalise(collate([prepared.pixels]).to(predictor.device))
    if label is None:
        label = names[int(predictor.model(image).argmax())] if task.kind in CLASSES else names[0]
    cam = grad_cam(predictor.model, image, list(names).index(label))[0]
    height, width = prepared.pixels.shape[:2]
    light = cv2.resize(cam, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)[..., None]
    return (prepared.pixels * (1 - _STRENGTH + _STRENGTH * light)).astype(np.uint8), label


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
