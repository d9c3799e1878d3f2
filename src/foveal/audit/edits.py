"""Whether one image was made from another: cropped, mirrored, turned, stretched, framed, or changed in its tones.

Points with their surroundings (SIFT) are found in both images and matched, in a mirrored one as well; an affine map is
fitted to them by RANSAC, and the images laid upon each other must then show the same.
Sources: Lowe 2004, "Distinctive Image Features from Scale-Invariant Keypoints"; Arandjelovic and Zisserman 2012,
"Three Things Everyone Should Know to Improve Object Retrieval", for the square roots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from foveal.core import threads
from foveal.images.channels import RGB
from foveal.images.decode import open_image

_SIDE = 256  # pixels of the long side at which points are looked for; photographs of 224 px have 400 of them
_MOST_POINTS = 400
_LEAST_CONTRAST = 0.02  # half of Lowe's, for dull images
_RATIO = 0.8  # a match must be as much nearer than the second best; Lowe's figure
_REACH = 3.0  # pixels at `_SIDE` by which matched points may miss each other
_LEAST_MATCHES = 8  # points that lie upon each other; see benchmarks/results/2026-11-28-edited-copies.md
_LEAST_ALIKE = 0.8  # correlation where the images overlap; as above
_LEAST_SCALE, _MOST_SCALE, _MOST_STRETCH = 0.2, 5.0, 2.0  # of a crop to a twentieth, and of one side against the other
_LEAST_OVERLAP = 400  # pixels at `_SIDE`
_KEPT = 5000  # images whose points are kept, 110 kB each
_AT_ONCE = 32  # pairs that a thread compares

Grey = NDArray[np.uint8]


class Points(NamedTuple):
    """Points of an image of which n were found.

    Attributes:
        places: (x, y) in pixels, float32 [n, 2].
        surroundings: as SIFT gives them, uint8 [n, 128].
    """

    places: NDArray[np.float32]
    surroundings: NDArray[np.uint8]


class _Looked(NamedTuple):
    grey: Grey
    points: Points


def edits_among(
    pairs: Sequence[tuple[Path, Path]],
    *,
    num_workers: int | None = None,
    advance: Callable[[], object] = lambda: None,
) -> list[tuple[Path, Path]]:
    """Return the pairs of which one image was made from the other, in order.

    Args:
        pairs: of files that can be decoded; those of one image should follow each other.
        num_workers: threads; see `threads.default_workers`.
        advance: called after each pair.

    Raises:
        ImageError: a file cannot be decoded.
    """
    threads.limit_opencv_threads()
    looked = lru_cache(_KEPT)(_look)

    def compare(pair: tuple[Path, Path]) -> bool:
        found = _is_edit(looked(pair[0]), looked(pair[1]))
        advance()
        return found

    parts = (pairs[at : at + _AT_ONCE] for at in range(0, len(pairs), _AT_ONCE))
    flat = (one for part in threads.grouped_map(compare, parts, num_workers=num_workers) for one in part)
    return [pair for pair, verdict in zip(pairs, flat, strict=True) if verdict]


def _look(file: Path) -> _Looked:
    pixels = open_image(file).decode().pixels
    grey = cv2.cvtColor(np.ascontiguousarray(pixels[..., :RGB]), cv2.COLOR_RGB2GRAY)
    scale = _SIDE / max(grey.shape)
    size_wh = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    grey = cv2.resize(grey, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    looked = np.asarray(grey, dtype=np.uint8)
    return _Looked(looked, _points_of(looked))


def _points_of(grey: Grey) -> Points:
    found, vectors = cv2.SIFT.create(_MOST_POINTS, contrastThreshold=_LEAST_CONTRAST).detectAndCompute(grey, None)
    if not found:
        return Points(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    return Points(np.array([one.pt for one in found], np.float32), vectors.astype(np.uint8))


def _is_edit(first: _Looked, second: _Looked) -> bool:
    if _shows(first, second):
        return True
    return _shows(_mirrored(first), second)


def _mirrored(looked: _Looked) -> _Looked:
    """Return what would be found in the mirror image: SIFT's 4 x 4 cells of 8 directions, in another order."""
    places, surroundings = looked.points
    far = np.array([looked.grey.shape[1] - 1, 0], np.float32)
    cells = surroundings.reshape(-1, 4, 4, 8)[:, ::-1, :, -np.arange(8) % 8]
    points = Points(np.abs(far - places), np.ascontiguousarray(cells).reshape(-1, 128))
    return _Looked(np.ascontiguousarray(looked.grey[:, ::-1]), points)


def _shows(first: _Looked, second: _Looked) -> bool:
    """Return whether an affine map takes one to the other."""
    ours, theirs = _matched(first.points, second.points)
    if len(ours) < _LEAST_MATCHES:
        return False
    affine, inside = cv2.estimateAffine2D(ours, theirs, method=cv2.RANSAC, ransacReprojThreshold=_REACH)
    if int(inside.sum()) < _LEAST_MATCHES:  # where none fits, none is inside
        return False
    largest, smallest = np.linalg.svd(affine[:, :2], compute_uv=False)
    if np.linalg.det(affine[:, :2]) <= 0 or smallest < _LEAST_SCALE or largest > _MOST_SCALE:
        return False
    return bool(largest <= _MOST_STRETCH * smallest) and _correlation(first.grey, second.grey, affine) >= _LEAST_ALIKE


def _matched(first: Points, second: Points) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the places of points that are each other's nearest, and nearer than the second best by far."""
    none = np.zeros((0, 2), np.float32)
    if len(first.places) < 2 or len(second.places) < 2:
        return none, none
    alike = _rooted(first) @ _rooted(second).T
    nearest = alike.argmax(axis=1)
    here = np.arange(len(nearest))
    best = alike[here, nearest]
    mutual = alike.argmax(axis=0)[nearest] == here
    alike[here, nearest] = -1.0
    is_clear = (1 - best) < _RATIO**2 * (1 - alike.max(axis=1))  # squared distances of vectors of length 1
    chosen = mutual & is_clear
    return first.places[chosen], second.places[nearest[chosen]]


def _rooted(points: Points) -> NDArray[np.float32]:
    """Return the square roots of the surroundings' shares, of length 1."""
    shares = points.surroundings / np.maximum(points.surroundings.sum(axis=1, keepdims=True), 1)
    return np.asarray(np.sqrt(shares), dtype=np.float32)


def _correlation(first: Grey, second: Grey, affine: NDArray[Any]) -> float:
    size_wh = second.shape[::-1]
    moved = cv2.warpAffine(first, affine, size_wh, flags=cv2.INTER_AREA)
    overlap = cv2.warpAffine(np.full(first.shape, 255, np.uint8), affine, size_wh) == 255
    if int(overlap.sum()) < _LEAST_OVERLAP:
        return 0.0
    a, b = (cv2.GaussianBlur(one, (0, 0), 2).astype(np.float64)[overlap] for one in (moved, second))
    a, b = a - a.mean(), b - b.mean()
    length = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / length if length else 0.0
