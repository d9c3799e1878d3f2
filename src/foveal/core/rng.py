"""Randomness as an argument: every draw comes from a generator named by (seed, epoch, index).

Order, number of threads, batch size and device therefore never change a sample, and no global random state is
touched. The bits come from the counter-based Philox generator (Salmon et al. 2011, "Parallel random numbers: as
easy as 1, 2, 3"), whose key is the name.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_INDEX_BITS = 40
_ORDER = (1 << _INDEX_BITS) - 1


def generator_for(seed: int, epoch: int = 0, index: int = 0) -> np.random.Generator:
    """Return the generator for one item of one epoch.

    >>> first, again = generator_for(1, epoch=2, index=3), generator_for(1, epoch=2, index=3)
    >>> first.random() == again.random()
    True
    """
    key = np.array([seed % 2**64, (epoch << _INDEX_BITS | index) % 2**64], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def seed_for(seed: int, epoch: int, index: int) -> int:
    """Return a seed for a generator of another kind, named like those of `generator_for` but apart from them."""
    return int(generator_for(seed, epoch, _ORDER - 1 - index).integers(2**63))


def order_for(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order, int64 of shape (n,), in which an epoch visits its items."""
    return generator_for(seed, epoch, _ORDER).permutation(n)


def windowed_order(seed: int, epoch: int, groups: Sequence[int], at_once: int) -> np.ndarray:
    """Return an order, int64 of shape (n,), that goes through windows of groups: for items that are read by groups.

    Args:
        seed: of the run.
        epoch: its number.
        groups: the group of each item.
        at_once: how many groups, drawn anew each epoch, are mixed with each other.
    """
    rng = generator_for(seed, epoch, _ORDER)
    _, which = np.unique(groups, return_inverse=True)
    place = rng.permutation(which.max() + 1)[which] // at_once
    return np.lexsort((rng.permutation(len(which)), place))
