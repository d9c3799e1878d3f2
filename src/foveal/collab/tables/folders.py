"""Whether a path holds ratings, found out by a look at a few lines; and which file of a folder does."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pandas as pd
import pyarrow.parquet as arrow_parquet

from foveal.collab.tables.roles import Roles, find_roles
from foveal.collab.tables.text import HEAD, Text, is_numeric, load_text
from foveal.collab.tables.wide import find_wide
from foveal.collab.tables.words import Role, claim_of, names_items, names_users, words_of
from foveal.core.errors import FovealError, InputError
from foveal.sources.columns import IMAGE_COLUMNS
from foveal.sources.frames import JSON_LINES, PARQUET
from foveal.sources.tree import is_image_name, tree_of

_TEXTS = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data", ".inter", ".base")
_ENDINGS = (*_TEXTS, *PARQUET, *JSON_LINES)
_DATA = (".dat", ".data", ".inter", ".base")  # endings of data sets for recommendations, and rarely of others
_FILE_WORDS = frozenset(
    ["rating", "ratings", "plays", "interactions", "scrobbles", "listens", "jester", "reviews", "purchases"]
)
_USUAL = ("ratings.csv", "ratings.dat", "rating.csv", "u.data", "ratings.tsv", "user_artists.dat")
"""Files that are the ratings where a folder holds several tables."""
_MOST_FILES = 60  # of a folder that are looked at; chosen by hand
_MOST_COLUMNS = 5  # of a table of ratings without names of its columns
_NO_ROLES: dict[Role, str | None] = {}


def takes(path: Path) -> bool:
    """Return whether a path holds ratings and no images; quick, and never raises.

    Args:
        path: a file or folder, which may not be there.
    """
    try:
        if path.is_dir():
            found = _candidates(path)
            return bool(found) and not tree_of(path).images
        return path.is_file() and _looks_like_ratings(path)
    except (FovealError, OSError, ValueError):
        return False


def ratings_file(folder: Path) -> Path:
    """Return the file of a folder that holds the ratings.

    Args:
        folder: a data set's.

    Raises:
        InputError: no file does, or several do.
    """
    found = _candidates(folder)
    if not found:
        raise InputError(
            f"The folder `{folder}` holds no table of ratings that is recognised: name the file itself, with --user, "
            "--item and --rating where its columns have other names."
        )
    usual = [file for name in _USUAL for file in found if file.name.lower() in {name, f"{name}.gz"}]
    named = [file for file in found if {"ratings", "rating"} & set(words_of(file.name))]
    for some in (usual, named, found):
        if some and (len(some) == 1 or some is usual):
            return some[0]
    names = ", ".join(file.name for file in (named or found)[:6])
    raise InputError(f"The folder `{folder}` holds several tables of ratings: {names}. Name the one to read.")


def _candidates(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:  # of 100,000 images only the names are looked at
        names = [entry.name for entry in entries if entry.name.lower().removesuffix(".gz").endswith(_ENDINGS)]
    files = [folder / name for name in sorted(names) if not name.startswith((".", "_"))]
    likely = [file for file in files if _may_hold_ratings(file) and file.is_file()][:_MOST_FILES]
    usual = [file for file in likely if file.name.lower().removesuffix(".gz") in _USUAL]
    return [file for file in usual or likely if _looks_like_ratings(file)]


def _may_hold_ratings(file: Path) -> bool:
    """Return whether a file's name speaks of ratings, or of nothing else."""
    return names_items(file.name) is None and not (names_users(file.name) and _ending(file) == ".user")


def _looks_like_ratings(file: Path) -> bool:
    """Return whether a table has users, items and ratings by the names of its columns or of the file, and no images."""
    ending = _ending(file)
    if ending in (*PARQUET, *JSON_LINES):
        is_parquet = ending in PARQUET
        return _names_say_so(tuple(arrow_parquet.read_schema(file).names) if is_parquet else _json_names(file))
    if ending not in _TEXTS:
        return False
    text = load_text(file, most=HEAD)
    layout = text.layout
    if _has_images(text) or (layout.names is not None and _names_say_so(layout.names)):
        return not _has_images(text)
    if not (set(words_of(file.name)) & _FILE_WORDS or ending in _DATA):
        return False
    sample, has_header = layout.sample(), layout.names is not None
    if find_wide(sample, has_header=has_header) is not None:
        return True
    return _is_triple(sample, find_roles(sample, _NO_ROLES, has_header=has_header))


def _ending(file: Path) -> str:
    return Path(file.name.lower().removesuffix(".gz")).suffix


def _names_say_so(names: tuple[str, ...]) -> bool:
    claims = [claim for name in names if (claim := claim_of(name)) is not None]
    roles = {claim.role for claim in claims if claim.score >= 2 and not claim.is_name}
    has_images = any(name.strip().lower() in IMAGE_COLUMNS for name in names)
    return (
        not has_images and "user" in roles and bool({"item"} & {claim.role for claim in claims}) and "rating" in roles
    )


def _json_names(file: Path) -> tuple[str, ...]:
    """Return the names in the first line of a file of JSON lines; none where it names an image."""
    with gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb") as stream:
        row = json.loads(stream.readline(HEAD).decode("utf-8-sig"))
    if not isinstance(row, dict) or any(isinstance(cell, str) and is_image_name(cell) for cell in row.values()):
        return ()
    return tuple(map(str, row))


def _has_images(text: Text) -> bool:
    """Return whether a table names images: in a column of that name, or in cells."""
    layout = text.layout
    if layout.names is not None and any(name.strip().lower() in IMAGE_COLUMNS for name in layout.names):
        return True
    return any(is_image_name(cell.strip().split("?")[0]) for row in layout.rows[:20] for cell in row)


def _is_triple(sample: pd.DataFrame, roles: Roles) -> bool:
    """Return whether a table of few columns has ids twice, some of them again and again, and then a number."""
    if roles.rating is None or len(sample.columns) > _MOST_COLUMNS or not is_numeric(sample[roles.rating].tolist()):
        return False
    n, n_users, n_items = len(sample), sample[roles.user].nunique(), sample[roles.item].nunique()
    return n_users > 1 and n_items > 1 and (n_users < n or n_items < n)
