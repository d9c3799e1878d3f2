"""Cells of labels: one name, several names with something between them, or a list as Python or JSON writes it."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_NOTHING = "\u200b\ufeff\u00a0 \t\r\n"  # characters that nobody sees
_DELIMITERS = ("|", ";", ",")
_NUMPY = re.compile(r"\[((?:'[^']*'\s+)+'[^']*')\]")
SEVERAL = frozenset({"labels", "tags", "classes", "categories"})
"""Names of columns, in lower case, that say that a cell holds several labels."""


class Cells(NamedTuple):
    """Cells of labels as they are to be read.

    Attributes:
        labels: of each cell: a list of names, or one name; None where it is blank.
        several: whether cells hold lists.
        note: how they were split, in words; empty where nothing was guessed.
    """

    labels: list[list[str] | str | None]
    several: bool
    note: str = ""


def split_labels(cell: str, delimiter: str) -> list[str]:
    """Split a cell at a delimiter; double and stray delimiters never make an empty name, nor a name twice.

    Args:
        cell: of a table.
        delimiter: what separates names.

    >>> split_labels(" cat  dog dog ", " ")
    ['cat', 'dog']
    """
    return list(dict.fromkeys(name for part in cell.split(delimiter) if (name := part.strip())))


def is_blank(value: object) -> bool:
    """Return whether a cell says nothing: None, NaN, or nothing but spaces.

    Args:
        value: of a cell.
    """
    if isinstance(value, str):
        return not (value[:1].isalnum() or value.strip(_NOTHING))  # the former is quick, and nearly always so
    if value is None:
        return True
    return isinstance(value, float) and value != value  # noqa: PLR0124 -- NaN


def text_of(value: object) -> str:
    """Return a cell as text; a whole number that a blank beside it has made a float is whole again.

    Args:
        value: of a cell.
    """
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip(_NOTHING)


def read_cells(values: Sequence[object], *, several: bool | None, delimiter: str | None, plural: bool) -> Cells:
    """Read the cells of a column of labels.

    Args:
        values: of the cells.
        several: whether they hold several labels; None to find out.
        delimiter: what separates them; None to find out.
        plural: whether the column's name says that they are several.
    """
    if several is False:
        return Cells([None if is_blank(value) else text_of(value) for value in values], False)
    if (lists := _lists(values)) is not None:
        return Cells([*lists], True, "its cells are lists")
    cells = [None if is_blank(value) else text_of(value) for value in values]
    note = ""
    if delimiter is None:
        delimiter, note = _find_delimiter(cells, plural=plural or several is True)
        if delimiter is None and several is None:
            return Cells([*cells], False, note)
    delimiter = delimiter or " "
    return Cells([None if cell is None else split_labels(cell, delimiter) or None for cell in cells], True, note)


def _lists(values: Sequence[object]) -> list[list[str] | None] | None:
    """Return the lists that cells hold or are written as; None unless all of them that say anything do."""
    lists: list[list[str] | None] = []
    for value in values:
        if isinstance(value, list | tuple | set | frozenset | np.ndarray):
            lists.append(list(dict.fromkeys(text_of(name) for name in value)))
        elif is_blank(value):
            lists.append(None)
        elif isinstance(value, str) and (read := _written_list(value.strip())) is not None:
            lists.append(read)
        else:
            return None
    return lists if any(one is not None for one in lists) else None


def _written_list(text: str) -> list[str] | None:
    if not (text.startswith(("[", "(", "{")) and text.endswith(("]", ")", "}"))):
        return None
    if numpy := _NUMPY.fullmatch(text):  # Python would join what nothing separates
        return list(dict.fromkeys(re.findall(r"'([^']*)'", numpy[1])))
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, dict):  # as Label Studio writes several choices into a CSV
            value = value.get("choices")
        if isinstance(value, list | tuple | set) and all(isinstance(one, str | int | float) for one in value):
            return list(dict.fromkeys(text_of(one) for one in value))
    if text.startswith("["):  # as numpy prints them: ['a' 'b'], or without quotes
        parts = text[1:-1].replace("'", " ").replace('"', " ").replace(",", " ").split()
        return list(dict.fromkeys(parts))
    return None


def _find_delimiter(cells: Sequence[str | None], *, plural: bool) -> tuple[str | None, str]:
    """Return what separates the names of cells, None where each holds one, and a note on that.

    A character separates names where parts of cells recur: alone, or in other company. Spaces do so only if the
    column's name says that there are several, or if every part of a cell stands alone somewhere.
    """
    whole = dict.fromkeys(cell for cell in cells if cell)
    for delimiter in _DELIMITERS:
        parts = [split_labels(cell, delimiter) for cell in whole]
        bare = plural and (delimiter != "," or not any(" " in name for names in parts for name in names))
        if any(len(names) > 1 for names in parts) and (bare or _recur(parts)):
            return delimiter, f"several labels in a cell are separated by `{delimiter}`"
    parts = [split_labels(cell, " ") for cell in whole]
    spaced = [names for names in parts if len(names) > 1]
    if not spaced:
        return (" " if plural else None), ""
    alone = {names[0] for names in parts if len(names) == 1}
    counts = Counter(name for names in parts for name in names)
    recurring = len(counts) < len(whole) or any(name in alone for names in spaced for name in names)
    if all(name in alone for names in spaced for name in names) or (plural and (recurring or max(counts.values()) > 1)):
        return " ", "several labels in a cell are separated by spaces"
    if plural:
        return None, "names hold spaces and no part of them recurs: each cell is read as one label"
    return None, "labels hold spaces: each cell is one label; --label-delimiter ' ' splits them" if recurring else ""


def _recur(parts: Sequence[Sequence[str]]) -> bool:
    """Return whether most names of cells with several stand in another cell too."""
    counts = Counter(name for names in parts for name in names)
    joined = [name for names in parts if len(names) > 1 for name in names]
    return sum(counts[name] > 1 for name in joined) >= max(1, len(joined) / 2)
