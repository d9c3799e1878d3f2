"""Several labels an image, none included: a sigmoid and a threshold a class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.geometry.homography import Homography
from foveal.images.canvas import INK, RIGHT, WRONG, Canvas
from foveal.losses import Reduction, binary_cross_entropy
from foveal.metrics.common import MetricFunction
from foveal.metrics.several_labels import (
    accuracy_multi,
    average_precision,
    exact_match,
    f1_multi,
    mean_average_precision,
    mean_roc_auc,
    precision_multi,
    recall_multi,
)
from foveal.tasks.base import Decision, lerp
from foveal.tasks.vocab import Vocab

NOTHING = "nothing found"
_TINY = 1e-7


@dataclass(frozen=True, slots=True)
class PartialLabels:
    """Labels of which some are not known to be present or absent: those are masked in loss and metrics."""

    present: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return iter(self.present)


@dataclass(frozen=True, slots=True)
class MultiLabel:
    """Targets are float32 [C], 1 where the label is present; a label is a list of class names."""

    kind: ClassVar[str] = "multi-label"
    legend: ClassVar[str] = "first line: the truth; second line: the prediction"
    loss_name: ClassVar[str] = "BCEWithLogitsLoss"
    vocab: Vocab
    decision: Decision = field(default=Decision())

    def __post_init__(self) -> None:
        if not self.decision.thresholds:
            object.__setattr__(self, "decision", replace(self.decision, thresholds=(0.5,) * len(self.vocab)))
        if (n := len(self.decision.thresholds)) != len(self.vocab):
            raise InputError(f"{len(self.vocab)} classes need a threshold each; got {n}.")

    @property
    def n_outputs(self) -> int:
        """One logit a class."""
        return len(self.vocab)

    @property
    def names(self) -> tuple[str, ...]:
        """The class names."""
        return self.vocab.names

    @property
    def y_range(self) -> None:
        """Logits are not squeezed."""
        return

    def with_decision(self, decision: Decision) -> MultiLabel:
        """Return the same task with another decision."""
        return replace(self, decision=decision)

    @property
    def unknown(self) -> Tensor:
        """NaN throughout."""
        return torch.full((len(self.vocab),), torch.nan)

    def encode(self, label: Any) -> Tensor:
        """Turn a list of class names, or `PartialLabels`, into a target."""
        values = np.zeros(len(self.vocab), dtype=np.float32)
        for name in label.unknown if isinstance(label, PartialLabels) else ():
            values[self.vocab.index(name)] = math.nan
        for name in check_labels(label):
            values[self.vocab.index(name)] = 1.0
        return torch.from_numpy(values)

    def decode_target(self, target: Tensor) -> list[str] | PartialLabels:
        """Return the names where the target is 1, and those that are unknown where there are any."""
        present = [self.vocab.names[i] for i in (target == 1).nonzero()[:, 0].tolist()]
        unknown = [self.vocab.names[i] for i in target.isnan().nonzero()[:, 0].tolist()]
        return PartialLabels(tuple(present), tuple(unknown)) if unknown else present

    def move(self, target: Tensor, frame: Homography) -> Tensor:
        """Labels stay as they are."""
        return target

    def loss(self, output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the binary cross-entropy."""
        return binary_cross_entropy(output, target, reduction=reduction)

    def activate(self, output: Tensor) -> Tensor:
        """Return probabilities [B, C]."""
        return torch.sigmoid(output / self.decision.temperature)

    def decode(self, prediction: Tensor, back: Homography) -> list[list[str]]:
        """Return the names whose probability passes their threshold."""
        passed = prediction > torch.tensor(self.decision.thresholds, device=prediction.device)
        return [[self.vocab.names[i] for i in row.nonzero()[:, 0].tolist()] for row in passed]

    def metrics(self) -> Mapping[str, MetricFunction]:
        """Return mean average precision and accuracy_multi."""
        return {"mean_average_precision": mean_average_precision, "accuracy_multi": accuracy_multi}

    def comparable(self, prediction: Tensor, labels: Sequence[list[str]]) -> Tensor:
        """Return the probabilities."""
        return prediction

    def figures(self) -> Mapping[str, MetricFunction]:
        """Return ranking figures, and those at the thresholds in force."""
        at = self._at_thresholds
        return {
            "mean_average_precision": mean_average_precision,
            "mean_roc_auc": mean_roc_auc,
            "f1": partial(f1_multi, **at),
            "precision": partial(precision_multi, **at),
            "recall": partial(recall_multi, **at),
            "accuracy_multi": partial(accuracy_multi, **at),
            "exact_match": partial(exact_match, **at),
        }

    @property
    def _at_thresholds(self) -> dict[str, Any]:
        return {"thresh": torch.tensor(self.decision.thresholds), "sigmoid": False}

    def per_sample_error(self, comparable: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy over the labels that are known."""
        known, likely = ~target.isnan(), comparable.double().clamp(_TINY, 1 - _TINY)
        losses = -torch.where(target == 1, likely, 1 - likely).log()
        return (losses * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)

    def parts(self, comparable: Tensor, target: Tensor) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        """Return average precision, precision and recall of each class, its threshold and its positives."""
        at: dict[str, Any] = self._at_thresholds | {"average": None}
        columns = {
            "average_precision": average_precision(comparable, target).tolist(),
            "precision": precision_multi(comparable, target, **at).tolist(),
            "recall": recall_multi(comparable, target, **at).tolist(),
            "threshold": list(self.decision.thresholds),
            "positives": (target == 1).sum(dim=0).tolist(),
        }
        rows = zip(*columns.values(), strict=True)
        return {"classes": {n: dict(zip(columns, row, strict=True)) for n, row in zip(self.names, rows, strict=True)}}

    def draw(self, canvas: Canvas, label: list[str], truth: list[str] | None = None) -> None:
        """Write the names above the image."""
        said = "; ".join(label) or NOTHING
        if truth is None:
            canvas.title((said, INK))
            return
        right = set(label) == set(truth)
        canvas.title(("; ".join(truth) or "nothing", INK), ("✓ " + said, RIGHT) if right else ("✗ " + said, WRONG))

    def to_row(self, prediction: Tensor, label: list[str]) -> dict[str, Any]:
        """Return the labels, joined by spaces or, where names hold spaces, by `;`, and a probability a class."""
        joint = ";" if any(" " in name for name in self.names) else " "
        return {"predicted": joint.join(label)} | dict(zip(self.names, prediction.tolist(), strict=True))

    def to_json(self, prediction: Tensor, label: list[str]) -> dict[str, Any]:
        """Return the labels found, none perhaps, and a probability a class."""
        return {"labels": label, "probabilities": dict(zip(self.names, prediction.tolist(), strict=True))}

    def mix(self, first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
        """Mix the targets."""
        return lerp(first, second, weight)

    def to_dict(self) -> dict[str, Any]:
        """Return vocabulary and decision."""
        return {"kind": self.kind, "vocab": list(self.names), "decision": self.decision.to_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> MultiLabel:
        """Rebuild it from `to_dict`."""
        return cls(Vocab.stored(stored["vocab"]), Decision.from_dict(stored["decision"]))


def all_names(label: Any) -> list[str]:
    """Return every class name in a label, those that are unknown for the image included."""
    return [*check_labels(label), *(label.unknown if isinstance(label, PartialLabels) else ())]


def check_labels(label: Any) -> list[str]:
    """Return a list of class names as a list of text.

    Raises:
        InputError: it is one text (was it meant to be split?) or no list.
    """
    if isinstance(label, str):
        raise InputError(
            f"Several labels are expected as a list of names, got the text {label!r}. "
            "Split it, for instance with `ColReader('labels', label_delim=' ')`, or use CategoryBlock for one label."
        )
    if not isinstance(label, Iterable):
        raise InputError(f"Several labels are expected as a list of names, got {label!r}.")
    return [str(name) for name in label]
