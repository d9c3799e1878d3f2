"""A vocabulary: the names of the classes, in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from foveal.errors import InputError, UnknownNameError


@dataclass(frozen=True, slots=True)
class Vocab:
    """Class names in order, and the index of each."""

    names: tuple[str, ...]
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        index = {name: i for i, name in enumerate(self.names)}
        if not index:
            raise InputError("A vocabulary needs at least one class; no label was found in the training data.")
        if len(index) < len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise InputError(f"A class may stand in a vocabulary once; these stand twice: {', '.join(twice)}.")
        object.__setattr__(self, "_index", index)

    @classmethod
    def of(cls, labels: Iterable[str]) -> Vocab:
        """Build a sorted vocabulary of all labels."""
        return cls(tuple(sorted(set(labels))))

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
