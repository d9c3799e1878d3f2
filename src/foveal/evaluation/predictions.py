"""Predictions: the fp32 pass that every metric, file and image of a run comes from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foveal._moved import attribute
from foveal.core import storage
from foveal.core.errors import InputError, ModelFileError
from foveal.data.datasets import ImageDataset
from foveal.evaluation.thresholds import best_temperature
from foveal.geometry.homography import Homography
from foveal.images.canvas import Canvas
from foveal.images.channels import RGB, check_channels
from foveal.images.decode import ImageSource, name_of, open_image
from foveal.inference.prediction import Prediction
from foveal.inference.predictor import Predictor, task_text
from foveal.inference.signals import noting_features
from foveal.metrics.bootstrap import Interval, interval
from foveal.tasks.base import AnyTask, Decision
from foveal.tasks.confidence import draw_answer, radius_of, row_of
from foveal.tasks.kinds import task_from_dict

_FOLDS = 5  # of images, to see whether a temperature helps on others; chosen by hand
_KEY = "predictions"
_CONFIDENCE = ("spread", "radius")


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The answers of a predictor for a dataset, beside the truth.

    Attributes:
        images: as in the dataset, in its order.
        values: activated outputs, float32 [n, ...]: probabilities, numbers, or points in [-1, 1] on the input.
        labels: the predicted labels, points in source pixels.
        targets: the encoded truth [n, ...], points in source pixels.
        task: with the decision that made the labels.
        outputs: the raw outputs [n, C] of labels, where `predict_dataset` kept them: another temperature can be applied
            without another pass. They are not saved.
        n_channels: that the images are read with, to be shown.
        spread: how far off the model takes each point to be, float64 [n, N] in source pixels; None of other tasks.
        radius: of each point in source pixels, float64 [n, N], NaN for a point without; None where none were chosen.
        signals: what `foveal.inference.signals` watches of each answer, float32 [n, S]. They are not saved.
        features: what goes into the last layer, [n, F], where `predict_dataset` kept it. They are not saved.
    """

    images: Sequence[ImageSource]
    values: Tensor
    labels: Sequence[Any]
    targets: Tensor
    task: AnyTask
    outputs: Tensor | None = None
    n_channels: int = RGB
    spread: Tensor | None = None
    radius: Tensor | None = None
    signals: Tensor | None = None
    features: Tensor | None = None
    pictures = attribute("pictures", "images")

    @property
    def comparable(self) -> Tensor:
        """What is compared with the targets: values, or points in source pixels."""
        return self.task.comparable(self.values, self.labels)

    def scores(self) -> dict[str, Any]:
        """Return the headline metrics, and those of each class, point or number."""
        comparable = self.comparable
        metrics = {name: float(metric(comparable, self.targets)) for name, metric in self.task.report_metrics().items()}
        return {**metrics, **self.task.metrics_by_output(comparable, self.targets)}

    def intervals(self) -> dict[str, Interval]:
        """Return the headline metrics with their bootstrap intervals."""
        comparable = self.comparable
        return {name: interval(metric, comparable, self.targets) for name, metric in self.task.report_metrics().items()}

    def with_decision(self, decision: Decision) -> Predictions:
        """Return the labels, or the radii of points, that another decision makes of the same outputs.

        Its temperature is applied where the raw outputs were kept; without them probabilities stay as they are.
        """
        task = self.task.with_decision(decision)
        if self.spread is not None:
            return replace(self, task=task, radius=radius_of(task, self.spread))
        values = self.values if self.outputs is None else task.activate(self.outputs)
        unmoved = Homography.stack([Homography()] * len(values))
        return replace(self, values=values, labels=task.decode(values, unmoved), task=task)

    @staticmethod
    def concatenate(runs: Sequence[Predictions]) -> Predictions:
        """Return the predictions of several models for different images as one.

        Raises:
            InputError: they answer different questions.
        """
        first = runs[0]
        if any((run.task.kind, run.task.names) != (first.task.kind, first.task.names) for run in runs):
            raise InputError("Predictions can be concatenated where they are of one task with the same classes.")
        return Predictions(
            [image for run in runs for image in run.images],
            torch.cat([run.values for run in runs]),
            [label for run in runs for label in run.labels],
            torch.cat([run.targets for run in runs]),
            first.task,
            _concatenated([run.outputs for run in runs]),
            first.n_channels,
            spread=_concatenated([run.spread for run in runs]),
            radius=_concatenated([run.radius for run in runs]),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.images):,} images; {task_text(self.task)})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write them to a .safetensors file; images by name, raw outputs not at all."""
        answers = torch.stack([self.task.encode(label) for label in self.labels])
        about: dict[str, Any] = {"task": self.task.to_dict(), "images": [absolute_name(image) for image in self.images]}
        if self.n_channels != RGB:
            about["n_channels"] = self.n_channels
        tensors = {"values": self.values, "answers": answers, "targets": self.targets}
        tensors |= {name: one for name in _CONFIDENCE if (one := getattr(self, name)) is not None}
        storage.write_tensors(path, tensors, {_KEY: json.dumps(about)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Predictions:
        """Return what `save` wrote; images are paths.

        Raises:
            ModelFileError: there is no such file, or it holds something else.
        """
        tensors, metadata = storage.read_tensors(path)
        try:
            about = json.loads(metadata[_KEY])
            task = task_from_dict(about["task"])
            labels = [task.decode_target(answer) for answer in tensors["answers"]]
            return cls(
                [Path(name) for name in about["images" if "images" in about else "pictures"]],
                tensors["values"],
                labels,
                tensors["targets"],
                task,
                n_channels=check_channels(about.get("n_channels", RGB)),
                **{name: tensors[name] for name in _CONFIDENCE if name in tensors},
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ModelFileError(f"`{path}` holds no predictions by foveal ({error}).") from error

    def rows(self, base: Path | None = None) -> Iterator[dict[str, object]]:
        """Yield one row per image: its name, what was predicted, the truth, how wrong that is, and further numbers.

        The truth of classes is the column `truth`, of which `unknown` names those that nobody knows, where there are
        any; that of points and numbers has the name of each with `true_` before it. `loss` is cross-entropy for
        classes, the mean distance in pixels for points.

        Args:
            base: the folder that names are relative to, from the root on; by default they are as in the dataset.
        """
        truths = [self.task.decode_target(target) for target in self.targets]
        unknown: list[Sequence[object]] = [getattr(truth, "unknown", ()) for truth in truths]
        losses = self.task.per_sample_error(self.comparable, self.targets).tolist()
        for at, image in enumerate(self.images):
            row = row_of(self.task, self.values[at], self.labels[at], self.radius_at(at))
            true = self.task.to_row(self.values[at], truths[at])
            has_classes = "predicted" in true
            truth = {"truth": true["predicted"]} if has_classes else {f"true_{name}": one for name, one in true.items()}
            if any(unknown):
                truth["unknown"] = ";".join(map(str, unknown[at]))
            answer = {name: row.pop(name) for name in (["predicted"] if has_classes else true)}
            truth["loss"] = losses[at]
            known = {name: storage.finite(value) for name, value in truth.items()}  # what is not known is blank
            yield {"fname": relative_name(image, base)} | answer | known | row

    def radius_at(self, index: int) -> NDArray[np.float64] | None:
        """Return the radii of one image, [N] in source pixels; None where none were chosen."""
        return None if self.radius is None else self.radius[index].numpy()

    def draw(self, canvas: Canvas, index: int) -> None:
        """Draw the answer for one image beside its truth.

        Args:
            canvas: shows the image in source pixels.
            index: of the image.
        """
        truth = self.task.decode_target(self.targets[index])
        draw_answer(self.task, canvas, self.labels[index], truth, self.radius_at(index))


def predict_dataset(
    predictor: Predictor,
    dataset: ImageDataset,
    *,
    num_workers: int | None = None,
    keep_outputs: bool = False,
    keep_features: bool = False,
) -> Predictions:
    """Return the answers for every image of a dataset, with their truth.

    Args:
        predictor: answers in fp32.
        dataset: images and targets.
        num_workers: threads that load images; one per core by default.
        keep_outputs: keep the raw outputs, from which a temperature can be chosen; those of heatmaps are large.
        keep_features: keep what goes into the last layer.

    Raises:
        ImageError: an image is refused.
        InputError: there is no image.
    """
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append(output.cpu())

    handle = predictor.quick.register_forward_hook(keep) if keep_outputs else None
    answers = []
    with noting_features(predictor.quick if keep_features else None) as features:
        try:
            for answer in predictor.predict_batch(dataset.images, num_workers=num_workers):
                if not isinstance(answer, Prediction):
                    raise answer.error
                answers.append(answer)
        finally:
            if handle is not None:
                handle.remove()
    if not answers:
        raise InputError("There are no images to answer for.")
    noted = {name: _stacked([getattr(answer, name) for answer in answers]) for name in (*_CONFIDENCE, "signals")}
    return Predictions(
        dataset.images,
        torch.stack([answer.values for answer in answers]),
        [answer.label for answer in answers],
        dataset.targets,
        predictor.task,
        torch.cat(outputs) if outputs else None,
        predictor.preparation.n_channels,
        **noted,
        features=torch.cat(features) if features else None,
    )


def fit_temperature(predictions: Predictions) -> float:
    """Return the temperature with the least loss, by which the raw outputs of labels are divided; 1 if that is no help.

    It helps where temperatures that were fitted to four fifths of the images lower the loss of the last fifth, by more
    than one standard error over the images.

    Raises:
        InputError: the raw outputs were not kept, or are no logits.
    """
    if predictions.outputs is None:
        raise InputError("A temperature needs raw outputs; take the predictions of `learn.validation_predictions()`.")
    outputs, task, targets = predictions.outputs.double(), predictions.task, predictions.targets
    if (form := task.decision.outputs) != "logits":
        raise InputError(f"A temperature divides logits; this model returns {form}.")
    if targets.is_floating_point():
        targets = targets.double()  # in single precision the loss is flat for 3e-4 around its minimum

    def fitted(rows: Tensor) -> float:
        return best_temperature(lambda temperature: float(task.loss(outputs[rows] / temperature, targets[rows])))

    def losses(temperature: float, rows: Tensor) -> Tensor:
        found: Tensor = task.loss(outputs[rows] / temperature, targets[rows], reduction="none")
        return found.nan_to_num(0.0).reshape(len(rows), -1).mean(dim=1)

    gains, everything = [], torch.arange(len(outputs))
    for fold in range(min(_FOLDS, len(outputs))):
        left_out = everything[everything % _FOLDS == fold]
        temperature = fitted(everything[everything % _FOLDS != fold]) if len(outputs) > 1 else 1.0
        gains.append(losses(1.0, left_out) - losses(temperature, left_out))
    gain = torch.cat(gains)
    helps = len(gain) > 1 and float(gain.mean()) > float(gain.std()) / len(gain) ** 0.5
    return fitted(everything) if helps else 1.0


def constant_answer(predictor: Predictor, train: ImageDataset, valid: ImageDataset) -> Predictions:
    """Return the predictions of a model that answers every image with the mean training target.

    The mean is taken in the model's input, where images of different sizes can be compared; only headers are read.

    Args:
        predictor: its preparation and task are used, its model is not.
        train: points or numbers whose mean is the answer.
        valid: the images to answer for.
    """
    train_maps, valid_maps = ([_source_to_target(predictor, i) for i in side.images] for side in (train, valid))
    pairs = zip(train.targets, train_maps, strict=True)
    in_input = torch.stack([train.task.move(target, source_to_target) for target, source_to_target in pairs])
    mean = in_input.double().nanmean(dim=0).float()
    values = mean.expand(len(valid), *mean.shape)
    labels = predictor.task.decode(values, Homography.stack([m.inverse for m in valid_maps]))
    n_channels = predictor.preparation.n_channels
    return Predictions(valid.images, values, labels, valid.targets, predictor.task, n_channels=n_channels)


def _source_to_target(predictor: Predictor, image: ImageSource) -> Homography:
    opened = open_image(image, predictor.preparation.n_channels)
    source_to_input = predictor.preparation.fit(opened.size_hw)
    return source_to_input.then(Homography.unit_frame(predictor.preparation.input_size_hw))


def _stacked(arrays: Sequence[NDArray[Any] | None]) -> Tensor | None:
    """Return arrays of all images as one tensor; None without any."""
    found = [one for one in arrays if one is not None]
    return torch.from_numpy(np.stack(found)) if found else None


def _concatenated(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """Return the tensors of several runs as one; None where one of the runs has none."""
    found = [one for one in tensors if one is not None]
    return torch.cat(found) if len(found) == len(tensors) else None


def absolute_name(image: ImageSource) -> str:
    """Return the name of an image that says where it lies, whatever the working directory is.

    Args:
        image: a path, a row of a parquet file, or something else with a name.
    """
    return str(image.absolute()) if isinstance(image, Path) else name_of(image)


def relative_name(image: ImageSource, base: Path | None) -> str:
    """Return the name of an image, below a folder where it lies in it.

    Args:
        image: a path, a row of a parquet file, or something else with a name.
        base: the folder, from the root on.
    """
    if base is not None and isinstance(image, Path):
        path = storage.whole_path(image)
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return name_of(image)
