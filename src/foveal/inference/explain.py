"""Explanations as images: Grad-CAM laid over the image that the model saw, for reports, notebooks and the service."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from foveal.core.errors import InputError, UnknownNameError
from foveal.images.channels import shown_as_rgb
from foveal.images.decode import ImageSource
from foveal.images.prepare import Preparation, collate
from foveal.models.explain import grad_cam
from foveal.models.vision import VisionModel
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of, point_names_of
from foveal.tasks.vocab import ClassLabel, plain

_STRENGTH = 0.6
"""How dark an image becomes where the model did not look, 1 is black; chosen by hand."""


class Explained(Protocol):
    """What an explanation needs of a predictor."""

    @property
    def vision(self) -> VisionModel:
        """The model, as `vision_learner` builds it."""

    @property
    def task(self) -> AnyTask:
        """What it answers."""

    @property
    def preparation(self) -> Preparation:
        """How images come to it."""

    @property
    def device(self) -> torch.device:
        """Where it answers."""


def overlay(predictor: Explained, image: ImageSource, label: ClassLabel | None = None) -> tuple[NDArray[np.uint8], str]:
    """Return the image as the model saw it, uint8 [h, w, 3], dark where it did not look, and what it looked for.

    Args:
        predictor: answers for labels or points.
        image: path, bytes, array or PIL image.
        label: the class, as in the vocab or as text, number or point; by default the most probable class, or the first.

    Raises:
        UnknownNameError: there is no such class.
        InputError: the model is written by hand, or has several numbers and `label` names none of them.
    """
    task = predictor.task
    names = point_names_of(task) or task.names
    label = None if label is None else str(plain(label))
    if label is not None and label not in names:
        raise UnknownNameError.of("label", label, names)
    classes = kind_of(task).has_classes
    if predictor.vision.spec.head != "spatial" and not classes and label is None and len(names) > 1:
        raise InputError(f"Say what to explain: one of {', '.join(names)}.")
    prepared = predictor.preparation.image(image)
    image_BCHW = predictor.preparation.normalise(collate([prepared.pixels]).to(predictor.device))
    if label is None:
        label = names[int(predictor.vision(image_BCHW).argmax())] if classes else names[0]
    cam = grad_cam(predictor.vision, image_BCHW, list(names).index(label))[0]
    height, width = prepared.pixels.shape[:2]
    shown = shown_as_rgb(prepared.pixels)
    light = cv2.resize(cam, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)[..., None]
    return (shown * (1 - _STRENGTH + _STRENGTH * light)).astype(np.uint8), label
