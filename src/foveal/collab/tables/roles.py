"""Which column of a table holds users, items, ratings and times: as given, by its name, or by place and content."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from foveal.collab.tables.text import is_numeric
from foveal.collab.tables.times import looks_like_times
from foveal.collab.tables.words import ROLES, Claim, Role, claim_of, is_code
from foveal.core.errors import TableError, near_match

_OPTIONS: dict[Role, str] = {"user": "--user", "item": "--item", "rating": "--rating", "time": "--time-column"}
_REVIEWER = re.compile(r"A[0-9A-Z]{11,20}")
_PRODUCT = re.compile(r"B[0-9A-Z]{9}|\d{9}[\dX]|\d{8,13}")
_SHOWN = 12  # columns in a message
_MANY = 20  # rows that are numbered one by one, from which on the number is no id; chosen by hand
_MOST = 0.9  # of the cells have the form of an id


@dataclass(frozen=True, slots=True)
class Roles:
    """The columns by their roles.

    Attributes:
        user, item: always there.
        rating, time: where there is one.
        named: how many of them were recognised by their names.
    """

    user: str
    item: str
    rating: str | None
    time: str | None
    named: int

    @property
    def used(self) -> tuple[str, ...]:
        """All that have a role."""
        return tuple(name for name in (self.user, self.item, self.rating, self.time) if name is not None)


def find_roles(
    sample: pd.DataFrame, given: Mapping[Role, str | None], *, has_header: bool = True, implicit: bool = False
) -> Roles:
    """Return which column holds what.

    Args:
        sample: some rows of the table.
        given: columns by role, as a person named them; they always win.
        has_header: whether its columns have names of their own.
        implicit: there are no ratings, whatever the columns are called.

    Raises:
        TableError: there is no such column, one is given for two roles, or there are not enough columns.
    """
    names = [str(name) for name in sample.columns]
    chosen = {role: _named(name, names, has_header=has_header) for role, name in given.items() if name is not None}
    for role, name in chosen.items():
        if other := next((one for one in chosen if one != role and chosen[one] == name), None):
            raise TableError(
                f"Column `{name}` cannot be both the {role} and the {other}: name another one with {_OPTIONS[role]} or "
                f"{_OPTIONS[other]}. The columns: {_listed(names)}."
            )
    if implicit and "rating" not in chosen:
        wanted: tuple[Role, ...] = tuple(role for role in ROLES if role != "rating")
    else:
        wanted = ROLES
    named = 0
    if has_header:
        found = _by_names(sample, {role for role in wanted if role not in chosen}, set(chosen.values()))
        named = len(found)
        chosen |= found
    _by_content(sample, chosen, wanted, has_header=has_header, implicit=implicit)
    missing = next((role for role in ("user", "item") if role not in chosen), None)
    if missing is not None:
        raise TableError(
            f"No column of {missing}s is recognised; name it with --{missing}. The columns: {_listed(names)}."
        )
    return Roles(chosen["user"], chosen["item"], chosen.get("rating"), chosen.get("time"), named)


def _named(name: str, known: Sequence[str], *, has_header: bool) -> str:
    """Return a column that was named: by its name, in whatever case, or without a header by its number.

    Raises:
        TableError: there is no such column.
    """
    if name in known:
        return name
    folded = {one.lower().strip(): one for one in reversed(known)}
    if (same := folded.get(name.lower().strip())) is not None:
        return same
    if not has_header:
        usual = [role for role in ROLES if role == name.lower()]
        if name.isdigit() and 0 < int(name) <= len(known):
            return known[int(name) - 1]
        if usual and ROLES.index(usual[0]) < len(known):
            return known[ROLES.index(usual[0])]
        raise TableError(
            f"The table has no column `{name}`, for it has no header: name a column by its number, 1 to {len(known)}."
        )
    raise TableError(f"The table has no column `{name}`.{near_match(name, known)} Its columns: {_listed(known)}.")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", … ({len(names)})" if len(names) > _SHOWN else "")


def _by_names(sample: pd.DataFrame, wanted: set[Role], taken: set[str]) -> dict[Role, str]:
    """Return the columns whose names say a role, the surest first."""
    claims: list[tuple[float, int, str, Claim]] = []
    for at, name in enumerate(map(str, sample.columns)):
        claim = claim_of(name)
        if name in taken:
            continue
        if claim is None:
            if name.lower().strip() in {"id", "key"} and not sample[name].is_unique:
                claims.append((1.9, at, name, Claim("item", 1.9, "id", is_name=False)))
            continue
        if _fits(claim, sample[name]):
            claims.append((claim.score, at, name, claim))
    found: dict[Role, str] = {}
    ordered = sorted(claims, key=lambda entry: (entry[3].role == "rating", -entry[0], entry[1]))
    for _, _, name, claim in ordered:
        if claim.role in wanted and claim.role not in found and not _is_of_items(claim, name, found, sample):
            found[claim.role] = name
    for _, _, name, claim in ordered:
        if claim.role == "rating" and claim.role in wanted:
            found.setdefault(claim.role, name)
    return found


def _is_of_items(claim: Claim, name: str, found: Mapping[Role, str], sample: pd.DataFrame) -> bool:
    """Return whether a column of ratings is true of the items, as their averages are, and not of users."""
    if claim.role != "rating" or "item" not in found:
        return False
    items, cells = sample[found["item"]].astype(str), sample[name].astype(str)
    per_item = cells.groupby(items).nunique()
    several = items.groupby(items).size() > 1
    return bool(len(set(cells)) > 1 and several.any() and (per_item[several] == 1).all())


def _fits(claim: Claim, cells: pd.Series) -> bool:
    """Return whether a column's cells are what its name says, as far as that can be seen."""
    filled = [cell for cell in cells.tolist() if cell is not None and str(cell).strip() not in {"", "nan", "NaT"}]
    if claim.role == "rating" and filled:
        return claim.score >= 3 or is_numeric(filled)
    if claim.role == "time" and filled:
        return looks_like_times(filled, named=True)
    return True


def _by_content(
    sample: pd.DataFrame, chosen: dict[Role, str], wanted: Sequence[Role], *, has_header: bool, implicit: bool
) -> None:
    """Give the roles that are missing to the columns that are left, by their place and what they hold."""
    left = [name for name in map(str, sample.columns) if name not in chosen.values() and _is_filled(sample[name])]
    if has_header:
        left = [
            name
            for name in left
            if ((claim := claim_of(name)) is None or (claim.role in wanted and claim.role not in chosen))
            and not (len(sample) > _MANY and counts_rows(sample[name]))
        ]
    if "time" in wanted and "time" not in chosen:
        places = [name for name in left[1:] if looks_like_times(sample[name].dropna().tolist(), named=False)]
        if places and len(left) - len(places) + len(chosen) >= 2:
            chosen["time"] = places[-1]
            left.remove(places[-1])
    if has_header:  # ids that come again before the rest, and numbers of the rows last
        left.sort(key=lambda name: is_code(name) * (1 if sample[name].nunique() == len(sample) else -1))
    for role in ("user", "item"):
        if role not in chosen and left:
            chosen[role] = left.pop(0)
    if (
        not has_header
        and {"user", "item"} <= set(chosen)
        and _are_swapped(sample[chosen["user"]], sample[chosen["item"]])
    ):
        chosen["user"], chosen["item"] = chosen["item"], chosen["user"]
    if "rating" in wanted and "rating" not in chosen and not implicit:
        numeric = [name for name in left if is_numeric(sample[name].dropna().tolist()) and not is_code(name)]
        # Of a header that says nothing of ratings, only the very next column is taken for them.
        places = numeric if not has_header else [name for name in left[:1] if name in numeric]
        if places:
            chosen["rating"] = places[0]


def _is_filled(cells: pd.Series) -> bool:
    return any(cell is not None and str(cell).strip() for cell in cells.tolist())


def counts_rows(cells: pd.Series) -> bool:
    """Return whether a column only counts the rows, as a saved index does.

    Args:
        cells: the first ones.
    """
    numbers = pd.to_numeric(cells, errors="coerce")
    return bool(numbers.notna().all() and (numbers.diff().dropna() == 1).all())


def _are_swapped(users: pd.Series, items: pd.Series) -> bool:
    """Return whether the first column holds codes of products and the second those of reviewers, as Amazon's do."""
    first, second = ([str(cell) for cell in cells.dropna().tolist()] for cells in (users, items))
    return _share(_PRODUCT, first) >= _MOST and _share(_REVIEWER, second) >= _MOST


def _share(form: re.Pattern[str], cells: Sequence[str]) -> float:
    return sum(form.fullmatch(cell) is not None for cell in cells) / max(1, len(cells))
