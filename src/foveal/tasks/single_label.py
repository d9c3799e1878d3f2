"""One label per image: a softmax over the classes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from foveal.core.errors import InputError
from foveal.geometry.homography import Homography
from foveal.images.canvas import INK, RIGHT, WRONG, Canvas
from foveal.losses import IGNORED, CrossEntropyLossFlat, Reduction, cross_entropy
from foveal.metrics.common import MetricFunction
from foveal.metrics.one_label import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    error_rate,
    expected_calibration_error,
    f1_per_class,
    f1_score,
    recall_per_class,
    top_k_accuracy,
)
from foveal.tasks.base import Decision, MetricsByOutput, lerp
from foveal.tasks.columns import columns_for
from foveal.tasks.display import ShownTensor
from foveal.tasks.kinds import BOOK, PROBE, Confused, Confusion, LabelIssues, TaskKind
from foveal.tasks.label_checks import Issue, LabelCheck, check_one_class
from foveal.tasks.vocab import ClassLabel, Vocab, check_vocab, plain, vocab_of

_TOP = 5
_TINY = 1e-7  # keeps logarithms finite


class TensorCategory(ShownTensor):
    """The target of one label."""


@dataclass(frozen=True, slots=True)
class SingleLabel:
    """Targets are int64 class indices; a label is a class name."""

    kind: ClassVar[str] = "single-label"
    legend: ClassVar[str] = "first line: the truth; second line: the prediction"
    loss_name: ClassVar[str] = "CrossEntropyLoss"
    vocab: Vocab
    decision: Decision = field(default=Decision())

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

    def with_decision(self, decision: Decision) -> SingleLabel:
        """Return the same task with another decision."""
        return replace(self, decision=decision)

    @property
    def missing_target(self) -> Tensor:
        """`IGNORED`."""
        return torch.tensor(IGNORED)

    def encode(self, label: object) -> Tensor:
        """Return the index of a class, a scalar int64."""
        return torch.tensor(self.vocab.index(check_label(label)))

    def decode_target(self, target: Tensor) -> ClassLabel:
        """Return the class of an index; an unknown one is an empty text."""
        return self.vocab.values[int(target)] if target >= 0 else ""

    def move(self, target: Tensor, source_to_target: Homography) -> Tensor:
        """Return the target as it is.

        Args:
            target: a class index, a scalar.
            source_to_target: not used, there are no coordinates.
        """
        return target

    def loss(self, output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the cross-entropy.

        Args:
            output: logits [B, C].
            target: class indices int64 [B], `IGNORED` where not known, or of mixed images probabilities [B, C].
            reduction: over the images whose label is known; "none" gives [B].
        """
        return cross_entropy(output, target, reduction=reduction)

    def activate(self, output: Tensor) -> Tensor:
        """Return probabilities [B, C]."""
        temperature, form = self.decision.temperature, self.decision.outputs
        if form == "logits":
            return torch.softmax(output / temperature, dim=1)
        # A row of logarithms has nothing above 0; a loss such as NLLLoss is given rows of probabilities by mistake.
        likely = torch.where(output.amax(dim=1, keepdim=True) > 0, output, output.exp())
        return likely if temperature == 1 else torch.softmax(likely.clamp(min=_TINY).log() / temperature, dim=1)

    def decode(self, prediction: Tensor, target_to_source: Homography) -> list[ClassLabel]:
        """Return the most probable classes.

        Args:
            prediction: probabilities [B, C].
            target_to_source: not used.
        """
        return [self.vocab.values[i] for i in prediction.argmax(dim=1).tolist()]

    def metrics(self) -> Mapping[str, MetricFunction]:
        """Return accuracy and error rate."""
        return {"accuracy": accuracy, "error_rate": error_rate}

    def comparable(self, prediction: Tensor, labels: Sequence[ClassLabel]) -> Tensor:
        """Return the probabilities.

        Args:
            prediction: probabilities [n, C].
            labels: not used.
        """
        return prediction

    def report_metrics(self) -> Mapping[str, MetricFunction]:
        """Return accuracy of several kinds, F1 and calibration."""
        top = {f"top_{_TOP}_accuracy": partial(top_k_accuracy, k=_TOP)} if self.n_outputs > _TOP else {}
        plain: dict[str, MetricFunction] = {"accuracy": accuracy, "error_rate": error_rate}
        return (
            plain
            | top
            | {
                "balanced_accuracy": balanced_accuracy,
                "f1": f1_score,
                "expected_calibration_error": expected_calibration_error,
            }
        )

    def per_sample_error(self, comparable: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy.

        Args:
            comparable: probabilities [n, C].
            target: class indices [n], `IGNORED` where not known.
        """
        known = target != IGNORED
        likely = comparable.double().gather(1, torch.where(known, target, 0)[:, None])[:, 0]
        return torch.where(known, -likely.clamp(min=_TINY).log(), 0.0)

    def metrics_by_output(self, comparable: Tensor, target: Tensor) -> MetricsByOutput:
        """Return recall, F1 and positives of each class.

        Args:
            comparable: probabilities [n, C].
            target: class indices [n], `IGNORED` where not known.
        """
        columns = {
            "recall": recall_per_class(comparable, target).tolist(),
            "f1": f1_per_class(comparable, target).tolist(),
            "positives": [int((target == i).sum()) for i in range(self.n_outputs)],
        }
        rows = zip(*columns.values(), strict=True)
        return {"classes": {n: dict(zip(columns, row, strict=True)) for n, row in zip(self.names, rows, strict=True)}}

    def draw(self, canvas: Canvas, label: ClassLabel, truth: ClassLabel | None = None) -> None:
        """Write the name above the image.

        Args:
            canvas: the image.
            label: the name that was answered.
            truth: the name that should have been.
        """
        if truth is None:
            canvas.title((str(label), INK))
        else:
            canvas.title((str(truth), INK), (f"✓ {label}", RIGHT) if label == truth else (f"✗ {label}", WRONG))

    def to_row(self, prediction: Tensor, label: ClassLabel) -> dict[str, object]:
        """Return the name and a probability per class.

        Args:
            prediction: probabilities [C].
            label: the most probable name.
        """
        return {"predicted": label} | dict(zip(columns_for(self.names), prediction.tolist(), strict=True))

    def to_json(self, prediction: Tensor, label: ClassLabel) -> dict[str, object]:
        """Return the label and a probability per class.

        Args:
            prediction: probabilities [C].
            label: the most probable name.
        """
        return {"labels": [str(label)], "probabilities": dict(zip(self.names, prediction.tolist(), strict=True))}

    def mix(self, first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
        """Return class indices [B] mixed into class probabilities [B, C].

        Args:
            first: class indices int64 [B].
            second: class indices int64 [B].
            weight: of the first, [B].
        """
        return lerp(F.one_hot(first, self.n_outputs).float(), F.one_hot(second, self.n_outputs).float(), weight)

    def to_dict(self) -> dict[str, object]:
        """Return vocabulary and decision."""
        return {"kind": self.kind, "vocab": list(self.vocab.values), "decision": self.decision.to_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> SingleLabel:
        """Return the task that `to_dict` described."""
        return cls(Vocab.from_json(stored["vocab"]), Decision.from_dict(stored["decision"]))


def check_label(label: object) -> ClassLabel:
    """Return a class as a text or a number.

    Raises:
        InputError: it is a list (of several labels?) or missing.
    """
    if label is None or (isinstance(label, float) and math.isnan(label)):
        raise InputError("One label is expected for each image, got none (an empty cell?).")
    if isinstance(label, list | tuple | set | dict):
        raise InputError(f"One label is expected, got {label!r}. For several labels use MultiCategoryBlock.")
    return plain(label)


@dataclass(frozen=True, slots=True)
class CategoryBlock:
    """The target block for one class per image: a text, or a number where all are numbers.

    The model learns one logit per class with a softmax and cross-entropy.

    Attributes:
        vocab: the classes, in their order; those of the training side, sorted, by default.

    Examples:
        >>> from foveal.vision.all import *
        >>> task = CategoryBlock().bind(["dog", "cat", "dog"])
        >>> task.names, task.encode("dog")
        (('cat', 'dog'), tensor(1))
    """

    vocab: Sequence[ClassLabel] | None = None

    def __post_init__(self) -> None:
        check_vocab(self.vocab)

    def bind(self, labels: Iterable[object]) -> SingleLabel:
        """Return the task that these labels of the training side teach; a `DataBlock` calls it.

        Args:
            labels: one class each, with repetitions.

        Raises:
            InputError: a label is missing, or a list.
            NothingToLearnError: there is no label.

        Examples:
            >>> CategoryBlock(vocab=["low", "high"]).bind(["high"]).vocab.index("high")
            1
        """
        return SingleLabel(vocab_of(self.vocab, (check_label(label) for label in labels)))


def confusion_counts(task: SingleLabel, values: Tensor, targets: Tensor) -> Tensor:
    """Return how often each class was answered for each, int64 [C, C], the truth down.

    Args:
        task: with C classes.
        values: probabilities [n, C].
        targets: class indices [n].
    """
    return confusion_matrix(values, targets)


def confused_pairs(task: SingleLabel, labels: Sequence[ClassLabel], targets: Tensor) -> Counter[Confused]:
    """Return how often (truth, answer) differ.

    Args:
        task: with C classes.
        labels: the answers.
        targets: class indices [n].
    """
    classes = task.vocab.values
    pairs = (
        (classes[target], label) for label, target in zip(labels, targets.tolist(), strict=True) if target != IGNORED
    )
    return Counter((truth, answer) for truth, answer in pairs if truth != answer)


def find_wrong_labels(task: SingleLabel, values: Tensor, targets: Tensor, _: Tensor | None = None) -> LabelCheck:
    """Return how probably each label is wrong; see `check_one_class`."""
    return check_one_class(values, targets, task.names)


def mend_label(task: SingleLabel, target: Tensor, issues: Sequence[Issue]) -> str:
    """Return the class that the issue suggests.

    Args:
        task: with C classes.
        target: a class index.
        issues: about this target; the first one decides.
    """
    return issues[0].suggested


def _describe(task: SingleLabel) -> str:
    return f"Finds one of {task.n_outputs} classes in an image."


KIND = TaskKind(
    task=SingleLabel,
    describe=_describe,
    answers="a probability per class; the largest is the answer",
    label_form="name",
    block=lambda labels: CategoryBlock(labels.vocab),
    shown_as=TensorCategory,
    has_classes=True,
    has_score_per_class=True,
    recipes={"probe": replace(PROBE, head_alone_from=200), "book": BOOK},
    confusion=Confusion(confusion_counts, confused_pairs, ("truth", "answer")),
    weighted_loss=CrossEntropyLossFlat,
    label_issues=LabelIssues(find_wrong_labels, mend_label),
    limits=("It names one of its classes for every image, also for one that shows none of them.",),
)
