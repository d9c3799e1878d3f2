"""Search of items by title: the words of a query in any order, without case and accents, popular items first.

Items are kept from the most popular to the least, so that whatever is found in order is sorted already. Each word of a
title leads to its items, and words are sorted, so that all words with one beginning are neighbours.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from foveal.collab.task import Id, Ids
from foveal.core.errors import near_match

_LAST = "\U0010ffff"  # sorts after every other character
_SHORTEST = 2  # characters that are searched for inside of words; one ASCII letter is in nearly every title
_WORDS = 12  # of a query that are used; chosen by hand: more than a title is remembered by
_HINTED = 2000  # titles that are compared with a name that is not known: 10 ms
_LONGEST = 100  # characters of a name that is compared, or shown in an error

_NUMBER = re.compile(r"-?\d{1,20}(\.\d{1,20})?")

Places = NDArray[np.int64]


class ItemSearch:
    """An index of the items that training knows.

    Attributes:
        ids: the items, the most popular first.
    """

    def __init__(self, items: Ids, titles: Mapping[Id, str], popularity: Sequence[int]) -> None:
        """Build the index.

        Args:
            items: those that training knows.
            titles: by id; an item without one is found by its id.
            popularity: how many users had each item of `items.known`.
        """
        order = np.argsort(-np.asarray(popularity, dtype=np.int64), kind="stable")
        self._items = items
        self.ids: list[Id] = [items.known[at] for at in order]
        shown = [titles.get(item) or str(item) for item in self.ids]
        self._titles = shown
        self._exact = {title.casefold(): item for item, title in zip(reversed(self.ids), reversed(shown), strict=True)}
        plain = [normalise(title) for title in shown]
        by_title = sorted(range(len(plain)), key=lambda at: (plain[at], at))
        self._sorted, self._by_title = [plain[at] for at in by_title], np.array(by_title, dtype=np.int64)
        self._words, self._starts, self._places = _postings(plain)
        squeezed = [title.replace(" ", "") for title in plain]
        self._squeezed = "\n".join(squeezed)
        self._begins = np.cumsum([0, *(len(title) + 1 for title in squeezed)])

    def search(self, query: str, limit: int) -> list[Id]:
        """Return the items that a query finds.

        First comes the item of that id, then titles that begin with the query, then those in which each word of the
        query begins a word, then those that hold the query anywhere, spaces aside. An empty query finds the most
        popular items.

        Args:
            query: words, or the beginnings of words.
            limit: the most items.
        """
        text = normalise(query)
        if not text:
            return self.ids[:limit] if not query.strip() else []
        named = self.by_id(query.strip())
        found: dict[Id, None] = {} if named is None else {named: None}
        for places in (self._beginning_with(text), self._with_words(text.split()), self._holding(text, limit)):
            found |= dict.fromkeys(self.ids[at] for at in places[: limit + len(found)])
            if len(found) >= limit:
                break
        return list(found)[:limit]

    def by_id(self, name: Id) -> Id | None:
        """Return the id that is meant; see `known_id`."""
        return known_id(self._items, name)

    def named(self, name: Id) -> Id | None:
        """Return the item that a name stands for: an id, else a title, else one without accents and punctuation."""
        if (item := self.by_id(name)) is not None:
            return item
        exact = self._exact.get(str(name).casefold())
        return self.by_title(str(name)) if exact is None else exact

    def by_title(self, title: str) -> Id | None:
        """Return the most popular item of a title, without case, accents and punctuation."""
        text = normalise(title)
        at = bisect_left(self._sorted, text)
        is_there = text and at < len(self._sorted) and self._sorted[at] == text
        return self.ids[self._by_title[at]] if is_there else None

    def hint(self, name: Id) -> str:
        """Return a sentence that names the closest title, or an empty text."""
        words = normalise(str(name)[:_LONGEST]).split()[:_WORDS]
        for length in (3, 1):  # of 100,000 titles only those that share the beginning of a word are compared
            counts = np.zeros(len(self.ids), dtype=np.int64)
            for word in words:
                counts += self._mask(word[:length])
            if counts.any():
                closest = np.argsort(-counts, kind="stable")[: min(_HINTED, int((counts > 0).sum()))]
                return near_match(str(name)[:_LONGEST], (self._titles[at] for at in closest))
        return ""

    def _beginning_with(self, text: str) -> Places:
        first, last = bisect_left(self._sorted, text), bisect_left(self._sorted, text + _LAST)
        return np.sort(self._by_title[first:last])

    def _with_words(self, words: Sequence[str]) -> Places:
        mask = np.ones(len(self.ids), dtype=bool)
        for word in dict.fromkeys(words[:_WORDS]):
            mask &= self._mask(word)
        return np.flatnonzero(mask)

    def _mask(self, beginning: str) -> NDArray[np.bool_]:
        """Return which items have a word with a beginning."""
        first, last = bisect_left(self._words, beginning), bisect_left(self._words, beginning + _LAST)
        mask = np.zeros(len(self.ids), dtype=bool)
        mask[self._places[self._starts[first] : self._starts[last]]] = True
        return mask

    def _holding(self, text: str, limit: int) -> Places:
        """Return up to two times `limit` items that hold a text anywhere."""
        wanted = text.replace(" ", "")
        found: dict[int, None] = {}
        if len(wanted) >= _SHORTEST or not wanted.isascii():
            for match in re.finditer(re.escape(wanted), self._squeezed):
                found[int(np.searchsorted(self._begins, match.start(), "right")) - 1] = None
                if len(found) >= 2 * limit:  # the better matches that come first may be among them
                    break
        return np.array(list(found), dtype=np.int64)


def normalise(text: str) -> str:
    """Return the words of a text as they are compared: small letters without accents, one space between words.

    >>> normalise("  Amélie's Café:  (2001) ")
    'amelies cafe 2001'
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    return " ".join("".join(map(_plain, text.casefold())).split())


@lru_cache(maxsize=1 << 14)  # characters: those of nearly all titles of one table
def _plain(character: str) -> str:
    """Return what a character is compared as: nothing for accents and apostrophes, a space for punctuation."""
    category = unicodedata.category(character)
    if category.startswith("M") or category == "Cf" or character in "'\u2019\u02bc`":
        return ""
    return " " if category[0] in "PZC" else character


def _postings(titles: Sequence[str]) -> tuple[list[str], Places, Places]:
    """Return the words of titles, sorted; where the places of each begin, and one more; and the places."""
    places_of: dict[str, list[int]] = {}
    for at, title in enumerate(titles):
        for word in set(title.split()):
            places_of.setdefault(word, []).append(at)
    words = sorted(places_of)
    starts = np.cumsum([0, *(len(places_of[word]) for word in words)])
    return words, starts, np.array([at for word in words for at in places_of[word]], dtype=np.int64)


def known_id(ids: Ids, name: Id) -> Id | None:
    """Return the id that is meant: of 7 and "7" the one that training had; None where it had neither.

    Args:
        ids: all that training knows.
        name: as a person or a form wrote it.
    """
    return next((value for value in _spellings(name) if ids.number(value)), None)


def _spellings(name: Id) -> Iterator[Id]:
    """Yield an id as it is, and as the number or the text that is written the same."""
    yield name
    if not isinstance(name, str):
        yield str(name)
    elif _NUMBER.fullmatch(name):
        yield float(name) if "." in name else int(name)


def shortened(name: object) -> str:
    """Return a name as an error shows it."""
    text = repr(name)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
