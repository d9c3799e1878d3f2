"""One or more points per image, answered in source pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.core.arguments import check_list, check_number, is_whole
from foveal.core.errors import InputError, NothingToLearnError, UnknownNameError
from foveal.geometry.homography import Homography
from foveal.images.canvas import INK, PREDICTED, TARGET, Canvas
from foveal.losses import Reduction, mean_squared_error
from foveal.metrics.common import MetricFunction
from foveal.metrics.pixels import distances, mean_error, median_error
from foveal.tasks.base import Decision, MetricsByOutput
from foveal.tasks.columns import columns_for_points
from foveal.tasks.display import ShownTensor
from foveal.tasks.heatmaps import heatmap_loss, soft_argmax
from foveal.tasks.kinds import BOOK, PROBE, LabelIssues, TaskKind
from foveal.tasks.label_checks import Issue, LabelCheck, check_points
from foveal.tasks.point_confidence import CONFIDENCE

Pairs = tuple[tuple[int, int], ...]


class TensorPoint(ShownTensor):
    """The target of points, in source pixels."""


@dataclass(frozen=True, slots=True)
class Points:
    """Targets are float32 [N, 2] in [-1, 1] on the canvas, x before y; a label is float64 [N, 2] in source pixels.

    NaN in both coordinates marks a missing point, which adds nothing to loss and metrics. A point outside the canvas
    is kept as it is.
    """

    kind: ClassVar[str] = "points"
    legend: ClassVar[str] = "circle: the truth; cross: the prediction; triangle: outside the image"
    loss_name: ClassVar[str] = "MSELoss"
    n_points: int = 1
    decision: Decision = field(default=Decision())
    point_names: tuple[str, ...] = ()
    flip_pairs: Pairs = ()
    skeleton: Pairs = ()

    def __post_init__(self) -> None:
        if not self.point_names:
            object.__setattr__(self, "point_names", tuple(f"point {i + 1}" for i in range(self.n_points)))
        if len(set(self.point_names)) != self.n_points:
            raise InputError(f"{self.n_points} points need as many different names; got {self.point_names!r}.")
        if len(self.decision.radius_factors) not in {0, self.n_points}:
            raise InputError(f"{self.n_points} points need a factor each; got {self.decision.radius_factors!r}.")
        for what, pairs in (("flip_pairs", self.flip_pairs), ("skeleton", self.skeleton)):
            for pair in pairs:
                if not all(0 <= i < self.n_points for i in pair):
                    numbers = f"pairs of point numbers from 0 to {self.n_points - 1}"
                    raise InputError(f"`{what}` holds {numbers}; got {pair!r}.")

    @property
    def n_outputs(self) -> int:
        """Two numbers per point."""
        return 2 * self.n_points

    @property
    def names(self) -> tuple[str, ...]:
        """The columns x, y or x1, y1, x2, y2, ..., or NAME_x, NAME_y where the points have names."""
        if self.has_named_points:
            return columns_for_points(self.point_names)
        if self.n_points == 1:
            return ("x", "y")
        return tuple(f"{axis}{i + 1}" for i in range(self.n_points) for axis in "xy")

    @property
    def has_named_points(self) -> bool:
        """Whether the points were given names."""
        return self.point_names[0] != "point 1"

    @property
    def y_range(self) -> tuple[float, float]:
        """The canvas."""
        return (-1.0, 1.0)

    def with_decision(self, decision: Decision) -> Points:
        """Return the same task with another decision."""
        return replace(self, decision=decision)

    def known_in(self, labels: Iterable[object]) -> Points:
        """Return the task itself, if the training labels tell each of its points at least once.

        Raises:
            NothingToLearnError: one is known nowhere.
            InputError: a label is of the wrong form.
        """
        known = torch.zeros(self.n_points, dtype=torch.bool)
        for label in labels:
            known |= ~self.encode(label).isnan().any(dim=1)
            if known.all():
                return self
        raise NothingToLearnError.of(self.point_names[int((~known).nonzero()[0])])

    @property
    def missing_target(self) -> Tensor:
        """NaN throughout."""
        return torch.full((self.n_points, 2), torch.nan, dtype=torch.float64)

    def encode(self, label: object) -> Tensor:
        """Return points [N, 2], or one (x, y), as float64 [N, 2]; both are in source pixels (`move` scales them).

        Raises:
            InputError: there are not N points, or one is not finite, or missing in one coordinate only.
        """
        points = _coordinates(label)
        if points.size != self.n_outputs:
            raise InputError(
                f"{self.n_points} point(s), {self.n_outputs} numbers, are expected for each image; got "
                f"{points.size} numbers: {label!r}."
            )
        points = points.reshape(-1, 2)
        if not np.isfinite(points).all():
            if np.isinf(points).any():
                raise InputError(f"A point must be finite, or missing (NaN in both coordinates); got {label!r}.")
            if (np.isnan(points).sum(axis=1) == 1).any():
                raise InputError(f"A missing point is missing in both coordinates; got {label!r}.")
        return torch.from_numpy(points)

    def decode_target(self, target: Tensor) -> NDArray[np.float64]:
        """Return the points as an array."""
        return np.asarray(target.numpy())

    def move(self, target: Tensor, source_to_target: Homography) -> Tensor:
        """Take points along with their image; where it is mirrored, the points of a flip pair change places.

        Args:
            target: float64 [N, 2] in source pixels, NaN where a point is missing.
            source_to_target: from source pixels to [-1, 1] on the input.

        Returns:
            float32 [N, 2] in the coordinates that the map leads to.
        """
        points = source_to_target(target.numpy())
        if source_to_target.is_mirrored:
            points = points[list(self.mirrored_order)]
        return torch.from_numpy(points).to(torch.float32)

    def inside(self, target: Tensor) -> Tensor:
        """Return which points of targets [..., N, 2] lie on the canvas (a missing one does not)."""
        return (target.abs() <= 1).all(dim=-1)

    def loss(self, output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the squared error in [-1, 1] coordinates; of heatmaps [B, N, h, w], `heatmap_loss`.

        Args:
            output: [B, 2N], from -1 to 1 on the input, or heatmaps [B, N, h, w].
            target: [B, N, 2] in [-1, 1] on the input, NaN where a point is missing.
            reduction: over all coordinates that are known; "none" gives [B, N, 2], of heatmaps [B, N].
        """
        if output.ndim == 4:
            return heatmap_loss(output, target, reduction=reduction)
        return mean_squared_error(self.activate(output), target.reshape(-1, self.n_points, 2), reduction=reduction)

    def activate(self, output: Tensor) -> Tensor:
        """Return points [B, N, 2] in [-1, 1] coordinates; of heatmaps [B, N, h, w], their soft-argmax."""
        if output.ndim == 4:
            return soft_argmax(output, self.decision.temperature)
        return output.reshape(-1, self.n_points, 2)

    def decode(self, prediction: Tensor, target_to_source: Homography) -> list[NDArray[np.float64]]:
        """Return points [N, 2] in source pixels.

        Args:
            prediction: [B, N, 2] in [-1, 1] on the input.
            target_to_source: [B, 3, 3], from [-1, 1] on the input to source pixels; where one of them mirrors, the
                points of a flip pair change places again.

        Raises:
            InputError: a prediction is not finite.
        """
        if not prediction.isfinite().all():
            raise InputError("The model answered with a point that is not finite; it cannot be used.")
        points = target_to_source(prediction.double().cpu().numpy())
        mirrored = np.broadcast_to(target_to_source.is_mirrored, len(points))
        points[mirrored] = points[mirrored][:, list(self.mirrored_order)]
        return list(points)

    def metrics(self) -> Mapping[str, MetricFunction]:
        """Return none: the loss is the error on the canvas, and errors in pixels come from the predictions."""
        return {}

    def comparable(self, prediction: Tensor, labels: Sequence[NDArray[np.float64]]) -> Tensor:
        """Return the points in source pixels.

        Args:
            prediction: not used, it is in [-1, 1] on the input.
            labels: n arrays float64 [N, 2] in source pixels.

        Returns:
            float64 [n, N, 2].
        """
        return torch.from_numpy(np.stack(labels))

    def report_metrics(self) -> Mapping[str, MetricFunction]:
        """Return mean and median distance in source pixels, over all points that are not missing."""
        return {"mean_error_pixels": mean_error, "median_error_pixels": median_error}

    def per_sample_error(self, comparable: Tensor, target: Tensor) -> Tensor:
        """Return the mean distance in source pixels over the points that are known.

        Args:
            comparable: float64 [n, N, 2] in source pixels.
            target: float64 [n, N, 2] in source pixels, NaN where a point is missing.
        """
        return distances(comparable, target).nanmean(dim=1).nan_to_num(0.0)

    def metrics_by_output(self, comparable: Tensor, target: Tensor) -> MetricsByOutput:
        """Return both distances of each point, in source pixels, where there are several.

        Args:
            comparable: float64 [n, N, 2] in source pixels.
            target: float64 [n, N, 2] in source pixels, NaN where a point is missing.
        """
        if self.n_points == 1:
            return {}
        columns = ((name, comparable[:, [at]], target[:, [at]]) for at, name in enumerate(self.point_names))
        return {
            "points": {
                name: {figure: float(of(*pair)) for figure, of in self.report_metrics().items()}
                | {"images": int((~pair[1].isnan()).all(dim=2).sum())}
                for name, *pair in columns
            }
        }

    def draw(self, canvas: Canvas, label: NDArray[np.float64], truth: NDArray[np.float64] | None = None) -> None:
        """Draw the points: a circle where the truth is, a cross where the prediction is.

        Args:
            canvas: the image.
            label: [N, 2] in the pixels of the image that the canvas shows.
            truth: the same of the points that should have been.
        """
        canvas.lines(label, self.skeleton, PREDICTED)
        if truth is None:
            canvas.points(label, PREDICTED, "o")
            return
        canvas.points(truth, TARGET, "o")
        canvas.points(label, PREDICTED, "x")
        distance = np.linalg.norm(label - truth, axis=1)
        known = distance[~np.isnan(distance)]
        canvas.title((f"{known.mean():.1f} px off" if len(known) else "no point given", INK))

    def to_row(self, prediction: Tensor, label: NDArray[np.float64]) -> dict[str, object]:
        """Return the coordinates in source pixels.

        Args:
            prediction: not used.
            label: float64 [N, 2] in source pixels.
        """
        return dict(zip(self.names, label.reshape(-1).tolist(), strict=True))

    def to_json(self, prediction: Tensor, label: NDArray[np.float64]) -> dict[str, object]:
        """Return the points by name, in source pixels.

        Args:
            prediction: not used.
            label: float64 [N, 2] in source pixels.
        """
        return {
            "points": [{"name": n, "x": x, "y": y} for n, (x, y) in zip(self.point_names, label.tolist(), strict=True)]
        }

    def mix(self, first: Tensor, second: Tensor, weight: Tensor) -> None:
        """Points of two images cannot be mixed.

        Args:
            first: not used.
            second: not used.
            weight: not used.
        """

    def to_dict(self) -> dict[str, object]:
        """Return what the points are, and the decision."""
        pairs = {"flip_pairs": [list(p) for p in self.flip_pairs], "skeleton": [list(p) for p in self.skeleton]}
        about = {"kind": self.kind, "n_points": self.n_points, "point_names": list(self.point_names)}
        return about | pairs | {"decision": self.decision.to_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Points:
        """Return the task that `to_dict` described."""
        return cls(
            int(stored["n_points"]),
            Decision.from_dict(stored["decision"]),
            tuple(stored["point_names"]),
            tuple((int(a), int(b)) for a, b in stored["flip_pairs"]),
            tuple((int(a), int(b)) for a, b in stored["skeleton"]),
        )

    @property
    def mirrored_order(self) -> tuple[int, ...]:
        """Which point stands where in a mirrored image: the two of a flip pair change places."""
        order = list(range(self.n_points))
        for first, second in self.flip_pairs:
            order[first], order[second] = second, first
        return tuple(order)


@dataclass(frozen=True, slots=True)
class PointBlock:
    """The target block for one point (x, y) per image, or N points [N, 2], in source pixels.

    Source pixels are those of the upright image as its file holds it: x runs from left to right and y from top to
    bottom, from the upper left corner; pixel centres lie at +0.5. Points move along with every resize and augmentation;
    NaN in both coordinates stands for a point that is missing.

    Attributes:
        names: what the points are called, in order.
        flip_pairs: names, or numbers, of points that change places in a mirrored image: (("left eye", "right eye"),).
        skeleton: pairs that are joined by a line where points are drawn.
        n_points: how many there are; counted on the first label by default.

    Raises:
        InputError: an argument is of the wrong form, or a pair holds a name where there are no `names`.
        UnknownNameError: a pair holds a name that is not among `names`.

    Examples:
        >>> from foveal.vision.all import *
        >>> eyes = PointBlock(names=["left", "right"], flip_pairs=[("left", "right")])
        >>> task = eyes.bind([[[30, 40], [60, 42]]])
        >>> task.names, task.encode([30, 40, 60, 42]).tolist()
        (('left_x', 'left_y', 'right_x', 'right_y'), [[30.0, 40.0], [60.0, 42.0]])
    """

    names: Sequence[str] = ()
    flip_pairs: Sequence[tuple[str | int, str | int]] = ()
    skeleton: Sequence[tuple[str | int, str | int]] = ()
    n_points: int | None = None

    # What is wrong with the block itself is raised here: `bind` is called with labels, and those would be blamed.
    def __post_init__(self) -> None:
        check_list("names", self.names, "names of points")
        if self.n_points is not None:
            check_number("n_points", self.n_points, at_least=1, whole=True)
        self._pairs()

    def bind(self, labels: Iterable[object]) -> Points:
        """Return the task that these labels of the training side teach; a `DataBlock` calls it.

        Args:
            labels: one point (x, y) or N points [N, 2] each, in source pixels; NaN for a missing point.

        Raises:
            InputError: a label is of the wrong form, or a pair holds a number that no point has.
            NothingToLearnError: a point is known in no label.

        Examples:
            >>> PointBlock().bind([(30, 40)]).n_outputs
            2
        """
        labels = list(labels)
        n_numbers = _coordinates(labels[0]).size if labels else 0
        if n_numbers % 2:
            raise InputError(f"A point is (x, y); got {n_numbers} numbers: {labels[0]!r}.")
        n_points = self.n_points or len(self.names) or max(1, n_numbers // 2)
        return Points(n_points, Decision(), tuple(self.names), *self._pairs()).known_in(labels)

    def _pairs(self) -> tuple[Pairs, Pairs]:
        return self._numbers("flip_pairs", self.flip_pairs), self._numbers("skeleton", self.skeleton)

    def _numbers(self, what: str, pairs: Iterable[object]) -> Pairs:
        """Return pairs of points as their numbers.

        Raises:
            InputError: one is no pair.
        """
        check_list(what, pairs, "pairs of points")
        numbers = []
        for pair in pairs:
            if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
                raise InputError(f"`{what}` holds pairs of points, such as ('left eye', 'right eye'); got {pair!r}.")
            numbers.append((self._number(what, pair[0]), self._number(what, pair[1])))
        return tuple(numbers)

    def _number(self, what: str, point: str | int) -> int:
        """Return the number of a point that is given by its name or number.

        Raises:
            InputError: the points have no names.
            UnknownNameError: it is not among `names`.
        """
        if is_whole(point):
            return int(point)
        if not self.names:
            raise InputError(
                f"`{what}` names the point {point!r}, and these points have no names: give `names=[...]`, or their "
                "numbers, from 0."
            )
        if point not in self.names:
            raise UnknownNameError.of("point", point, self.names)
        return list(self.names).index(str(point))


def _coordinates(label: object) -> NDArray[np.float64]:
    """Return what a label holds as numbers, of any shape.

    Raises:
        InputError: it is missing, or holds something else.
    """
    if label is None or (isinstance(label, float) and math.isnan(label)):
        raise InputError(f"The label is missing ({label!r}). A point that is not known is (nan, nan).")
    try:
        return np.array(label if not isinstance(label, Tensor) else label.tolist(), dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"A point is (x, y), two numbers; got {label!r}.") from None


def _describe(task: Points) -> str:
    what = "a point" if task.n_points == 1 else ", ".join(task.point_names)
    return f"Finds {what} in an image, in its pixels."


def find_wrong_labels(task: Points, answers: Tensor, targets: Tensor, spread: Tensor | None = None) -> LabelCheck:
    """Return how probably each point is in the wrong place; see `check_points`."""
    return check_points(answers.double(), targets.double(), task.point_names, spread=spread, pairs=task.flip_pairs)


def mend_label(task: Points, target: Tensor, issues: Sequence[Issue]) -> NDArray[np.float64]:
    """Return the points with those in question where the issues suggest.

    Args:
        task: with N points.
        target: float64 [N, 2] in source pixels.
        issues: about this target.
    """
    points = task.decode_target(target).copy()
    for issue in issues:
        points[issue.output] = issue.value
    return points


KIND = TaskKind(
    task=Points,
    describe=_describe,
    answers="x and y per point, from -1 to 1 over the input",
    label_form="points_xy",
    block=lambda labels: PointBlock(labels.point_names, labels.flip_pairs),
    shown_as=TensorPoint,
    recipes={
        "probe": replace(PROBE, head="spatial", least_side=416, head_alone_from=300),
        "book": replace(BOOK, epochs=20, lr=1e-2),
    },
    crops=False,
    has_points=True,
    confidence=CONFIDENCE,
    label_issues=LabelIssues(find_wrong_labels, mend_label),
    baselines=("median_error_pixels",),
)
