"""Copies, crops and edits among the images of a studio, across the split or not, and images unlike the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from foveal.audit.edits import edits_among
from foveal.audit.inspection import Inspection, Ledger, copies_among
from foveal.core import threads
from foveal.evaluation.feature_checks import belong_to_nothing, likely_copies
from foveal.studio.collection import Shown

_AT_ONCE = 16  # images that are read between two looks at the clock
_PAIRS_AT_ONCE = 512  # 2 s


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


def search(images: Sequence[Shown], features: Tensor, looked: Sequence[int], advance: Callable[[float], bool]) -> Found:
    """Look for copies and for images unlike the rest.

    Args:
        images: all of them.
        features: of all images, [n, F].
        looked: positions of those that were looked at.
        advance: called with the share that is done; what it returns says whether to look on.
    """
    position = {images[at].file: at for at in looked}
    files, ledger = list(position), Ledger.load()
    parts = (files[at : at + _AT_ONCE] for at in range(0, len(files), _AT_ONCE))
    inspected: dict[Path, Inspection] = {}
    for part in threads.grouped_map(ledger.inspect, parts):
        start = len(inspected)
        inspected |= dict(zip(files[start : start + len(part)], part, strict=True))
        if not advance(0.5 * len(inspected) / len(files)):
            return Found((), ())
    ledger.save()
    good = [file for file in files if not inspected[file].fault]
    copies, _ = copies_among(good, inspected)
    pairs = [Pair(position[a], position[b], "exact copy" if exact else "near copy") for a, b, exact in copies]
    known = {frozenset(pair[:2]) for pair in pairs}
    sides = [images[at].is_valid for at in looked]
    likely = [(files[i], files[j]) for i, j in likely_copies(features[list(looked)], sides)]
    likely = [pair for pair in likely if frozenset(position[one] for one in pair) not in known]
    for start in range(0, len(likely), _PAIRS_AT_ONCE):
        edited = edits_among(likely[start : start + _PAIRS_AT_ONCE])
        pairs += [Pair(position[a], position[b], "crop, mirror or edit") for a, b in edited]
        if not advance(0.5 + 0.5 * start / len(likely)):
            break
    unlike = tuple(looked[at] for at, _ in belong_to_nothing(features[list(looked)].float()))
    return Found(tuple(pairs), unlike)
