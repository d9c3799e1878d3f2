"""A task and a source format of another package: what a third party writes, and nothing of foveal is touched.

The task is ordinal: labels are grades in order, the loss is the cumulative one (Frank & Hall 2001, "A Simple Approach to
Ordinal Classification"; Cao et al. 2020, CORAL), and the answer is the grade with as many thresholds passed.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F

from foveal.metrics.common import declare_metric
from foveal.sources.formats import FORMATS, Match
from foveal.sources.items import Item, Source
from foveal.tasks.base import Decision
from foveal.tasks.kinds import BOOK, PROBE, TASKS, Confusion, TaskKind
from foveal.tasks.vocab import Vocab


@declare_metric(higher_is_better=False, takes="activated")
def mean_grade_error(probability, target):
    return ((probability > 0.5).sum(dim=1) - target).abs().double().mean()


@dataclass(frozen=True, slots=True)
class Ordinal:
    kind: ClassVar[str] = "ordinal"
    legend: ClassVar[str] = "first line: the truth; second line: the prediction"
    loss_name: ClassVar[str] = "cumulative cross-entropy"
    vocab: Vocab
    decision: Decision = field(default=Decision())

    @property
    def n_outputs(self):
        return len(self.vocab) - 1

    @property
    def names(self):
        return tuple(f"at least {name}" for name in self.vocab.names[1:])

    @property
    def y_range(self):
        return None

    @property
    def missing_target(self):
        return torch.tensor(-100)

    def with_decision(self, decision):
        return replace(self, decision=decision)

    def encode(self, label):
        return torch.tensor(self.vocab.index(str(label)))

    def decode_target(self, target):
        return self.vocab.names[int(target)]

    def move(self, target, source_to_target):
        return target

    def loss(self, output, target, reduction="mean"):
        steps = (target[:, None] > torch.arange(self.n_outputs, device=target.device)).to(output.dtype)
        losses = F.binary_cross_entropy_with_logits(output, steps, reduction="none").sum(dim=1)
        return {"none": losses, "sum": losses.sum(), "mean": losses.mean()}[reduction]

    def activate(self, output):
        return torch.sigmoid(output / self.decision.temperature)

    def decode(self, prediction, target_to_source):
        return [self.vocab.names[n] for n in (prediction > 0.5).sum(dim=1).tolist()]

    def metrics(self):
        return {}

    def comparable(self, prediction, labels):
        return prediction

    def report_metrics(self):
        return {"mean_grade_error": mean_grade_error}

    def per_sample_error(self, comparable, target):
        return ((comparable > 0.5).sum(dim=1) - target).abs().double()

    def metrics_by_output(self, comparable, target):
        rows = ((name, comparable[target == at], target[target == at]) for at, name in enumerate(self.vocab.names))
        return {"grades": {n: {"error": float(mean_grade_error(p, t)), "images": len(t)} for n, p, t in rows if len(t)}}

    def draw(self, canvas, label, truth=None):
        canvas.title(*((line, "#222222") for line in ([label] if truth is None else [truth, label])))

    def to_row(self, prediction, label):
        return {"predicted": label} | dict(zip(self.names, prediction.tolist(), strict=True))

    def to_json(self, prediction, label):
        return {"labels": [label], "probabilities": dict(zip(self.names, prediction.tolist(), strict=True))}

    def mix(self, first, second, weight):
        return None

    def to_dict(self):
        return {"kind": self.kind, "vocab": list(self.vocab.names), "decision": self.decision.to_dict()}

    @classmethod
    def from_dict(cls, stored):
        return cls(Vocab.from_json(stored["vocab"]), Decision.from_dict(stored["decision"]))


@dataclass(frozen=True, slots=True)
class OrdinalBlock:
    grades: tuple[str, ...] = ()

    def bind(self, labels):
        return Ordinal(Vocab(tuple(self.grades or sorted({str(label) for label in labels}))))


def counts(task, values, targets):
    answers = (values > 0.5).sum(dim=1)
    n = len(task.vocab)
    return torch.bincount(targets * n + answers, minlength=n * n).reshape(n, n)


def pairs(task, labels, targets):
    return Counter(
        (task.vocab.names[t], label)
        for label, t in zip(labels, targets.tolist(), strict=True)
        if task.vocab.names[t] != label
    )


def grades_in_folders(path):
    """A folder with a file GRADES.txt: lines of "image grade"."""
    listing = path / "GRADES.txt"
    if not listing.is_file():
        return None

    def read(options):
        rows = [line.split() for line in listing.read_text().splitlines()]
        items = [Item(path / name, grade, None, f"GRADES.txt, line {n}") for n, (name, grade) in enumerate(rows, 1)]
        return Source("graded folder", "ordinal", items)

    return Match(1.0, read)


def register():
    """Do what importing a package's entry point does."""
    TASKS.add(
        "ordinal",
        TaskKind(
            task=Ordinal,
            describe=lambda task: f"Grades an image from {task.vocab.names[0]} to {task.vocab.names[-1]}.",
            answers="the probability of reaching each grade but the first",
            label_form="name",
            block=lambda labels: OrdinalBlock(tuple(labels.vocab or ())),
            recipes={"probe": PROBE, "book": BOOK},
            confusion=Confusion(counts, pairs, ("truth", "answer")),
            limits=("Grades are in order; it answers with one for every image.",),
        ),
    )
    FORMATS.add("graded-folder", grades_in_folders)
