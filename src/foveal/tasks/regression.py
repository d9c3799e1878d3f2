"""One or several numbers per image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.core.arguments import check_list, check_number
from foveal.core.errors import InputError, NothingToLearnError
from foveal.geometry.homography import Homography
from foveal.images.canvas import INK, Canvas
from foveal.losses import Reduction, mean_squared_error
from foveal.metrics.common import MetricFunction
from foveal.metrics.numbers import mae, r2_score, rmse
from foveal.tasks.base import Decision, MetricsByOutput
from foveal.tasks.columns import columns_for
from foveal.tasks.display import ShownTensor
from foveal.tasks.kinds import LabelIssues, TaskKind
from foveal.tasks.label_checks import Issue, LabelCheck, check_numbers
from foveal.tasks.single_precision import LARGEST, check_single_precision

_WIDER = 0.1
# Spreads of a single number whose squared error trains as it is. Far below, gradients drown in the optimizer's 1e-5;
# far above, their squares leave 32 bits.
_PLAIN = (1e-2, 1e4)
_DIGITS = 4


class TensorRegression(ShownTensor):
    """The target of one or several numbers."""


@dataclass(frozen=True, slots=True)
class Regression:
    """Targets are float32 [N] in the units of the labels; a label is float64 [N]. NaN is unknown.

    Attributes:
        names: what the numbers are called.
        low, high: the range of each number in training, widened by a tenth; the model's outputs stay within it.
        spread: what errors of each number are divided by in the loss, so that units do not outweigh each other; 1 for
            a single number, whose loss is the plain squared error, unless its spread is below 0.01 or above 10,000.
    """

    kind: ClassVar[str] = "regression"
    legend: ClassVar[str] = "first line: the truth; second line: the prediction"
    loss_name: ClassVar[str] = "MSELoss"
    names: tuple[str, ...] = ("value",)
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    decision: Decision = field(default=Decision())

    @classmethod
    def of(cls, names: Sequence[str], values: Iterable[object]) -> Self:
        """Return the task whose ranges and spreads labels teach.

        Args:
            names: what the N numbers are called.
            values: labels of the training side, a number or N of them each, NaN where not known.

        Raises:
            InputError: a label is of the wrong form, or a number differs too little for 32 bits.
            NothingToLearnError: a number is known in no label.
        """
        plain = cls(tuple(names))
        table = np.array([plain._numbers(value) for value in values]).reshape(-1, len(names))
        for name, column in zip(names, table.T, strict=True):
            if np.isnan(column).all():
                raise NothingToLearnError.of(name)
        low, high = np.nanmin(table, axis=0), np.nanmax(table, axis=0)
        margin = np.where(high > low, (high - low) * _WIDER / 2, np.maximum(np.abs(low), 1) * _WIDER)
        spread = np.where(high > low, np.nanstd(table, axis=0), 0.0)  # rounding gives equal numbers a spread, too
        for name, *extent in zip(names, low, high, spread, strict=True):
            check_single_precision(name, *map(float, extent))
        if len(names) == 1 and _PLAIN[0] <= spread[0] <= _PLAIN[1]:
            spread = np.ones(1)
        spread = np.where(spread > 0, spread, 1.0)
        columns = ((low - margin).tolist(), (high + margin).tolist(), spread.tolist())
        return replace(plain, low=tuple(columns[0]), high=tuple(columns[1]), spread=tuple(columns[2]))

    @property
    def n_outputs(self) -> int:
        """One a number."""
        return len(self.names)

    @property
    def y_range(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """The range of each number."""
        return (self.low, self.high) if self.low else None

    def with_decision(self, decision: Decision) -> Regression:
        """Return the same task with another decision."""
        return replace(self, decision=decision)

    @property
    def missing_target(self) -> Tensor:
        """NaN throughout."""
        return torch.full((self.n_outputs,), torch.nan)

    def encode(self, label: object) -> Tensor:
        """Return a number, or N of them, as float32 [N]."""
        return torch.from_numpy(self._numbers(label)).float()

    def _numbers(self, label: object) -> NDArray[np.float64]:
        values = _as_numbers(label, self.names)
        if len(values) != self.n_outputs:
            raise InputError(f"{self.n_outputs} number(s) an image are expected; got {len(values)}: {label!r}.")
        if np.isinf(values).any():
            raise InputError(f"A number must be finite, or missing (NaN); got {label!r}.")
        if (np.abs(values) > LARGEST).any():
            raise InputError(f"A number is kept in 32 bits and may not exceed {LARGEST:g}; got {label!r}.")
        return values

    def decode_target(self, target: Tensor) -> NDArray[np.float64]:
        """Return the numbers as an array."""
        return np.asarray(target.double().numpy())

    def move(self, target: Tensor, source_to_target: Homography) -> Tensor:
        """Return the target as it is.

        Args:
            target: [N] in the units of the labels.
            source_to_target: not used, there are no coordinates.
        """
        return target

    def loss(self, output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the squared error, of several numbers in units of their spread.

        Args:
            output: [B, N] in the units of the labels.
            target: [B, N] in the units of the labels, NaN where not known.
            reduction: over all numbers that are known; "none" gives [B, N].
        """
        output, target = output.reshape(-1, self.n_outputs), target.reshape(-1, self.n_outputs)
        spread = torch.tensor(self.spread or 1.0, device=output.device)
        return mean_squared_error(output / spread, target / spread, reduction=reduction)

    def activate(self, output: Tensor) -> Tensor:
        """Return the numbers [B, N] as they are."""
        return output.reshape(-1, self.n_outputs)

    def decode(self, prediction: Tensor, target_to_source: Homography) -> list[NDArray[np.float64]]:
        """Return the numbers [N].

        Args:
            prediction: [B, N] in the units of the labels.
            target_to_source: not used.

        Raises:
            InputError: a prediction is not finite.
        """
        if not prediction.isfinite().all():
            raise InputError("The model answered with a number that is not finite; it cannot be used.")
        return list(prediction.double().cpu().numpy())

    def metrics(self) -> Mapping[str, MetricFunction]:
        """Return R2, and for a single number, which has a unit, RMSE and MAE."""
        return {"r2_score": r2_score} if self.n_outputs > 1 else {"rmse": rmse, "mae": mae, "r2_score": r2_score}

    def comparable(self, prediction: Tensor, labels: Sequence[NDArray[np.float64]]) -> Tensor:
        """Return the numbers.

        Args:
            prediction: [n, N] in the units of the labels.
            labels: not used.
        """
        return prediction

    def report_metrics(self) -> Mapping[str, MetricFunction]:
        """Return RMSE, MAE and R2 of a number; of several, which may differ in unit, the mean R2."""
        return {"mean_r2": r2_score} if self.n_outputs > 1 else {"rmse": rmse, "mae": mae, "r2": r2_score}

    def per_sample_error(self, comparable: Tensor, target: Tensor) -> Tensor:
        """Return the mean absolute error, of several numbers in units of their spread.

        Args:
            comparable: [n, N] in the units of the labels.
            target: [n, N] in the units of the labels, NaN where not known.
        """
        off = (comparable.double() - target.double()).abs() / torch.tensor(self.spread or (1.0,), dtype=torch.float64)
        return off.nanmean(dim=1).nan_to_num(0.0)

    def metrics_by_output(self, comparable: Tensor, target: Tensor) -> MetricsByOutput:
        """Return RMSE, MAE and R2 of each of several numbers.

        Args:
            comparable: [n, N] in the units of the labels.
            target: [n, N] in the units of the labels, NaN where not known.
        """
        if self.n_outputs == 1:
            return {}
        columns = zip(self.names, comparable.T, target.T, strict=True)
        return {
            "numbers": {
                name: {"rmse": float(rmse(*pair)), "mae": float(mae(*pair)), "r2": float(r2_score(*pair))}
                | {"images": int((~pair[1].isnan()).sum())}
                for name, *pair in columns
            }
        }

    def draw(self, canvas: Canvas, label: NDArray[np.float64], truth: NDArray[np.float64] | None = None) -> None:
        """Write the numbers above the image.

        Args:
            canvas: the image.
            label: [N], the answer.
            truth: [N], the numbers that should have been.
        """
        lines = [self._written(label)] if truth is None else [self._written(truth), self._written(label)]
        canvas.title(*((line, INK) for line in lines))

    def to_row(self, prediction: Tensor, label: NDArray[np.float64]) -> dict[str, object]:
        """Return the numbers by name.

        Args:
            prediction: not used.
            label: float64 [N].
        """
        return dict(zip(columns_for(self.names), label.tolist(), strict=True))

    def to_json(self, prediction: Tensor, label: NDArray[np.float64]) -> dict[str, object]:
        """Return the numbers by name.

        Args:
            prediction: not used.
            label: float64 [N].
        """
        return {"numbers": dict(zip(self.names, label.tolist(), strict=True))}

    def mix(self, first: Tensor, second: Tensor, weight: Tensor) -> None:
        """Numbers of two images are not mixed.

        Args:
            first: not used.
            second: not used.
            weight: not used.
        """

    def to_dict(self) -> dict[str, object]:
        """Return names, ranges, spreads and the decision."""
        numbers = {name: list(getattr(self, name)) for name in ("names", "low", "high", "spread")}
        return {"kind": self.kind} | numbers | {"decision": self.decision.to_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Regression:
        """Return the task that `to_dict` described."""
        names, low, high, spread = (tuple(stored[name]) for name in ("names", "low", "high", "spread"))
        return cls(names, low, high, spread, Decision.from_dict(stored["decision"]))

    def _written(self, values: NDArray[np.float64]) -> str:
        shown = ["unknown" if math.isnan(value) else f"{value:.{_DIGITS}g}" for value in values.tolist()]
        if self.n_outputs == 1:
            return shown[0]
        return ", ".join(f"{name} {value}" for name, value in zip(self.names, shown, strict=True))


@dataclass(frozen=True, slots=True)
class RegressionBlock:
    """The target block for a number per image, or `n_out` of them, in units of your own.

    The model learns them with the squared error; its answers stay within the range of the training labels, widened by a
    tenth. NaN stands for a number that is not known.

    Attributes:
        n_out: how many numbers there are; counted on `names`, or on the first label, by default.
        names: what they are called.

    Examples:
        >>> from foveal.vision.all import *
        >>> task = RegressionBlock(names=["age"]).bind([20, 40])
        >>> task.encode(30), task.y_range
        (tensor([30.]), ((19.0,), (41.0,)))
    """

    n_out: int | None = None
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_list("names", self.names, "names of numbers")
        if self.n_out is not None:
            check_number("n_out", self.n_out, at_least=1, whole=True)

    def bind(self, labels: Iterable[object]) -> Regression:
        """Return the task that these labels of the training side teach; a `DataBlock` calls it.

        Args:
            labels: a number, or N of them, each; NaN where one is not known.

        Raises:
            InputError: a label is of the wrong form, `names` are not as many, or a number differs too little for 32
                bits.
            NothingToLearnError: a number is known in no label.

        Examples:
            >>> RegressionBlock(n_out=2).bind([(1.5, 10), (2.5, 30)]).names
            ('value 1', 'value 2')
        """
        labels = list(labels)
        n_out = self.n_out or len(self.names) or (_as_numbers(labels[0], ["value"]).size if labels else 1)
        names = self.names or (["value"] if n_out == 1 else [f"value {i + 1}" for i in range(n_out)])
        if len(names) != n_out:
            raise InputError(f"`names` should name {n_out} numbers; got {list(names)!r}.")
        return Regression.of(names, labels)


def _as_numbers(label: object, names: Sequence[str]) -> NDArray[np.float64]:
    """Return what a label holds, as one row.

    Args:
        label: a number, or several.
        names: what they are called.

    Raises:
        InputError: it holds something else.
    """
    try:
        return np.array(label if not isinstance(label, Tensor) else label.tolist(), dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise InputError(f"A number is expected for each of {', '.join(names)}; got {label!r}.") from None


def _describe(task: Regression) -> str:
    return f"Answers with {', '.join(task.names)} for an image."


def find_wrong_labels(task: Regression, answers: Tensor, targets: Tensor, _: Tensor | None = None) -> LabelCheck:
    """Return how probably each number is wrong; see `check_numbers`."""
    return check_numbers(answers, targets, task.names)


def mend_label(task: Regression, target: Tensor, issues: Sequence[Issue]) -> NDArray[np.float64]:
    """Return the numbers with those in question as the issues suggest.

    Args:
        task: with N numbers.
        target: float32 [N].
        issues: about this target.
    """
    numbers = task.decode_target(target).copy()
    for issue in issues:
        numbers[issue.output] = issue.value[0]
    return numbers


KIND = TaskKind(
    task=Regression,
    describe=_describe,
    answers="a number each",
    label_form="numbers",
    block=lambda labels: RegressionBlock(names=labels.target_names),
    shown_as=TensorRegression,
    crops=False,
    label_issues=LabelIssues(find_wrong_labels, mend_label),
)
