"""Items that are recommended, and how a list of them is shown."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from foveal.collab.task import Id


class Recommended(NamedTuple):
    """An item that is recommended.

    Attributes:
        item: as the table has it.
        rating: that it would get; None where the rating model cannot say.
        score: by which it is ranked: of the ranking model, or the rating.
        because: items that the user had, which speak for it most.
        title: of the item, where one is known.
    """

    item: Id
    rating: float | None
    score: float
    because: tuple[Id, ...] = ()
    title: str | None = None


class Recommendations(list[Recommended]):
    """A list of items, best first; it is shown as a table."""

    def frame(self) -> pd.DataFrame:
        """Return it as a table, without the columns of which nothing is known."""
        rows = [one._asdict() | {"because": ", ".join(map(str, one.because))} for one in self]
        table = pd.DataFrame(rows, columns=pd.Index(Recommended._fields))
        known = [name for name in table.columns if name in ("item", "score") or table[name].map(bool).any()]
        ordered = [name for name in ("item", "title", "rating", "score", "because") if name in known]
        return table[ordered]

    def __repr__(self) -> str:
        return self.frame().to_string(index=False, float_format="{:.3f}".format) if self else "no recommendations"

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False, float_format="{:.3f}".format)
