"""The predictor: images in, answers out, always in fp32, the same in library, command line and service."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foveal.core import runtime, threads
from foveal.core.errors import ImageError, InputError, ModelFileError
from foveal.core.registry import resolve
from foveal.geometry.homography import Homography
from foveal.images.decode import ImageSource, name_of
from foveal.images.prepare import Preparation, Prepared, Statistics, collate
from foveal.inference.manifest import (
    Manifest,
    ModelPart,
    OwnPart,
    PreparationPart,
    ResizePart,
    TrainingPart,
    current_versions,
)
from foveal.inference.store import hashes_of, read_bundle, write_bundle
from foveal.models.fusing import fuse_batchnorm
from foveal.models.vision import ModelSpec, VisionModel, check_fit, model_with_weights
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of
from foveal.tasks.vocab import Classes, classes_of

_BATCH = 32
_OWN = {"VisionModel": "backbone or head"}
_MAKERS = {"VisionModel": "create_vision_model"}
"""Of a module that is not built by calling its class: what a message calls it, and what builds it."""


class Prediction(NamedTuple):
    """An answer: the label a person reads, the same as an encoded target, and the activated outputs it comes from.

    Points stand in the label, and encoded, in pixels of the image given; in `values` in [-1, 1] on the canvas.
    """

    label: Any
    decoded: Tensor
    values: Tensor


class Embeddings(NamedTuple):
    """Names of images, and what the model makes of each before its last layer, float32 [n, F]."""

    names: tuple[str, ...]
    vectors: NDArray[np.float32]


class Refused(NamedTuple):
    """An image that got no answer."""

    name: str
    error: ImageError


class AnyPredictor(Protocol):
    """What every predictor has, whatever it answers for."""

    @property
    def model(self) -> nn.Module:
        """The model, in fp32 and evaluation mode."""

    @property
    def task(self) -> AnyTask:
        """What it answers."""

    @property
    def training(self) -> TrainingPart:
        """What it was trained on."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bundle."""


MakePredictor = Callable[
    [Manifest, AnyTask, dict[str, Tensor], torch.device, nn.Module | None],
    AnyPredictor,
]


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """A trained model that answers for images.

    Attributes:
        model: the model as it was trained, in fp32 and evaluation mode.
        task: what it answers.
        preparation: how images come to it.
        device: where it answers.
        training: what it was trained on.
        quick: what computes the answers: the same, with normalisation fused into convolutions.
    """

    model: nn.Module
    task: AnyTask
    preparation: Preparation
    device: torch.device
    training: TrainingPart
    quick: nn.Module

    @classmethod
    def of(
        cls, model: nn.Module, task: AnyTask, preparation: Preparation, training: TrainingPart | None = None
    ) -> Predictor:
        """Wrap a copy of a model, in fp32 and evaluation mode, on the device that it is on.

        Args:
            model: takes normalised images [B, 3, h, w] and returns outputs [B, n_outputs] or heatmaps; where it
                normalises them itself, its copy leaves that to the preparation.
            task: what it answers.
            preparation: how images come to it.
            training: what it was trained on.
        """
        device = next(model.parameters()).device
        ready = _ready(copy.deepcopy(model), device)
        if isinstance(ready, VisionModel):
            ready.body.statistics = None
        return cls(ready, task, preparation, device, training or TrainingPart(), _quick(ready, preparation, device))

    @property
    def vocab(self) -> Classes:
        """The classes, in order."""
        return classes_of(self.task)

    @property
    def vision(self) -> VisionModel:
        """The model, backbone and head.

        Raises:
            InputError: it is a module written by hand.
        """
        if not isinstance(self.model, VisionModel):
            raise InputError(f"This needs a model of `vision_learner`; this one is {type(self.model).__name__}.")
        return self.model

    @property
    def supports_explain(self) -> bool:
        """Whether Grad-CAM can say what the model looked at."""
        model = self.model
        return isinstance(model, VisionModel) and (kind_of(self.task).has_classes or model.spec.head == "spatial")

    def predict(self, image: ImageSource) -> Prediction:
        """Answer for one path, bytes, array or PIL image.

        Raises:
            ImageError: the image is refused.
        """
        return self.answers([self.preparation.image(image)])[0]

    def predict_batch(
        self, images: Iterable[ImageSource], *, batch_size: int = _BATCH, num_workers: int | None = None
    ) -> Iterator[Prediction | Refused]:
        """Answer for any number of images, in order and in constant memory; bad ones come back as `Refused`.

        Args:
            images: paths, bytes, arrays or PIL images.
            batch_size: images that the model takes at once.
            num_workers: threads that load images; one per core by default.
        """
        prepared = threads.ordered_map(self._prepare, images, num_workers=num_workers, ahead=2 * batch_size)
        with runtime.computing():
            while group := list(islice(prepared, batch_size)):
                good = [one for one in group if isinstance(one, Prepared)]
                answers = iter(self.answers(good) if good else [])
                for one in group:
                    yield one if isinstance(one, Refused) else next(answers)

    def embed(self, images: Iterable[ImageSource], *, batch_size: int = _BATCH) -> Embeddings:
        """Return the activations before the last layer; of a heatmap's, their mean over the map.

        Args:
            images: paths, bytes, arrays or PIL images.
            batch_size: images that the model takes at once.

        Raises:
            ImageError: an image is refused.
        """
        head = self.quick[1] if isinstance(self.quick, VisionModel) else self.quick
        last = [layer for layer in head.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
        vectors: list[Tensor] = []

        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            vectors.append(inputs[0].flatten(2).mean(dim=2).cpu() if inputs[0].ndim == 4 else inputs[0].cpu())

        chosen = list(images)
        handle = last.register_forward_pre_hook(note)
        try:
            for answer in self.predict_batch(chosen, batch_size=batch_size):
                if isinstance(answer, Refused):
                    raise answer.error
        finally:
            handle.remove()
        if not vectors:
            raise InputError("There are no images to make vectors of.")
        return Embeddings(tuple(name_of(one) for one in chosen), torch.cat(vectors).numpy())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bundle: one .safetensors file; of a module written by hand, its weights."""
        tensors, model = self.model.state_dict(), self.model
        stored = self.preparation.to_dict()
        is_known = isinstance(model, VisionModel) and model.is_of_its_spec()
        manifest = Manifest(
            task=self.task.to_dict(),
            preparation=PreparationPart(fit=ResizePart(**stored["fit"]), mean=stored["mean"], std=stored["std"]),
            model=ModelPart(**self.vision.spec.to_dict()) if is_known else OwnPart(module=type(model).__name__),
            training=self.training,
            versions=current_versions(),
            tensors=hashes_of(tensors),
        )
        write_bundle(path, tensors, manifest)

    def fine_tune(self, *_: object, **__: object) -> None:
        """Refuse, and say how to train further: a predictor only answers.

        Args:
            _: not used.
            __: not used.

        Raises:
            InputError: always.
        """
        raise InputError(
            "A predictor does not train. To go on from it: vision_learner(dls, 'model.safetensors').fine_tune(3)"
        )

    def _prepare(self, image: ImageSource) -> Prepared | Refused:
        try:
            return self.preparation.image(image)
        except ImageError as error:
            return Refused(name_of(image), error)

    @torch.inference_mode()
    def answers(self, prepared: Sequence[Prepared]) -> list[Prediction]:
        """Answer for images that `preparation.image` made, as one batch."""
        pixels = collate([one.pixels for one in prepared]).to(self.device)
        outputs = self.quick(self.preparation.normalise(pixels))
        values = self.task.activate(outputs).cpu()
        to_unit = Homography.unit_frame(self.preparation.input_size_hw)
        target_to_source = Homography.stack([one.source_to_input.then(to_unit).inverse for one in prepared])
        labels = self.task.decode(values, target_to_source)
        return [Prediction(label, self.task.encode(label), value) for label, value in zip(labels, values, strict=True)]


def load_learner(
    path: str | os.PathLike[str], *, device: torch.device | str | None = None, model: nn.Module | None = None
) -> Predictor:
    """Load a bundle; no code in it is run.

    Args:
        path: a file written by `learn.export` or `foveal train`.
        device: where to answer; the best at hand by default.
        model: a module written by hand, to be filled with the weights of the bundle; it was exported from one like it.

    Returns:
        What answers: a `Predictor` for images. A bundle of another kind gives that kind's own predictor, whose type
        only the file knows; `foveal.collab.all.load_learner` is the same function, typed for those.

    Raises:
        ModelFileError: it is no bundle, was changed or damaged, or comes from a newer foveal.
    """
    return cast("Predictor", load_predictor(path, device=device, model=model))


def load_predictor(
    path: str | os.PathLike[str], *, device: torch.device | str | None = None, model: nn.Module | None = None
) -> AnyPredictor:
    """Load a bundle of any kind; see `load_learner`.

    Args:
        path: a file written by `learn.export` or `foveal train`.
        device: where to answer; the best at hand by default.
        model: a module written by hand, to be filled with the weights of the bundle.

    Raises:
        ModelFileError: it is no bundle, was changed or damaged, or comes from a newer foveal.
    """
    manifest, task, tensors = read_bundle(path)
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
        return make(manifest, task, tensors, place, model)
    except ModelFileError:
        raise
    except (InputError, ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, AssertionError) as error:
        raise ModelFileError(f"`{path}` does not describe a model that can be built: {error}") from error


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
        model = model_with_weights(spec, tensors)
    elif isinstance(part, OwnPart) and model is not None:
        check_fit(model, tensors)
        model.load_state_dict(tensors)
        if isinstance(model, VisionModel):
            model.body.statistics = None  # the preparation normalises
    else:
        raise InputError("its model does not take images.")
    preparation = Preparation.of(stored.fit.size_hw, stored.fit.method, Statistics(stored.mean, stored.std))
    ready = _ready(model, device)
    return Predictor(ready, task, preparation, device, manifest.training, _quick(ready, preparation, device))


def load_image_predictor(path: str | os.PathLike[str], *, device: torch.device | str | None = None) -> Predictor:
    """Load a bundle that answers for images.

    Args:
        path: a file written by `learn.export` or `foveal train`.
        device: where to answer; the best at hand by default.

    Raises:
        ModelFileError: as `load_learner`, or it does not answer for images.
    """
    predictor = load_predictor(path, device=device)
    if not isinstance(predictor, Predictor):
        raise ModelFileError(f"`{path}` answers for {kind_of(predictor.task).unit}, not for images.")
    return predictor


def _quick(model: nn.Module, preparation: Preparation, device: torch.device) -> nn.Module:
    n_channels = len(preparation.statistics.mean)
    pixels = torch.zeros(1, *preparation.input_size_hw, n_channels, dtype=torch.uint8, device=device)
    return fuse_batchnorm(model, preparation.normalise(pixels)) if isinstance(model, VisionModel) else model


def _ready(model: nn.Module, device: torch.device) -> nn.Module:
    model.eval().requires_grad_(requires_grad=False)
    runtime.to_device(model.float(), device)
    return model
