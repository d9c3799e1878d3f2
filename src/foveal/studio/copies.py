"""Copies, crops and edits among the images of a studio, across the split or not, and images unlike the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple

from torch import Tensor

from foveal.audit.checks import COPIES
from foveal.audit.edits import edits_among
from foveal.audit.inspection import Ledger, copies_among, inspect_all
from foveal.evaluation.feature_checks import belong_to_nothing, pairs_to_compare
from foveal.studio.collection import Shown


class Pair(NamedTuple):
    """Two images that show the same.

    Attributes:
        first: position.
        second: position.
        how: "exact copy", "near copy" or "crop, mirror or edit".
    """

    first: int
    second: int
    how: str


class Found(NamedTuple):
    """What was found.

    Attributes:
        pairs: images that show the same.
        unlike: positions of images unlike the rest, the strangest first.
    """

    pairs: tuple[Pair, ...]
    unlike: tuple[int, ...]


def search(
    images: Sequence[Shown], features: Tensor, looked: Sequence[int], advance: Callable[[float], object]
) -> Found:
    """Return the copies among images, and the images unlike the rest.

    Args:
        images: all of them.
        features: of all images, [n, F].
        looked: positions of those that were looked at.
        advance: called with the share that is done; an exception of it ends the search.
    """
    position = {images[at].file: at for at in looked}
    files, rows = list(position), features[list(looked)].float()
    inspected = inspect_all(Ledger.load(), files, advance=_counting(len(files), 0.0, advance))
    copies, _ = copies_among([file for file in files if not inspected[file].fault], inspected)
    known = {frozenset((first, second)) for first, second, _ in copies}
    likely = pairs_to_compare(files, rows, [images[at].is_valid for at in looked], known)
    edited = edits_among(likely, advance=_counting(len(likely), 0.5, advance))
    pairs = [(a, b, COPIES[0] if exact else COPIES[1]) for a, b, exact in copies]
    pairs += [(a, b, "crop, mirror or edit") for a, b in edited]
    unlike = tuple(looked[at] for at, _ in belong_to_nothing(rows))
    return Found(tuple(Pair(position[a], position[b], how) for a, b, how in pairs), unlike)


def _counting(n: int, begun: float, advance: Callable[[float], object]) -> Callable[[], object]:
    """Return a function that tells, each time it is called, how much of half of the search is done with so many."""
    counted = count(1)
    return lambda: advance(begun + 0.5 * next(counted) / n)
