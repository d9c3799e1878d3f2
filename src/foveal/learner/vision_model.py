"""The model of `vision_learner`: its options, and how a backbone of any form becomes a model with a head."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor, nn

from foveal.core.arguments import check_list, check_number
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.progress import say
from foveal.images.prepare import IMAGENET, Statistics
from foveal.learner.trainer import Activation
from foveal.models import zoo
from foveal.models.cutting import Cut, cut_network, find_body, set_input_channels
from foveal.models.head import BOOKS_HEAD, HeadOptions, Range, initialise
from foveal.models.vision import OWN, ModelSpec, VisionModel, assemble, build_model, pretrained_model
from foveal.models.weights import load_into, pretrained_weights
from foveal.tasks.balance import ClassWeights
from foveal.training.checkpoint import PathLike
from foveal.training.groups import Splitter
from foveal.training.optim import OptimizerFunction
from foveal.training.schedule import Rate

Arch = str | Callable[..., nn.Module] | nn.Module
"""A backbone: a name, a function of torchvision or timm, a function of `pretrained` that returns one, or a module."""


class ModelOptions(TypedDict, total=False):
    """The options that shape a model; see `vision_learner`."""

    n_in: int
    n_out: int
    normalize: bool
    cut: Cut
    custom_head: nn.Module
    init: Callable[[Tensor], object] | None
    concat_pool: bool
    lin_ftrs: Sequence[int] | None
    ps: float | Sequence[float]
    first_bn: bool
    bn_final: bool
    lin_first: bool


class FitOptions(TypedDict, total=False):
    """The options that `vision_learner` hands to `Learner`."""

    opt_func: OptimizerFunction
    lr: Rate
    splitter: Splitter | None
    cbs: object
    path: PathLike | None
    wd: float | None
    moms: tuple[float, float, float]
    activation: Activation | None
    class_weights: ClassWeights | None


class VisionOptions(ModelOptions, FitOptions, total=False):
    """All options of `vision_learner` besides those in its signature."""


_ELSEWHERE = {
    "model_dir": "`learn.save` writes to the folder `models` below `path`: give path='/tmp' where that may be written.",
    "train_bn": "Normalisation of frozen groups: learn.freeze(norm='train'), 'stats' or 'frozen'.",
    "wd_bn_bias": "Normalisation and biases have no weight decay; for another rule give `splitter` or `opt_func`.",
    "pool": "The head pools; give `custom_head` for one that does not.",
    "config": "Give what it holds by name: ps=, lin_ftrs=, concat_pool=, cut=, custom_head=.",
    "bs": "The loaders have the batch size: dls.new(bs=...), or `bs` where they are made.",
    "device": "The loaders say where: dls.to(device), or `device` where they are made.",
}
"""Arguments that people give, and where what they want is found."""


def split_options(options: Mapping[str, Any], others: Sequence[str]) -> tuple[ModelOptions, FitOptions]:
    """Return the options of the model, and those of the learner.

    Args:
        options: as given to `vision_learner`.
        others: the names in its signature.

    Raises:
        UnknownNameError: it has no such option; the near match is offered.
        InputError: the option belongs elsewhere; the message says where.
    """
    known = [*others, *ModelOptions.__annotations__, *FitOptions.__annotations__]
    for name in options:
        if name in _ELSEWHERE:
            raise InputError(f"`vision_learner` has no argument `{name}`. {_ELSEWHERE[name]}")
        if name not in known:
            raise UnknownNameError.of("argument of vision_learner", name, known)
    model, fit = ModelOptions(), FitOptions()
    for name, value in options.items():
        (model if name in ModelOptions.__annotations__ else fit)[name] = value  # type: ignore[literal-required]
    return model, fit


def head_options(options: ModelOptions) -> HeadOptions:
    """Return the layers of a pooled head from their names in the course.

    Raises:
        InputError: `lin_ftrs` is no list of widths.
    """
    ps, hidden = options.get("ps", BOOKS_HEAD.dropout), options.get("lin_ftrs")
    hidden = BOOKS_HEAD.hidden if hidden is None else hidden
    check_list("lin_ftrs", hidden, "widths of layers, such as [512]")
    for width in hidden:
        check_number("lin_ftrs", width, at_least=1, whole=True)
    return HeadOptions(
        tuple(hidden),
        tuple(ps) if isinstance(ps, Sequence) else (float(ps),),
        **{
            name: bool(options[name])
            for name in ("concat_pool", "first_bn", "bn_final", "lin_first")
            if name in options
        },
    )


class NewModel(NamedTuple):
    """A model, where its weights are from, and what its pixels are normalised with, if anything."""

    model: VisionModel
    origin: str
    statistics: Statistics | None


@dataclass(frozen=True, slots=True)
class Start:
    """The weights that a model starts with.

    Attributes:
        pretrained: False starts from random weights.
        weights: a file with the backbone's weights, instead of the usual ones.
        seed: draws the head's first weights; torch's global random state by default.
    """

    pretrained: bool = True
    weights: str | os.PathLike[str] | None = None
    seed: int | None = None


def new_model(
    arch: Arch,
    n_outputs: int,
    size_hw: tuple[int, int],
    options: ModelOptions,
    start: Start,
    *,
    head: str = "pooled",
    y_range: Range | None = None,
) -> NewModel:
    """Return a model of a backbone of any form.

    Args:
        arch: the backbone.
        n_outputs: numbers per image.
        size_hw: (height, width) of the input in pixels.
        options: what shapes it; `n_out` and `normalize` are the caller's.
        start: its first weights.
        head: a name in `HEADS`.
        y_range: (low, high) of the outputs.

    Raises:
        UnknownNameError: there is no such backbone or head.
        InputError: an option does not suit the others or the backbone.
        ModelFileError: the weights cannot be had; the message names the ways out.
    """
    name, n_channels, own_head, cut = zoo.name_of(arch), options.get("n_in", 3), options.get("custom_head"), None
    if own_head is not None:
        _check_own_head(own_head, options, head, y_range)
    if "cut" in options and not callable(options["cut"]) and name is not None:
        cut = int(options["cut"])
    spec = ModelSpec(
        name or _shown(arch),
        n_outputs,
        size_hw,
        y_range,
        head if own_head is None else OWN,
        n_channels,
        head_options(options),
        cut,
        None if cut is None and own_head is None else (),
    )
    generator = None if start.seed is None else torch.Generator().manual_seed(start.seed)
    if name is None:
        made = _of_own_network(arch, spec, options, start, generator)
    else:
        made = _of_known_network(spec, options, start, generator)
    if "init" in options and options["init"] is not nn.init.kaiming_normal_:
        if spec.head not in {"pooled", OWN}:
            raise InputError(f"A `{spec.head}` head begins at 0; `init` is for head='pooled'.")
        with torch.random.fork_rng(enabled=start.seed is not None, devices=[]):
            if start.seed is not None:
                torch.manual_seed(start.seed)
            initialise(made.model[1], options["init"])
    return made


def _of_known_network(
    spec: ModelSpec, options: ModelOptions, start: Start, generator: torch.Generator | None
) -> NewModel:
    own_head, cut, weights = options.get("custom_head"), options.get("cut"), None
    if callable(cut):
        network = zoo.build(spec.arch, image_size=spec.input_size_hw, n_channels=spec.n_channels)
        if start.pretrained:
            weights = pretrained_weights(spec.arch, start.weights)
            load_into(network, weights, spec.arch)
        model = assemble(cut_network(network, cut), spec, head=own_head, generator=generator)
    elif start.pretrained:
        model, weights = pretrained_model(spec, weights=start.weights, head=own_head, generator=generator)
    else:
        model = build_model(spec, head=own_head, generator=generator)
    config = None if weights is None else weights.config
    if config is not None and config.statistics is not None:
        statistics = config.statistics.for_channels(spec.n_channels)
    else:
        statistics = zoo.statistics_of(spec.arch, spec.n_channels)
    return NewModel(model, "random weights" if weights is None else weights.origin, statistics)


def _of_own_network(
    arch: Arch, spec: ModelSpec, options: ModelOptions, start: Start, generator: torch.Generator | None
) -> NewModel:
    if start.weights is not None:
        raise InputError("`weights` is for a backbone with a name: load the file into your network yourself.")
    assert not isinstance(arch, str)
    network = arch if isinstance(arch, nn.Module) else _call(arch, start.pretrained)
    if "n_in" in options:
        set_input_channels(network, spec.n_channels)
    cut = options.get("cut")
    statistics = _statistics_of_own(network) if options.get("normalize", True) else None
    body = (
        find_body(network, n_channels=spec.n_channels, size_hw=spec.input_size_hw)
        if cut is None
        else cut_network(network, cut)
    )
    model = assemble(body, spec, head=options.get("custom_head"), generator=generator)
    return NewModel(model, f"`{spec.arch}`", None if statistics is None else statistics.for_channels(spec.n_channels))


def _call(arch: Callable[..., object], pretrained: bool) -> nn.Module:
    """Return the network that a function makes, called with `pretrained` if it takes that or has one argument.

    Raises:
        InputError: the function needs other arguments, or what it returns is no module.
    """
    parameters = inspect.signature(arch).parameters
    required = [
        p
        for p in parameters.values()
        if p.default is p.empty and p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}
    ]
    if "pretrained" in parameters:
        network = arch(pretrained=pretrained)
    elif len(required) <= 1:
        network = arch(*([pretrained] if required else []))
    else:
        raise InputError(
            f"`arch` is called with pretrained=True or False; `{_shown(arch)}` needs "
            f"{', '.join(p.name for p in required)}. Write arch=lambda pretrained: {_shown(arch)}(...)."
        )
    if not isinstance(network, nn.Module):
        raise InputError(f"`arch` returns a network, an nn.Module; `{_shown(arch)}` returned {type(network).__name__}.")
    return network


def _statistics_of_own(network: nn.Module) -> Statistics | None:
    """Return what a network's own package normalises pixels with; say so where nothing is known of that."""
    entry = getattr(network, "pretrained_cfg", None)  # timm's
    if isinstance(entry, Mapping) and {"mean", "std"} <= set(entry) and len(entry["mean"]) == 3:
        return Statistics(tuple(entry["mean"]), tuple(entry["std"]))
    if type(network).__module__.startswith("torchvision."):
        return IMAGENET
    say("Pixels reach your backbone from 0 to 1; batch_tfms=[Normalize.from_stats(*imagenet_stats)] normalises them.")
    return None


def _check_own_head(own_head: object, options: ModelOptions, head: str, y_range: Range | None) -> None:
    if not isinstance(own_head, nn.Module):
        raise InputError(f"`custom_head` is a module that takes the feature map; got {type(own_head).__name__}.")
    shaped = [
        name for name in ("ps", "lin_ftrs", "concat_pool", "first_bn", "bn_final", "lin_first") if name in options
    ]
    if shaped or head != "pooled" or y_range is not None:
        name = f"`{shaped[0]}`" if shaped else "`y_range`" if y_range is not None else f"head={head!r}"
        raise InputError(f"{name} shapes the usual head; with `custom_head` leave it out, and build your head so.")


def _shown(arch: object) -> str:
    return str(getattr(arch, "__name__", type(arch).__name__))
