"""What the rest of foveal asks of a kind of task besides its targets: one `TaskKind` per kind, in the task's file.

Nothing outside asks which kind a task is. It asks whether the kind has what is needed (`has_classes`, `confusion`, ...)
and calls it. A kind of another package is registered by `TASKS.add(KIND.name, KIND)` in a module that the package names
under the entry point `foveal.tasks`; docs/extending.md shows how, and `tests/test_outside.py` takes one from table to
served page.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from foveal._moved import TASK_MEMBERS
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.registry import Registry
from foveal.tasks.vocab import ClassLabel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from foveal.geometry.homography import Homography
    from foveal.images.canvas import Canvas
    from foveal.losses import FlattenedLoss
    from foveal.tasks.base import AnyTask
    from foveal.tasks.display import ShownTensor
    from foveal.tasks.label_checks import Issue, LabelCheck

T = TypeVar("T", bound="AnyTask")
T_contra = TypeVar("T_contra", bound="AnyTask", contravariant=True)

LabelForm = Literal["names", "name", "points_xy", "numbers"]
"""How a source writes a label: class names, one class name, points [N, 2] in source pixels, or numbers [N]."""


@runtime_checkable
class TargetBlock(Protocol):
    """What a data block knows of its target before it has seen any labels."""

    def bind(self, labels: Iterable[object]) -> AnyTask:
        """Return the task that these labels of the training side teach (its vocabulary, its ranges).

        Raises:
            InputError: a label is of the wrong form.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLabels:
    """What is known of a source's labels before they are read.

    Attributes:
        vocab: the classes, where they do not come from the training side.
        point_names: what the points are called, in order.
        flip_pairs: names of points that change places in a mirrored image.
        target_names: what the numbers are called, in order.
    """

    vocab: Sequence[ClassLabel] | None = None
    point_names: Sequence[str] = ()
    flip_pairs: Sequence[tuple[str, str]] = ()
    target_names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """How `foveal train` and `vision_learner(recipe=...)` train unless told otherwise; measured in benchmarks/results.

    Attributes:
        head: of the model, see `vision_learner`.
        probe: whether the head is first fitted to frozen features.
        epochs: that train everything.
        lr: base learning rate.
        lr_mult: how much smaller the rate is at the input than at the head.
        freeze_epochs: that train the head alone before.
        least_side: pixels of a side of the input, at least, where the user sets no size: small things are found in
            larger images.
        head_alone_from: pixels of a side from which on few images train the head alone, for there epochs of everything
            were no better or worse than a larger input for less time; None: everything is trained at any size.
    """

    head: str
    probe: bool
    epochs: int
    lr: float
    lr_mult: float
    freeze_epochs: int
    least_side: int = 0
    head_alone_from: int | None = None

    def usual_epochs(self, n_images: int, size_hw: tuple[int, int]) -> int:
        """Return for how many epochs everything is trained where the user does not say.

        Args:
            n_images: of the training side.
            size_hw: (height, width) of the input in pixels.
        """
        is_enough = self.head_alone_from is not None and min(size_hw) >= self.head_alone_from
        return 0 if self.probe and is_enough and n_images <= _FEW_IMAGES else self.epochs


@dataclass(frozen=True, slots=True)
class LabelIssues(Generic[T]):
    """How labels that are probably wrong are found, and what a label becomes once they are mended.

    Attributes:
        find: a function that says how probably each label is wrong, of (task, answers [n, ...] as metrics compare them
            with labels, encoded labels [n, ...], spread of points [n, N] or None).
        mend: a function of (task, one encoded label [...], the issues about it) that returns a label.
    """

    find: Callable[[T, Tensor, Tensor, Tensor | None], LabelCheck]
    mend: Callable[[T, Tensor, Sequence[Issue]], object]


Confused = tuple[ClassLabel, ClassLabel]
"""The class that should have been answered, and the one that was."""


@dataclass(frozen=True, slots=True)
class Confusion(Generic[T]):
    """What is confused with what.

    Attributes:
        matrix: a function of (task, predictions [n, ...], encoded labels [n, ...]) that returns int64 [C, C], the truth
            down and the answer across, or [C, 2, 2], such a table of absent and present per class.
        pairs: a function of (task, n answers, encoded labels [n, ...]) that counts the pairs of classes that differ.
        head: what the two names of a pair are called, such as ("truth", "answer").
    """

    matrix: Callable[[T, Tensor, Tensor], Tensor]
    pairs: Callable[[T, Sequence[Any], Tensor], Counter[Confused]]
    head: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence(Generic[T_contra]):
    """How far each of the N answers for an image may be off; `foveal.tasks.confidence` asks it, for any task.

    Attributes:
        names: a function of a task that returns what the answers are called.
        spread: a function of (task, outputs [B, ...], predictions [B, ...], target_to_source [B, 3, 3]) that returns
            how far off the model takes each answer to be, float64 [B, N] in the unit of `error`, above 0.
        error: a function of (comparable, encoded labels) that returns how far each answer is off, float64 [n, N]; NaN
            where the truth is not known.
        to_row: a function of (task, radius [N]) that returns columns of a table.
        to_json: a function of (task, label, radius [N]) that returns what takes the place of entries of `to_json`.
        draw: a function of (canvas, label, radius [N]), coordinates and radii in the canvas's pixels; NaN for none.
        legend: how to read what `draw` draws; {percent} becomes the share of images.
    """

    names: Callable[[T_contra], Sequence[str]]
    spread: Callable[[T_contra, Tensor, Tensor, Homography], Tensor]
    error: Callable[[Tensor, Tensor], Tensor]
    to_row: Callable[[T_contra, NDArray[np.float64]], dict[str, object]]
    to_json: Callable[[T_contra, Any, NDArray[np.float64]], dict[str, object]]
    draw: Callable[[Canvas, Any, NDArray[np.float64]], None]
    legend: str


AnyConfidence = Confidence[Any]
"""The confidence of a task of which it is not known which class it is of."""


_FEW_IMAGES = 1500
"""Training images up to which the head alone was as good: measured on 259 to 1,096 (results/2026-11-27-recipe.md)."""
_ASK = {
    "command": "foveal predict {file} IMAGE",
    "Python": 'load_learner("{file}").predict("IMAGE")',
    "service": "foveal serve {file}",
    "other programs": "foveal export {file}",
}
PROBE = Recipe("linear", probe=True, epochs=4, lr=1e-3, lr_mult=10.0, freeze_epochs=0)
BOOK = Recipe("pooled", probe=False, epochs=5, lr=2e-3, lr_mult=100.0, freeze_epochs=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKind(Generic[T]):
    """What the rest asks of a kind of task. A capability that is None or False is one that the kind does not have.

    A kind that learns from images needs `task`, `describe`, `answers`, `label_form` and `block`, the rest is optional.

    Attributes:
        task: the class of its tasks; its `kind` is the name in bundles and settings.
        describe: a function of a task that returns one sentence on what a model answers, for its card.
        answers: what the numbers are that an exported model gives, in words.
        label_form: how a source of images writes its labels; None for a kind that is not trained on labels of images.
        block: a function of what is known of a source's labels that returns the target block for them.
        shown_as: how a target prints in a notebook.
        recipes: how `foveal train` trains: `probe`, and `book` for those who ask for it.
        crops: whether a label holds for a part of its image, so that training may crop it.
        has_classes: its names are classes: predictions are probabilities [n, C] and encoded labels class indices [n] or
            0 and 1 [n, C], so there are a temperature, splits that keep class rates, and counts of classes.
        has_thresholds: one threshold per class decides.
        has_score_per_class: each output is the logit of the class in its place, so that a probe may regress 0 and 1.
        has_points: answers are places in the image: heatmap heads, and the mean point as the answer to beat. Its tasks
            have `point_names`, a name per point.
        confidence: how far each answer may be off: a spread, and a radius that holds the truth.
        confusion: what is confused with what.
        weighted_loss: a function of a weight per class, [C], that returns the loss with them.
        label_issues: labels that are probably wrong.
        baselines: names of `report_metrics` that are also given for the mean point, under `mean_point_NAME`.
        limits: sentences on what to know of such a model, for its card.
        verdict: a function of (task, values of the headline metrics by name) that returns sentences on how well a model
            does, for its card.
        ask: how a model is asked, by who asks; {file} becomes the name of its file.
        unit: what its data consist of.
        predictor: "module:function" that makes its predictor from a bundle, where that is not `Predictor`.
        exporter: "module:class" that exports it, where that is not the one for images.
        endpoints: "module:function" that adds its addresses to the service, where they are not those for images.

    Raises:
        InputError: the class of its tasks lacks something of the protocol `Task`, or has it under its old name; or a
            recipe is missing.
    """

    task: type[T]
    describe: Callable[[T], str]
    answers: str = ""
    label_form: LabelForm | None = None
    block: Callable[[SourceLabels], TargetBlock] | None = None
    shown_as: type[ShownTensor] | None = None
    recipes: Mapping[str, Recipe] = field(default_factory=lambda: {"probe": PROBE, "book": BOOK})
    crops: bool = True
    has_classes: bool = False
    has_thresholds: bool = False
    has_score_per_class: bool = False
    has_points: bool = False
    confidence: Confidence[T] | None = None
    confusion: Confusion[T] | None = None
    weighted_loss: Callable[[Sequence[float]], FlattenedLoss] | None = None
    label_issues: LabelIssues[T] | None = None
    baselines: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    verdict: Callable[[T, Mapping[str, float | None]], Sequence[str]] | None = None
    ask: Mapping[str, str] = field(default_factory=lambda: _ASK)
    unit: str = "images"
    predictor: str | None = None
    exporter: str | None = None
    endpoints: str | None = None

    def __post_init__(self) -> None:
        require_protocol(self.task)
        if lacking := {"probe", "book"} - set(self.recipes):
            raise InputError(f"The kind of task `{self.name}` has no recipe {' and '.join(sorted(lacking))}.")

    @property
    def name(self) -> str:
        """What bundles and settings call it."""
        return self.task.kind

    @property
    def gives(self) -> Literal["points", "labels", "numbers", "answers"]:
        """What programs without foveal get for an image."""
        if self.has_points:
            return "points"
        return "labels" if self.has_classes else "numbers" if self.label_form == "numbers" else "answers"


AnyKind = TaskKind[Any]
"""A kind of which it is not known which class its tasks are of."""


def require_protocol(task: type[AnyTask]) -> None:
    """Refuse a class that is not a task.

    Raises:
        InputError: it lacks a member of the protocol `Task`; the message names it, and its old name where it has that.
    """
    from foveal.tasks.base import Task

    fields = {name for base in task.__mro__ for name in inspect.get_annotations(base)}
    for name in (*Task.__annotations__, *(name for name in vars(Task) if not name.startswith("_"))):
        if not hasattr(task, name) and name not in fields:
            old = TASK_MEMBERS.get(name)
            hint = f" It is what `{old}` was in version 0.1: rename that." if old and hasattr(task, old) else ""
            raise InputError(f"The task `{task.__name__}` has no `{name}`, which every task needs.{hint}")


TASKS: Registry[AnyKind] = Registry("task", group="foveal.tasks")
TASKS.add("multi-label", "foveal.tasks.multi_label:KIND")  # the first of a label form is what `--task auto` takes
TASKS.add("single-label", "foveal.tasks.single_label:KIND")
TASKS.add("points", "foveal.tasks.points:KIND")
TASKS.add("regression", "foveal.tasks.regression:KIND")


def kind_of(task: AnyTask) -> AnyKind:
    """Return what is known of the kind of a task.

    Raises:
        UnknownNameError: its `kind` is not registered.
    """
    return TASKS[task.kind]


def point_names_of(task: AnyTask) -> tuple[str, ...]:
    """Return what the points of a task are called, in order; none of a task without points."""
    names: tuple[str, ...] = getattr(task, "point_names", ())
    return names


def kind_for(form: LabelForm) -> str:
    """Return the name of the kind that labels of a form are for, where no task is given.

    Args:
        form: how the source writes them.
    """
    return next(name for name, kind in TASKS.items() if kind.label_form == form)


def form_of(name: str, *, usual: LabelForm) -> LabelForm:
    """Return how labels are to be read for a kind of task.

    Args:
        name: of the kind, or "auto".
        usual: what "auto" stands for.

    Raises:
        UnknownNameError: there is no such kind.
        InputError: it is one that is not trained on labels of images.
    """
    if name == "auto":
        return usual
    form = TASKS[name].label_form
    if form is None:
        raise InputError(f"A source of images says nothing for --task {name}.")
    return form


def has_classes(name: str) -> bool:
    """Return whether the labels of a kind, given by name, are class names; of no kind ("none") they are not."""
    kind = TASKS.find(name)
    return kind is not None and kind.has_classes


def require(what: str, task: AnyTask, *, has: str) -> AnyKind:
    """Return the kind of a task that has a capability.

    Args:
        what: what needs it, as a message begins.
        task: the task.
        has: the name of a field of `TaskKind`.

    Raises:
        InputError: it does not have it; the message names the kinds that do.
    """
    kind = kind_of(task)
    if not getattr(kind, has):
        able = ", ".join(name for name, other in TASKS.items() if getattr(other, has))
        raise InputError(f"{what} is for tasks of {able}; this task is {task.kind}.")
    return kind


def task_from_dict(stored: Mapping[str, object]) -> AnyTask:
    """Return the task that its `to_dict` described.

    Raises:
        UnknownNameError: a kind that neither this version nor an installed package knows.
    """
    kind = stored.get("kind")
    found = TASKS.find(kind) if isinstance(kind, str) else None
    if found is None:
        raise UnknownNameError.of("task", kind, TASKS, "A newer foveal, or another package, may know it.")
    task: AnyTask = found.task.from_dict(stored)
    return task
