"""The rows of an opened table before they are checked: ids, numbers, times and further columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from foveal.collab.tables.catalogue import may_describe
from foveal.collab.tables.loading import Opened
from foveal.collab.tables.meaning import read_numbers
from foveal.collab.tables.pairs import read_ids
from foveal.collab.tables.roles import Roles, counts_rows, find_roles
from foveal.collab.tables.text import is_numeric
from foveal.collab.tables.times import read_times
from foveal.collab.tables.wide import Wide, find_wide, to_long
from foveal.collab.tables.words import Role
from foveal.core.errors import TableError, near_match
from foveal.sources.columns import VALID_COLUMNS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of a table.

    Attributes:
        opened: the table.
        roles: its columns by their roles, as they are called in the file.
        wide: how it lies, where it is wide; a row is then one of its cells.
        users, items: ids.
        numbers: the ratings as numbers; None where there is no such column.
        shown: the ratings as they are written.
        times: that sort; None where there is no such column.
        others: further columns that may describe the items, and the one that marks validation.
        unread: the columns that are left.
        at: the row of the table that each is, for messages.
        written: how the numbers are written, where that is unusual.
        had_quotes: how many ids stood in quotes of their own.
        n_blank: how many rows were left out because they are blank.
    """

    opened: Opened
    roles: Roles
    wide: Wide | None
    users: pd.Categorical
    items: pd.Categorical
    numbers: np.ndarray | None
    shown: pd.Series | None
    times: pd.Series | None
    others: pd.DataFrame
    unread: tuple[str, ...]
    at: np.ndarray
    written: str = ""
    had_quotes: int = 0
    n_blank: int = 0

    def __len__(self) -> int:
        return len(self.at)

    def take(self, kept: np.ndarray) -> Rows:
        """Return some of the rows.

        Args:
            kept: for each row whether it is kept, or the positions of those that are.
        """
        if kept.dtype == bool and kept.all():
            return self
        at = np.flatnonzero(kept) if kept.dtype == bool else kept
        return replace(
            self,
            users=self.users[at],
            items=self.items[at],
            numbers=None if self.numbers is None else self.numbers[at],
            shown=None if self.shown is None else self.shown.iloc[at],
            times=None if self.times is None else self.times.iloc[at],
            others=self.others.iloc[at],
            at=self.at[at],
        )

    def where(self, rows: Sequence[int]) -> str:
        """Return where rows lie in the file, for messages.

        Args:
            rows: positions.
        """
        return self.opened.where([int(self.at[row]) for row in rows])

    def column_of_sides(self, given: str | None) -> str | None:
        """Return the column that marks validation.

        Args:
            given: as a person names it.
        """
        return _column_of_sides([str(name) for name in self.others.columns], given)


def read_rows(opened: Opened, given: Mapping[Role, str | None], *, implicit: bool, valid: str | None) -> Rows:
    """Return a table's rows.

    Args:
        opened: the table.
        given: columns by role, as a person names them.
        implicit: there are no ratings.
        valid: the column that marks validation, as a person names it.

    Raises:
        TableError: a column is not there, or not recognised.
    """
    names = [str(name) for name in opened.sample.columns]
    if not len(opened.sample):
        raise TableError(f"`{opened.name}` has no rows below its header: {', '.join(names[:12])}.")
    if valid is not None and valid not in names:
        raise TableError(
            f"The table has no column `{valid}` (--valid-column).{near_match(valid, names)} Its columns: "
            f"{', '.join(names[:12])}."
        )
    if not any(given.values()) and not implicit:
        wide = find_wide(opened.sample, has_header=opened.has_header)
        if wide is not None:
            return _read_wide(opened, wide)
    return _read_long(opened, given, implicit=implicit, valid=valid)


def _read_long(opened: Opened, given: Mapping[Role, str | None], *, implicit: bool, valid: str | None) -> Rows:
    sample = opened.sample
    roles = find_roles(sample, given, has_header=opened.has_header, implicit=implicit)
    if implicit:
        roles = replace(roles, rating=None)
    others = [name for name in map(str, sample.columns) if name not in roles.used and sample[name].notna().any()]
    if opened.has_header:
        others = [
            name for name in others if not (name.startswith(("Unnamed", "column ")) and counts_rows(sample[name]))
        ]
    marks = _column_of_sides(others, valid)
    wanted = [name for name in others if name == marks or may_describe(sample, roles.item, name)]
    is_number = roles.time is not None and is_numeric(sample[roles.time].tolist())
    frame = opened.read((*roles.used, *wanted), [str(roles.time)] if is_number else [])
    filled = frame[list(roles.used)].notna().any(axis=1).to_numpy()
    if not filled.all():
        frame = frame[filled].reset_index(drop=True)
    users, items = read_ids(frame[roles.user]), read_ids(frame[roles.item])
    numbers = None if roles.rating is None else read_numbers(frame[roles.rating])
    return Rows(
        opened=opened,
        roles=roles,
        wide=None,
        users=users.ids,
        items=items.ids,
        numbers=None if numbers is None else numbers.rows,
        shown=None if roles.rating is None else frame[roles.rating],
        times=None if roles.time is None else read_times(frame[roles.time]),
        others=frame[wanted],
        unread=tuple(name for name in others if name not in wanted),
        at=np.flatnonzero(filled),
        written="" if numbers is None else numbers.written,
        had_quotes=users.had_quotes + items.had_quotes,
        n_blank=int((~filled).sum()),
    )


def _read_wide(opened: Opened, wide: Wide) -> Rows:
    long, at, written = to_long(opened.read((wide.first, *wide.cells), wide.cells), wide)
    return Rows(
        opened=opened,
        roles=Roles("user", "item", "rating", None, 0),
        wide=wide,
        users=read_ids(long["user"]).ids,
        items=read_ids(long["item"]).ids,
        numbers=long["rating"].to_numpy(),
        shown=long["rating"],
        times=None,
        others=long[[]],
        unread=(),
        at=at,
        written=written,
    )


def _column_of_sides(names: Sequence[str], given: str | None) -> str | None:
    return given if given in names else next((name for name in VALID_COLUMNS if name in names), None)
