"""The protocol that every task fulfils, and the decision that turns probabilities into an answer.

Shapes: an `output` is what the model returns, [B, n_outputs]; a `prediction` is an activated output; a `target` is an
encoded label. A *frame* is the homography from source pixels to the target's coordinates, [-1, 1] on the canvas; *back*
is its inverse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeVar

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.geometry.homography import Homography
from foveal.images.canvas import Canvas
from foveal.losses import Reduction
from foveal.metrics.common import MetricFunction

Label = TypeVar("Label")


@dataclass(frozen=True, slots=True)
class Decision:
    """How probabilities become an answer: one threshold per class, and a temperature that divides the logits."""

    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise InputError(f"A temperature is a positive number; got {self.temperature!r}.")
        if odd := [threshold for threshold in self.thresholds if not 0 <= threshold <= 1]:
            raise InputError(f"A threshold is between 0 and 1; got {odd[0]!r}.")

    def at_temperature(self, temperature: float) -> Decision:
        """Return the decision at another temperature that answers alike: thresholds move with the probabilities."""
        ratio = self.temperature / temperature
        moved = (1 / (1 + (1 / t - 1) ** ratio) if 0 < t < 1 else t for t in self.thresholds)
        return Decision(tuple(moved), temperature)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"thresholds": list(self.thresholds), "temperature": self.temperature}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Decision:
        """Rebuild it from `to_dict`."""
        return cls(tuple(float(t) for t in stored["thresholds"]), float(stored["temperature"]))


class Task(Protocol[Label]):
    """Everything that depends on what kind of target is learned. `Label` is what a person would write down.

    `kind` is the name in bundles and on the command line; `legend` says how to read what `draw` draws; `loss_name` is
    what torch calls the loss.
    """

    kind: ClassVar[str]
    legend: ClassVar[str]
    loss_name: ClassVar[str]

    @property
    def n_outputs(self) -> int:
        """How many numbers the model returns for an image."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns of a prediction are called."""

    @property
    def y_range(self) -> tuple[float, float] | tuple[tuple[float, ...], tuple[float, ...]] | None:
        """The range that the model's outputs are squeezed into, one for all or one each; None for no range."""

    @property
    def decision(self) -> Decision:
        """Thresholds and temperature; used by `activate` and `decode`."""

    def with_decision(self, decision: Decision) -> Self:
        """Return the same task with another decision."""

    @property
    def unknown(self) -> Tensor:
        """A target that says nothing: it adds nothing to loss and metrics."""

    def encode(self, label: Any) -> Tensor:
        """Turn a label into a target.

        Raises:
            InputError: the label is of the wrong form or not known.
        """

    def decode_target(self, target: Tensor) -> Label:
        """Turn an encoded label back into what a person would write down."""

    def move(self, target: Tensor, frame: Homography) -> Tensor:
        """Take one target along with its image (labels stay as they are)."""

    def loss(self, output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the loss of a batch."""

    def activate(self, output: Tensor) -> Tensor:
        """Turn a batch of outputs into predictions."""

    def decode(self, prediction: Tensor, back: Homography) -> list[Label]:
        """Turn a batch of predictions into labels; points return to source pixels through `back` [B, 3, 3]."""

    def metrics(self) -> Mapping[str, MetricFunction]:
        """Return the metrics that suit this task by default; they take raw outputs."""

    def comparable(self, prediction: Tensor, labels: Sequence[Label]) -> Tensor:
        """Return what is compared with encoded labels [n, ...]: the predictions, or points in source pixels."""

    def figures(self) -> Mapping[str, MetricFunction]:
        """Return the headline figures by name, functions of (comparable predictions, encoded labels)."""

    def per_sample_error(self, comparable: Tensor, target: Tensor) -> Tensor:
        """Return how wrong each answer is, float64 [n]: a loss, or pixels for points; 0 where nothing is known."""

    def parts(self, comparable: Tensor, target: Tensor) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        """Return figures of each class or number: {"classes": {name: {figure: value}}}; the last counts images."""

    def draw(self, canvas: Canvas, label: Label, truth: Label | None = None) -> None:
        """Draw a label, and whether it agrees with the truth where that is given."""

    def to_row(self, prediction: Tensor, label: Label) -> dict[str, Any]:
        """Return one prediction and its label as columns of a table."""

    def to_json(self, prediction: Tensor, label: Label) -> dict[str, Any]:
        """Return one prediction and its label as the service gives them."""

    def mix(self, first: Tensor, second: Tensor, weight: Tensor) -> Tensor | None:
        """Return the targets of images mixed at `weight` [B] to 1 - weight; None where that makes no sense."""

    def to_dict(self) -> dict[str, Any]:
        """Return all that is needed to rebuild it, as JSON values."""

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuild it from `to_dict`."""


def decoded(task: Task[Any], predictions: Tensor) -> Tensor:
    """Return the answers to predictions [n, ...] as encoded labels [n, ...], points in [-1, 1] as they are."""
    nowhere = Homography.stack([Homography()] * len(predictions))
    return torch.stack([task.encode(label) for label in task.decode(predictions, nowhere)])


def lerp(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Mix targets [B, ...] at `weight` [B] to 1 - weight."""
    weight = weight.reshape(-1, *[1] * (first.ndim - 1))
    return first * weight + second * (1 - weight)
