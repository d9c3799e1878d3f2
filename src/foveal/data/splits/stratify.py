"""Splits that keep groups together and every label's rate the same on both sides.

Rare labels are distributed first, as in Sechidis et al. 2011, "On the Stratification of Multi-Label Data"; then single
groups change sides while that brings the label counts nearer to their share. An item that belongs to no group is a
group by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foveal.core.arguments import is_whole
from foveal.core.errors import InputError
from foveal.core.rng import generator_for
from foveal.core.seeds import check_seed
from foveal.data.splits.rows import rows_of
from foveal.data.splits.splitters import Split, Splitter, check_share
from foveal.sources.cells import is_blank

_MAX_CHANGES = 600
"""Changes of side at most; chosen by hand, so that a split of many groups stays within seconds."""
Items = pd.DataFrame | Sequence[Any]
"""All items, of whatever kind the user's functions take."""
ItemFunction = Callable[[Any], Any]
"""A user's function of one item."""


def GroupSplitter(  # the book's way to name splitters
    group: str | Callable[[Any], Hashable], valid_pct: float = 0.2, seed: int = 0
) -> Splitter:
    """Return a splitter that puts about `valid_pct` of the items into validation so that no group is on both sides.

    Without it a model that knows a person, a camera or a day from training looks better in validation than it is. An
    item whose group is blank stands alone.

    Args:
        group: a column, or a function that returns an item's group (a person, a camera, a day).
        valid_pct: the share of the items, between 0 and 1.
        seed: the same one gives the same split on any machine.

    Raises:
        InputError: the share is not between 0 and 1, or, while splitting, there are fewer than two groups.

    Examples:
        >>> from foveal.vision.all import *
        >>> df = pd.DataFrame({"fname": list("abcdefgh"), "person": ["Ann", "Bob", "Cy", "Di"] * 2})
        >>> train, valid = GroupSplitter("person", valid_pct=0.25)(df)
        >>> len(valid), set(df.person[train]) & set(df.person[valid])
        (2, set())
    """
    return StratifiedSplitter(None, valid_pct, seed, group=group)


def StratifiedSplitter(
    labels: str | ItemFunction | None,
    valid_pct: float = 0.2,
    seed: int = 0,
    *,
    group: str | Callable[[Any], Hashable] | None = None,
) -> Splitter:
    """Return a splitter that puts about `valid_pct` of the items into validation with every label at its share.

    Rare labels are distributed first (Sechidis et al. 2011, "On the Stratification of Multi-Label Data"); groups stay
    together.

    Args:
        labels: a column, or a function that returns an item's label or list of labels; None for groups alone.
        valid_pct: the share of the items, between 0 and 1.
        seed: the same one gives the same split on any machine.
        group: as in `GroupSplitter`; by default every item stands alone.

    Raises:
        InputError: the share is not between 0 and 1, or, while splitting, there are fewer than two items or groups.

    Examples:
        >>> from foveal.vision.all import *
        >>> df = pd.DataFrame({"fname": list("abcdefghij"), "label": ["cat"] * 8 + ["lynx"] * 2})
        >>> train, valid = StratifiedSplitter("label", valid_pct=0.5)(df)
        >>> sorted(df.label[valid])
        ['cat', 'cat', 'cat', 'cat', 'lynx']
    """
    check_share("valid_pct", valid_pct)

    def split(items: Items) -> Split:
        counts, groups = _group_counts(items, labels, group)
        if len(counts) < 2:
            if len(groups) < 2:
                raise InputError(f"A split into two sides needs two items at least; there are {len(groups)}.")
            raise InputError("All items belong to one group: nothing would be left for one side of the split.")
        in_validation = choose_balanced(counts, valid_pct, generator_for(check_seed(seed)))[groups]
        return np.flatnonzero(~in_validation).tolist(), np.flatnonzero(in_validation).tolist()

    return split


def KFoldSplitter(
    n_folds: int,
    fold: int,
    labels: str | ItemFunction | None = None,
    seed: int = 0,
    *,
    group: str | Callable[[Any], Hashable] | None = None,
) -> Splitter:
    """Return a splitter that puts one of `n_folds` equal folds into validation, with every label at its share.

    Groups stay together.

    Args:
        n_folds: the number of folds; each item is in one of them.
        fold: the number of the fold, from 0.
        labels: as in `StratifiedSplitter`.
        seed: the same one gives the same folds on any machine.
        group: as in `GroupSplitter`; by default every item stands alone.

    Raises:
        InputError: there are fewer than two folds, or no such fold; or, while splitting, fewer items or groups than
            folds.

    Examples:
        >>> folds = [KFoldSplitter(3, fold)("abcdef")[1] for fold in range(3)]
        >>> sorted(position for fold in folds for position in fold)
        [0, 1, 2, 3, 4, 5]
    """
    if not (is_whole(n_folds) and is_whole(fold) and n_folds >= 2 and 0 <= fold < n_folds):
        raise InputError(f"There are 2 folds or more, counted from 0; got fold {fold!r} of {n_folds!r}.")

    def split(items: Items) -> Split:
        counts, groups = _group_counts(items, labels, group)
        if len(counts) < n_folds:
            raise InputError(f"{n_folds} folds need as many items or groups; there are {len(counts)}.")
        rng, free = generator_for(check_seed(seed)), np.arange(len(counts))
        fold_of_group = np.full(len(counts), n_folds - 1)
        for number in range(n_folds - 1):
            in_fold = choose_balanced(counts[free], 1 / (n_folds - number), rng)
            fold_of_group[free[in_fold]] = number
            free = free[~in_fold]
        fold_of_item = fold_of_group[groups]
        return np.flatnonzero(fold_of_item != fold).tolist(), np.flatnonzero(fold_of_item == fold).tolist()

    return split


def choose_balanced(counts: NDArray[np.float32], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose groups for validation.

    Args:
        counts: the items, and the items of each label, in each group: float32 [groups, 1 + labels].
        share: the wanted share of every column's sum, between 0 and 1.
        rng: breaks ties.

    Returns:
        Whether each group is for validation, bool [groups].
    """
    wanted = counts.sum(axis=0) * share
    in_validation = _deal(counts, wanted, rng)
    return _with_both_sides(counts, _improve(counts, wanted, in_validation))


def _deal(counts: NDArray[np.float32], wanted: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which groups are for validation, bool [groups]: drawn for the rarest column first."""
    in_validation = np.zeros(len(counts), dtype=bool)
    free = np.ones(len(counts), dtype=bool)
    missing = wanted.astype(np.float64)
    for column in np.argsort(counts.sum(axis=0), kind="stable"):
        holders = rng.permutation(np.flatnonzero(free & (counts[:, column] > 0)))
        running = np.cumsum(counts[holders, column])
        taken = holders[running <= missing[column] + 0.5]
        in_validation[taken] = True
        free[holders] = False
        missing -= counts[taken].sum(axis=0)
    return in_validation


def _improve(
    counts: NDArray[np.float32], wanted: NDArray[np.float32], in_validation: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return the choice, bool [groups], after those groups that help most have changed sides, until none helps."""
    weight = 1 / np.maximum(wanted, 1) ** 2
    squares = (counts**2) @ weight
    excess = counts[in_validation].sum(axis=0) - wanted
    for _ in range(_MAX_CHANGES):
        direction = np.where(in_validation, -1.0, 1.0)
        change = 2 * direction * (counts @ (weight * excess)) + squares
        best = int(change.argmin())
        if change[best] >= 0:
            break
        excess += direction[best] * counts[best]
        in_validation[best] = not in_validation[best]
    return in_validation


def _with_both_sides(counts: NDArray[np.float32], in_validation: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the choice, bool [groups], with the smallest group on the other side where one side would be empty."""
    if in_validation.all() or not in_validation.any():
        in_validation[counts[:, 0].argmin()] ^= True
    return in_validation


def _group_counts(
    items: Items, labels: str | ItemFunction | None, group: str | Callable[[Any], Hashable] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the counts of each group, as `choose_balanced` takes them, and the group of each item, int64 [items]."""
    rows = rows_of(items)
    groups = np.arange(len(rows)) if group is None else _number_keys([_getter(group)(row) for row in rows])
    label_of_row = [] if labels is None else [_getter(labels)(row) for row in rows]
    one_hot = _label_matrix(label_of_row) if label_of_row else np.zeros((len(rows), 0), np.float32)
    return _counts(one_hot, groups), groups


def _counts(one_hot: NDArray[np.float32], groups: NDArray[np.int64]) -> NDArray[np.float32]:
    counts = np.zeros((int(groups.max(initial=-1)) + 1, 1 + one_hot.shape[1]), dtype=np.float32)
    np.add.at(counts, groups, np.concatenate([np.ones((len(groups), 1), np.float32), one_hot], axis=1))
    return counts


def _label_matrix(labels: Sequence[object]) -> NDArray[np.float32]:
    lists = [[label] if isinstance(label, str) or not isinstance(label, Iterable) else list(label) for label in labels]
    index = {name: column for column, name in enumerate(sorted({str(name) for names in lists for name in names}))}
    matrix = np.zeros((len(lists), len(index)), dtype=np.float32)
    for row, names in enumerate(lists):
        for name in names:
            matrix[row, index[str(name)]] = 1
    return matrix


def _number_keys(keys: Sequence[Hashable]) -> NDArray[np.int64]:
    index: dict[Hashable, int] = {}
    # A blank cell names no group: its item is one by itself.
    named = [(at,) if is_blank(key) else key for at, key in enumerate(keys)]
    return np.array([index.setdefault(key, len(index)) for key in named], dtype=np.int64)


def _getter(column: str | ItemFunction) -> ItemFunction:
    return (lambda row: row[column]) if isinstance(column, str) else column
