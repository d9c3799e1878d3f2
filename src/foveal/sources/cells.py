"""Cells of labels: one name, several names with something between them, or a list as Python or JSON writes it."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from foveal.core.errors import TableError

NO_NUMBER = frozenset({"nan", "na", "n/a", "null", "none"})
"""How R, pandas and JSON write a number that is not known, in lower case."""
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\u00a0 \t\r\n"
"""Characters that nobody sees."""
_DELIMITERS = ("|", ";", ",")
_BARE = re.compile(r"\[[^\[\]{}'\"]*\]")
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


def joint_for(names: Iterable[str]) -> str:
    """Return what several names are joined by in a cell: a space, or `;` where a name holds what may separate names.

    Args:
        names: of all classes.

    Examples:
        >>> joint_for(["cat", "dog"]), joint_for(["cat", "old dog"])
        (' ', ';')
    """
    return ";" if any({" ", *_DELIMITERS} & set(name) for name in names) else " "


def split_labels(cell: str, delimiter: str) -> list[str]:
    """Return the parts of a cell; double and stray delimiters never make an empty name, nor a name twice.

    Args:
        cell: of a table.
        delimiter: what separates names.

    Examples:
        >>> split_labels(" cat  dog dog ", " ")
        ['cat', 'dog']
    """
    return list(dict.fromkeys(name for part in cell.split(delimiter) if (name := part.strip())))


def is_blank(value: object) -> bool:
    """Return whether a cell says nothing: None, NaN, pandas' NA, or nothing but spaces.

    Args:
        value: of a cell.
    """
    if isinstance(value, str):
        return not (value[:1].isalnum() or value.strip(INVISIBLE))  # the former is quick, and nearly always so
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:  # of pandas, which is not imported for this
        return True
    return isinstance(value, float) and value != value  # noqa: PLR0124 -- NaN


def text_of(value: object) -> str:
    """Return a cell as text; a whole number that a blank beside it has made a float is whole again.

    Accents come out in one form, and what nobody sees is left out at both ends.

    Args:
        value: of a cell.
    """
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    text = str(value).strip(INVISIBLE)
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def read_cells(values: Sequence[object], *, several: bool | None, delimiter: str | None, plural: bool) -> Cells:
    """Return the labels in the cells of a column.

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
    """Return the lists that cells hold or are written as; None where no cell is one.

    Raises:
        TableError: a cell holds, or is written as, something else than names.
    """
    found = [_list_of(value) for value in values]
    if all(one is None for one in found):
        odd = next((value for value in values if _is_structure(value)), None)
        if odd is not None:
            raise TableError(f"A cell must hold a name or a list of names; got {type(odd).__name__}: {str(odd)[:60]}")
        return None
    lists: list[list[str] | None] = []
    for value, one in zip(values, found, strict=True):
        if one is None and not is_blank(value) and str(value).strip().lower() not in {"nan", "none"}:
            if _is_structure(value) or str(value).strip().startswith(("[", "{")):
                raise TableError(f"Cells hold lists of names; this one cannot be read as one: {str(value)[:60]}")
            one = [text_of(value)]  # noqa: PLW2901 -- one name, as it stands
        lists.append(one)
    return lists


def _is_structure(value: object) -> bool:
    return isinstance(value, dict | bytes | list | tuple | set | np.ndarray)


def _list_of(value: object) -> list[str] | None:
    """Return the names that a cell holds as a list; None if it holds none."""
    if isinstance(value, str):
        text = value.strip()
        return _written_list(text) if text[:1] in {"[", "(", "{"} else None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict) and isinstance(value.get("choices"), list):  # as Label Studio writes several choices
        value = value["choices"]
    if not isinstance(value, list | tuple | set | frozenset):
        return None
    names: list[str] = []
    for one in value:
        regions = [v for k, v in one.items() if k.endswith("labels")] if isinstance(one, dict) else None
        if regions is not None and len(regions) == 1 and isinstance(regions[0], list):
            names += map(text_of, regions[0])
        elif isinstance(one, str | int | float) and not is_blank(one):
            names.append(text_of(one))
        elif not is_blank(one):
            return None
    return list(dict.fromkeys(names))


def _written_list(text: str) -> list[str] | None:
    if numpy := _NUMPY.fullmatch(text):  # Python would join what nothing separates
        return list(dict.fromkeys(re.findall(r"'([^']*)'", numpy[1])))
    for read in (json.loads, ast.literal_eval):
        try:
            return _list_of(read(text))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    if _BARE.fullmatch(text):
        return list(dict.fromkeys(text[1:-1].replace(",", " ").split()))
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
