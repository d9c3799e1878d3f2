"""Splitters of the course that foveal itself does without."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

import torch

from foveal.core.arguments import checked_keywords
from foveal.core.errors import InputError
from foveal.core.seeds import check_seed
from foveal.data.splits.splitters import RandomSplitter, Split, Splitter, both_sides, check_share
from foveal.data.splits.stratify import StratifiedSplitter


@checked_keywords
def EndSplitter(valid_pct: float = 0.2, valid_last: bool = True) -> Splitter:
    """Return a splitter that puts the last (or the first) items into validation.

    Args:
        valid_pct: the share of the items.
        valid_last: whether the last ones, or the first.

    Raises:
        InputError: the share is not between 0 and 1; or, when it is called, the items are too few for an item on each
            side.

    Examples:
        >>> from foveal.vision.all import *
        >>> EndSplitter(valid_pct=0.25)(["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
        ([0, 1, 2], [3])
    """
    check_share("valid_pct", valid_pct)

    def split(items: Sized) -> Split:
        n, cut = len(items), int(len(items) * valid_pct)
        train, valid = (range(n - cut), range(n - cut, n)) if valid_last else (range(cut, n), range(cut))
        return both_sides(train, valid, n)

    return split


@checked_keywords
def RandomSubsetSplitter(train_sz: float, valid_sz: float, seed: int | None = None) -> Splitter:
    """Return a splitter that trains on a random share of the items, validates on another, and leaves the rest out.

    Args:
        train_sz: the share to train on.
        valid_sz: the share to validate on; both together are at most 1.
        seed: the same one gives the same split; by default each split is another one.

    Raises:
        InputError: the shares are not between 0 and 1, or more than 1 together; or, when it is called, the items are
            too few for an item on each side.
    """
    return _random_subsets(seed, train_sz=train_sz, valid_sz=valid_sz)


def _random_subsets(seed: int | None, **shares: float) -> Splitter:
    """Return a splitter by the shares to train on and to validate on, in this order.

    Raises:
        InputError: they are no such shares.
    """
    for name, share in shares.items():
        check_share(name, share)
    train_share, valid_share = shares.values()
    if train_share + valid_share > 1:
        names = " and ".join(f"`{name}`" for name in shares)
        raise InputError(f"{names} are shares, at most 1 together; got {train_share} and {valid_share}.")
    whole = RandomSplitter(valid_share, seed)

    def split(items: Sized) -> Split:
        train, valid = whole(items)
        return both_sides(train[: int(len(items) * train_share)], valid, len(items))

    return split


@checked_keywords
def TrainTestSplitter(
    test_size: float = 0.2,
    random_state: int | None = None,
    stratify: Sequence[Any] | None = None,
    train_size: float | None = None,
    shuffle: bool = True,
) -> Splitter:
    """Return a splitter with the shares of scikit-learn's `train_test_split`; which items come where is not the same.

    Args:
        test_size: the share to validate on.
        random_state: the same one gives the same split; by default each split is another one.
        stratify: a label for each item; each label then has its share on both sides.
        train_size: the share to train on; all that is left by default.
        shuffle: whether the split is random; the last items validate where it is not.

    Raises:
        InputError: the arguments do not go together, or a share is not between 0 and 1; or, when it is called, there
            is not one label per item.

    Examples:
        >>> from foveal.vision.all import *
        >>> labels = ["cat"] * 8 + ["dog"] * 4
        >>> train, valid = TrainTestSplitter(test_size=0.25, stratify=labels, random_state=1)(labels)
        >>> sorted(labels[at] for at in valid)
        ['cat', 'cat', 'dog']
    """
    check_share("test_size", test_size)
    if not shuffle and stratify is not None:
        raise InputError("`stratify` needs shuffle=True.")
    if train_size is not None:
        if stratify is not None or not shuffle:
            raise InputError("`train_size` goes with shuffle=True and without `stratify`.")
        return _random_subsets(random_state, train_size=train_size, test_size=test_size)
    if not shuffle:
        return EndSplitter(test_size)
    if stratify is None:
        return RandomSplitter(test_size, random_state)
    labels = list(stratify)
    seed = check_seed(random_state) if random_state is not None else int(torch.randint(2**31, ()))

    def split(items: Sized) -> Split:
        if len(labels) != len(items):
            raise InputError(f"`stratify` has {len(labels)} labels for {len(items)} items.")
        by_position = StratifiedSplitter(lambda at: str(labels[at]), test_size, seed)
        train, valid = by_position(list(range(len(labels))))
        return train, valid

    return split
