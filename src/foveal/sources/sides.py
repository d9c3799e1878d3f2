"""Sides of a split as people name them: in folders, file names and cells of tables, for every format alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from foveal.sources.items import Finding, Item

Side = Literal["train", "valid", "test"]

_WORDS: dict[str, Side] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "validate", "dev", "eval"), "valid"),
    **dict.fromkeys(("test", "testing", "tst", "holdout"), "test"),
}
_AROUND = frozenset(("set", "sets", "data", "dataset", "split", "seg", "public", "private")) | frozenset(
    ("image", "images", "img", "imgs", "photo", "photos")
)
"""Words beside that for the side in the name of a folder."""
_ENDINGS = ("sets", "set", "data", "images", "imgs")
_LONGEST = 60  # characters of a name that may stand for a side; chosen by hand
_ONLY_CELLS = frozenset({"dev", "eval"})  # folders of developers and files of results are called so too
TRUE = frozenset({"true", "t", "1", "1.0", "yes", "y"})
FALSE = frozenset({"false", "f", "0", "0.0", "no", "n"})


def side_of(name: str) -> Side | None:
    """Return the side that a folder's name stands for as a whole.

    Args:
        name: of a folder.

    >>> side_of("val2017"), side_of("Training_Set"), side_of("training shoes"), side_of("PublicTest")
    ('valid', 'train', None, 'test')
    """
    if len(name) > _LONGEST or not re.fullmatch(r"[\w .-]*", name):
        return None
    words = re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name))
    sides = [_side_of_part(word.lower()) for word in words if word.lower() not in _AROUND]
    return sides[0] if len(sides) == 1 else None


def _side_of_part(word: str) -> Side | None:
    forms = (word, *(word.removesuffix(ending) for ending in _ENDINGS))
    return next((_WORDS[form] for form in forms if form in _WORDS and form not in _ONLY_CELLS), None)


def side_of_path(file: Path, root: Path | None = None) -> Side | None:
    """Return the side of the innermost folder that stands for one.

    Args:
        file: a file below `root`, or a path relative to it.
        root: the folder above which nothing counts.

    >>> side_of_path(Path("train/images/val/1.jpg"))
    'valid'
    """
    if root is not None and not file.is_relative_to(root):
        return None
    parts = (file.relative_to(root) if root is not None else file).parts[:-1]
    return next((side for part in reversed(parts) if (side := side_of(part)) is not None), None)


def side_in(name: str) -> Side | None:
    """Return the one side that a file's name mentions among its words.

    Args:
        name: of a file, without its ending.

    >>> side_in("instances_train2017"), side_in("train-00000-of-00001"), side_in("labels"), side_in("train_vs_test")
    ('train', 'train', None, None)
    """
    words = re.findall(r"[a-z]+", name.lower())
    sides = {_WORDS[word] for word in words if word in _WORDS and word not in _ONLY_CELLS}
    return sides.pop() if len(sides) == 1 else None


def side_of_cell(cell: object) -> Side | None:
    """Return the side that a cell of a table names: a word for a side, or whether the row is for validation.

    Args:
        cell: a text, number or truth value.

    >>> side_of_cell(" TRUE"), side_of_cell("0"), side_of_cell("Testing"), side_of_cell("maybe")
    ('valid', 'train', 'test', None)
    """
    text = str(cell).strip().lower()
    if text in TRUE:
        return "valid"
    return "train" if text in FALSE else side_of_word(str(cell))


def side_of_word(text: str) -> Side | None:
    """Return the side that a word names.

    Args:
        text: a cell of a table.
    """
    return _WORDS.get(text.strip().lower()) or side_of(text.strip())


def is_valid_of(sides: Sequence[Side | None]) -> list[bool | None]:
    """Return whether each item is for validation; None throughout where no item is.

    Validation is then made from the training side.

    Args:
        sides: of items that are not of the test side.
    """
    if "valid" not in sides:
        return [None] * len(sides)
    return [None if side is None else side == "valid" for side in sides]


def sides_by_folders(
    items: Sequence[Item], sides: list[Side | None], root: Path
) -> tuple[list[Side | None], tuple[Finding, ...]]:
    """Return the sides of the folders that images lie in, where nothing else says them and every folder does.

    Args:
        items: of a source.
        sides: of each, as the source gives them.
        root: the folder above which nothing counts.
    """
    if any(sides) or not items:
        return sides, ()
    of_folder = {folder: side_of_path(folder / "x", root) for folder in {item.image.parent for item in items}}
    named = set(of_folder.values())
    if None in named or len(named) < 2:
        return sides, ()
    shown = ", ".join(sorted(f"{folder.relative_to(root)}/" for folder in of_folder)[:4])
    finding = Finding("note", "split by the folders of the images", "", shown)
    return [of_folder[item.image.parent] for item in items], (finding,)


def set_aside_test(
    items: Sequence[Item], sides: Sequence[Side | None]
) -> tuple[list[Item], tuple[Item, ...], tuple[Finding, ...]]:
    """Give items their side; the test side is set aside, and a split that is given for a part only is an error.

    Args:
        items: of all sides.
        sides: of each.

    Returns:
        The items to train on and validate with, those of the test side, and what is wrong.
    """
    if not any(sides):
        return list(items), (), ()
    test = tuple(item for item, side in zip(items, sides, strict=True) if side == "test")
    kept = [(item, side) for item, side in zip(items, sides, strict=True) if side != "test"]
    valid = is_valid_of([side for _, side in kept])
    placed = [replace(item, is_valid=is_valid) for (item, _), is_valid in zip(kept, valid, strict=True)]
    without = [item for item, side in kept if side is None]
    findings: tuple[Finding, ...] = ()
    if without and (test or len(without) < len(kept)):
        value = f"{len(without):,} of {len(items):,} images lie in no side"
        hint = "Say for all of them which side they are on, or for none."
        findings = (Finding("error", "split given for a part of the images", without[0].origin, value, hint),)
    return placed, test, findings
