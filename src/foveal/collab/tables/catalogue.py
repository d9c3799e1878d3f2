"""Titles and features of items: from a table that lies beside the ratings, or from further columns of the ratings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from foveal.collab.tables.loading import Opened, open_table
from foveal.collab.tables.pairs import read_ids
from foveal.collab.tables.table import Catalogue
from foveal.collab.tables.text import is_numeric
from foveal.collab.tables.words import (
    about_other_things,
    claim_of,
    is_personal,
    is_title,
    names_items,
    names_users,
    words_of,
)
from foveal.collab.task import Id
from foveal.core.errors import InputError, TableError, near_match
from foveal.sources.items import Finding

_COVERED = 0.5  # of the items with ratings must be in a table, or it is another one's
_UNIQUE = 0.9  # of a catalogue's ids stand once; in tables of tags or reviews they stand often
_CONSTANT = 0.98  # of the rows agree with their item's first one, if a column is true of the item
_REPEATED = 0.2  # of the rows must be of items that have several, or everything is constant per item
_LARGEST = 1 << 29  # bytes of a table beside the ratings that is looked into
_MOST_FILES = 60
_ENDINGS = (".csv", ".tsv", ".dat", ".txt", ".item", ".parquet", ".jsonl", ".json", ".data", ".xlsx", ".tab", ".psv")
_LINK_WORDS = frozenset(
    [
        "url",
        "uri",
        "link",
        "links",
        "href",
        "image",
        "images",
        "img",
        "photo",
        "poster",
        "thumbnail",
        "cover",
    ]
)
_LINK = re.compile(r"(?:https?://|www\.|//|/?\S*\.(?:jpe?g|png|gif|webp)$)", re.IGNORECASE)
_FLAGS = {"0", "1"}


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A table that may be about the items.

    Attributes:
        file: its path.
        keys: columns that may be its ids, the likeliest first.
        rank: how likely it is the one; higher is likelier.
    """

    file: Path
    keys: tuple[str, ...]
    rank: float


def find_beside(folder: Path, own: str, item: str, ids: pd.Index) -> tuple[Catalogue | None, list[Finding]]:
    """Return what a table in the same folder knows of the items.

    Args:
        folder: that the ratings lie in.
        own: the file of the ratings.
        item: the column of the items.
        ids: the items that have ratings.
    """
    findings: list[Finding] = []
    for candidate in sorted(_candidates(folder, own, item), key=lambda one: -one.rank):
        share, why = 0.0, ""
        for key in candidate.keys:
            try:
                catalogue, share, why = _read(candidate.file, key, ids)
            except TableError as error:
                share, why = 0.0, str(error)
                break
            if catalogue is not None:
                return catalogue, [*findings, *_partly(catalogue.source, share)]
        if share > 0 or names_items(candidate.file.name):
            findings.append(Finding("note", "table beside the ratings is not used", candidate.file.name, why))
    return None, findings


def read_given(file: Path, item: str, ids: pd.Index) -> tuple[Catalogue, list[Finding]]:
    """Return the table that a person names for the items, and what is noteworthy in it.

    Args:
        file: its path.
        item: the column of the items in the ratings.
        ids: the items that have ratings.

    Raises:
        InputError: it cannot be read, or has less than half of the items.
        TableError: there is no such file.
    """
    if not file.is_file():
        beside = [other.name for other in file.parent.glob("*")] if file.parent.is_dir() else []
        raise TableError(f"There is no table of items `{file}` (--items).{near_match(file.name, beside)}")
    opened = open_table(file)
    names = [str(name) for name in opened.sample.columns]
    keys = _keys(opened, item)
    best = 0.0
    for name in dict.fromkeys((*keys, *names)):
        catalogue, share, _ = _read(file, name, ids)
        if catalogue is not None:
            return catalogue, _partly(catalogue.source, share)
        best = max(best, share)
    raise InputError(
        f"`{file.name}` (--items) has {best:.0%} of the items in any of its columns ({', '.join(names[:8])}); at "
        f"least half are needed. The items are such as {', '.join(map(str, ids[:3]))}. "
        "Name another table, or say --items none."
    )


def _partly(name: str, share: float) -> list[Finding]:
    if share == 1:
        return []
    return [Finding("note", "items that the table of titles does not have", name, f"{1 - share:.1%} of the items")]


def _candidates(folder: Path, own: str, item: str) -> Iterator[_Candidate]:
    files = [file for file in sorted(folder.iterdir()) if file.name != own and file.is_file()][: 10 * _MOST_FILES]
    claim = claim_of(item)
    noun = claim.noun if claim is not None and claim.role == "item" else None
    n = 0
    for file in files:
        word = names_items(file.name)
        if names_users(file.name) or not file.name.lower().removesuffix(".gz").endswith(_ENDINGS) or n > _MOST_FILES:
            continue
        if not 0 < file.stat().st_size <= _LARGEST:
            continue
        n += 1
        if word is None and not _head_has(file, item):
            continue
        try:
            opened = open_table(file)
        except TableError:
            continue
        keys = _keys(opened, item)
        if not keys:
            continue
        is_same = keys[0].lower() == item.lower() and opened.has_header
        if not is_same and (about_other_things(file.name, item) or not _has_texts(opened, keys[0])):
            continue
        has_title = any(is_title(str(name)) for name in opened.sample.columns) or not opened.has_header
        rank = 4.0 * has_title + 2.0 * (word is not None) + (word in {noun, "item"}) + is_same
        yield _Candidate(file, keys, rank)


def _has_texts(opened: Opened, key: str) -> bool:
    """Return whether a table names its rows in words; one of numbers alone may be about anything."""
    others = [name for name in map(str, opened.sample.columns) if name != key]
    return any(not is_numeric(opened.sample[name].dropna().tolist()) and _is_filled(opened, name) for name in others)


def _is_filled(opened: Opened, name: str) -> bool:
    return bool(opened.sample[name].notna().any())


def _head_has(file: Path, column: str) -> bool:
    """Return whether a file's first line mentions a column; quick, for files of other names."""
    with file.open("rb") as stream:
        return column.lower().encode() in stream.readline(1 << 12).lower()


def _keys(opened: Opened, item: str) -> tuple[str, ...]:
    """Return the columns that may identify items, the likeliest first; none where a table is about users or ratings."""
    names = [str(name) for name in opened.sample.columns]
    if not opened.has_header:
        return (names[0],) if names_items(opened.name) else ()
    claims = {name: claim for name in names if (claim := claim_of(name)) is not None}
    # "members" says how many know an item, "member" and "member_id" that a row is about one of them
    if any(claim.role == "user" and not claim.is_name and not name.endswith("s") for name, claim in claims.items()):
        return ()
    same = [name for name in names if name.lower() == item.lower()]
    if not same and (names_items(opened.name) is None or sum(map(is_personal, names)) > 1):
        return ()
    bare = [name for name in names if words_of(name) in (["id"], ["key"])]
    known = [name for name, claim in claims.items() if claim.role == "item" and not claim.is_name]
    known.sort(key=lambda name: -claims[name].score)
    return tuple(dict.fromkeys((*same, *bare, *known))) or (names[0],)


def _read(file: Path, key: str, ids: pd.Index) -> tuple[Catalogue | None, float, str]:
    """Return (catalogue, share of the items that it has, why it is not theirs where it is None)."""
    opened = open_table(file)
    frame = opened.read([str(name) for name in opened.sample.columns], ())
    found = _like(read_ids(frame[key]).ids, ids)
    filled = found.notna()
    share = float(pd.Index(ids).isin(pd.Index(found[filled])).mean()) if len(ids) else 0.0
    n_different = found[filled].nunique()
    if share < _COVERED:
        return None, share, f"it has {share:.0%} of the items"
    if n_different < _UNIQUE * filled.sum():
        return None, share, f"its ids (`{key}`) stand in several rows"
    return _of_items(opened, file, key, found), share, ""


def read_items(file: Path, item: str, *, are_numbers: bool) -> Catalogue:
    """Return a table of items, whatever items it has: new ones.

    Args:
        file: its path.
        item: the column of the items in the ratings; the first column of the table is taken where it has none.
        are_numbers: whether the ids of known items are numbers.

    Raises:
        TableError: it cannot be read.
    """
    if not file.is_file():
        beside = [other.name for other in file.parent.glob("*")] if file.parent.is_dir() else []
        raise TableError(f"There is no table of items `{file}`.{near_match(file.name, beside)}")
    opened = open_table(file)
    names = [str(name) for name in opened.sample.columns]
    key = next(iter(_keys(opened, item)), names[0])
    ids = read_ids(opened.read(names, ())[key]).ids
    return _of_items(opened, file, key, _like(ids, pd.Index([0] if are_numbers else [""])))


def _of_items(opened: Opened, file: Path, key: str, ids: pd.Series) -> Catalogue:
    """Return the catalogue of a table, by the ids of its rows; the first row of each counts."""
    frame = opened.read([str(name) for name in opened.sample.columns], ())
    first = (ids.notna() & ~ids.duplicated()).to_numpy()
    frame = frame[first].set_axis(pd.Index(ids[first].to_numpy(), name=key)).drop(columns=key)
    if not opened.has_header:
        frame = _named_flags(frame, file)
    return _catalogue(frame, file.name, has_header=opened.has_header)


def _like(found: pd.Categorical, ids: pd.Index) -> pd.Series:
    """Return ids as those of the ratings are: as numbers where these are, else as texts."""
    known = found.categories.tolist()
    if pd.api.types.is_integer_dtype(ids):
        known = [int(one) if str(one).isdecimal() else one for one in known]
    else:
        known = [str(one) for one in known]
    cells = np.empty(len(known) + 1, dtype=object)
    cells[:-1] = known
    cells[-1] = None
    return pd.Series(cells[found.codes], dtype=object)


def _named_flags(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Return a table whose last columns, of 0 and 1, are named by a list of genres that lies beside, as of `u.item`."""
    lists = [
        other for other in sorted(file.parent.glob("*genre*")) if other.is_file() and other.stat().st_size < 1 << 16
    ]
    flags = [name for name in frame.columns if set() < set(map(str, frame[name].dropna().unique())) <= _FLAGS]
    for other in lists:
        rows = [line.split("|") for line in other.read_text(encoding="latin-1").splitlines() if "|" in line]
        names = [row[0].strip() for row in rows if len(row) == 2 and row[1].strip().isdigit()]
        if names and len(names) == len(flags):
            return frame.rename(columns=dict(zip(flags, names, strict=True)))
    return frame


def _catalogue(frame: pd.DataFrame, source: str, *, has_header: bool = True) -> Catalogue:
    title = _title(frame, has_header=has_header)
    titles: dict[Id, str] = {}
    if title is not None:
        cells = frame[title].astype(object)
        filled = cells[cells.notna()]
        titles = {one: str(cell).strip() for one, cell in zip(filled.index.tolist(), filled.tolist(), strict=True)}
    kept = {name: _plain(frame[name]) for name in frame.columns if name != title and not _is_link(name, frame[name])}
    kept = {name: column for name, column in kept.items() if column.notna().any() and not _identifies(name, column)}
    features = pd.DataFrame(kept, index=frame.index) if kept else None
    return Catalogue(titles, features, source)


def _title(frame: pd.DataFrame, *, has_header: bool) -> str | None:
    names = [str(name) for name in frame.columns]
    if has_header:
        known = [name for name in names if is_title(name)]
        if known:
            return min(known, key=lambda name: ("title" not in name.lower(), len(words_of(name))))
    texts = [name for name in names if not pd.api.types.is_numeric_dtype(_plain(frame[name]))]
    return next(
        (name for name in texts if frame[name].nunique() > len(frame) / 2 and not _is_link(name, frame[name])), None
    )


def _identifies(name: str, column: pd.Series) -> bool:
    """Return whether a column holds the ids of another table, which say nothing of an item."""
    return words_of(name)[-1:] in (["id"], ["ids"]) and column.nunique() > _UNIQUE * column.notna().sum()


def _is_link(name: str, column: pd.Series) -> bool:
    """Return whether a column leads to images or pages."""
    if set(words_of(name)) & _LINK_WORDS:
        return True
    cells = [str(cell) for cell in column.dropna().head(50).tolist()]
    return bool(cells) and sum(_LINK.match(cell) is not None for cell in cells) > len(cells) / 2


def _plain(column: pd.Series) -> pd.Series:
    """Return a column as numbers where all cells are, else as texts."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column
    cells = [str(cell).strip() for cell in column.cat.categories]
    numbers = pd.to_numeric(pd.Series([cell or None for cell in cells], dtype=object), errors="coerce")
    if cells and all(numbers.notna() | (np.array(cells) == "")):
        return pd.Series(np.append(numbers.to_numpy(dtype=float), np.nan)[column.cat.codes.to_numpy()], column.index)
    texts = np.array([*[cell or None for cell in cells], None], dtype=object)
    return pd.Series(texts[column.cat.codes.to_numpy()], column.index, dtype=object)


def may_describe(sample: pd.DataFrame, item: str, name: str) -> bool:
    """Return whether a column may be true of the items, by some rows.

    Args:
        sample: the first rows.
        item: the column of the items.
        name: the column.
    """
    items, cells = sample[item].astype(str), sample[name].astype(str)
    several = items.duplicated(keep=False)
    first = cells.groupby(items).transform("first")
    return not several.any() or float((first == cells)[several].mean()) >= _CONSTANT


def constant_per_item(items: pd.Series | pd.Categorical, column: pd.Series) -> bool:
    """Return whether a column is the same in all rows of an item, and not in all rows.

    Args:
        items: of each row.
        column: of the same rows.
    """
    codes = pd.Categorical(items).codes
    cells = pd.factorize(column)[0]
    filled = (codes >= 0) & (cells >= 0)
    codes, cells = codes[filled], cells[filled]
    if not len(codes) or (cells == cells[0]).all():
        return False
    counts = np.bincount(codes)
    if counts[counts > 1].sum() < _REPEATED * len(codes):
        return False
    first = np.full(len(counts), -1)
    first[codes[::-1]] = cells[::-1]
    several = counts[codes] > 1
    return float((first[codes] == cells)[several].mean()) >= _CONSTANT


def from_columns(items: pd.Categorical, columns: pd.DataFrame) -> tuple[Catalogue | None, list[str]]:
    """Return what further columns of the ratings say of the items, and the columns that say nothing of them.

    Args:
        items: of each row.
        columns: the further columns of the same rows.
    """
    names = [name for name in columns.columns if constant_per_item(items, columns[name])]
    unused = [str(name) for name in columns.columns if name not in names]
    if not names:
        return None, unused
    codes = pd.Series(items.codes)
    rows = np.flatnonzero(~codes.duplicated().to_numpy() & (items.codes >= 0))
    frame = columns[names].iloc[rows].set_axis(pd.Index(items.categories[items.codes[rows]]))
    catalogue = _catalogue(frame, "the table")
    if not catalogue.titles and catalogue.features is None:
        return None, [*unused, *names]
    return catalogue, unused
