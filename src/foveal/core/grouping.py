"""Groups of what belongs together by pairs, and names that stand for one thing alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

Member = TypeVar("Member", bound=Hashable)
Thing = TypeVar("Thing")


def grouped(pairs: Iterable[tuple[Member, Member]]) -> dict[Member, Member]:
    """Return for each member of a pair the one that its group is called by: the first of the pair that joined it.

    Args:
        pairs: of members that belong together; one paired with itself is a group of its own.

    Examples:
        >>> grouped([("a", "b"), ("c", "c"), ("b", "d")])
        {'a': 'a', 'b': 'a', 'c': 'c', 'd': 'a'}
    """
    parent: dict[Member, Member] = {}

    def root(one: Member) -> Member:
        while parent.setdefault(one, one) != one:
            one = parent[one]
        return one

    for first, second in pairs:
        top = root(first)
        parent[root(second)] = top
    return {one: root(one) for one in parent}


def by_any_name(named: Iterable[tuple[Thing, Iterable[str], Iterable[str]]]) -> dict[str, Thing]:
    """Return things by their full names, and by short ones that only one of them has.

    Args:
        named: (thing, its full names, its short names).

    Examples:
        >>> by_any_name([(1, ["a/x.jpg"], ["x.jpg", "x"]), (2, ["b/x.jpg"], ["x.jpg"])])
        {'x': 1, 'a/x.jpg': 1, 'b/x.jpg': 2}
    """
    full: dict[str, Thing] = {}
    short: dict[str, Thing] = {}
    several = set[str]()
    for thing, full_names, short_names in named:
        full |= dict.fromkeys(full_names, thing)
        names = set(short_names)
        several |= names & short.keys()
        short |= dict.fromkeys(names, thing)
    return {name: thing for name, thing in short.items() if name not in several} | full
