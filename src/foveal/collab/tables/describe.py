"""What a table of ratings was taken for, in one line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveal.collab.tables.meaning import Meaning
from foveal.collab.tables.rows import Rows
from foveal.collab.tables.table import Catalogue
from foveal.collab.tables.times import range_of

_LISTED = 6  # columns that are not used
_FEW = 3  # features that are named


def describe(rows: Rows, meaning: Meaning, catalogue: Catalogue | None, unused: Sequence[str]) -> str:
    """Return in one line what a table was taken for.

    Args:
        rows: of its pairs.
        meaning: of its numbers.
        catalogue: of its items.
        unused: columns that are not used.
    """
    roles, wide = rows.roles, rows.wide
    parts = [*rows.opened.written]
    if wide is not None:
        shape = "a row per item, a column per user" if wide.is_transposed else "a row per user, a column per item"
        parts.append(shape + (", the first column counts" if wide.counts_ratings else ""))
        parts.append("{:,} users, {:,} items".format(*(len(np.unique(ids.codes)) for ids in (rows.users, rows.items))))
    else:
        parts += [f"user {roles.user}", f"item {roles.item}"]
    if roles.rating is None:
        parts.append("no ratings: taken as seen")
    else:
        parts.append(f"{_of('rating', roles.rating)} {meaning}")
    if rows.written:
        parts.append(rows.written)
    if roles.time is not None and rows.times is not None:
        if rows.times.min() != rows.times.max():
            parts.append(f"{_of('time', roles.time)} {range_of(rows.times)}")
        else:
            unused = [f"{roles.time} (always the same)", *unused]
    line = ", ".join(parts)
    if catalogue is not None:
        line += f"; {_about(catalogue)}"
    if unused:
        line += f"; not used: {', '.join(unused[:_LISTED])}{', …' if len(unused) > _LISTED else ''}"
    return line


def _of(role: str, name: str) -> str:
    return role if name.lower() == role else f"{role} {name}"


def _about(catalogue: Catalogue) -> str:
    names: Sequence[str] = [] if catalogue.features is None else [str(name) for name in catalogue.features.columns]
    what = (["titles"] if catalogue.titles else []) + ([f"{len(names)} features"] if len(names) > _FEW else list(names))
    joined = ", ".join(what[:-1]) + (" and " if len(what) > 1 else "") + what[-1] if what else "nothing"
    return f"{joined} {'of the items' if catalogue.source == 'the table' else f'from {catalogue.source}'}"
