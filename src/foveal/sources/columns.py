"""Which column of a table holds what: by the name that was given, a usual one, or what the cells hold."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from foveal.core.errors import InputError, TableError, near_match
from foveal.images.parquet_rows import row_of
from foveal.sources.cells import NO_NUMBER, is_blank, text_of
from foveal.sources.finder import clean_name
from foveal.sources.frames import STORED
from foveal.sources.tree import is_image_name, tree_of

_FILE_NAMES = "fname filename file_name file path filepath file_path image_file imagename"
_IMAGE_NAMES = (
    "image image_id image_path image_name img img_path img_name imageid photo picture id_code"  # IMAGE_COLUMNS
)
IMAGE_COLUMNS = (*_FILE_NAMES.split(), *_IMAGE_NAMES.split())
_LABEL_NAMES = "labels label tags classes class category categories target class_name choice"
LABEL_COLUMNS = (*_LABEL_NAMES.split(),)
VALID_COLUMNS = ("is_valid", "valid", "is_validation")
SPLIT_COLUMNS = ("split", "set", "subset", "partition", "phase", "data_split", "dataset_split")
BOX_COLUMNS = ({"xmin", "xmax"}, {"x_min", "x_max"}, {"xmin", "width"}, {"bbox_x", "bbox_y"}, {"bbox"})
_PROBED = 50  # rows by which a column is recognised
_SHOWN_COLUMNS = 12
_MOST_FOLDERS = 20  # in which images are looked for by their names without ending; chosen by hand
_FEWEST_NUMBERED = 4  # columns that are called by their numbers, so that they are points; chosen by hand


class Columns:
    """Finds columns: by the name that was given, by a usual one, or by what the cells hold."""

    def __init__(self, frame: pd.DataFrame, name: str, bases: tuple[Path, ...], root: Path) -> None:
        """Begin with a table.

        Args:
            frame: the table.
            name: of the table, for messages.
            bases: the folders in which its images may lie.
            root: the folder below which they lie in any case.
        """
        self.root = root
        self.frame, self.name, self.bases = frame, name, bases
        self.known = [str(column) for column in frame.columns]
        self.by_lower = {clean_name(column).lower(): column for column in reversed(self.known)}

    @property
    def listed(self) -> str:
        """The columns, for messages."""
        more = f", … ({len(self.known)})" if len(self.known) > _SHOWN_COLUMNS else ""
        return ", ".join(self.known[:_SHOWN_COLUMNS]) + more

    def named(self, given: str, option: str) -> str:
        """Return a column that was named; case and spaces around it may differ.

        Args:
            given: the name.
            option: that gave it.

        Raises:
            TableError: there is no such column.
        """
        if given in self.known:
            return given
        if (other := self.by_lower.get(clean_name(given).lower())) is not None:
            return other
        near = near_match(given, self.known)
        raise TableError(f"`{self.name}` has no column `{given}`.{near} Its columns: {self.listed}. ({option})")

    def usual(self, names: Iterable[str]) -> str | None:
        """Return the first of the usual names that is there.

        Args:
            names: in lower case.
        """
        return next((self.by_lower[name] for name in names if name in self.by_lower), None)

    def image(self, given: str | None) -> str:
        """Return the column of the images' names.

        Args:
            given: its name, where the user named it.

        Raises:
            TableError: no column names images.
        """
        if given is not None:
            return self.named(given, "--image-column")
        named = self.usual(IMAGE_COLUMNS)
        if named is not None and self.names_images(named) is not False:
            return named
        content = next((column for column in self.known if self.names_images(column)), None)
        if content is None and named is None:
            folders = dict.fromkeys(image.parent for image in tree_of(self.root).images)
            self.bases = (*self.bases, *list(folders)[:_MOST_FOLDERS])
            content = next((column for column in self.known if self.names_images(column)), None)
        if content is not None or named is not None:
            return content or str(named)
        raise TableError(
            f"`{self.name}` has none of the columns {', '.join(IMAGE_COLUMNS[:7])}, …, and none that names images. "
            f"Its columns: {self.listed}. Name the right one with --image-column."
        )

    def names_images(self, column: str) -> bool | None:
        """Return whether most cells of a column name images; None where they are text that may.

        Args:
            column: its name.
        """
        cells = [cell for cell in self.frame[column].head(_PROBED).tolist() if not is_blank(cell)]
        if not cells:
            return False
        if isinstance(cells[0], Path) and row_of(cells[0]) is not None:
            return True
        names = [text_of(cell) for cell in cells if not isinstance(cell, list | dict)]
        if sum(is_image_name(name.split("?")[0]) for name in names) > len(names) / 2:
            return True
        stems = {stem for base in self.bases for stem in _stems(base)}
        n_there = sum(name in stems for name in names)
        return True if n_there > len(names) / 2 else (None if n_there or not stems else False)

    def others(self, *used: str | None) -> list[str]:
        """Return the columns that are not used.

        Args:
            used: names of columns that are.
        """
        return [one for one in self.known if one not in used and not one.startswith("Unnamed: ")]


@lru_cache(maxsize=64)
def _stems(folder: Path) -> frozenset[str]:
    try:
        stems = {file.stem for file in folder.iterdir() if is_image_name(file.name)}
        return frozenset(stems | {str(int(stem)) for stem in stems if stem.isascii() and stem.isdigit()})
    except OSError:
        return frozenset()


def only_text(columns: Columns, image: str) -> str:
    """Return the one column besides the image that may hold labels.

    Args:
        columns: of a table.
        image: the column of the images' names.

    Raises:
        TableError: there is no such column, or more than one; the message names them.
    """
    split = columns.usual((*VALID_COLUMNS, *SPLIT_COLUMNS))
    others = columns.others(image, split, STORED)
    structures = [one for one in others if _holds_structures(columns.frame[one])]
    others = [one for one in others if one not in structures]
    texts = [one for one in others if not is_numeric(columns.frame[one]) and not columns.names_images(one)]
    few = [one for one in texts or others if _recurs(columns.frame[one])]
    if len(few) == 1 and (len(texts) <= 1 or len(others) > 1):
        return few[0]
    numbers = [one for one in others if is_numeric(columns.frame[one])]
    if structures and not others:
        raise TableError(
            f"`{columns.name}` says nothing of its images but in {', '.join(structures)}, which holds lists or tables: "
            "give it a column of labels, or of lists of names."
        )
    hint = f" Numbers to predict are named with --targets, such as --targets {numbers[0]}." if numbers else ""
    raise TableError(
        f"`{columns.name}` has none of the columns {', '.join(LABEL_COLUMNS[:6])}. Its columns: {columns.listed}. "
        f"Name the right one with --label-column, or 0/1 columns with --label-columns.{hint}"
    )


def _holds_structures(column: pd.Series) -> bool:
    """Return whether cells are lists or tables, and not values."""
    cells = (cell for cell in column.head(_PROBED).tolist() if cell is not None)
    return any(isinstance(cell, dict | list | tuple | np.ndarray) for cell in cells)


def _recurs(column: pd.Series) -> bool:
    """Return whether the cells of a column recur as those of labels do, and unlike captions or measurements."""
    return bool(column.astype(str).nunique() <= max(2, len(column) // 2))


def is_numeric(column: pd.Series) -> bool:
    """Return whether the first cells of a column are numbers, as text or not.

    Args:
        column: of a table.
    """
    texts = [str(value) for value in column.dropna().head(_PROBED).tolist()]
    known = pd.Series([text for text in texts if text.strip().lower() not in NO_NUMBER], dtype=object)
    return bool(len(known)) and bool(pd.to_numeric(known, errors="coerce").notna().all())


def zero_one_columns(columns: Columns, image: str) -> list[str]:
    """Return the columns that hold 0, 1, -1 and blanks alone, where half of all do or more.

    Args:
        columns: of a table.
        image: the column of the images' names.
    """
    split = columns.usual((*VALID_COLUMNS, *SPLIT_COLUMNS))
    others = columns.others(image, split, STORED)
    marks = {"0", "1", "-1", "0.0", "1.0", "-1.0", "true", "false", "", "none", "nan", "<na>"}
    plain = [one for one in others if not _holds_structures(columns.frame[one])]
    names = [one for one in plain if {str(cell).strip().lower() for cell in columns.frame[one].unique()} <= marks]
    both = len(names) > 1 or {str(cell).strip() for name in names for cell in columns.frame[name]} >= {"0", "1"}
    return names if names and both and len(names) >= len(others) / 2 else []


def expanded(columns: Columns, names: Sequence[str]) -> list[str]:
    """Return names of columns, with patterns such as `x*` and ranges such as `first..last` written out.

    Args:
        columns: of a table.
        names: of columns, patterns and ranges.

    Raises:
        TableError: a pattern or range names no column.
    """
    chosen: list[str] = []
    for name in names:
        if name not in columns.known and ".." in name:
            first, last = (columns.named(part, "a range of columns") for part in name.split("..", 1))
            start, stop = columns.known.index(first), columns.known.index(last)
            chosen += columns.known[min(start, stop) : max(start, stop) + 1]
        elif name not in columns.known and "*" in name:
            matches = fnmatch.filter(columns.known, name)
            if not matches:
                raise TableError(f"`{columns.name}` has no column like `{name}`. Its columns: {columns.listed}.")
            chosen += matches
        else:
            chosen.append(name)
    return chosen


def point_columns(columns: Columns, given: Sequence[str]) -> tuple[str, ...]:
    """Return the columns x, y of each point: those given, with patterns written out, or those whose names are pairs.

    Args:
        columns: of a table.
        given: names and patterns; empty to go by the names.

    Raises:
        InputError: two patterns do not name as many columns.
    """
    if len(given) == 2 and all("*" in name for name in given):
        across, down = (expanded(columns, [name]) for name in given)
        if len(across) != len(down):
            raise InputError(
                f"Points are pairs of columns x,y: {len(across)} are like {given[0]}, {len(down)} like {given[1]}."
            )
        return tuple(column for pair in zip(across, down, strict=True) for column in pair)
    if given:
        return tuple(expanded(columns, given))
    if {"w", "h"} <= set(columns.by_lower) or any(box <= set(columns.by_lower) for box in BOX_COLUMNS):
        return ()
    pairs = []
    for column in columns.known:
        words = re.split(r"([^A-Za-z]+)", column)
        for at, word in enumerate(words):
            other = "".join([*words[:at], {"x": "y", "X": "Y"}.get(word, ""), *words[at + 1 :]])
            if word in {"x", "X"} and other in columns.known and is_numeric(columns.frame[column]):
                pairs.append((column, other))
    return tuple(column for pair in pairs for column in pair)


def numbered_columns(columns: Columns, image: str) -> list[str]:
    """Return the columns besides the image if they are called 0 to n, or 1 to n, as in tables of landmarks.

    Args:
        columns: of a table.
        image: the column of the images' names.
    """
    others = columns.others(image)
    numbers = [int(one) if one.isascii() and one.isdigit() else -1 for one in others]
    is_run = len(numbers) >= _FEWEST_NUMBERED and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return others if is_run and numbers[0] in {0, 1} and len(others) % 2 == 0 else []


def names_of_points(columns: Sequence[str]) -> tuple[str, ...]:
    """Return what points are called, by their columns' names without x or y; nothing for mere numbers.

    Args:
        columns: x, y of each point in turn.
    """
    names = [
        re.sub(r"[ _.-]+", " ", re.sub(r"(?i)(^|[^a-z])x([^a-z]|$)", r"\1\2", one)).strip() for one in columns[::2]
    ]
    usable = all(re.search("[A-Za-z]", name) for name in names) and len(set(names)) == len(names)
    return tuple(names) if usable and len(names) > 1 else ()
