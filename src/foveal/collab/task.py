"""The task of ratings: a rating for each pair of a user and an item, or only which pairs there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.geometry.homography import Homography
from foveal.images.canvas import INK, Canvas
from foveal.losses import Reduction, binary_cross_entropy, mean_squared_error
from foveal.metrics.common import MetricFunction
from foveal.metrics.numbers import mae, rmse
from foveal.tasks.base import Decision
from foveal.tasks.kinds import TaskKind

UNKNOWN = "#na#"
Id = str | int | float


@dataclass(frozen=True, eq=False)
class Ids:
    """The users or the items that training knows, sorted; number 0 stands for all others."""

    known: tuple[Id, ...]

    @classmethod
    def of(cls, values: Iterable[Any]) -> Ids:
        """Learn ids from values; numbers come before texts."""
        plain = {value.item() if hasattr(value, "item") else value for value in values}
        return cls(tuple(sorted(plain, key=lambda value: (isinstance(value, str), value))))

    @classmethod
    def stored(cls, values: Any) -> Ids:
        """Rebuild them from JSON.

        Raises:
            InputError: they are no list of different numbers and texts.
        """
        if not isinstance(values, list) or not all(isinstance(one, Id) and not isinstance(one, bool) for one in values):
            raise InputError("Ids are a list of numbers and texts.")
        if len(set(values)) < len(values):
            raise InputError("An id stands twice among the users or the items.")
        return cls(tuple(values))

    @cached_property
    def names(self) -> tuple[Id, ...]:
        """The ids by number, the unknown first."""
        return (UNKNOWN, *self.known)

    def numbers(self, values: Iterable[Any]) -> Tensor:
        """Return the number of each id, int64; 0 where it is not known."""
        return torch.tensor([self._index.get(value, 0) for value in values], dtype=torch.int64)

    def number(self, value: Any) -> int:
        """Return the number of one id; 0 where it is not known."""
        return int(self.numbers([value])[0])

    def __len__(self) -> int:
        return 1 + len(self.known)

    @cached_property
    def _index(self) -> dict[Id, int]:
        return {value: number for number, value in enumerate(self.known, start=1)}


@dataclass(frozen=True, slots=True, eq=False)
class Rating:
    """Targets are float32 [1], a rating.

    Attributes:
        users, items: those that training knows.
        columns: what the table calls user, item and rating.
        low, high: the range of ratings in training.
    """

    kind: ClassVar[str] = "rating"
    legend: ClassVar[str] = "first line: the truth; second line: the prediction"
    loss_name: ClassVar[str] = "MSELoss"
    users: Ids
    items: Ids
    columns: tuple[str, str, str] = ("user", "item", "rating")
    low: float = 0.0
    high: float = 1.0
    decision: Decision = field(default=Decision())

    @property
    def n_outputs(self) -> int:
        """One number."""
        return 1

    @property
    def names(self) -> tuple[str, ...]:
        """The column of the rating."""
        return (self.columns[2],)

    @property
    def y_range(self) -> None:
        """Ratings are not squeezed unless the model is told to."""
        return

    def with_decision(self, decision: Decision) -> Self:
        """Return the same task with another decision."""
        return replace(self, decision=decision)

    def pairs(self, users: Sequence[Any], items: Sequence[Any]) -> Tensor:
        """Return what a model takes: the numbers of users and items, int64 [n, 2]."""
        return torch.stack([self.users.numbers(users), self.items.numbers(items)], dim=1)

    @property
    def unknown(self) -> Tensor:
        """NaN."""
        return torch.full((1,), torch.nan)

    def encode(self, label: Any) -> Tensor:
        """Turn a rating into a target."""
        try:
            return torch.tensor([float(label)])
        except (TypeError, ValueError):
            raise InputError(f"A rating is a number; got {label!r}.") from None

    def decode_target(self, target: Tensor) -> float:
        """Return the rating."""
        return float(target)

    def move(self, target: Tensor, frame: Homography) -> Tensor:
        """There is no image to move with."""
        return target

    def loss(self, output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the squared error."""
        return mean_squared_error(output.reshape(-1, 1), target.reshape(-1, 1), reduction=reduction)

    def activate(self, output: Tensor) -> Tensor:
        """Return ratings [B, 1]."""
        return output.reshape(-1, 1)

    def decode(self, prediction: Tensor, back: Homography) -> list[float]:
        """Return the ratings."""
        answers: list[float] = prediction.reshape(-1).tolist()
        return answers

    def metrics(self) -> Mapping[str, MetricFunction]:
        """Return none: the loss says it."""
        return {}

    def comparable(self, prediction: Tensor, labels: Sequence[float]) -> Tensor:
        """Return the ratings."""
        return prediction

    def figures(self) -> Mapping[str, MetricFunction]:
        """Return RMSE and MAE."""
        return {"rmse": rmse, "mae": mae}

    def per_sample_error(self, comparable: Tensor, target: Tensor) -> Tensor:
        """Return the absolute errors."""
        return (comparable.double() - target.double()).abs().reshape(-1)

    def parts(self, comparable: Tensor, target: Tensor) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        """Return nothing: ratings have no classes."""
        return {}

    def draw(self, canvas: Canvas, label: float, truth: float | None = None) -> None:
        """Write the rating."""
        lines = [label] if truth is None else [truth, label]
        canvas.title(*((f"{line:.3g}", INK) for line in lines))

    def to_row(self, prediction: Tensor, label: float) -> dict[str, Any]:
        """Return the rating under its name."""
        return {self.columns[2]: label}

    def to_json(self, prediction: Tensor, label: float) -> dict[str, Any]:
        """Return the rating under its name."""
        return self.to_row(prediction, label)

    def mix(self, first: Tensor, second: Tensor, weight: Tensor) -> None:
        """Ratings are not mixed."""

    def to_dict(self) -> dict[str, Any]:
        """Return users, items, columns and range."""
        about = {"kind": self.kind, "users": list(self.users.known), "items": list(self.items.known)}
        return about | {
            "columns": list(self.columns),
            "low": self.low,
            "high": self.high,
            "decision": self.decision.to_dict(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuild it from `to_dict`."""
        user, item, rating = stored["columns"]
        return cls(
            Ids.stored(stored["users"]),
            Ids.stored(stored["items"]),
            (user, item, rating),
            float(stored["low"]),
            float(stored["high"]),
            Decision.from_dict(stored["decision"]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ImplicitFeedback(Rating):
    """Targets are float32 [1]: 1 where a user had an item, 0 where not; there are no ratings."""

    kind: ClassVar[str] = "seen"
    loss_name: ClassVar[str] = "BCEWithLogitsLoss"

    def loss(self, output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the binary cross-entropy."""
        return binary_cross_entropy(output.reshape(-1, 1), target.reshape(-1, 1), reduction=reduction)

    def activate(self, output: Tensor) -> Tensor:
        """Return how likely it is that a pair is seen, [B, 1]."""
        return torch.sigmoid(output.reshape(-1, 1))


def _describe(task: Rating) -> str:
    user, item, rating = task.columns
    return f"Answers with the {rating} that a {user} would give a {item}, and recommends."


RATING = TaskKind(
    task=Rating,
    describe=_describe,
    answers="a rating",
    unit="rows",
    predictor="foveal.collab.predictor:rating_predictor",
    exporter="foveal.collab.exporter:RatingExporter",
    endpoints="foveal.collab.service:add_ratings",
)
IMPLICIT = replace(RATING, task=ImplicitFeedback, answers="the probability that a user has an item")
