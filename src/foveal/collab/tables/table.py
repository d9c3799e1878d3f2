"""What reading a table of ratings gives: pairs of users and items, what their numbers mean, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from foveal.collab.task import Id
from foveal.sources.items import Finding, refuse_errors

Kind = Literal["ratings", "counts", "seen"]


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """What is known of the items besides their ratings.

    Attributes:
        titles: by item; may be empty.
        features: a row per item, with its id as the index; columns as in the file, without the title and links.
        source: the file's name, or "the table", for messages.
    """

    titles: dict[Id, str]
    features: pd.DataFrame | None
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class RatingTable:
    """A table of ratings, one row per pair of a user and an item.

    Attributes:
        frame: the pairs under the table's own names of columns; the rating is NaN where a user had an item and did not
            rate it.
        columns: of the user, the item and the rating; "seen" where there is no rating.
        time: the column of the times, as seconds or datetimes.
        kind: "ratings" on a scale, "counts" of how often, or "seen", where a row says only that a user had an item.
        findings: about the rows.
        read_as: in one line what the table was taken for.
        catalogue: titles and features of the items.
        sides: the column that marks validation.
    """

    frame: pd.DataFrame
    columns: tuple[str, str, str]
    time: str | None
    kind: Kind
    findings: Sequence[Finding]
    read_as: str
    catalogue: Catalogue | None
    sides: str | None = None

    @property
    def rated(self) -> pd.DataFrame:
        """The pairs that have a rating."""
        return self.frame[self.frame[self.columns[2]].notna()]

    def require_usable(self, name: str = "The table") -> None:
        """Refuse a table whose findings are errors.

        Args:
            name: of the table, in the message.

        Raises:
            TableError: the message lists them.
        """
        refuse_errors(name, self.findings)
