"""A vocabulary: the classes, in order, as text and as the user wrote them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from foveal.core.arguments import check_list
from foveal.core.errors import InputError, NothingToLearnError, UnknownNameError
from foveal.core.listing import L
from foveal.core.warn import warn

ClassLabel = str | int | float | bool
"""A class as the user wrote it down: a text, or a number where all classes are numbers."""


@dataclass(frozen=True, slots=True)
class Vocab:
    """Classes in order, and the index of each.

    Attributes:
        values: as the user wrote them; all are texts, or all are numbers.
        names: as text, for columns and files.
    """

    values: tuple[ClassLabel, ...]
    names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _index: dict[ClassLabel, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = _alike(self.values)
        index = {value: i for i, value in enumerate(values)}
        if not index:
            raise NothingToLearnError("A vocabulary needs at least one class; no label was found in the training data.")
        if len(index) < len(values):
            twice = sorted(str(value) for value, n in Counter(values).items() if n > 1)
            raise InputError(f"A class may stand in a vocabulary once; these stand twice: {', '.join(twice)}.")
        names = tuple(map(str, values))
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "_index", {name: i for i, name in enumerate(names)} | index)

    @classmethod
    def of(cls, labels: Iterable[ClassLabel]) -> Vocab:
        """Return the sorted vocabulary of all labels: numbers by value, texts letter by letter."""
        return cls(tuple(sorted(set(_alike(tuple(set(labels)))))))

    @classmethod
    def from_json(cls, values: object) -> Vocab:
        """Return the vocabulary that JSON holds.

        Raises:
            InputError: it is no list of text, or of numbers.
        """
        if not isinstance(values, list) or not (
            all(isinstance(value, str) for value in values) or all(map(_is_number, values))
        ):
            raise InputError("A vocabulary is a list of text, or of numbers.")
        return cls(tuple(values))

    def __len__(self) -> int:
        return len(self.values)

    def __contains__(self, label: object) -> bool:
        return label in self._index

    def index(self, label: ClassLabel) -> int:
        """Return the index of a class, named as the user wrote it or as text.

        Raises:
            UnknownNameError: there is no such class.
        """
        try:
            return self._index[label if label in self._index else str(label)]
        except (KeyError, TypeError):
            raise UnknownNameError.of("class", str(label), self.names) from None


class Classes(L[ClassLabel]):
    """The classes of a task, as a notebook shows them."""

    @property
    def o2i(self) -> dict[ClassLabel, int]:
        """The index of each."""
        return {value: i for i, value in enumerate(self)}


def classes_of(task: object) -> Classes:
    """Return the classes of a task as the user wrote them; of one without classes the names of its outputs.

    Args:
        task: any task; one with classes has a `vocab`.
    """
    vocab = getattr(task, "vocab", None)
    return Classes(vocab.values if isinstance(vocab, Vocab) else getattr(task, "names", ()))


def vocab_of(given: Sequence[ClassLabel] | None, labels: Iterable[ClassLabel]) -> Vocab:
    """Return the vocabulary that is given, in its order, or that of all labels, sorted.

    Args:
        given: the classes, or None.
        labels: all training labels, with repetitions.
    """
    return Vocab(tuple(given)) if given is not None else Vocab.of(labels)


def check_vocab(vocab: object) -> None:
    """Refuse a vocabulary that is no list of classes, such as a text.

    Raises:
        InputError: it cannot be taken for one.
    """
    if vocab is not None:
        check_list("vocab", vocab, "classes, such as ['cat', 'dog']")


def plain(label: object) -> ClassLabel:
    """Return a label as Python's own number or as text: numbers of NumPy and torch become Python's."""
    value = label.item() if hasattr(label, "item") else label
    return value if isinstance(value, str | int | float) else str(value)


def names_of(label: object) -> list[str]:
    """Return the class names of a label as text: one, several, or none."""
    if label is None:
        return []
    return [str(one) for one in label] if isinstance(label, Iterable) and not isinstance(label, str) else [str(label)]


def warn_about_delimiter(names: set[str]) -> None:
    """Warn where no image has several labels, but the names look like several in one text."""
    for mark in (" ", ",", ";", "|"):
        parts = {part.strip() for name in names for part in name.split(mark)}
        joint = next((name for name in sorted(names) if mark in name.strip()), None)
        if joint is not None and len(parts) < len(names):
            warn(
                f"No image has more than one label, and class names such as `{joint}` look like several. "
                f"Is the delimiter right? Try label_delim={mark!r}."
            )
            return


def _alike(labels: tuple[ClassLabel, ...]) -> tuple[ClassLabel, ...]:
    """Return labels as they are where all are texts, or all are numbers; else all as text."""
    values = tuple(map(plain, labels))
    return values if all(map(_is_number, values)) else tuple(map(str, values))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
