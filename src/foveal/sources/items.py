"""Items: one picture, its label and where both were said; the same for every format."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """One picture and what is known of it.

    Attributes:
        picture: the file.
        label: what a person would write down: a name, names, points [N, 2] in source pixels; None if unknown.
        is_valid: the side of the split that the source asks for, None where it does not say.
        group: what must stay on one side of a split (a person, a camera), where the source says so.
        origin: where the item was said, for messages: "train.csv, row 12".
    """

    picture: Path
    label: Any = None
    is_valid: bool | None = None
    origin: str = ""
    group: Hashable = None


@dataclass(frozen=True, slots=True)
class Source:
    """What a reader found.

    Attributes:
        kind: the format, in words.
        task: what its labels ask for; "none" if it has none.
        items: one a picture.
        point_names: what its points are called.
        notes: what should be said once.
    """

    kind: str
    task: str
    items: Sequence[Item]
    point_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_split(self) -> bool:
        """Whether the source says which items are for validation."""
        return bool(self.items) and all(item.is_valid is not None for item in self.items)
