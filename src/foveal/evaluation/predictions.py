"""Predictions: the one fp32 pass that every number, file and image of a run comes from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal._moved import attribute
from foveal.core import storage
from foveal.core.errors import InputError, ModelFileError
from foveal.data.datasets import ImageDataset
from foveal.geometry.homography import Homography
from foveal.images.decode import name_of, open_image
from foveal.inference.predictor import Prediction, Predictor
from foveal.metrics.bootstrap import Interval, interval
from foveal.tasks.base import Decision, Task
from foveal.tasks.registry import task_from_dict

_KEY = "predictions"


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a predictor said of a dataset.

    Attributes:
        images: as in the dataset, in its order.
        values: activated outputs [n, ...].
        labels: answers, points in source pixels.
        targets: the encoded truth [n, ...], points in source pixels.
    """

    images: Sequence[Any]
    values: Tensor
    labels: Sequence[Any]
    targets: Tensor
    task: Task[Any]
    pictures = attribute("pictures", "images")

    @property
    def comparable(self) -> Tensor:
        """What is compared with the targets: values, or points in source pixels."""
        return self.task.comparable(self.values, self.labels)

    def scores(self) -> dict[str, Any]:
        """Return the headline figures, and those of each class, point or number."""
        comparable = self.comparable
        figures = {name: float(of(comparable, self.targets)) for name, of in self.task.figures().items()}
        return {**figures, **self.task.parts(comparable, self.targets)}

    def intervals(self) -> dict[str, Interval]:
        """Return the headline figures with their bootstrap intervals."""
        comparable = self.comparable
        return {name: interval(of, comparable, self.targets) for name, of in self.task.figures().items()}

    def with_decision(self, decision: Decision) -> Predictions:
        """Return the same probabilities with the answers that another decision makes of them."""
        task = self.task.with_decision(decision)
        nowhere = Homography.stack([Homography()] * len(self.values))
        return replace(self, labels=task.decode(self.values, nowhere), task=task)

    @staticmethod
    def concatenate(parts: Sequence[Predictions]) -> Predictions:
        """Return the predictions of several models for different images as one.

        Raises:
            InputError: they answer different questions.
        """
        first = parts[0]
        if any((part.task.kind, part.task.names) != (first.task.kind, first.task.names) for part in parts):
            raise InputError("Predictions can be concatenated where they are of one task with the same classes.")
        return Predictions(
            [image for part in parts for image in part.images],
            torch.cat([part.values for part in parts]),
            [label for part in parts for label in part.labels],
            torch.cat([part.targets for part in parts]),
            first.task,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write them to a .safetensors file: all but the images themselves, which are named."""
        answers = torch.stack([self.task.encode(label) for label in self.labels])
        about = {"task": self.task.to_dict(), "images": [_absolute(image) for image in self.images]}
        tensors = {"values": self.values, "answers": answers, "targets": self.targets}
        storage.write_tensors(path, tensors, {_KEY: json.dumps(about)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Predictions:
        """Read what `save` wrote; images are paths.

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
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ModelFileError(f"`{path}` holds no predictions by foveal ({error}).") from error

    def rows(self, base: Path | None = None) -> Iterator[dict[str, Any]]:
        """Yield one row an image, its name relative to `base`."""
        for image, values, label in zip(self.images, self.values, self.labels, strict=True):
            yield {"fname": _relative(image, base)} | self.task.to_row(values, label)


def predict_dataset(predictor: Predictor, dataset: ImageDataset, *, num_workers: int | None = None) -> Predictions:
    """Answer for every image of a dataset.

    Raises:
        ImageError: an image is refused.
    """
    answers = []
    for answer in predictor.predict_batch(dataset.images, num_workers=num_workers):
        if not isinstance(answer, Prediction):
            raise answer.error
        answers.append(answer)
    if not answers:
        raise InputError("There are no images to answer for.")
    values = torch.stack([answer.values for answer in answers])
    return Predictions(dataset.images, values, [answer.label for answer in answers], dataset.targets, predictor.task)


def constant_answer(predictor: Predictor, train: ImageDataset, valid: ImageDataset) -> Predictions:
    """Return what answering every image with the mean training target gives: the least that a model must beat.

    The mean is taken on the canvas, where images of different sizes can be compared; only headers are read.
    """
    frames = [_frame(predictor, image) for image in (*train.images, *valid.images)]
    split = len(train)
    moved = torch.stack([train.task.move(t, f) for t, f in zip(train.targets, frames[:split], strict=True)])
    mean = moved.double().nanmean(dim=0).float()
    values = mean.expand(len(valid), *mean.shape)
    labels = predictor.task.decode(values, Homography.stack([frame.inverse for frame in frames[split:]]))
    return Predictions(valid.images, values, labels, valid.targets, predictor.task)


def _frame(predictor: Predictor, image: Any) -> Homography:
    placement = predictor.preparation.fit(open_image(image).size_hw)
    return placement.then(Homography.unit_frame(predictor.preparation.input_size_hw))


def _absolute(image: Any) -> str:
    return str(image.absolute()) if isinstance(image, Path) else name_of(image)


def _relative(image: Any, base: Path | None) -> str:
    if base is not None and isinstance(image, Path) and image.is_relative_to(base):
        return image.relative_to(base).as_posix()
    return name_of(image)
