"""Items: one picture, its label and where both were said; the same for every format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """One picture and what is known of it.

    Attributes:
        picture: the file.
        label: what a person would write down: a name, a list of names, points [N, 2] in source pixels; None if unknown.
        is_valid: the side of the split that the source asks for, None where it does not say.
        origin: where the item was said, for messages: "train.csv, row 12".
    """

    picture: Path
    label: Any = None
    is_valid: bool | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What a reader found: the kind of format, the task that its labels ask for, and the items."""

    kind: str
    task: str
    items: Sequence[Item]
    notes: tuple[str, ...] = ()

    @property
    def has_split(self) -> bool:
        """Whether the source says which items are for validation."""
        return bool(self.items) and all(item.is_valid is not None for item in self.items)
