"""A vocabulary: the names of the classes, in order."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from foveal.core.errors import InputError, NothingToLearnError, UnknownNameError


@dataclass(frozen=True, slots=True)
class Vocab:
    """Class names in order, and the index of each."""

    names: tuple[str, ...]
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        index = {name: i for i, name in enumerate(self.names)}
        if not index:
            raise NothingToLearnError("A vocabulary needs at least one class; no label was found in the training data.")
        if len(index) < len(self.names):
            twice = sorted(str(name) for name, n in Counter(self.names).items() if n > 1)
            raise InputError(f"A class may stand in a vocabulary once; these stand twice: {', '.join(twice)}.")
        object.__setattr__(self, "_index", index)

    @classmethod
    def of(cls, labels: Iterable[str]) -> Vocab:
        """Build a sorted vocabulary of all labels."""
        return cls(tuple(sorted(set(labels))))

    @classmethod
    def from_json(cls, names: object) -> Vocab:
        """Rebuild a vocabulary from JSON.

        Raises:
            InputError: it is no list of text.
        """
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError("A vocabulary is a list of text.")
        return cls(tuple(names))

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def index(self, name: str) -> int:
        """Return the index of a class.

        Raises:
            UnknownNameError: there is no such class.
        """
        try:
            return self._index[name]
        except (KeyError, TypeError):
            raise UnknownNameError.of("class", name, self.names) from None


def vocab_of(given: Sequence[str] | None, names: Iterable[str]) -> Vocab:
    """Return the vocabulary that is given, in its order, or that of all names, sorted.

    Args:
        given: the class names, or None.
        names: of all training labels, with repetitions.
    """
    return Vocab(tuple(given)) if given is not None else Vocab.of(names)


def warn_about_delimiter(names: set[str]) -> None:
    """Warn where no image has several labels, but the names look like several in one text."""
    for mark in (" ", ",", ";", "|"):
        parts = {part.strip() for name in names for part in name.split(mark)}
        joint = next((name for name in sorted(names) if mark in name.strip()), None)
        if joint is not None and len(parts) < len(names):
            warnings.warn(
                f"No image has more than one label, and class names such as `{joint}` look like several. "
                f"Is the delimiter right? Try label_delim={mark!r}.",
                stacklevel=4,
            )
            return
