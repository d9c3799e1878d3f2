"""What the rest of foveal asks of a kind of task besides its targets: one `TaskKind` per kind, in the task's file.

Nothing outside asks which kind a task is. It asks whether the kind has what is needed (`has_classes`, `confusion`, ...)
and calls it. A kind of another package is registered by `TASKS.add` from a module that the package names under the
entry point `foveal.tasks`; `tests/test_outside.py` shows one from table to served page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from foveal.core.errors import InputError, UnknownNameError
from foveal.core.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.tasks.base import Task
    from foveal.tasks.display import ShownTensor

LabelForm = Literal["names", "name", "points_xy", "numbers"]
"""How a source writes a label: class names, one class name, points [N, 2] in source pixels, or numbers [N]."""


@runtime_checkable
class TargetBlock(Protocol):
    """The target's recipe in a data block."""

    def bind(self, labels: Iterable[Any]) -> Task[Any]:
        """Return the task that these training labels teach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLabels:
    """What is known of a source's labels before they are read.

    Attributes:
        vocab: the classes, where they do not come from the training side.
        point_names: what the points are called, in order.
        flip_pairs: names of points that change places in a mirrored image.
        target_names: what the numbers are called, in order.
    """

    vocab: Sequence[str] | None = None
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
    """

    head: str
    probe: bool
    epochs: int
    lr: float
    lr_mult: float
    freeze_epochs: int


class Issue(NamedTuple):
    """A label that is probably wrong.

    Attributes:
        position: of the image in the dataset.
        given: the label in question; empty where one is missing.
        suggested: what the model answers instead; empty where nothing takes its place.
        confidence: the probability of the suggestion, or against the label given.
    """

    position: int
    given: str
    suggested: str
    confidence: float


@dataclass(frozen=True, slots=True)
class LabelIssues:
    """How labels that are probably wrong are found, and what a label becomes once they are mended.

    Attributes:
        find: of (task, probabilities [n, C], encoded labels).
        mend: of (task, encoded label, the issues about it); returns a label.
    """

    find: Callable[[Any, Tensor, Tensor], Iterable[Issue]]
    mend: Callable[[Any, Tensor, Sequence[Issue]], Any]


@dataclass(frozen=True, slots=True)
class Confusion:
    """What is confused with what.

    Attributes:
        matrix: of (task, probabilities [n, C], encoded labels): counts [C, C], the truth down, or a 2 x 2 table per
            class [C, 2, 2].
        pairs: of (task, answers, encoded labels): how often which name stands for which.
        head: what the two names of a pair are called.
    """

    matrix: Callable[[Any, Tensor, Tensor], Tensor]
    pairs: Callable[[Any, Sequence[Any], Tensor], Counter[tuple[str, str]]]
    head: tuple[str, str]


PROBE = Recipe("linear", probe=True, epochs=4, lr=1e-3, lr_mult=10.0, freeze_epochs=0)
BOOK = Recipe("pooled", probe=False, epochs=5, lr=2e-3, lr_mult=100.0, freeze_epochs=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKind:
    """What the rest asks of a kind of task. A capability that is None or False is one that the kind does not have.

    Attributes:
        task: the class of its tasks; its `kind` is the name in bundles and settings.
        describe: of a task: one sentence on what a model answers, for its card.
        answers: what the numbers are that an exported model gives.
        label_form: how a source of images writes its labels.
        block: the target block for a source's labels.
        shown_as: how a target prints in a notebook.
        recipes: by name, `probe` and `book`.
        crops: whether a label holds for a part of its image, so that training may crop it.
        has_classes: its names are classes: probabilities with a temperature, splits that keep class rates, counts.
        has_thresholds: one threshold per class decides.
        has_points: answers are places in the image: heatmap heads, and mean point as the answer to beat.
        confusion: what is confused with what.
        label_issues: labels that are probably wrong.
        baselines: metrics that are also given for the mean answer, under `mean_point_NAME`.
        limits: sentences on what to know of such a model, for its card.
        unit: what its data consist of.
        predictor: "module:function" that makes its predictor from a bundle, where that is not `Predictor`.
        exporter: "module:class" that exports it, where that is not the one for images.
        endpoints: "module:function" that adds its addresses to the service, where they are not those for images.
    """

    task: type[Task[Any]]
    describe: Callable[[Any], str]
    answers: str = ""
    label_form: LabelForm | None = None
    block: Callable[[SourceLabels], TargetBlock] | None = None
    shown_as: type[ShownTensor] | None = None
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    crops: bool = True
    has_classes: bool = False
    has_thresholds: bool = False
    has_points: bool = False
    confusion: Confusion | None = None
    label_issues: LabelIssues | None = None
    baselines: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    unit: str = "images"
    predictor: str | None = None
    exporter: str | None = None
    endpoints: str | None = None

    @property
    def name(self) -> str:
        """What bundles and settings call it."""
        return self.task.kind


TASKS: Registry[TaskKind] = Registry("task", group="foveal.tasks")
TASKS.add("multi-label", "foveal.tasks.multi_label:KIND")  # the first of a label form is what `--task auto` takes
TASKS.add("single-label", "foveal.tasks.single_label:KIND")
TASKS.add("points", "foveal.tasks.points:KIND")
TASKS.add("regression", "foveal.tasks.regression:KIND")


def kind_of(task: Task[Any]) -> TaskKind:
    """Return what is known of the kind of a task."""
    return TASKS[task.kind]


def kind_for(form: LabelForm) -> str:
    """Return the name of the kind that labels of a form are for, where no task is given.

    Args:
        form: how the source writes them.
    """
    return next(name for name in TASKS if TASKS[name].label_form == form)


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


def require(what: str, task: Task[Any], *, has: str) -> TaskKind:
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
        able = ", ".join(name for name in TASKS if getattr(TASKS[name], has))
        raise InputError(f"{what} is for tasks of {able}; this task is {task.kind}.")
    return kind


def task_from_dict(stored: Mapping[str, Any]) -> Task[Any]:
    """Rebuild a task from what its `to_dict` returned.

    Raises:
        UnknownNameError: a kind that neither this version nor an installed package knows.
    """
    kind = stored.get("kind")
    found = TASKS.find(kind) if isinstance(kind, str) else None
    if found is None:
        raise UnknownNameError.of("task", kind, TASKS, "A newer foveal, or another package, may know it.")
    return found.task.from_dict(stored)
