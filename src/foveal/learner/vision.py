"""`vision_learner`: a learner for images, from loaders and the name of a backbone."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Unpack

from torch import Tensor

from foveal.core.arguments import checked_keywords
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.progress import say
from foveal.core.seeds import check_seed
from foveal.core.warn import warn
from foveal.data.loaders import DataLoaders
from foveal.images.channels import block_of, check_channels, require_channels
from foveal.inference.loading import load_image_predictor
from foveal.learner.learner import Learner
from foveal.learner.vision_model import (
    Arch,
    ModelOptions,
    NewModel,
    Start,
    VisionOptions,
    new_model,
    split_options,
)
from foveal.metrics.common import MetricFunction
from foveal.models import zoo
from foveal.models.head import Range
from foveal.models.vision import build_model
from foveal.models.weights import Weights, load_into
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import Recipe, kind_of

BUNDLE = ".safetensors"
"""How the name of a bundle ends, in place of a backbone's."""


@checked_keywords
def vision_learner(
    dls: DataLoaders,
    arch: Arch = zoo.DEFAULT_ARCH,
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
    **options: Unpack[VisionOptions],
) -> Learner:
    """Return a learner with a pretrained body, frozen, and a fresh head.

    Args:
        dls: the loaders.
        arch: `resnet18/34/50/101/152`, any timm name, a function of torchvision (`torchvision.models.densenet121`,
            whose weights are then torchvision's), or a bundle written by `learn.export` to train further; also a
            network of your own: a module, or a function of `pretrained` that returns one. It is cut where pooling
            begins.
        metrics: functions of (raw outputs, targets), partials, or `Metric`; the task's by default.
        loss_func: of (raw outputs, targets), `FocalLossFlat()` for instance; by default the task's, whose activation
            and decoding stay in any case. `class_weights={"dog": 2.0}` or `"balanced"` weighs its classes.
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
        options: of the pooled head `lin_ftrs` (widths of the hidden layers, [512]), `ps` (dropout, 0.5: the last one,
            or one per layer), `concat_pool`, `first_bn`, `bn_final`, `lin_first` and `init`
            (`nn.init.kaiming_normal_`); `custom_head`, a module that takes the feature map; `cut`, how many children of
            the network the body keeps, or a function of the network; `n_in`, channels of the images, which the loaders
            tell; `n_out`, which the task decides; `normalize`, False to leave pixels from 0 to 1; and, as of `Learner`,
            `opt_func`, `lr`, `splitter`, `cbs`, `path`, `wd`, `moms`, `activation` and `class_weights`.

    Raises:
        UnknownNameError: there is no such backbone, or no such argument.
        InputError: the loaders' images have other channels than `n_in` or the bundle has.
        ModelFileError: the weights cannot be had; the message names the ways out.

    Examples:
        >>> from foveal.vision.all import *
        >>> path = untar_data(URLs.SAMPLE_PETS)
        >>> files = get_image_files(path)[::8]
        >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(48), bs=4)
        >>> learn = vision_learner(dls, "tf_efficientnet_lite0", metrics=error_rate)
        >>> with learn.no_logging():
        ...     learn.fit_one_cycle(1, 1e-2)
        >>> loss, error = learn.validate()
        >>> 0 <= error <= 1
        True
    """
    task = dls.task
    model_options, fit_options = split_options(options, list(inspect.signature(vision_learner).parameters)[:-1])
    chosen = _recipe(recipe, task)
    head = head or (chosen.head if chosen is not None else "pooled")
    _check_numbers(dls, model_options)
    if chosen is not None and chosen.head != "pooled" and "custom_head" in model_options:
        raise InputError(f"recipe={recipe!r} trains a head of its own kind, `{chosen.head}`; leave out one of the two.")
    if isinstance(arch, str) and arch.endswith(BUNDLE):
        if given := sorted({*model_options} - {"n_out", "normalize"}):
            raise InputError(f"The bundle says how its model is built; leave `{given[0]}` out.")
        made = _from_bundle(dls, arch)
    else:
        _check_head(head, task)
        start = Start(pretrained, weights, None if seed is None else check_seed(seed))
        bounds = y_range or (task.y_range if "custom_head" not in model_options else None)
        if y_range is None:
            _announce_range(bounds)
        model_options["n_in"] = dls.pipeline.n_channels
        made = new_model(
            arch, task.n_outputs, dls.pipeline.input_size_hw, model_options, start, head=head, y_range=bounds
        )
    normalises = model_options.get("normalize", True) and dls.pipeline.statistics is None
    made.model.body.statistics = made.statistics if normalises else None
    learn = Learner(dls, made.model, loss_func, metrics=metrics, origin=made.origin, compile=compile, **fit_options)
    learn.recipe = chosen
    if pretrained:
        learn.freeze()
    return learn


def cnn_learner(dls: DataLoaders, arch: Arch = zoo.DEFAULT_ARCH, **options: Any) -> Learner:
    """Return `vision_learner(...)` under its old name, with a warning that names the new one.

    Args:
        dls: the loaders.
        arch: see `vision_learner`.
        options: see `vision_learner`.

    Examples:
        >>> import warnings
        >>> from foveal.vision.all import *
        >>> path = untar_data(URLs.SAMPLE_PETS)
        >>> files = get_image_files(path)[::8]
        >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> with warnings.catch_warnings(action="ignore"):
        ...     cnn_learner(dls, "test_efficientnet", pretrained=False).model.spec.n_outputs
        2
    """
    warn("`cnn_learner` has been renamed to `vision_learner` -- please update your code")
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


def _check_numbers(dls: DataLoaders, options: ModelOptions) -> None:
    """Refuse numbers of outputs and channels that are not those of the data.

    Raises:
        InputError: `n_out` or `n_in` are others than the loaders have.
    """
    n_outputs, n_out = dls.task.n_outputs, options.get("n_out")
    if n_out is not None and n_out != n_outputs:
        raise InputError(
            f"`n_out` is {n_out}, and the loaders' targets need {n_outputs}: {', '.join(dls.task.names)[:200]}. Leave "
            "it out, or give the data block the vocab= that you want."
        )
    n_in, n_channels = options.get("n_in"), dls.pipeline.n_channels
    if n_in not in {None, n_channels}:
        raise InputError(
            f"`n_in` is {n_in}, and the loaders read images with n_channels={n_channels}: leave it out, or build them "
            f"with {block_of(check_channels(n_in))}."
        )


def _announce_range(y_range: Range | None) -> None:
    """Print a range that was learned from labels, where the user fixed none."""
    if any(isinstance(bounds, tuple) for bounds in y_range or ()):
        both = [bounds if isinstance(bounds, tuple) else (bounds,) for bounds in y_range or ()]
        low, high = (", ".join(f"{bound:.4g}" for bound in bounds) for bounds in both)
        say(f"Outputs stay between {low} and {high}, a tenth more than in training; `y_range` says otherwise.")


def _from_bundle(dls: DataLoaders, path: str) -> NewModel:
    """Return a model with a bundle's body, and its head where outputs mean the same, row by row of the last layer."""
    stored = load_image_predictor(path, device=dls.device)
    spec, task = stored.vision.spec, dls.task
    require_channels(dls.pipeline.n_channels, stored.preparation.n_channels)
    model = build_model(replace(spec, n_outputs=task.n_outputs, input_size_hw=dls.pipeline.input_size_hw))
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
    body, start = model.body.network, "0.network."
    if any(
        name in tensors and tensors[name].shape != t.shape for name, t in model.body.state_dict(prefix="0.").items()
    ):
        stored_body = {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
        load_into(body, Weights(stored_body, f"bundle {Path(path).name}"), spec.arch)  # of another size of image
        tensors = {name: t for name, t in tensors.items() if not name.startswith(start)}
    model.load_state_dict(tensors, strict=False)
    return NewModel(model, f"bundle {Path(path).name}", stored.preparation.statistics)
