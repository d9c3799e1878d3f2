"""`vision_learner`: a learner for images, from loaders and the name of a backbone."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from foveal.core.arguments import checked_keywords
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.progress import say
from foveal.core.seeds import check_seed
from foveal.data.loaders import DataLoaders
from foveal.images.prepare import Statistics
from foveal.inference.loading import load_image_predictor
from foveal.learner.learner import Learner
from foveal.metrics.common import MetricFunction
from foveal.models import zoo
from foveal.models.vision import ModelSpec, VisionModel, build_model, pretrained_model
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import Recipe, kind_of

_BUNDLE = ".safetensors"


@checked_keywords
def vision_learner(
    dls: DataLoaders,
    arch: str = zoo.DEFAULT_ARCH,
    *,
    metrics: MetricFunction | Iterable[MetricFunction] | None = None,
    loss_func: Callable[[Tensor, Tensor], Tensor] | None = None,
    y_range: tuple[float, float] | None = None,
    head: str | None = None,
    recipe: Literal["best", "probe", "book"] | None = None,
    pretrained: bool = True,
    weights: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    compile: bool = False,
) -> Learner:
    """Return a learner with a pretrained body, frozen, and a fresh head.

    Args:
        dls: the loaders.
        arch: `resnet18/34/50/101/152`, any timm name, or a bundle written by `learn.export` to train further.
        metrics: functions of (raw outputs, targets), partials, or `Metric`; the task's by default.
        loss_func: of (raw outputs, targets), `CrossEntropyLossFlat(weight=...)` for instance; by default the task's,
            whose activation and decoding stay in any case.
        y_range: squeeze outputs into (low, high); the task's by default.
        head: `pooled`, the book's; `linear`, or for points `spatial`, which `learn.probe()` can fit; by default the
            recipe's.
        recipe: what `learn.fine_tune()` does unless told otherwise: `best` is what `foveal train` does, today `probe`:
            the best head on frozen features, then a few epochs of everything, and the best weights are kept; `book` the
            book's numbers for this task. By default the book's for any task.
        pretrained: False starts from random weights.
        weights: a file with the backbone's weights, instead of the usual ones.
        seed: draws the head's first weights; torch's global random state by default.
        compile: train through torch.compile; worth its start-up time on a GPU in long runs.

    Raises:
        UnknownNameError: there is no such backbone.
        ModelFileError: the weights cannot be had; the message names the ways out.
    """
    task = dls.task
    chosen = _recipe(recipe, task)
    head = head or (chosen.head if chosen is not None else "pooled")
    if str(arch).endswith(_BUNDLE):
        model, origin, statistics = _from_bundle(dls, arch)
    else:
        generator = None if seed is None else torch.Generator().manual_seed(check_seed(seed))
        _check_head(head, task)
        learned = [bounds for bounds in task.y_range or () if isinstance(bounds, tuple)]  # from labels, not fixed
        if y_range is None and learned:
            low, high = (", ".join(f"{bound:.4g}" for bound in bounds) for bounds in learned)
            say(f"Outputs stay between {low} and {high}, a tenth more than in training; `y_range` says otherwise.")
        spec = ModelSpec(arch, task.n_outputs, dls.pipeline.input_size_hw, y_range or task.y_range, head)
        if pretrained:
            model, origin = pretrained_model(spec, weights=weights, generator=generator)
        else:
            model, origin = build_model(spec, generator=generator), "random weights"
        statistics = zoo.statistics_of(arch)
    model.body.statistics = None if dls.pipeline.statistics else statistics
    learn = Learner(dls, model, loss_func=loss_func, metrics=metrics, origin=origin, compile=compile)
    learn.recipe = chosen
    if pretrained:
        learn.freeze()
    return learn


def cnn_learner(dls: DataLoaders, arch: str = zoo.DEFAULT_ARCH, **options: Any) -> Learner:
    """Return `vision_learner(...)` under its old name.

    Args:
        dls: the loaders.
        arch: see `vision_learner`.
        options: see `vision_learner`.
    """
    warnings.warn("`cnn_learner` has been renamed to `vision_learner` -- please update your code", stacklevel=2)
    return vision_learner(dls, arch, **options)


def _recipe(name: str | None, task: AnyTask) -> Recipe | None:
    if name is None:
        return None
    recipes = kind_of(task).recipes
    known = {"best": recipes["probe"], **recipes}
    if name not in known:
        raise UnknownNameError.of("recipe", name, known)
    return known[name]


def _check_head(head: str, task: AnyTask) -> None:
    if head == "spatial" and not kind_of(task).has_points:
        raise InputError(f"A spatial head finds points; this task is {task.kind}. Use head='pooled' or 'linear'.")


def _from_bundle(dls: DataLoaders, path: str) -> tuple[VisionModel, str, Statistics]:
    """Return a model with a bundle's body, and its head where outputs mean the same, row by row of the last layer."""
    stored = load_image_predictor(path, device=dls.device)
    spec, task = stored.vision.spec, dls.task
    model = build_model(ModelSpec(spec.arch, task.n_outputs, dls.pipeline.input_size_hw, spec.y_range, spec.head))
    tensors = stored.model.state_dict()
    same_kind = stored.task.kind == task.kind
    if not same_kind or (stored.task.names != task.names and not kind_of(task).has_classes):
        tensors = {name: t for name, t in tensors.items() if name.startswith("0.")}
    elif stored.task.names != task.names:
        before, fresh = {name: at for at, name in enumerate(stored.task.names)}, model.state_dict()
        kept = [(at, before[name]) for at, name in enumerate(task.names) if name in before]
        last = max((name for name in tensors if name.startswith("1.")), key=lambda name: int(name.split(".")[1]))
        for name in (name for name in tensors if name.startswith(last.rsplit(".", 1)[0])):
            for at, was in kept:
                fresh[name][at] = tensors[name][was]
            tensors[name] = fresh[name]
    model.load_state_dict(tensors, strict=False)
    return model, f"bundle {Path(path).name}", stored.preparation.statistics
