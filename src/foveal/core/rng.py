"""Randomness as an argument: every draw comes from a generator named by (seed, epoch, index).

Order, number of threads, batch size and device therefore never change a sample, and no global random state is
touched. The bits come from the counter-based Philox generator (Salmon et al. 2011, "Parallel random numbers: as
easy as 1, 2, 3"), whose key is the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foveal import _moved

_INDEX_BITS = 40  # of the key for the index: 10**12 items, and 24 bits for 16 million epochs
_ORDER = (1 << _INDEX_BITS) - 1
_DRAWS = 1 << (_INDEX_BITS - 1)  # apart from the indices of items, which begin at 0, and from those of `seed_for`
_UNUSED = np.random.SeedSequence(0)
_ZEROS = np.zeros(4, np.uint64)
_BEGINNING: dict[str, Any] = {
    "bit_generator": "Philox", "buffer": _ZEROS, "buffer_pos": 4, "has_uint32": 0, "uinteger": 0
}  # fmt: skip


def generator_for(seed: int, epoch: int = 0, index: int = 0) -> np.random.Generator:
    """Return the generator for one item of one epoch.

    Args:
        seed: of the run.
        epoch: from 0.
        index: of the item in the data set, from 0, below 2**40.

    >>> first, again = generator_for(1, epoch=2, index=3), generator_for(1, epoch=2, index=3)
    >>> first.random() == again.random()
    True
    """
    key = np.array([seed % 2**64, (epoch << _INDEX_BITS | index) % 2**64], dtype=np.uint64)
    # What Philox(key=key) makes; but that asks the system for entropy first, which it then does not use, and threads
    # that load images would wait for each other there.
    bits = np.random.Philox(_UNUSED)
    state: Any = _BEGINNING | {"state": {"counter": _ZEROS, "key": key}}
    bits.state = state
    return np.random.Generator(bits)


def seed_for(seed: int, epoch: int, index: int) -> int:
    """Return a seed for a generator of another kind, such as torch's, independent of those of `generator_for`.

    Args:
        seed: of the run.
        epoch: from 0.
        index: of what is drawn, such as a batch, from 0.
    """
    return int(generator_for(seed, epoch, _ORDER - 1 - index).integers(2**63))


def order_for(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order in which an epoch visits its items, int64 [n].

    Args:
        seed: of the run.
        epoch: from 0.
        n: how many items there are.
    """
    return generator_for(seed, epoch, _ORDER).permutation(n)


def draws_for(seed: int, epoch: int, weights: np.ndarray) -> np.ndarray:
    """Return the items that an epoch draws with replacement, sorted, int64 [n]: as many as there are.

    An item of weight w is expected n w / (sum of the weights) times, and drawn that often rounded down or up; equal
    weights draw every item once. Source: randomised systematic sampling, Hartley and Rao 1962, "Sampling with Unequal
    Probabilities and without Replacement", for expected numbers of any size.

    Args:
        seed: of the run.
        epoch: from 0.
        weights: float64 [n], finite, not negative, one of them positive.
    """
    rng, n = generator_for(seed, epoch, _DRAWS), len(weights)
    walk = rng.permutation(np.flatnonzero(weights))
    shares = weights[walk] / weights.max()  # equal ones are exactly 1, and so their sums whole numbers
    ends = np.cumsum(shares * (n / shares.sum()))
    ends[-1] = np.inf  # the last sum may be rounded to less than n
    return np.sort(walk[np.searchsorted(ends, rng.random() + np.arange(n), side="right")])


def windowed_order(seed: int, epoch: int, groups: Sequence[int] | np.ndarray, at_once: int) -> np.ndarray:
    """Return an order, int64 [n], that goes through windows of groups, for items that are read group by group.

    Args:
        seed: of the run.
        epoch: its number.
        groups: the group of each item.
        at_once: how many groups, drawn anew each epoch, are mixed with each other.
    """
    rng = generator_for(seed, epoch, _ORDER)
    _, group_of = np.unique(groups, return_inverse=True)
    window_of = rng.permutation(group_of.max() + 1)[group_of] // at_once
    return np.lexsort((rng.permutation(len(group_of)), window_of))


def __getattr__(name: str) -> object:
    return _moved.from_home(__name__, name)
