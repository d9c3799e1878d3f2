"""Several labels per image, or none: one sigmoid and one threshold per class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, TypedDict

import numpy as np
import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.geometry.homography import Homography
from foveal.images.canvas import INK, RIGHT, WRONG, Canvas
from foveal.losses import BCEWithLogitsLossFlat, Reduction, binary_cross_entropy
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
from foveal.tasks.columns import columns_for
from foveal.tasks.display import ShownTensor
from foveal.tasks.kinds import BOOK, PROBE, Confused, Confusion, LabelIssues, TaskKind
from foveal.tasks.label_checks import Issue, LabelCheck, check_several_classes
from foveal.tasks.label_lists import PartialLabels, all_classes, check_encoded, check_labels, looks_encoded
from foveal.tasks.vocab import ClassLabel, Vocab, check_vocab, vocab_of, warn_about_delimiter

NOTHING = "nothing found"
_TINY = 1e-7


class _AtThresholds(TypedDict):
    """Arguments of metrics that decide."""

    thresh: Tensor
    sigmoid: bool


class TensorMultiCategory(ShownTensor):
    """The target of several labels."""


@dataclass(frozen=True, slots=True)
class MultiLabel:
    """Targets are float32 [C], 1 where the label is present; a label is a list of classes.

    Attributes:
        vocab: the classes.
        decision: a threshold per class, and the temperature.
        reads_encoded: whether the labels of the source are 0 or 1 for each class; only `encode` asks.
    """

    kind: ClassVar[str] = "multi-label"
    legend: ClassVar[str] = "first line: the truth; second line: the prediction"
    loss_name: ClassVar[str] = "BCEWithLogitsLoss"
    vocab: Vocab
    decision: Decision = field(default=Decision())
    reads_encoded: bool = field(default=False, compare=False)

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
        """Return a list of classes, or `PartialLabels`, as float32 [C]; with `reads_encoded` 0 or 1 for each class."""
        if self.reads_encoded:
            return check_encoded(label, len(self.vocab))
        values = np.zeros(len(self.vocab), dtype=np.float32)
        for name in label.unknown if isinstance(label, PartialLabels) else ():
            values[self.vocab.index(name)] = math.nan
        for name in check_labels(label):
            values[self.vocab.index(name)] = 1.0
        return torch.from_numpy(values)

    def decode_target(self, target: Tensor) -> list[ClassLabel] | PartialLabels:
        """Return the classes where the target is 1, and those that are unknown where there are any."""
        present = [self.vocab.values[i] for i in (target == 1).nonzero()[:, 0].tolist()]
        unknown = [self.vocab.values[i] for i in target.isnan().nonzero()[:, 0].tolist()]
        return PartialLabels(tuple(present), tuple(unknown)) if unknown else present

    def move(self, target: Tensor, source_to_target: Homography) -> Tensor:
        """Return the target as it is.

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
        temperature, form = self.decision.temperature, self.decision.outputs
        if form == "probabilities":
            return output if temperature == 1 else torch.sigmoid(output.logit(_TINY) / temperature)
        return torch.sigmoid(output / temperature)

    def decode(self, prediction: Tensor, target_to_source: Homography) -> list[list[ClassLabel]]:
        """Return the classes whose probability is above their threshold.

        Args:
            prediction: probabilities [B, C].
            target_to_source: not used.
        """
        passed = prediction > torch.tensor(self.decision.thresholds, device=prediction.device)
        return [[self.vocab.values[i] for i in row.nonzero()[:, 0].tolist()] for row in passed]

    def metrics(self) -> Mapping[str, MetricFunction]:
        """Return mean average precision and accuracy_multi."""
        return {"mean_average_precision": mean_average_precision, "accuracy_multi": accuracy_multi}

    def comparable(self, prediction: Tensor, labels: Sequence[list[ClassLabel]]) -> Tensor:
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

    def draw(self, canvas: Canvas, label: list[ClassLabel], truth: list[ClassLabel] | None = None) -> None:
        """Write the names above the image.

        Args:
            canvas: the image.
            label: the names that were found.
            truth: the names that should have been.
        """
        names = "; ".join(map(str, label)) or NOTHING
        if truth is None:
            canvas.title((names, INK))
            return
        right = set(label) == set(truth)
        canvas.title(
            ("; ".join(map(str, truth)) or "nothing", INK), ("✓ " + names, RIGHT) if right else ("✗ " + names, WRONG)
        )

    def to_row(self, prediction: Tensor, label: list[ClassLabel]) -> dict[str, object]:
        """Return the labels, joined by spaces or, where names hold spaces, by `;`, and a probability per class.

        Args:
            prediction: probabilities [C].
            label: the names that were found.
        """
        joint = ";" if any(" " in name for name in self.names) else " "
        shares = zip(columns_for(self.names), prediction.tolist(), strict=True)
        return {"predicted": joint.join(map(str, label))} | dict(shares)

    def to_json(self, prediction: Tensor, label: list[ClassLabel]) -> dict[str, object]:
        """Return the labels found, possibly none, and a probability per class.

        Args:
            prediction: probabilities [C].
            label: the names that were found.
        """
        return {
            "labels": list(map(str, label)),
            "probabilities": dict(zip(self.names, prediction.tolist(), strict=True)),
        }

    def mix(self, first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
        """Return targets mixed in proportion, [B, C].

        Args:
            first: from 0 to 1 [B, C].
            second: from 0 to 1 [B, C].
            weight: of the first, [B].
        """
        return lerp(first, second, weight)

    def to_dict(self) -> dict[str, object]:
        """Return vocabulary and decision."""
        return {"kind": self.kind, "vocab": list(self.vocab.values), "decision": self.decision.to_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> MultiLabel:
        """Return the task that `to_dict` described."""
        return cls(Vocab.from_json(stored["vocab"]), Decision.from_dict(stored["decision"]))


@dataclass(frozen=True, slots=True)
class MultiCategoryBlock:
    """The target block for several classes per image, or none: a label is a list of classes.

    The model learns one logit per class with a sigmoid and binary cross-entropy; a class is found where its probability
    is above the threshold.

    Attributes:
        vocab: the classes, in their order; those of the training side, sorted, by default.
        encoded: whether labels are 0 or 1 for each class, in the order of `vocab`, which is then 0, 1, ... by default.

    Examples:
        >>> from foveal.vision.all import *
        >>> task = MultiCategoryBlock().bind([["dog", "cat"], [], ["horse"]])
        >>> task.names, task.encode(["horse", "cat"])
        (('cat', 'dog', 'horse'), tensor([1., 0., 1.]))
    """

    vocab: Sequence[ClassLabel] | None = None
    encoded: bool = False

    def __post_init__(self) -> None:
        check_vocab(self.vocab)

    def bind(self, labels: Iterable[object]) -> MultiLabel:
        """Return the task that these labels of the training side teach; a `DataBlock` calls it.

        Args:
            labels: a list of classes each; with `encoded` 0 or 1 for each class.

        Raises:
            InputError: a label is of the wrong form, or all are lists of 0 and 1 without `encoded`.
            NothingToLearnError: no label has a class.

        Examples:
            >>> from foveal.vision.all import *
            >>> task = MultiCategoryBlock(encoded=True, vocab=["cat", "dog"]).bind([[0, 1], [1, 1]])
            >>> task.decode_target(tensor([0.0, 1.0]))
            ['dog']
        """
        labels = list(labels)
        if self.encoded:
            first = labels[0] if labels else ()
            vocab = range(len(check_labels(first))) if self.vocab is None else self.vocab
            return MultiLabel(Vocab(tuple(vocab)), reads_encoded=True)
        found = [all_classes(label) for label in {id(label): label for label in labels}.values()]
        if looks_encoded(found):
            raise InputError(
                f"Every label is a list of {len(found[0])} numbers, 0 or 1. If they say of each class whether it is "
                "there, use MultiCategoryBlock(encoded=True, vocab=[...]); if they are the classes `0` and `1`, make "
                "them text."
            )
        if self.vocab is None and all(len(classes) <= 1 for classes in found):
            warn_about_delimiter({str(one) for classes in found for one in classes})
        return MultiLabel(vocab_of(self.vocab, (one for classes in found for one in classes)))


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


def confused_pairs(task: MultiLabel, labels: Sequence[list[ClassLabel]], targets: Tensor) -> Counter[Confused]:
    """Return in how many images one label is missed and another is found that is not there.

    Args:
        task: with C classes.
        labels: the answers.
        targets: float32 [n, C], NaN where unknown.
    """
    names, pairs = task.vocab.values, Counter[Confused]()
    for answer, target in zip(labels, targets, strict=True):
        missed = [name for name, t in zip(names, target, strict=True) if t == 1 and name not in answer]
        extra = [name for name, t in zip(names, target, strict=True) if t == 0 and name in answer]
        pairs.update((first, second) for first in missed for second in extra)
    return pairs


def find_wrong_labels(task: MultiLabel, values: Tensor, targets: Tensor, _: Tensor | None = None) -> LabelCheck:
    """Return how probably each label is wrong or missing; see `check_several_classes`."""
    return check_several_classes(values, targets, task.names)


def mend_label(task: MultiLabel, target: Tensor, issues: Sequence[Issue]) -> list[ClassLabel]:
    """Return the labels without those in question, and with those that are missing.

    Args:
        task: with C classes.
        target: float32 [C].
        issues: about this target.
    """
    wrong = {issue.given for issue in issues}
    return [
        *(name for name in task.decode_target(target) if str(name) not in wrong),
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
    has_score_per_class=True,
    recipes={"probe": replace(PROBE, head_alone_from=200), "book": BOOK},
    has_thresholds=True,
    confusion=Confusion(confusion_counts, confused_pairs, ("missed", "found in its place")),
    weighted_loss=BCEWithLogitsLossFlat,
    label_issues=LabelIssues(find_wrong_labels, mend_label),
    limits=("Where no class passes its threshold, it answers that nothing was found.",),
)
