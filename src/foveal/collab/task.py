"""The task of ratings: a rating for each pair of a user and an item, or only which pairs there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self, SupportsFloat

import numpy as np
import torch
from torch import Tensor

from foveal.collab.card import card_verdict
from foveal.core.errors import InputError
from foveal.geometry.homography import Homography
from foveal.images.canvas import INK, Canvas
from foveal.losses import Reduction, binary_cross_entropy, mean_squared_error
from foveal.metrics.common import MetricFunction
from foveal.metrics.numbers import mae, rmse
from foveal.tasks.base import Decision, MetricsByOutput
from foveal.tasks.kinds import TaskKind

UNKNOWN = "#na#"
Id = str | int | float


@dataclass(frozen=True, eq=False)
class Ids:
    """The users or the items that training knows, sorted; number 0 stands for all others."""

    known: tuple[Id, ...]

    @classmethod
    def of(cls, values: Iterable[Id | np.generic | Tensor]) -> Ids:
        """Return the ids that occur in values, sorted; numbers come before texts."""
        plain = {value.item() if isinstance(value, np.generic | Tensor) else value for value in values}
        return cls(tuple(sorted(plain, key=lambda value: (isinstance(value, str), value))))

    @classmethod
    def stored(cls, values: object) -> Ids:
        """Return the ids that JSON holds.

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

    def numbers(self, values: Iterable[object]) -> Tensor:
        """Return the number of each id, int64; 0 where it is not known."""
        return torch.tensor([self._index.get(value, 0) for value in values], dtype=torch.int64)

    def number(self, value: object) -> int:
        """Return the number of one id; 0 where it is not known."""
        return int(self.numbers([value])[0])

    def __len__(self) -> int:
        return 1 + len(self.known)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.known):,})"

    @cached_property
    def _index(self) -> dict[object, int]:
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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._counts}, from {self.low:g} to {self.high:g})"

    @property
    def _counts(self) -> str:
        return f"{len(self.users.known):,} users, {len(self.items.known):,} items"

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

    def pairs(self, users: Sequence[object], items: Sequence[object]) -> Tensor:
        """Return what a model takes: the numbers of users and items, int64 [n, 2].

        Args:
            users: n ids as a table holds them; those that training did not know become 0.
            items: n ids, the same.
        """
        return torch.stack([self.users.numbers(users), self.items.numbers(items)], dim=1)

    @property
    def missing_target(self) -> Tensor:
        """NaN."""
        return torch.full((1,), torch.nan)

    def encode(self, label: object) -> Tensor:
        """Return a rating as a target, float32 [1].

        Raises:
            InputError: it is no number.
        """
        try:
            if isinstance(label, str | SupportsFloat):
                return torch.tensor([float(label)])
        except (TypeError, ValueError):
            pass
        raise InputError(f"A rating must be a number; got {label!r}.")

    def decode_target(self, target: Tensor) -> float:
        """Return the rating."""
        return float(target)

    def move(self, target: Tensor, source_to_target: Homography) -> Tensor:
        """Return the target: there is no image to move with.

        Args:
            target: [1].
            source_to_target: not used.
        """
        return target

    @property
    def unit(self) -> float:
        """A quarter of the range of ratings, 1 for one to five stars: what errors are measured in while learning."""
        return (self.high - self.low) / 4 or 1.0

    def error(self, output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the squared error.

        Args:
            output: ratings [B] or [B, 1].
            target: ratings [B, 1], NaN where not known.
            reduction: over all pairs; "none" gives [B, 1].
        """
        return mean_squared_error(output.reshape(-1, 1), target.reshape(-1, 1), reduction=reduction)

    def loss(self, output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the squared error, whose gradient is that of the error in units of the range.

        So a learning rate, and the number that Adam adds to a denominator, mean the same whatever unit ratings have.

        Args:
            output: ratings [B] or [B, 1].
            target: ratings [B, 1], NaN where not known.
            reduction: over all pairs; "none" gives [B, 1].
        """
        error = self.error(output, target, reduction)
        if self.unit == 1 or not error.requires_grad:
            return error
        in_units = error / self.unit**2
        return in_units + (error - in_units).detach()

    def activate(self, output: Tensor) -> Tensor:
        """Return ratings [B, 1]."""
        return output.reshape(-1, 1)

    def decode(self, prediction: Tensor, target_to_source: Homography) -> list[float]:
        """Return the ratings.

        Args:
            prediction: ratings [B, 1].
            target_to_source: not used.
        """
        answers: list[float] = prediction.reshape(-1).tolist()
        return answers

    def metrics(self) -> Mapping[str, MetricFunction]:
        """Return none: the loss says it."""
        return {}

    def comparable(self, prediction: Tensor, labels: Sequence[float]) -> Tensor:
        """Return the ratings.

        Args:
            prediction: ratings [n, 1].
            labels: not used.
        """
        return prediction

    def report_metrics(self) -> Mapping[str, MetricFunction]:
        """Return RMSE and MAE."""
        return {"rmse": rmse, "mae": mae}

    def per_sample_error(self, comparable: Tensor, target: Tensor) -> Tensor:
        """Return the absolute errors.

        Args:
            comparable: ratings [n, 1].
            target: ratings [n, 1].
        """
        return (comparable.double() - target.double()).abs().reshape(-1)

    def metrics_by_output(self, comparable: Tensor, target: Tensor) -> MetricsByOutput:
        """Return nothing: ratings have no classes.

        Args:
            comparable: not used.
            target: not used.
        """
        return {}

    def draw(self, canvas: Canvas, label: float, truth: float | None = None) -> None:
        """Write the rating.

        Args:
            canvas: what is drawn on.
            label: the answer.
            truth: what it should have been.
        """
        lines = [label] if truth is None else [truth, label]
        canvas.title(*((f"{line:.3g}", INK) for line in lines))

    def to_row(self, prediction: Tensor, label: float) -> dict[str, object]:
        """Return the rating under its name.

        Args:
            prediction: not used.
            label: the rating.
        """
        return {self.columns[2]: label}

    def to_json(self, prediction: Tensor, label: float) -> dict[str, object]:
        """Return the rating under its name.

        Args:
            prediction: not used.
            label: the rating.
        """
        return self.to_row(prediction, label)

    def mix(self, first: Tensor, second: Tensor, weight: Tensor) -> None:
        """Ratings are not mixed.

        Args:
            first: not used.
            second: not used.
            weight: not used.
        """

    def to_dict(self) -> dict[str, object]:
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
        """Return the task that `to_dict` described."""
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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._counts})"

    def error(self, output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the binary cross-entropy.

        Args:
            output: logits [B] or [B, 1].
            target: 0 or 1 [B, 1], NaN where not known.
            reduction: over all pairs; "none" gives [B, 1].
        """
        return binary_cross_entropy(output.reshape(-1, 1), target.reshape(-1, 1), reduction=reduction)

    def loss(self, output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the binary cross-entropy.

        Args:
            output: logits [B] or [B, 1].
            target: 0 or 1 [B, 1], NaN where not known.
            reduction: over all pairs; "none" gives [B, 1].
        """
        return self.error(output, target, reduction)

    def report_metrics(self) -> Mapping[str, MetricFunction]:
        """Return none: the pairs of validation were all seen."""
        return {}

    def activate(self, output: Tensor) -> Tensor:
        """Return how likely it is that a pair is seen, [B, 1]."""
        return torch.sigmoid(output.reshape(-1, 1))


def _describe(task: Rating) -> str:
    user, item, rating = task.columns
    if isinstance(task, ImplicitFeedback):
        return f"Recommends by who had what: {item} for {user}."
    return f"Recommends {item} for {user}, and predicts the {rating} of a pair."


RATING = TaskKind(
    task=Rating,
    describe=_describe,
    answers="a rating",
    unit="rows",
    limits=("It knows users and items that were in its rows; somebody new is recommended to by what they like.",),
    verdict=card_verdict,
    ask={
        "command": "foveal recommend {file} --user USER",
        "somebody new": "foveal recommend {file} --liked TITLE",
        "Python": 'load_learner("{file}").recommend(USER)',
        "service": "foveal serve {file}",
    },
    predictor="foveal.collab.predictor:rating_predictor",
    exporter="foveal.collab.exporter:RatingExporter",
    endpoints="foveal.collab.service:add_ratings",
)
IMPLICIT = replace(RATING, task=ImplicitFeedback, answers="the probability that a user has an item")
