"""Cleaning: a person looks at the images with the largest losses, class by class, and marks what is wrong.

Marks are kept by file, also while another class is shown. Nothing is moved or deleted until `apply` is told to.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path as SystemPath
from typing import Any, Literal, NamedTuple, Self

from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError
from foveal.core.listing import L, Path
from foveal.core.tables import check_table, write_table
from foveal.evaluation.interpret import Interpretation, Learned
from foveal.images.decode import name_of
from foveal.tasks.kinds import require
from foveal.tasks.vocab import ClassLabel, classes_of, names_of, plain

KEEP, DELETE = "<Keep>", "<Delete>"
"""What an image is marked with that stays as it is, or goes."""
SIDES = ("Train", "Valid")
_TINY = 1e-7

Label = ClassLabel | tuple[ClassLabel, ...]
"""One class; where an image has several labels all of them, in the order of the classes."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that is shown.

    Attributes:
        file: where it lies.
        label: that it has now.
        loss: of its label; where an image has several labels, of the class that is shown alone.
        answer: what the model answers.
    """

    file: Path
    label: Label
    loss: float
    answer: Label


class CleaningDecision(NamedTuple):
    """What a person decided about an image.

    Attributes:
        file: where it lies.
        action: what is to be done.
        label: that it has now.
        new_label: that it is to have; the same where it is to be deleted.
    """

    file: Path
    action: Literal["delete", "relabel"]
    label: Label
    new_label: Label


class Cleaning:
    """The images of each side and class, the largest loss first, and what a person marks them with.

    Of one label, a class shows the images that have it, by the loss of their label. Of several labels, it shows all
    images, by the loss of that class alone: those that lack the label wrongly are found as well.

    Attributes:
        sides: names of the sides.
        several: whether an image has several labels.
        categories: the classes, of which one is shown at a time.
        labels: that an image can be given: the classes, and others.
        candidates: the images that are shown.
    """

    def __init__(self, sides: Mapping[str, Interpretation], opts: Iterable[ClassLabel] = (), max_n: int = 30) -> None:
        """Take the predictions of each side.

        Args:
            sides: by name.
            opts: labels that an image can be given besides the classes.
            max_n: at most so many images are shown.

        Raises:
            InputError: the task has no classes, images are not files, or a class has a reserved name.
        """
        self._sides = dict(sides)
        predictions = next(iter(self._sides.values())).predictions
        self.several = require("Cleaning", predictions.task, has="has_classes").has_thresholds
        self.sides = tuple(self._sides)
        self.categories = tuple(classes_of(predictions.task))
        self.labels = tuple(dict.fromkeys((*self.categories, *map(plain, opts))))
        if reserved := {KEEP, DELETE} & set(map(str, self.labels)):
            raise InputError(f"No label can be called {' or '.join(sorted(reserved))}: it says what to do.")
        for side in self._sides.values():
            for image in side.predictions.images:
                if not isinstance(image, str | os.PathLike):
                    raise InputError(f"Images that are cleaned must be files; {name_of(image)} is not.")
        self._max_n, self._marks = max_n, dict[SystemPath, tuple[Label, Label | None]]()
        self.candidates: tuple[Candidate, ...] = ()
        self.show(self.sides[0], self.categories[0])

    @classmethod
    def from_learner(cls, learn: Learned, opts: Iterable[ClassLabel] = (), max_n: int = 30) -> Self:
        """Return the cleaning of the sides of the split that have images, with the learner's answers for them.

        Args:
            learn: answers.
            opts: labels that an image can be given besides the classes.
            max_n: at most so many images are shown.
        """
        there = [(at, name) for at, name in enumerate(SIDES) if len(learn.dls[at].dataset)]
        return cls({name: Interpretation.from_learner(learn, at) for at, name in there}, opts, max_n)

    def show(self, side: str, category: ClassLabel) -> None:
        """Choose the images that are shown; files that are not there any more are left out.

        Args:
            side: its name.
            category: the class.

        Raises:
            UnknownNameError: there is no such side or class.
        """
        if side not in self._sides:
            raise UnknownNameError.of("side", side, self.sides)
        if category not in self.categories:
            raise UnknownNameError.of("class", category, self.categories)
        found = self._sides[side].predictions
        losses, of_class = self._losses(self._sides[side], self.categories.index(category))
        order = losses.argsort(descending=True, stable=True).tolist()
        chosen = (at for at in order if of_class[at] and SystemPath(str(found.images[at])).exists())
        self.candidates = tuple(
            Candidate(
                Path(str(found.images[at])),
                self._label(found.task.decode_target(found.targets[at])),
                float(losses[at]),
                self._label(found.labels[at]),
            )
            for at, _ in zip(chosen, range(self._max_n), strict=False)
        )

    def _losses(self, side: Interpretation, c: int) -> tuple[Tensor, Tensor]:
        """Return the losses by which a class is sorted, [n], and whether an image belongs to it."""
        targets = side.predictions.targets
        if not self.several:
            return side.losses, targets == c
        target, likely = targets[:, c], side.predictions.values[:, c].double().clamp(_TINY, 1 - _TINY)
        return -(target * likely.log() + (1 - target) * (1 - likely).log()), ~target.isnan()

    def _label(self, label: Any) -> Label:
        """Return a label as it is compared and kept."""
        if not self.several:
            return plain(label)
        given = {plain(one) for one in ([label] if isinstance(label, str) else label)}
        if unknown := given - set(self.labels):
            raise UnknownNameError.of("label", min(map(str, unknown)), self.labels)
        return tuple(one for one in self.labels if one in given)

    @property
    def fns(self) -> L[Path]:
        """The files of the images that are shown; `delete` and `change` say which of them are meant."""
        return L([candidate.file for candidate in self.candidates])

    def mark(self, index: int, decision: Any) -> None:
        """Say what to do with an image that is shown.

        Args:
            index: among those that are shown.
            decision: `<Keep>`, `<Delete>`, or the label that it is to have: one, or all of several.

        Raises:
            UnknownNameError: it is no label.
        """
        candidate = self.candidates[index]
        if decision == DELETE:
            self._marks[candidate.file] = candidate.label, None
            return
        label = candidate.label if decision == KEEP else self._label(decision)
        if not self.several and label not in self.labels:
            raise UnknownNameError.of("label", label, (KEEP, DELETE, *self.labels))
        if label == candidate.label:
            self._marks.pop(candidate.file, None)
        else:
            self._marks[candidate.file] = candidate.label, label

    def mark_of(self, index: int) -> Any:
        """Return what an image that is shown is marked with: `<Keep>`, `<Delete>`, or a label."""
        marked = self._marks.get(self.candidates[index].file)
        return KEEP if marked is None else DELETE if marked[1] is None else marked[1]

    def delete(self) -> L[int]:
        """Return which of the images that are shown are to be deleted, and are still there."""
        return L([at for at in range(len(self.candidates)) if self.mark_of(at) == DELETE and self._is_there(at)])

    def change(self) -> L[tuple[int, Label]]:
        """Return (index, new label) of the images that are shown, are to be relabelled, and are still there."""
        marks = [(at, self.mark_of(at)) for at in range(len(self.candidates))]
        return L([(at, mark) for at, mark in marks if mark not in {KEEP, DELETE} and self._is_there(at)])

    def _is_there(self, index: int) -> bool:
        return bool(self.candidates[index].file.exists())

    def decisions(self) -> L[CleaningDecision]:
        """Return all decisions, whatever is shown, about files that are still there."""
        marks = [(Path(file), *mark) for file, mark in self._marks.items() if file.exists()]
        return L(
            [
                CleaningDecision(file, "relabel" if new is not None else "delete", label, label if new is None else new)
                for file, label, new in marks
            ]
        )

    def apply(
        self, table: str | os.PathLike[str] | None = None, *, delete: bool = False, move: bool = False
    ) -> L[CleaningDecision]:
        """Do what was decided, as far as it is told here.

        Args:
            table: a .csv, .jsonl or .parquet to write all decisions to: fname, action, label, new_label.
            delete: whether to delete files, for good.
            move: whether to move files that are relabelled from their class' folder to that of the new label.

        Returns:
            The decisions that this was about.

        Raises:
            InputError: nothing is to be done, files lie in no folders of classes, or one of the name is there already;
                then nothing was deleted or moved.
        """
        if table is None and not delete and not move:
            raise InputError("Say what to do: apply('decisions.csv'), apply(delete=True) or apply(move=True).")
        decisions = self.decisions()
        if not decisions:
            raise InputError("Nothing is marked.")
        if table is not None:
            check_table(SystemPath(table))
        targets = self._targets(decisions) if move else {}
        if table is not None:
            write_table(SystemPath(table), map(_row, decisions))
        for decision in decisions:
            if decision.action == "delete" and delete:
                decision.file.unlink()
            elif target := targets.get(decision.file):
                target.parent.mkdir(exist_ok=True)
                decision.file.rename(target)
        return decisions

    def _targets(self, decisions: Iterable[CleaningDecision]) -> dict[SystemPath, SystemPath]:
        """Return where each file that is relabelled goes.

        Raises:
            InputError: an image has several labels or lies in no folder of its class, or a file of its name is there
                already.
        """
        if self.several:
            raise InputError("Images with several labels lie in no folder of a class: write a table, apply('new.csv').")
        targets: dict[SystemPath, SystemPath] = {}
        for file, action, label, new_label in decisions:
            if action == "delete":
                continue
            if file.parent.name != str(label):
                raise InputError(f"`{file}` has the label {label!r} but does not lie in a folder of that name.")
            target = file.parent.parent / str(new_label) / file.name
            if target.exists() or target in targets.values():
                raise InputError(f"`{file}` cannot be moved: there is a `{target}` already.")
            targets[file] = target
        return targets


def _row(decision: CleaningDecision) -> dict[str, object]:
    cells = {name: getattr(decision, name) for name in ("label", "new_label")}
    joint = ";" if any(" " in one for label in cells.values() for one in names_of(label)) else " "
    texts = {name: joint.join(names_of(label)) if isinstance(label, tuple) else label for name, label in cells.items()}
    return {"fname": str(decision.file), "action": decision.action} | texts
