"""Several labels per image, or none: one sigmoid and one threshold per class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, TypedDict

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
    counts_per_class,
    exact_match,
    f1_multi,
    mean_average_precision,
    mean_roc_auc,
    precision_multi,
    recall_multi,
)
from foveal.tasks.base import Decision, MetricsByOutput, lerp
from foveal.tasks.display import ShownTensor
from foveal.tasks.kinds import Confusion, Issue, LabelIssues, TaskKind
from foveal.tasks.vocab import Vocab, vocab_of, warn_about_delimiter

NOTHING = "nothing found"
_TINY = 1e-7
_FEWEST = 5  # images with and without a label from which their average says something; chosen by hand
_COMPETENT = 0.5  # average precision from which a model may question a label; chosen by hand


@dataclass(frozen=True, slots=True)
class PartialLabels:
    """Labels of which some are not known to be present or absent: those are masked in loss and metrics."""

    present: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return iter(self.present)


class _AtThresholds(TypedDict):
    """Arguments of metrics that decide."""

    thresh: Tensor
    sigmoid: bool


class TensorMultiCategory(ShownTensor):
    """The target of several labels."""


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
        """One logit per class."""
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
    def missing_target(self) -> Tensor:
        """NaN throughout."""
        return torch.full((len(self.vocab),), torch.nan)

    def encode(self, label: object) -> Tensor:
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

    def move(self, target: Tensor, source_to_target: Homography) -> Tensor:
        """Labels stay as they are.

        Args:
            target: [C].
            source_to_target: not used, there are no coordinates.
        """
        return target

    def loss(self, output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the binary cross-entropy.

        Args:
            output: logits [B, C].
            target: from 0 to 1 [B, C], NaN where not known.
            reduction: over all labels that are known; "none" gives [B, C].
        """
        return binary_cross_entropy(output, target, reduction=reduction)

    def activate(self, output: Tensor) -> Tensor:
        """Return probabilities [B, C]."""
        return torch.sigmoid(output / self.decision.temperature)

    def decode(self, prediction: Tensor, target_to_source: Homography) -> list[list[str]]:
        """Return the names whose probability is above their threshold.

        Args:
            prediction: probabilities [B, C].
            target_to_source: not used.
        """
        passed = prediction > torch.tensor(self.decision.thresholds, device=prediction.device)
        return [[self.vocab.names[i] for i in row.nonzero()[:, 0].tolist()] for row in passed]

    def metrics(self) -> Mapping[str, MetricFunction]:
        """Return mean average precision and accuracy_multi."""
        return {"mean_average_precision": mean_average_precision, "accuracy_multi": accuracy_multi}

    def comparable(self, prediction: Tensor, labels: Sequence[list[str]]) -> Tensor:
        """Return the probabilities.

        Args:
            prediction: probabilities [n, C].
            labels: not used.
        """
        return prediction

    def report_metrics(self) -> Mapping[str, MetricFunction]:
        """Return ranking metrics, and those at the thresholds in force."""
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
    def _at_thresholds(self) -> _AtThresholds:
        return {"thresh": torch.tensor(self.decision.thresholds), "sigmoid": False}

    def per_sample_error(self, comparable: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy over the labels that are known.

        Args:
            comparable: probabilities [n, C].
            target: 0 or 1 [n, C], NaN where not known.
        """
        known, likely = ~target.isnan(), comparable.double().clamp(_TINY, 1 - _TINY)
        losses = -torch.where(target == 1, likely, 1 - likely).log()
        return (losses * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)

    def metrics_by_output(self, comparable: Tensor, target: Tensor) -> MetricsByOutput:
        """Return average precision, precision and recall of each class, its threshold and its positives.

        Args:
            comparable: probabilities [n, C].
            target: 0 or 1 [n, C], NaN where not known.
        """
        at = self._at_thresholds
        columns = {
            "average_precision": average_precision(comparable, target).tolist(),
            "precision": precision_multi(comparable, target, average=None, **at).tolist(),
            "recall": recall_multi(comparable, target, average=None, **at).tolist(),
            "threshold": list(self.decision.thresholds),
            "positives": (target == 1).sum(dim=0).tolist(),
        }
        rows = zip(*columns.values(), strict=True)
        return {"classes": {n: dict(zip(columns, row, strict=True)) for n, row in zip(self.names, rows, strict=True)}}

    def draw(self, canvas: Canvas, label: list[str], truth: list[str] | None = None) -> None:
        """Write the names above the image.

        Args:
            canvas: the image.
            label: the names that were found.
            truth: the names that should have been.
        """
        names = "; ".join(label) or NOTHING
        if truth is None:
            canvas.title((names, INK))
            return
        right = set(label) == set(truth)
        canvas.title(("; ".join(truth) or "nothing", INK), ("✓ " + names, RIGHT) if right else ("✗ " + names, WRONG))

    def to_row(self, prediction: Tensor, label: list[str]) -> dict[str, object]:
        """Return the labels, joined by spaces or, where names hold spaces, by `;`, and a probability per class.

        Args:
            prediction: probabilities [C].
            label: the names that were found.
        """
        joint = ";" if any(" " in name for name in self.names) else " "
        return {"predicted": joint.join(label)} | dict(zip(self.names, prediction.tolist(), strict=True))

    def to_json(self, prediction: Tensor, label: list[str]) -> dict[str, object]:
        """Return the labels found, possibly none, and a probability per class.

        Args:
            prediction: probabilities [C].
            label: the names that were found.
        """
        return {"labels": label, "probabilities": dict(zip(self.names, prediction.tolist(), strict=True))}

    def mix(self, first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
        """Mix the targets.

        Args:
            first: from 0 to 1 [B, C].
            second: from 0 to 1 [B, C].
            weight: of the first, [B].
        """
        return lerp(first, second, weight)

    def to_dict(self) -> dict[str, object]:
        """Return vocabulary and decision."""
        return {"kind": self.kind, "vocab": list(self.names), "decision": self.decision.to_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> MultiLabel:
        """Rebuild it from `to_dict`."""
        return cls(Vocab.from_json(stored["vocab"]), Decision.from_dict(stored["decision"]))


def all_names(label: object) -> list[str]:
    """Return every class name in a label, those that are unknown for the image included."""
    return [*check_labels(label), *(label.unknown if isinstance(label, PartialLabels) else ())]


def check_labels(label: object) -> list[str]:
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


@dataclass(frozen=True, slots=True)
class MultiCategoryBlock:
    """The target is a list of class names, possibly empty. A `vocab` that is given keeps its order."""

    vocab: Sequence[str] | None = None

    def bind(self, labels: Iterable[object]) -> MultiLabel:
        """Return the task that these training labels teach."""
        labels = list(labels)
        found = [all_names(label) for label in {id(label): label for label in labels}.values()]
        if self.vocab is None and all(len(names) <= 1 for names in found):
            warn_about_delimiter({name for names in found for name in names})
        return MultiLabel(vocab_of(self.vocab, (name for names in found for name in names)))


def confusion_counts(task: MultiLabel, values: Tensor, targets: Tensor) -> Tensor:
    """Return a table per class, [C, 2, 2]: the truth down, the answer across, absent before present.

    Args:
        task: with C classes and their thresholds.
        values: probabilities [n, C].
        targets: float32 [n, C], NaN where unknown.
    """
    thresholds = torch.tensor(task.decision.thresholds)
    hits, alarms, misses, silences = counts_per_class(values, targets, thresholds, sigmoid=False)
    return torch.stack([torch.stack([silences, alarms], dim=1), torch.stack([misses, hits], dim=1)], dim=1)


def confused_pairs(task: MultiLabel, labels: Sequence[list[str]], targets: Tensor) -> Counter[tuple[str, str]]:
    """Return in how many images one label is missed and another is found that is not there.

    Args:
        task: with C classes.
        labels: the answers.
        targets: float32 [n, C], NaN where unknown.
    """
    names, pairs = task.names, Counter[tuple[str, str]]()
    for answer, target in zip(labels, targets, strict=True):
        missed = [name for name, t in zip(names, target, strict=True) if t == 1 and name not in answer]
        extra = [name for name, t in zip(names, target, strict=True) if t == 0 and name in answer]
        pairs.update((first, second) for first in missed for second in extra)
    return pairs


def label_issues(task: MultiLabel, values: Tensor, targets: Tensor) -> Iterator[Issue]:
    """Yield labels that are probably wrong or missing.

    A given label is an issue where its probability is at most the average of images without it; an absent one where
    its probability is at least the average of images with it. Source: Northcutt et al. 2021, "Confident Learning:
    Estimating Uncertainty in Dataset Labels", class by class.

    Args:
        task: with C classes.
        values: probabilities [n, C].
        targets: float32 [n, C], NaN where unknown.
    """
    precision = average_precision(values, targets)
    for c, name in enumerate(task.names):
        value, target = values[:, c], targets[:, c]
        there, absent = value[target == 1], value[target == 0]
        if len(there) < _FEWEST or len(absent) < _FEWEST or float(precision[c]) < _COMPETENT:
            continue
        usual, background = float(there.mean()), float(absent.mean())
        for index, (v, t) in enumerate(zip(value.tolist(), target.tolist(), strict=True)):
            if t == 0 and v >= usual:
                yield Issue(index, "", name, v)
            elif t == 1 and v <= background:
                yield Issue(index, name, "", 1 - v)


def mend_label(task: MultiLabel, target: Tensor, issues: Sequence[Issue]) -> list[str]:
    """Return the labels without those in question, and with those that are missing.

    Args:
        task: with C classes.
        target: float32 [C].
        issues: about this target.
    """
    wrong = {issue.given for issue in issues}
    return [
        *(name for name in task.decode_target(target) if name not in wrong),
        *(issue.suggested for issue in issues if issue.suggested),
    ]


def _describe(task: MultiLabel) -> str:
    return f"Finds any number of {task.n_outputs} classes in an image."


KIND = TaskKind(
    task=MultiLabel,
    describe=_describe,
    answers="a probability per class; a class is found where it passes its threshold of the task's decision",
    label_form="names",
    block=lambda labels: MultiCategoryBlock(labels.vocab),
    shown_as=TensorMultiCategory,
    has_classes=True,
    has_thresholds=True,
    confusion=Confusion(confusion_counts, confused_pairs, ("missed", "found in its place")),
    label_issues=LabelIssues(label_issues, mend_label),
    limits=("Where no class passes its threshold, it answers that nothing was found.",),
)
