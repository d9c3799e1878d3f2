"""The protocol that every task fulfils, and the decision that turns probabilities into an answer.

The words, in the order in which a value passes through them:

* a *label* is what a person would write down; points are in source pixels, (x, y), pixel centres at +0.5;
* an *encoded label* is a tensor made of it by `encode`, in the same coordinates (points: source pixels);
* a *target* is an encoded label that was moved along with its image by `move` (points: [-1, 1] on the input, the
  rectangle of pixels that the model sees); a task without coordinates moves nothing, so there both are the same;
* an *output* is what the model returns, a *prediction* is an activated output (points: [-1, 1] on the input);
* `decode` takes a prediction back to a label (points: to source pixels).

Shapes: B images of a batch, n images of a dataset, C classes, N points or numbers; `...` is what one encoded label of
this task has, such as [C] or [N, 2]. Floats are float32 unless a method says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar, get_args

import torch
from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError
from foveal.geometry.homography import Homography
from foveal.images.canvas import Canvas
from foveal.losses import Reduction
from foveal.metrics.common import MetricFunction

Label = TypeVar("Label")
MetricsByOutput = Mapping[str, Mapping[str, Mapping[str, float]]]
"""{what the rows are: {name: {metric: value}}}, see `Task.metrics_by_output`."""


OutputForm = Literal["logits", "log-probabilities", "probabilities"]
"""What the outputs of a model for classes are, and so what activates them; its loss decides."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How outputs become an answer.

    Attributes:
        thresholds: of probabilities, one per class.
        temperature: divides the logits.
        outputs: what the model returns; probabilities are left as they are.
        radius_factors: times the spread of a point they are its radius, one per point; None for a point without one.
        set_threshold: the probability from which a class belongs to the prediction set; None for no set.
    """

    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0
    outputs: OutputForm = "logits"
    radius_factors: tuple[float | None, ...] = ()
    set_threshold: float | None = None

    def __post_init__(self) -> None:
        if self.outputs not in get_args(OutputForm):
            raise UnknownNameError.of("form of outputs", self.outputs, get_args(OutputForm))
        if not 0 < self.temperature < math.inf:
            raise InputError(f"A temperature must be a positive number; got {self.temperature!r}.")
        if odd := [threshold for threshold in self.thresholds if not 0 <= threshold <= 1]:
            raise InputError(f"A threshold is between 0 and 1; got {odd[0]!r}.")
        if self.set_threshold is not None and not 0 <= self.set_threshold <= 1:
            raise InputError(f"The threshold of a prediction set is between 0 and 1; got {self.set_threshold!r}.")
        if wrong := [one for one in self.radius_factors if one is not None and not 0 <= one < math.inf]:
            raise InputError(f"A factor of radii is a number from 0 on, or None for no radius; got {wrong[0]!r}.")

    def at_temperature(self, temperature: float) -> Decision:
        """Return the decision at another temperature that answers alike: thresholds move with the probabilities.

        A prediction set is to be chosen anew at it.
        """
        ratio = self.temperature / temperature
        moved = (1 / (1 + (1 / t - 1) ** ratio) if 0 < t < 1 else t for t in self.thresholds)
        return Decision(tuple(moved), temperature, self.outputs)

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON values."""
        form = {} if self.outputs == "logits" else {"outputs": self.outputs}  # as files of version 0.1 have it
        radii = {"radius_factors": list(self.radius_factors)} if self.radius_factors else {}
        sets = {} if self.set_threshold is None else {"set_threshold": self.set_threshold}
        return {"thresholds": list(self.thresholds), "temperature": self.temperature} | form | radii | sets

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Decision:
        """Return the decision that `to_dict` described."""
        return cls(
            tuple(float(t) for t in stored["thresholds"]),
            float(stored["temperature"]),
            stored.get("outputs", "logits"),
            tuple(None if one is None else float(one) for one in stored.get("radius_factors", ())),
            float(stored["set_threshold"]) if stored.get("set_threshold") is not None else None,
        )


class Task(Protocol[Label]):
    """Everything that depends on what kind of target is learned. `Label` is what a person would write down.

    A target block makes one of the labels of the training side; `dls.task` is the one of loaders. Implementations are
    values: nothing in them changes. Methods take tensors of any device and return theirs on the same one; `encode`,
    `move` and `decode_target` are called on the CPU, for one image each.

    Attributes:
        kind: the name in bundles and on the command line.
        legend: how to read what `draw` draws, a line below a sheet of images.
        loss_name: what torch calls the loss.

    Examples:
        >>> from foveal.vision.all import *
        >>> task = CategoryBlock().bind(["cat", "dog", "cat"])
        >>> task.kind, task.n_outputs, task.encode("dog"), task.decode_target(tensor(0))
        ('single-label', 2, tensor(1), 'cat')
        >>> task.activate(tensor([[0.0, 0.0]])), task.loss(tensor([[0.0, 0.0]]), tensor([1]))
        (tensor([[0.5000, 0.5000]]), tensor(0.6931))
    """

    kind: ClassVar[str]
    legend: ClassVar[str]
    loss_name: ClassVar[str]

    @property
    def n_outputs(self) -> int:
        """How many numbers the model returns for an image."""

    @property
    def names(self) -> tuple[str, ...]:
        """What these numbers are called, one name per output: the columns of a table of predictions."""

    @property
    def y_range(self) -> tuple[float, float] | tuple[tuple[float, ...], tuple[float, ...]] | None:
        """The range (low, high) that the model's outputs are squeezed into, in the units of the target.

        Numbers for one range of all outputs, tuples for one range each; None for no range (logits).
        """

    @property
    def decision(self) -> Decision:
        """Thresholds and temperature, used by `activate` and `decode`, and the factors of radii."""

    def with_decision(self, decision: Decision) -> Self:
        """Return the same task with another decision."""

    @property
    def missing_target(self) -> Tensor:
        """An encoded label [...] of an image whose label is not known: it adds nothing to loss and metrics.

        Its shape and dtype are those of every encoded label of this task.
        """

    def encode(self, label: object) -> Tensor:
        """Return a label as an encoded label [...], on the CPU; points stay in source pixels.

        `label` may be anything that stood in a source or was returned by a getter, so a wrong form is refused here.

        Args:
            label: as a person would write it down; points as (x, y) in source pixels.

        Raises:
            UnknownNameError: the label names a class that the task does not know.
            InputError: the label is of the wrong form; the message says which is expected.
        """

    def decode_target(self, target: Tensor) -> Label:
        """Return an encoded label [...] as a person would write it down; the inverse of `encode`.

        Points are read in the pixels that the target is in: source pixels for a dataset's, the input's for a batch that
        is shown.

        Args:
            target: an encoded label [...], on the CPU; what is unknown in it is left out, or named as unknown.
        """

    def move(self, target: Tensor, source_to_target: Homography) -> Tensor:
        """Return the target of an image that was resized and augmented; labels without coordinates stay as they are.

        Args:
            target: an encoded label [...] as `encode` returns it, coordinates in source pixels.
            source_to_target: one 3x3 map of (x, y) from source pixels to the coordinates wanted: [-1, 1] on the input.
                `is_mirrored` says whether left and right change places. Where a batch is drawn, the target is one of
                training and the map leads from [-1, 1] to the input's pixels.

        Returns:
            The target [...], coordinates in those that `source_to_target` maps to, in the dtype that `loss` takes.
        """

    def loss(self, output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the loss of a batch; what is not known in the targets counts for nothing, and its gradient is 0.

        Args:
            output: what the model returned, float32 [B, n_outputs], not activated; [B, N, h, w] of a heatmap head.
            target: the targets [B, ...] as `move` returns them, coordinates in [-1, 1] on the input; or, of mixed
                images, what `mix` returns.
            reduction: "mean" over everything known, "sum", or "none".

        Returns:
            A scalar; with "none" one loss per image and output, [B] or [B, ...].
        """

    def activate(self, output: Tensor) -> Tensor:
        """Return outputs float [B, n_outputs] (heatmaps: [B, N, h, w]) as predictions [B, ...].

        They are probabilities at the decision's temperature; points [B, N, 2] in [-1, 1] on the input; numbers in the
        units of the labels. It must be traceable, because exported models hold it.

        Args:
            output: what the model returned, not activated.
        """

    def decode(self, prediction: Tensor, target_to_source: Homography) -> list[Label]:
        """Return predictions as labels, as the decision says.

        Args:
            prediction: activated outputs float [B, ...] as `activate` returns them, points in [-1, 1] on the input.
            target_to_source: a stack of B 3x3 maps [B, 3, 3] of (x, y), from [-1, 1] on the input to source pixels of
                each image. Tasks without coordinates ignore it.

        Returns:
            B labels, coordinates in source pixels.

        Raises:
            InputError: a prediction is not finite and cannot be an answer.
        """

    def metrics(self) -> Mapping[str, MetricFunction]:
        """Return the metrics of the epoch table by name, functions of (outputs, targets).

        They take raw outputs float [n, n_outputs] and targets [n, ...], coordinates in [-1, 1] on the input, of the
        whole validation side, and return a scalar; see `declare_metric` for what they declare of themselves.
        """

    def comparable(self, prediction: Tensor, labels: Sequence[Label]) -> Tensor:
        """Return predictions in the coordinates of encoded labels, for what is reported: points in source pixels.

        Args:
            prediction: activated outputs float [n, ...], coordinates in [-1, 1] on the input.
            labels: n answers, what `decode` made of them; coordinates in source pixels.

        Returns:
            What the three methods below take, [n, ...]: the predictions as they are (probabilities, numbers), or points
            float64 [n, N, 2] in source pixels.
        """

    def report_metrics(self) -> Mapping[str, MetricFunction]:
        """Return the headline metrics of a report by name, functions of (comparable, encoded labels); at least one.

        They take what `comparable` returns, [n, ...], and encoded labels [n, ...], both with coordinates in source
        pixels, and return a scalar. The first one names and orders what reports show.
        """

    def per_sample_error(self, comparable: Tensor, target: Tensor) -> Tensor:
        """Return how wrong each answer is: a loss, or a distance in source pixels for points.

        Args:
            comparable: what `comparable` returned, [n, ...], coordinates in source pixels.
            target: encoded labels [n, ...], coordinates in source pixels.

        Returns:
            float64 [n], at least 0; 0 where nothing is known.
        """

    def metrics_by_output(self, comparable: Tensor, target: Tensor) -> MetricsByOutput:
        """Return metrics of each class, point or number; {} where there is only one.

        Args:
            comparable: what `comparable` returned, [n, ...], coordinates in source pixels.
            target: encoded labels [n, ...], coordinates in source pixels.

        Returns:
            {"classes": {name: {metric: value}}}: what the rows are, their names, and the columns. In a
            report the first column is the result, and the last one, which counts images, decides the order.
        """

    def draw(self, canvas: Canvas, label: Label, truth: Label | None = None) -> None:
        """Draw a label, and whether it agrees with the truth where that is given.

        Args:
            canvas: the image; it is drawn on in pixels of the image that it shows, (x, y) from the upper left corner.
            label: the answer, or the truth where nothing was answered; coordinates in the canvas's pixels.
            truth: what the label should have been, in the same coordinates.
        """

    def to_row(self, prediction: Tensor, label: Label) -> dict[str, object]:
        """Return one answer as columns of a table; every name of `names` must be among them.

        Args:
            prediction: of one image, [...], coordinates in [-1, 1] on the input.
            label: what `decode` made of it, coordinates in source pixels.

        Returns:
            {column: value}; a value is text or a number.
        """

    def to_json(self, prediction: Tensor, label: Label) -> dict[str, object]:
        """Return one answer as the service gives it, JSON values.

        Args:
            prediction: of one image, [...], coordinates in [-1, 1] on the input.
            label: what `decode` made of it, coordinates in source pixels.
        """

    def mix(self, first: Tensor, second: Tensor, weight: Tensor) -> Tensor | None:
        """Return the targets of images that were mixed (MixUp, CutMix); None where mixing makes no sense.

        Args:
            first: targets [B, ...] of the images that `weight` is the share of.
            second: targets [B, ...] of the others.
            weight: float [B] from 0 to 1; the second images have 1 - weight.

        Returns:
            float [B, ...], something that `loss` takes.
        """

    def to_dict(self) -> dict[str, object]:
        """Return all that is needed to rebuild it, as JSON values: "kind", and the decision."""

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the task that `to_dict` described, after a way through JSON (tuples are lists).

        Args:
            stored: what `to_dict` returned.

        Raises:
            InputError, ValueError, TypeError, LookupError: it is not what `to_dict` returns; the file is refused.
        """


AnyTask = Task[Any]
"""A task whose labels may be of any type: only the task knows."""


def decoded(task: AnyTask, predictions: Tensor) -> Tensor:
    """Return answers as encoded labels [n, ...].

    Args:
        task: decodes and encodes.
        predictions: activated outputs [n, ...]; points stay in [-1, 1] on the input.
    """
    nowhere = Homography.stack([Homography()] * len(predictions))
    return torch.stack([task.encode(label) for label in task.decode(predictions, nowhere)])


def lerp(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Return targets mixed in proportion, float [B, ...].

    Args:
        first: float [B, ...].
        second: float [B, ...].
        weight: float [B], the share of the first; the second has 1 - weight.
    """
    weight = weight.reshape(-1, *[1] * (first.ndim - 1))
    return first * weight + second * (1 - weight)
