"""The predictor: images in, answers out, always in fp32, the same in library, command line and service."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from foveal.core import runtime, threads
from foveal.core.errors import ImageError, InputError
from foveal.core.listing import L
from foveal.geometry.homography import Homography
from foveal.images.decode import ImageSource, name_of
from foveal.images.prepare import Preparation, Prepared, collate
from foveal.inference.explain import overlay
from foveal.inference.manifest import (
    Manifest,
    ModelPart,
    OwnPart,
    PreparationPart,
    ResizePart,
    TrainingPart,
    current_versions,
)
from foveal.inference.prediction import Embeddings, Prediction, Refused, check_images, check_one_image
from foveal.inference.signals import noting_features, signals_of
from foveal.inference.store import ValidationAnswers, hashes_of, validation_tensors, write_bundle
from foveal.inference.territory import Territory
from foveal.models.fusing import fuse_batchnorm
from foveal.models.vision import VisionModel
from foveal.tasks.base import AnyTask
from foveal.tasks.confidence import radius_of, spread_of
from foveal.tasks.kinds import kind_of, point_names_of
from foveal.tasks.prediction_sets import prediction_set
from foveal.tasks.vocab import Classes, ClassLabel, classes_of

_BATCH = 32


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


@dataclass(eq=False)
class Predictor:
    """A trained model that answers for images, always in fp32.

    `load_learner` reads one from a file, `learn.predictor()` makes one of a learner.

    Attributes:
        model: the model as it was trained, in fp32 and evaluation mode.
        task: what it answers.
        preparation: how images come to it: the resize step and the statistics.
        device: where it answers.
        training: what it was trained on.
        quick: what computes the answers: the same, with normalisation fused into convolutions.
        validation: what it answered for the images that its metrics are of, where that was kept.
        territory: where its features of known images lie, from which the distance of others is measured.

    Examples:
        >>> from foveal.vision.all import *
        >>> path = untar_data(URLs.SAMPLE_PETS)
        >>> files = get_image_files(path)[::8]
        >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> predictor = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))).predictor()
        >>> predictor.predict(files[0]).label in predictor.vocab
        True
    """

    model: nn.Module
    task: AnyTask
    preparation: Preparation
    device: torch.device
    training: TrainingPart
    quick: nn.Module
    validation: ValidationAnswers | None = None
    territory: Territory | None = None
    _dls: Any = field(default=None, init=False, repr=False)

    @classmethod
    def of(
        cls, model: nn.Module, task: AnyTask, preparation: Preparation, training: TrainingPart | None = None
    ) -> Predictor:
        """Return a predictor of a copy of a model, in fp32 and evaluation mode, on the device that it is on.

        Args:
            model: takes normalised images [B, C, h, w] and returns outputs [B, n_outputs] or heatmaps; where it
                normalises them itself, its copy leaves that to the preparation.
            task: what it answers.
            preparation: how images come to it.
            training: what it was trained on.

        Examples:
            >>> from foveal import Predictor
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
            >>> Predictor.of(model, dls.task, dls.preparation).vocab
            (#2) [False,True]
        """
        device, own = next(model.parameters()).device, copy.deepcopy(model)
        if isinstance(own, VisionModel):
            own.body.statistics = None
        return cls.ready(own, task, preparation, device, training or TrainingPart())

    @classmethod
    def ready(
        cls, model: nn.Module, task: AnyTask, preparation: Preparation, device: torch.device, training: TrainingPart
    ) -> Predictor:
        """Return a predictor of this very model, which is brought to fp32 and evaluation mode, and frozen.

        Args:
            model: as of `of`.
            task: what it answers.
            preparation: how images come to it.
            device: where it answers.
            training: what it was trained on.
        """
        model.eval().requires_grad_(requires_grad=False)
        runtime.to_device(model.float(), device)
        return cls(model, task, preparation, device, training, _quick(model, preparation, device))

    @property
    def vocab(self) -> Classes:
        """The classes, in the order of the probabilities; of a task without classes the names of its outputs."""
        return classes_of(self.task)

    @property
    def dls(self) -> Any:
        """Loaders that were given to it, or what is known of those that it was trained on: `vocab`, `c`, `test_dl`.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> predictor = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))).predictor()
            >>> predictor.dls.c, predictor.dls.vocab
            (2, (#2) [False,True])
        """
        return self._dls or Known(self)

    @dls.setter
    def dls(self, dls: Any) -> None:
        """Take loaders, whose sides `get_preds` then answers for.

        Raises:
            InputError: they are for another task.
        """
        if (dls.task.kind, dls.task.names) != (self.task.kind, self.task.names):
            raise InputError(
                f"These loaders are for {dls.task.kind} of {', '.join(dls.task.names)[:200]}; this model answers "
                f"{self.task.kind} of {', '.join(self.task.names)[:200]}."
            )
        self._dls = dls

    def get_preds(self, ds_idx: int = 1, *, dl: Any = None, with_decoded: bool = False) -> tuple[Tensor | None, ...]:
        """Return activated outputs [n, ...], and targets: None where they are not known.

        Args:
            ds_idx: the side of loaders that were given to `dls`: 0 is the training side, 1 the validation side.
            dl: images, or a loader, such as `dls.test_dl` returns.
            with_decoded: append the answers as targets [n, ...].

        Returns:
            Outputs float32 [n, ...], the targets or None, and the decoded answers if `with_decoded`.

        Raises:
            ImageError: an image is refused.
            InputError: there are no images, or no loaders.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> predictor = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))).predictor()
            >>> preds, targets = predictor.get_preds(dl=files)
            >>> preds.shape, targets
            (torch.Size([30, 2]), None)
        """
        if dl is None and self._dls is None:
            raise InputError("A model from a file has no data: give images or a loader as dl=, or set its `dls` first.")
        chosen = self._dls[ds_idx] if dl is None else dl
        dataset = getattr(chosen, "dataset", None)
        known = dataset is not None and chosen.labelled and not kind_of(self.task).has_points
        answers = []
        for answer in self.predict_batch(chosen if dataset is None else dataset.images):
            if isinstance(answer, Refused):
                raise answer.error
            answers.append(answer)
        if not answers:
            raise InputError("There are no images to answer for.")
        decoded = (torch.stack([answer.decoded for answer in answers]),) if with_decoded else ()
        targets = dataset.targets if known and dataset is not None else None
        return (torch.stack([answer.values for answer in answers]), targets, *decoded)

    @property
    def vision(self) -> VisionModel:
        """The model as `vision_learner` builds it: backbone and head.

        Raises:
            InputError: it is a module written by hand.
        """
        if not isinstance(self.model, VisionModel):
            raise InputError(f"This needs a model of `vision_learner`; this one is {type(self.model).__name__}.")
        return self.model

    @property
    def supports_explain(self) -> bool:
        """Whether Grad-CAM can explain an answer: of a backbone with a feature map, and classes or a spatial head.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> vision_learner(dls, "test_efficientnet", pretrained=False).predictor().supports_explain
            True
        """
        model = self.model
        if not isinstance(model, VisionModel) or not model.body.has_map:
            return False
        return kind_of(self.task).has_classes or model.spec.head == "spatial"

    def predict(self, image: ImageSource) -> Prediction:
        """Answer for one path, bytes, array or PIL image.

        Args:
            image: the image; an array is uint8 [h, w, 3] or [h, w].

        Returns:
            The answer; its points are in pixels of the image.

        Raises:
            ImageError: the image is refused.
            InputError: there are several images; those are for `predict_batch`.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> predictor = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))).predictor()
            >>> label, encoded, probabilities = predictor.predict(np.zeros((40, 60, 3), np.uint8))
            >>> int(encoded) == int(probabilities.argmax())
            True
        """
        check_one_image(image)
        return self.answers([self.preparation.image(image)])[0]

    def explain(self, image: ImageSource, label: ClassLabel | None = None) -> Image.Image:
        """Return the image as the model saw it, dark where it did not look for a label.

        The method is Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391).

        Args:
            image: a path, bytes, an array or a PIL image.
            label: a class as in the vocab or as text, or the name of a number or a point; the most probable class, or
                the first, by default.

        Returns:
            An RGB image of the input size.

        Raises:
            ImageError: the image is refused.
            UnknownNameError: there is no such label.
            InputError: there are several images, the model is written by hand, its features have no places, or it has
                several numbers and `label` names none of them.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> predictor = vision_learner(dls, "test_efficientnet", pretrained=False).predictor()
            >>> predictor.explain(files[0], True).size
            (32, 32)
        """
        check_one_image(image)
        return Image.fromarray(overlay(self, image, label)[0])

    def predict_batch(
        self, images: Iterable[ImageSource], *, batch_size: int = _BATCH, num_workers: int | None = None
    ) -> Iterator[Prediction | Refused]:
        """Answer for any number of images, in order and in constant memory; bad ones come back as `Refused`.

        Args:
            images: paths, bytes, arrays or PIL images.
            batch_size: images that the model takes at once.
            num_workers: threads that load images; one per core by default.

        Returns:
            An iterator over the answer for each image, or the reason for which it was refused.

        Raises:
            InputError: it is one image, and no list of them.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> predictor = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))).predictor()
            >>> [type(answer).__name__ for answer in predictor.predict_batch([files[0], "missing.jpg"])]
            ['Prediction', 'Refused']
        """
        check_images(images)
        return self._answers_for(iter(images), batch_size, num_workers)

    def _answers_for(
        self, source: Iterator[ImageSource], batch_size: int, num_workers: int | None
    ) -> Iterator[Prediction | Refused]:
        groups = iter(lambda: list(islice(source, batch_size)), [])
        with runtime.computing():
            for group in threads.grouped_map(self._prepare, groups, num_workers=num_workers):
                good = [one for one in group if isinstance(one, Prepared)]
                answers = iter(self.answers(good) if good else [])
                for one in group:
                    yield one if isinstance(one, Refused) else next(answers)

    def embed(self, images: Iterable[ImageSource], *, batch_size: int = _BATCH) -> Embeddings:
        """Return the activations before the last layer; of a heatmap's, their mean over the map.

        Args:
            images: paths, bytes, arrays or PIL images.
            batch_size: images that the model takes at once.

        Returns:
            The names of the images, and their vectors float32 [n, F].

        Raises:
            ImageError: an image is refused.
            InputError: there are no images, or it is one, and no list of them.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> predictor = vision_learner(dls, "test_efficientnet", pretrained=False).predictor()
            >>> predictor.embed(files[:3]).vectors.shape
            (3, 512)
        """
        check_images(images)
        chosen = list(images)
        with noting_features(self.quick) as vectors:
            for answer in self.predict_batch(chosen, batch_size=batch_size):
                if isinstance(answer, Refused):
                    raise answer.error
        if not vectors:
            raise InputError("There are no images to make vectors of.")
        return Embeddings(tuple(name_of(one) for one in chosen), torch.cat(vectors).numpy())

    def __repr__(self) -> str:
        height, width = self.preparation.input_size_hw
        about = f"{model_text(self.model)}; {task_text(self.task)}; images of {height} x {width}; {self.device}"
        return f"{type(self).__name__}({about})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bundle: one .safetensors file; of a module written by hand, its weights.

        Args:
            path: of the file.

        Examples:
            >>> import tempfile
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> predictor = vision_learner(dls, "test_efficientnet", pretrained=False).predictor()
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     predictor.save(f"{folder}/model.safetensors")
            ...     load_learner(f"{folder}/model.safetensors").task.kind
            'single-label'
        """
        kept = validation_tensors(self.validation, self.territory)
        tensors, model = self.model.state_dict() | kept, self.model
        stored: dict[str, Any] = dict(self.preparation.to_dict())
        is_known = isinstance(model, VisionModel) and model.is_of_its_spec()
        manifest = Manifest(
            format=2 if kept or self.training.reference is not None else 1,
            task=self.task.to_dict(),
            preparation=PreparationPart(fit=ResizePart(**stored.pop("fit")), **stored),
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

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))).predictor().fine_tune(3)
            Traceback (most recent call last):
            ...
            foveal.core.errors.InputError: A predictor does not train. ...
        """
        raise InputError(
            "A predictor does not train. To train it further: vision_learner(dls, 'model.safetensors').fine_tune(3)"
        )

    def _prepare(self, image: ImageSource) -> Prepared | Refused:
        try:
            return self.preparation.image(image)
        except ImageError as error:
            return Refused(name_of(image), error)

    @torch.inference_mode()
    def answers(self, prepared: Sequence[Prepared]) -> list[Prediction]:
        """Return the answers for images that `preparation.image` made, computed as one batch.

        Args:
            prepared: of any number of images, all of the input size.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> predictor = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))).predictor()
            >>> len(predictor.answers([predictor.preparation.image(file) for file in files[:3]]))
            3
        """
        pixels = collate([one.pixels for one in prepared]).to(self.device)
        territory, within = self.territory, self.training.known_within
        with noting_features(self.quick if territory is not None else None) as features:
            outputs = self.quick(self.preparation.normalise(pixels))
        values = self.task.activate(outputs).cpu()
        to_unit = Homography.unit_frame(self.preparation.input_size_hw)
        target_to_source = Homography.stack([one.source_to_input.then(to_unit).inverse for one in prepared])
        labels = self.task.decode(values, target_to_source)
        spreads = spread_of(self.task, outputs, values, target_to_source)
        radii = radius_of(self.task, spreads)
        signals = signals_of(self.task, values, _of_diagonals(spreads, prepared))
        known: list[bool | None] = [None] * len(prepared)
        has_sets = self.task.decision.set_threshold is not None
        if territory is not None and features:
            distances = territory.distances(features[0])
            signals = torch.cat([signals, distances[:, None]], dim=1)
            known = known if within is None else (distances <= within).tolist()
        return [
            Prediction(
                label,
                self.task.encode(label),
                values[at],
                spread=None if spreads is None else spreads[at].numpy(),
                radius=None if radii is None else radii[at].numpy(),
                signals=signals[at].numpy(),
                is_known=known[at],
                prediction_set=tuple(prediction_set(self.task, values[at])) if has_sets else None,
            )
            for at, label in enumerate(labels)
        ]


@dataclass(frozen=True, slots=True)
class Known:
    """What a predictor knows of the loaders that it was trained on.

    Attributes:
        predictor: the predictor.
    """

    predictor: Predictor

    @property
    def vocab(self) -> Classes:
        """The classes, in order."""
        return self.predictor.vocab

    @property
    def c(self) -> int:
        """How many numbers the model returns for an image."""
        return self.predictor.task.n_outputs

    def test_dl(self, items: Iterable[ImageSource]) -> L[ImageSource]:
        """Return images for `get_preds`.

        Raises:
            InputError: it is one image, and no list of them.
        """
        check_images(items)
        return L(items)


def model_text(model: nn.Module) -> str:
    """Return in words what a model is: the backbone and the kind of head, or the name of its class."""
    return f"{model.spec.arch}, {model.spec.head} head" if isinstance(model, VisionModel) else type(model).__name__


def task_text(task: AnyTask) -> str:
    """Return in words what a task answers, and how many: "multi-label, 8 classes"."""
    points = point_names_of(task)
    n, unit = len(points or task.names), "class" if kind_of(task).has_classes else "point" if points else "number"
    return f"{task.kind}, {n:,} {unit}{'' if n == 1 else 'es' if unit == 'class' else 's'}"


def _of_diagonals(spreads: Tensor | None, prepared: Sequence[Prepared]) -> Tensor | None:
    """Return spreads in source pixels, [B, N], as shares of each image's diagonal."""
    if spreads is None:
        return None
    return spreads / torch.tensor([math.hypot(*one.size_hw) for one in prepared])[:, None]


def _quick(model: nn.Module, preparation: Preparation, device: torch.device) -> nn.Module:
    size = *preparation.input_size_hw, preparation.n_channels
    pixels = torch.zeros(1, *size, dtype=torch.uint8, device=device)
    return fuse_batchnorm(model, preparation.normalise(pixels)) if isinstance(model, VisionModel) else model
