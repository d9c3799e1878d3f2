"""What a model answered on its validation images, as counts, and how far what it is asked later differs from that.

Nothing of a single image is in it: `Tally` only counts, so that it can be written down where images may not be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from foveal.inference.prediction import Prediction
from foveal.inference.signals import DISTANCE, labels_of, signal_names
from foveal.metrics.bootstrap import Interval, share
from foveal.metrics.stability import LARGE, SMALL, stability_index
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of

_BINS = 10
_LEAST_IN_BIN = 10  # images of the reference, so that a bin is not mostly chance; chosen by hand
_LEAST = 30  # images asked, below which no change is reported; chosen by hand
LABELS = "labels"
"""The shift of which labels are answered, beside those of the signals."""

Count = Annotated[int, Field(ge=0)]
Change = Literal["none", "small", "large", "unclear"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Histogram(_Part):
    """Counts of a signal: below or at the first edge, up to the next ..., above the last."""

    edges: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = Field(max_length=_BINS)
    counts: list[Count]

    @model_validator(mode="after")
    def _of_one_length(self) -> Self:
        if len(self.counts) != len(self.edges) + 1 or any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("edges ascend, and there is one count more than edges")
        return self

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> Self:
        """Return a histogram whose bins hold about as many of the values each.

        Args:
            values: [n].
        """
        n_bins = min(_BINS, max(1, len(values) // _LEAST_IN_BIN))
        inner = np.quantile(values, np.arange(1, n_bins) / n_bins).tolist()
        empty = cls(edges=tuple(sorted(set(inner))), counts=[0] * (len(set(inner)) + 1))
        for value in values:
            empty.add(float(value))
        return empty

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[int(np.searchsorted(self.edges, value))] += 1

    def emptied(self) -> Histogram:
        """Return one with the same bins, and nothing in them."""
        return Histogram(edges=self.edges, counts=[0] * len(self.counts))


class Tally(_Part):
    """Counts of answers.

    Attributes:
        n: images.
        signals: a histogram by the name of each signal.
        labels: answers with each class; empty of points and numbers.
        unlabelled: answers without any class.
    """

    n: Count = 0
    signals: dict[str, Histogram] = Field(default_factory=dict)
    labels: dict[str, Count] = Field(default_factory=dict)
    unlabelled: Count = 0

    @property
    def label_counts(self) -> list[int]:
        """Answers with each class, and without any; empty of points and numbers."""
        return [*self.labels.values(), self.unlabelled] if self.labels else []

    def emptied(self) -> Tally:
        """Return one over the same bins and classes, with nothing counted."""
        signals = {name: histogram.emptied() for name, histogram in self.signals.items()}
        return Tally(signals=signals, labels=dict.fromkeys(self.labels, 0))

    def add(self, signals: Mapping[str, float], labels: Sequence[str]) -> None:
        """Count one answer.

        Args:
            signals: by name; those without a histogram are not counted.
            labels: the classes that were answered.
        """
        self.n += 1
        for name, histogram in self.signals.items():
            histogram.add(signals[name])
        if self.labels:
            self.unlabelled += not labels
            for label in labels:
                self.labels[label] += 1

    def add_all(self, other: Tally) -> None:
        """Count what another one over the same bins has counted.

        Raises:
            ValueError: its bins or classes are others.
        """
        mine, others = self.signals, other.signals
        same = list(self.labels) == list(other.labels) and list(mine) == list(others)
        if not same or any(mine[name].edges != others[name].edges for name in mine):
            raise ValueError("It counts in other bins or classes.")
        self.n, self.unlabelled = self.n + other.n, self.unlabelled + other.unlabelled
        for name, histogram in mine.items():
            histogram.counts = [a + b for a, b in zip(histogram.counts, others[name].counts, strict=True)]
        self.labels = {name: n + other.labels[name] for name, n in self.labels.items()}


@dataclass(frozen=True, slots=True)
class Shift:
    """How far a signal, or which labels are answered, differs from the reference.

    Attributes:
        name: of the signal, or `labels`.
        index: the population stability index, corrected for chance, with its 95% interval.
    """

    name: str
    index: Interval

    @property
    def change(self) -> Change:
        """`small` or `large` where the whole interval lies above 0.1 or 0.25; `none` where all is below 0.25."""
        if self.index.low > SMALL:
            return "large" if self.index.low > LARGE else "small"
        return "none" if self.index.high < LARGE else "unclear"


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a label is answered, where that has clearly changed: a share of images, with its interval."""

    label: str
    reference: float
    now: Interval


@dataclass(frozen=True, slots=True)
class Drift:
    """How far what is asked differs from the validation images.

    Attributes:
        n: images asked.
        n_reference: validation images.
        shifts: of each signal, and of the labels.
        rates: of labels that are clearly more or less frequent, the largest change first.
    """

    n: int
    n_reference: int
    shifts: tuple[Shift, ...]
    rates: tuple[Rate, ...]

    @property
    def change(self) -> Change:
        """The largest change of all shifts; `unclear` where none is clear and there are too few images for one."""
        found = {shift.change for shift in self.shifts}
        order: tuple[Change, ...] = ("large", "small", "unclear", "none")
        return next((one for one in order if one in found), "unclear")


def check_reference(reference: Tally, task: AnyTask) -> None:
    """Refuse counts that are not of a task's answers.

    Raises:
        ValueError: they count other classes or signals.
    """
    known = {*signal_names(task), DISTANCE}
    classes = list(task.names) if kind_of(task).has_classes else []
    if list(reference.labels) not in ([], classes) or not set(reference.signals) <= known:
        raise ValueError("its counts of validation answers are not those of its task.")


def count_answer(tally: Tally, task: AnyTask, prediction: Prediction) -> None:
    """Count an answer.

    Args:
        tally: over the task's signals and classes.
        task: of the answer.
        prediction: of a model whose bundle holds a reference.
    """
    signals = [] if prediction.signals is None else prediction.signals.tolist()
    named = dict(
        zip((*signal_names(task), DISTANCE), signals, strict=False)
    )  # a model without features has no distance
    tally.add(named, labels_of(task, prediction.decoded))


def drift_of(reference: Tally, asked: Tally) -> Drift:
    """Compare what was asked with the reference.

    Args:
        reference: of the validation images.
        asked: over the same bins and classes.

    Returns:
        A shift per signal and label, and the labels whose rates changed; both empty where too little was asked.
    """
    if asked.n < _LEAST:
        return Drift(asked.n, reference.n, (), ())
    before, now = (
        {name: histogram.counts for name, histogram in one.signals.items()} | {LABELS: one.label_counts}
        for one in (reference, asked)
    )
    shifts = tuple(Shift(name, stability_index(before[name], now[name])) for name in before if before[name])
    return Drift(asked.n, reference.n, shifts, tuple(_changed_rates(reference, asked)))


def _changed_rates(reference: Tally, asked: Tally) -> list[Rate]:
    """Return the labels whose intervals lie apart, so wide that with 95% none does so by chance (Bonferroni)."""
    found = []
    level = 1 - 0.05 / max(1, len(reference.labels))
    for label, n in reference.labels.items():
        before, now = share(n, reference.n, level), share(asked.labels[label], asked.n, level)
        if before.high < now.low or now.high < before.low:
            found.append(Rate(label, before.value, now))
    return sorted(found, key=lambda rate: -abs(rate.now.value - rate.reference))
