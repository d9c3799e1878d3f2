"""What is known between cells, and what one cell comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from foveal.port.surface import Surface
from foveal.port.values import Value

Kind = Literal["changed", "refused", "needs"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a cell.

    Attributes:
        kind: it was changed in the copy; it is not in foveal; or it needs another cell that is not.
        text: a sentence.
        cell: the number of the cell that is needed, or of this one.
        is_deferred: whether it is in the body of a function, which does not run where it stands.
    """

    kind: Kind
    text: str
    cell: int
    is_deferred: bool = field(default=False, compare=False)


@dataclass(slots=True)
class State:
    """What earlier cells have made.

    Attributes:
        surface: foveal's names.
        unit: what numbers count: `cell` or `line`.
        defined: names that some cell defines.
        names: what each name means.
        stars: foveal's star imports so far.
        exported: file names that the notebook exports a learner to.
        export: the file that `learn.export()` wrote, or an empty text.
        added: attributes that the notebook gives to classes or objects itself.
    """

    surface: Surface
    unit: str
    defined: frozenset[str]
    names: dict[str, Value] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    exported: set[str] = field(default_factory=set)
    export: str = ""
    added: set[str] = field(default_factory=set)
