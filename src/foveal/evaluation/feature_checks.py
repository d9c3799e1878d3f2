"""What features of images tell of a set before anything is trained: candidates for copies, and what belongs to nothing.

Shapes: n images, F features.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from foveal.inference.territory import distances_of_others

_CANDIDATES = 10  # images most like each one: of 1,350 edits of 1,770 photographs, 2 have their original further down
_AT_ONCE = 1024  # rows whose similarities are computed together
_SHARE = 0.03  # of the images: so many that are like each other belong to the set, and fewer may not
_FEWEST_LIKE = 10  # images; below 330 the share above would be less
_FEWEST = 50  # images from which on it can be told what belongs to them; chosen by hand
_SET_ASIDE = 0.1  # of the images, those furthest from others, that do not say what the set is; 0.05 to 0.2 do as well
_LIMIT = 4.0  # times the distance from median to upper quartile (benchmarks/results/2026-11-28-edited-copies.md)


def likely_copies(features: Tensor, sides: Sequence[bool | None]) -> Iterator[tuple[int, int]]:
    """Yield pairs of images (i, j), i before j, that may show the same: the ten most like each.

    Args:
        features: [n, F].
        sides: of the split; where both are stated, an image is compared with those of the other side alone.
    """
    rows = normalize(features.float(), dim=1)
    rows = normalize(rows - rows.mean(dim=0), dim=1)
    side = torch.tensor([-1 if one is None else int(one) for one in sides])
    seen = set[tuple[int, int]]()
    for start in range(0, len(rows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        alike = rows[part] @ rows.T
        alike[(side[part, None] == side) & (side[part, None] >= 0)] = -2.0
        alike[torch.arange(len(alike)), torch.arange(len(alike)) + start] = -2.0
        best = alike.topk(min(_CANDIDATES, len(rows)), dim=1)
        for i, (values, others) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True), start):
            for value, j in zip(values, others, strict=True):
                pair = (min(i, j), max(i, j))
                if value > -2.0 and pair not in seen:
                    seen.add(pair)
                    yield pair


def pairs_to_compare(
    files: Sequence[Path], features: Tensor, sides: Sequence[bool | None], known: Container[frozenset[Path]]
) -> list[tuple[Path, Path]]:
    """Return the files of `likely_copies`, for `edits_among`.

    Args:
        files: of the images, n.
        features: [n, F].
        sides: of the split.
        known: pairs that are known to be copies, and need no look.
    """
    likely = ((files[i], files[j]) for i, j in likely_copies(features, sides))
    return [pair for pair in likely if frozenset(pair) not in known]


def strangeness(features: Tensor) -> Tensor:
    """Return how far each image is from what the others have in common, in spreads of the set, float32 [n].

    The images furthest from their neighbours are set aside; the territory of the others, by five folds, says how far
    each image is: off the median, by the distance from the median to the upper quartile.

    Args:
        features: [n, F], n at least 2.
    """
    rows = normalize(features.float(), dim=1)
    n, k = len(rows), min(max(_FEWEST_LIKE, round(_SHARE * len(rows))), len(rows) - 1)
    alone = torch.empty(n)
    for start in range(0, n, _AT_ONCE):
        alike = rows[start : start + _AT_ONCE] @ rows.T
        alone[start : start + _AT_ONCE] = 1 - alike.topk(k + 1, dim=1).values[:, -1]
    usual = alone <= alone.sort().values[round((n - 1) * (1 - _SET_ASIDE))]
    distances = distances_of_others(features, usual)
    middle, upper = distances.sort().values[[n // 2, n * 3 // 4]]
    strange: Tensor = (distances - middle) / (upper - middle).clamp(min=1e-9)
    return strange


def belong_to_nothing(features: Tensor) -> list[tuple[int, float]]:
    """Return the images that are unlike the rest, the strangest first, and how strange each is; see `strangeness`.

    Args:
        features: [n, F]; of fewer than 50 images nothing is returned.
    """
    if len(features) < _FEWEST:
        return []
    found = strangeness(features)
    order = found.argsort(descending=True, stable=True).tolist()
    return [(at, float(found[at])) for at in order if found[at] > _LIMIT]
