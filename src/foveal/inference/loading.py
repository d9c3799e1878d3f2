"""Loading: from a bundle to what answers; no code in the file is run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from foveal.core import runtime
from foveal.core.arguments import checked_keywords
from foveal.core.errors import InputError, ModelFileError
from foveal.core.registry import resolve
from foveal.images.prepare import Preparation, Statistics
from foveal.inference.manifest import Manifest, ModelPart, OwnPart
from foveal.inference.predictor import AnyPredictor, Predictor
from foveal.inference.signals import count_features
from foveal.inference.store import read_bundle
from foveal.models.vision import ModelSpec, VisionModel, check_fit, model_with_weights
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of

_OWN = {"VisionModel": "backbone or head"}
_MAKERS = {"VisionModel": "create_vision_model"}
"""Of a module that is not built by calling its class: what a message calls it, and what builds it."""

MakePredictor = Callable[
    [Manifest, AnyTask, dict[str, Tensor], torch.device, nn.Module | None],
    AnyPredictor,
]


@checked_keywords
def load_learner(
    path: str | os.PathLike[str],
    cpu: bool = False,
    *,
    device: torch.device | str | None = None,
    model: nn.Module | None = None,
) -> Predictor:
    """Load a bundle; no code in it is run.

    Args:
        path: a file written by `learn.export` or `foveal train`.
        cpu: answer on the CPU, as `device="cpu"` does.
        device: where to answer; the best at hand by default.
        model: a module written by hand, to be filled with the weights of the bundle; it was exported from one like it.

    Returns:
        What answers: a `Predictor` for images. A bundle of another kind gives that kind's own predictor, whose type
        only the file knows; `foveal.collab.all.load_learner` is the same function, typed for those.

    Raises:
        ModelFileError: it is no bundle, was changed or damaged, or comes from a newer foveal.

    Examples:
        >>> import tempfile
        >>> from foveal.vision.all import *
        >>> path = untar_data(URLs.SAMPLE_PETS)
        >>> files = get_image_files(path)[::8]
        >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = vision_learner(dls, "test_efficientnet", pretrained=False)  # a small backbone for tests
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     predictor = load_learner(learn.export(Path(folder) / "model.safetensors"))
        >>> predictor.predict(files[0]).label == learn.predict(files[0]).label
        True
    """
    return cast("Predictor", load_predictor(path, device="cpu" if cpu else device, model=model))


def load_predictor(
    path: str | os.PathLike[str], *, device: torch.device | str | None = None, model: nn.Module | None = None
) -> AnyPredictor:
    """Load a bundle of any kind; see `load_learner`.

    Args:
        path: a file written by `learn.export` or `foveal train`.
        device: where to answer; the best at hand by default.
        model: a module written by hand, to be filled with the weights of the bundle.

    Returns:
        The predictor, on its device and ready to answer.

    Raises:
        ModelFileError: it is no bundle, was changed or damaged, or comes from a newer foveal.
    """
    manifest, task, tensors, validation, territory = read_bundle(path)
    place = runtime.device_named(device)
    own = manifest.model
    if isinstance(own, OwnPart) and model is None:
        raise ModelFileError(
            f"`{path}` holds the weights of your own {_OWN.get(own.module, f'class `{own.module}`')}, whose code is "
            "not in the file. Build it as before and give it: "
            f"load_learner({str(path)!r}, model={_MAKERS.get(own.module, own.module)}(...))"
        )
    try:
        make: MakePredictor = _image_predictor
        if (reference := kind_of(task).predictor) is not None:
            make = resolve(reference)
        predictor = make(manifest, task, tensors, place, model)
    except ModelFileError:
        raise
    except (InputError, ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, AssertionError) as error:
        raise ModelFileError(f"`{path}` does not describe a model that can be built: {error}") from error
    if isinstance(predictor, Predictor):
        if territory is not None and len(territory.centre) != (n_features := count_features(predictor.model)):
            raise ModelFileError(
                f"`{path}` says where {len(territory.centre)} features lie; its model has {n_features}."
            )
        predictor.validation, predictor.territory = validation, territory
    return predictor


def _image_predictor(
    manifest: Manifest, task: AnyTask, tensors: dict[str, Tensor], device: torch.device, model: nn.Module | None
) -> Predictor:
    stored, part = manifest.preparation, manifest.model
    if stored is None:
        raise InputError("it says nothing of images.")
    if isinstance(part, ModelPart):
        spec = ModelSpec.from_dict(part.model_dump(by_alias=False))
        if spec.input_size_hw != stored.fit.size_hw:
            raise InputError(
                f"its model is made for {spec.input_size_hw} pixels and its images have {stored.fit.size_hw}."
            )
        if spec.n_outputs != task.n_outputs:
            raise InputError(f"its model gives {spec.n_outputs} numbers and its task needs {task.n_outputs}.")
        if spec.n_channels != stored.n_channels:
            raise InputError(f"its model takes {spec.n_channels} channels and its images have {stored.n_channels}.")
        model = model_with_weights(spec, tensors)
    elif isinstance(part, OwnPart) and model is not None:
        check_fit(model, tensors)
        model.load_state_dict(tensors)
        if isinstance(model, VisionModel):
            model.body.statistics = None  # the preparation normalises
    else:
        raise InputError("its model does not take images.")
    statistics = Statistics(stored.mean, stored.std)
    preparation = Preparation.of(stored.fit.size_hw, stored.fit.method, statistics, stored.fit.pad_mode)
    return Predictor.ready(model, task, preparation, device, manifest.training)


def load_image_predictor(path: str | os.PathLike[str], *, device: torch.device | str | None = None) -> Predictor:
    """Load a bundle that answers for images.

    Args:
        path: a file written by `learn.export` or `foveal train`.
        device: where to answer; the best at hand by default.

    Returns:
        The predictor, on its device and ready to answer.

    Raises:
        ModelFileError: as `load_learner`, or it does not answer for images.
    """
    predictor = load_predictor(path, device=device)
    if not isinstance(predictor, Predictor):
        raise ModelFileError(f"`{path}` answers for {kind_of(predictor.task).unit}, not for images.")
    return predictor
