"""What a studio is opened on: images, the labels that are there, and the table that labels are written to.

A label is a name of one class, a tuple of names of several, or a tuple of points (x, y) in source pixels, None where a
point is not there. An image without a label is None.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveal.core.errors import InputError, UnknownNameError
from foveal.runs.image_settings import ImageRun
from foveal.runs.images import read
from foveal.sources.items import Item, Source
from foveal.sources.tree import tree_of
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import TASKS
from foveal.tasks.label_lists import PartialLabels
from foveal.tasks.vocab import Vocab

Label = str | tuple[str, ...] | tuple[tuple[float, float] | None, ...]
Form = Literal["one", "several", "points"]
TABLE = "labels.csv"
"""Where the labels of a folder are written."""
JOURNAL = "foveal-studio.jsonl"


@dataclass(frozen=True, slots=True)
class Purpose:
    """What is to be known of each image.

    Attributes:
        kind: of the task.
        names: of the classes or points, in order.
    """

    kind: str
    names: tuple[str, ...]

    @property
    def has_points(self) -> bool:
        """Whether points are set in an image."""
        return TASKS[self.kind].has_points

    @property
    def has_several(self) -> bool:
        """Whether an image has any number of classes, and not one."""
        return TASKS[self.kind].has_thresholds

    @property
    def form(self) -> Form:
        """What a page asks for."""
        return "points" if self.has_points else "several" if self.has_several else "one"

    def task(self) -> AnyTask:
        """Return the task.

        Raises:
            InputError: there is no name.
        """
        make: Callable[..., AnyTask] = TASKS[self.kind].task
        return make(len(self.names), point_names=self.names) if self.has_points else make(Vocab(self.names))

    def checked(self, given: object) -> Label | None:
        """Return a label as it is kept, from JSON.

        Raises:
            InputError: it is of another kind, or names a class that does not exist.
        """
        if given is None:
            return None
        if self.has_points:
            return _points(given, len(self.names))
        if isinstance(given, str) != self.has_several and isinstance(given, str | list | tuple):
            named = [given] if isinstance(given, str) else [str(one) for one in given]
            if odd := [one for one in named if one not in self.names]:
                raise InputError(f"{odd[0]!r} is no class here. There are: {', '.join(self.names)}.")
            return given if isinstance(given, str) else tuple(one for one in self.names if one in named)
        expected = "a list of names of classes" if self.has_several else "the name of a class"
        raise InputError(f"A label is {expected} here; got {given!r}.")

    def with_names(self, names: Iterable[str]) -> Purpose:
        """Return it with further names; those that are there keep their places.

        Raises:
            InputError: a name is empty or has a line break.
        """
        stripped = [name.strip() for name in names]
        odd = ";" if self.has_several else "\n"  # what stands between names in a cell
        if wrong := [name for name in stripped if not name or not name.isprintable() or odd in name]:
            raise InputError(
                f"A name has letters, no line break, and of several classes no semicolon; got {wrong[0]!r}."
            )
        return Purpose(self.kind, tuple(dict.fromkeys((*self.names, *stripped))))


@dataclass(frozen=True, slots=True)
class Shown:
    """An image of a collection.

    Attributes:
        file: where it lies.
        name: of the file below the collection's folder, with `/`.
        label: that it had when the collection was opened.
        is_valid: the side of the split, where that is stated.
    """

    file: Path
    name: str
    label: Label | None = None
    is_valid: bool | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """Images and their labels.

    Attributes:
        root: the folder that names are relative to.
        given: the folder or file that was named.
        target: the table that labels are written to.
        purpose: what is to be known of each image; None where that is still to be chosen.
        images: all of them, those with a label first.
        about: what was read, in one line.
        columns: the columns of the table that the user named, by what they hold: "image", "label" and points 0, 1, ...
        test: names of images of a side that is neither for training nor for validation; they are not shown.
        had_table: whether the table to write was there before the first studio was.
        is_known: whether it is a folder on which a studio was opened before, and the table its own.
    """

    root: Path
    given: Path
    target: Path
    purpose: Purpose | None
    images: tuple[Shown, ...]
    about: str
    columns: Mapping[str | int, str] = field(default_factory=dict)
    test: tuple[str, ...] = ()
    had_table: bool = False
    is_known: bool = False

    @property
    def journal(self) -> Path:
        """The file of the journal."""
        return journal_of(self.given)


def kinds() -> tuple[str, ...]:
    """Return the kinds of tasks that a studio knows: those of classes and of points."""
    return tuple(name for name, kind in TASKS.items() if kind.has_classes or kind.has_points)


def journal_of(given: Path) -> Path:
    """Return the file of the journal of a folder or a table."""
    return given / JOURNAL if given.is_dir() else given.with_name(f"{given.stem}.{JOURNAL}")


def open_collection(settings: ImageRun) -> Collection:
    """Return the collection that the settings name, with all further images beside those with labels.

    Raises:
        InputError: it cannot be read; its labels are of a kind that a studio does not know, or partly unknown.
        UnknownNameError: there is no such kind of task in a studio.
    """
    given = settings.data.table.absolute()
    source = read(settings)
    known, none = kinds(), source.task == "none"
    if source.task not in known and not none:
        raise InputError(f"A studio is for {', '.join(known)}; `{given}` is read as {source.task}.")
    root = (settings.data.images or (given if given.is_dir() else given.parent)).absolute()
    kind = settings.task.task if none else source.task
    if kind not in {*known, "auto"}:
        raise UnknownNameError.of("task of a studio", kind, known)
    purpose = None if kind == "auto" else Purpose(kind, _names(source))
    items = [] if none else list(source.items)
    named = {item.image.absolute() for item in (*items, *source.test)}
    others = [file for file in _others(source, items, given, root) if file.absolute() not in named]
    images = [_shown(item, root, purpose) for item in items] + [Shown(file, _name(file, root)) for file in others]
    if not images:
        raise InputError(f"`{given}` holds no images to label.")
    target = given / TABLE if given.is_dir() else given
    named_columns = {"image": settings.data.image_column, "label": settings.data.label_column}
    columns = {what: column for what, column in named_columns.items() if column} | dict(enumerate(settings.task.points))
    return Collection(
        root,
        given,
        target,
        purpose,
        tuple(_once(images)),
        source.read_as,
        columns=columns,
        test=tuple(_name(item.image, root) for item in source.test),
        had_table=target.is_file(),
    )


def opened_again(given: Path, began: Mapping[str, Any]) -> Collection:
    """Return the collection of a folder on which a studio was opened before: its images as they are now.

    Args:
        given: the folder.
        began: what the journal began with.

    Raises:
        InputError: there are no images any more.
    """
    root, sides, test = given.absolute(), began["sides"], set(began.get("test", ()))
    named = ((file, _name(file, root)) for file in tree_of(root).images)
    images = tuple(Shown(file, name, None, sides.get(name)) for file, name in named if name not in test)
    if not images:
        raise InputError(f"`{given}` holds no images to label.")
    about = f"a folder of a studio; {len(images):,} images"
    return Collection(root, root, root / TABLE, None, images, about, test=tuple(test), is_known=True)


def _names(source: Source) -> tuple[str, ...]:
    if source.task not in TASKS:
        return ()
    if TASKS[source.task].has_points:
        n = len(np.reshape(np.asarray(source.items[0].label, dtype=float), (-1, 2)))
        return tuple(source.point_names) or tuple(f"point {at + 1}" for at in range(n))
    labels = (item.label for item in source.items)
    found = {str(name) for label in labels for name in ([label] if isinstance(label, str) else _listed(label))}
    return tuple(sorted(found))


def _listed(label: object) -> Sequence[Any]:
    if isinstance(label, PartialLabels) and label.unknown:
        raise InputError(
            f"Some labels are unknown ({', '.join(map(str, label.unknown[:3]))}), which a studio cannot keep: say with "
            "0 in their columns that they are not there, or leave those columns out."
        )
    return list(label) if isinstance(label, list | tuple | PartialLabels) else ()


def _shown(item: Item, root: Path, purpose: Purpose | None) -> Shown:
    label: Label | None = None
    if purpose is not None and item.label is not None:
        points = purpose.has_points
        label = purpose.checked(
            np.reshape(np.asarray(item.label, dtype=float), (-1, 2)).tolist()
            if points
            else item.label
            if isinstance(item.label, str)
            else _listed(item.label)
        )
    return Shown(item.image, _name(item.image, root), label, item.is_valid)


def _others(source: Source, items: Sequence[Item], given: Path, root: Path) -> list[Path]:
    """Return the images that may have no label: of a table those beside the ones that it names, else all."""
    if not root.is_dir():
        return [item.image for item in source.items]
    found = tree_of(root).images
    if given.is_file() and items:
        folders = {item.image.absolute().parent for item in items}
        return [file for file in found if file.absolute().parent in folders]
    return found


def _name(file: Path, root: Path) -> str:
    return Path(os.path.relpath(file.absolute(), root)).as_posix()


def _once(images: Iterable[Shown]) -> Iterable[Shown]:
    """Return each image once; a table may name one several times, and then with one label.

    Raises:
        InputError: it has several labels.
    """
    found: dict[str, Shown] = {}
    for one in images:
        before = found.setdefault(one.name, one)
        if before.label != one.label:
            raise InputError(f"`{one.name}` has two labels, {before.label} and {one.label}: see `foveal check`.")
    return found.values()


def _points(given: object, n: int) -> Label:
    if not isinstance(given, list | tuple) or len(given) != n:
        raise InputError(f"A label is a list of {n} points (x, y), or null where one is not there; got {given!r}.")
    points: list[tuple[float, float] | None] = []
    for one in given:
        pair = None if one is None else np.asarray(one, dtype=float)
        if pair is not None and pair.shape != (2,):
            raise InputError(f"A point is two numbers (x, y); got {one!r}.")
        points.append(None if pair is None or not np.isfinite(pair).all() else (float(pair[0]), float(pair[1])))
    return tuple(points)


def label_from_json(value: object) -> Label | None:
    """Return a label that a journal keeps."""
    if isinstance(value, list | tuple):
        return tuple((one[0], one[1]) if isinstance(one, list | tuple) else one for one in value)
    return value if isinstance(value, str) else None


def sides_by_name(images: Iterable[Shown]) -> Mapping[str, bool]:
    """Return the sides that are stated, by name of the image."""
    return {one.name: one.is_valid for one in images if one.is_valid is not None}


def labels_by_name(images: Iterable[Shown]) -> Mapping[str, Label]:
    """Return the labels that images had when they were opened, by name."""
    return {one.name: one.label for one in images if one.label is not None}
