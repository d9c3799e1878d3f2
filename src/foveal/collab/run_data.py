"""From a table of ratings to what a run trains on: users and items as numbers, the split, what is liked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from foveal.collab.fits import batch_size
from foveal.collab.interactions import Interactions
from foveal.collab.item_table import NO_ITEMS, ItemTable
from foveal.collab.loaders import CollabDataLoaders, range_of_ratings
from foveal.collab.rankers.choice import are_liked, held_out, liked_from
from foveal.collab.ranking_model import Known
from foveal.collab.settings import RatingRun
from foveal.collab.tables.table import RatingTable
from foveal.collab.task import Id, Ids, ImplicitFeedback, Rating
from foveal.core.errors import InputError
from foveal.core.rng import generator_for
from foveal.data.splits.splitters import ColSplitter, check_split

_VALID = 0.2  # of the rows
_LEAST_HELD = 0.1  # of the rows, if the split is to be by user: chosen by hand


@dataclass(frozen=True, slots=True, eq=False)
class RunData:
    """What a run trains on and validates with.

    Attributes:
        dls: the pairs that have a rating.
        known: all pairs of the training side, with what is known of them.
        liked: the pairs of the validation side that users liked, int64 [n, 2].
        items: titles and columns.
        names: (users, items) of the rows that are validated on, as the table has them.
        split: how the validation side was chosen, in words.
        read_as: what the table was taken for.
    """

    dls: CollabDataLoaders
    known: Known
    liked: Tensor
    items: ItemTable
    names: tuple[list[Id], list[Id]]
    split: str
    read_as: str


def run_data(settings: RatingRun, table: RatingTable) -> RunData:
    """Return a table, split, with numbers for its users and items.

    Args:
        settings: of the run.
        table: as it was read.

    Raises:
        FovealError: the table or the settings are wrong.
        InputError: no training row has a rating.
    """
    frame, (user, item, rating) = table.frame, table.columns
    (train, valid), split = _split(settings, table)
    is_rated = table.kind == "ratings"
    values = frame[rating].to_numpy(dtype=float) if is_rated else np.ones(len(frame))
    has_rating = ~np.isnan(values)
    if not has_rating[train].any():
        raise InputError(f"No training row has a rating in `{rating}`: there is nothing to learn ratings from.")
    low, high = range_of_ratings(values, values[train][has_rating[train]], rating)
    users, items = (_numbered(frame[name], train) for name in (user, item))
    kind = Rating if is_rated else ImplicitFeedback
    task = kind(users[0], items[0], table.columns, low, high)
    pairs, ratings = torch.stack([users[1], items[1]], dim=1), torch.tensor(values)
    sides = [torch.from_numpy(side[has_rating[side]]) for side in (train, valid)]
    dls = CollabDataLoaders.of(
        task,
        [(pairs[side], ratings[side]) for side in sides],
        seed=settings.training.seed,
        bs=batch_size(settings.training, len(sides[0])),
    )
    of_training, of_validation = torch.from_numpy(train), torch.from_numpy(valid)
    times = None if table.time is None else _times(frame[table.time])[of_training]
    bound = liked_from(ratings[of_training]) if is_rated else -torch.inf
    liked = are_liked(ratings[of_validation], bound)
    known = Known(pairs[of_training], ratings[of_training] if is_rated else None, times)
    catalogue = table.catalogue
    about = NO_ITEMS if catalogue is None else ItemTable(catalogue.titles, catalogue.features)
    rows = frame.iloc[sides[1].numpy()]
    names = (rows[user].tolist(), rows[item].tolist())
    return RunData(dls, known, pairs[of_validation][liked], about, names, split, table.read_as)


def _split(settings: RatingRun, table: RatingTable) -> tuple[tuple[np.ndarray, np.ndarray], str]:
    """Return positions to train on and to validate on, and how they were chosen.

    Raises:
        InputError: the settings name a split that a column of sides rules out, or that needs a column of times.
    """
    frame, how = table.frame, settings.data.hold_out
    column = settings.data.valid_column or table.sides
    if column is not None:
        if how != "auto":
            raise InputError(f"--hold-out {how} does not go with column `{column}`, which says what is validated on.")
        train, valid = check_split(ColSplitter(column)(frame), len(frame))
        return (np.asarray(train), np.asarray(valid)), f"as column `{column}` says"
    if how == "user" or (how == "auto" and table.time is not None):
        users = pd.factorize(frame[table.columns[0]])[0]
        held = _held_out_of_users(users, settings.training.seed, None if table.time is None else frame[table.time])
        if how == "user" or held.mean() >= _LEAST_HELD:
            which = f"the latest {_VALID:.0%}" if table.time is not None else f"{_VALID:.0%}, drawn,"
            by = f" by `{table.time}`" if table.time is not None else ""
            return check_sides(np.flatnonzero(~held), np.flatnonzero(held)), f"{which} of each user{by}"
        how = "time"  # most users have one or two rows
    if how == "time":
        if table.time is None:
            raise InputError("--hold-out time needs a column of times (--time-column); the table has none.")
        order, split = np.argsort(_times(frame[table.time]).numpy(), kind="stable"), f"the latest 20% by `{table.time}`"
    else:
        order, split = generator_for(settings.training.seed).permutation(len(frame)), "20% of the rows, drawn"
    n = len(order) - max(1, round(_VALID * len(order)))
    return check_sides(np.sort(order[:n]), np.sort(order[n:])), split


def check_sides(train: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both sides of a split.

    Args:
        train: positions.
        valid: positions.

    Raises:
        InputError: one is empty.
    """
    if not len(train) or not len(valid):
        raise InputError(
            f"The split leaves {len(train)} rows to train on and {len(valid)} to validate: there are too few."
        )
    return train, valid


def _held_out_of_users(users: np.ndarray, seed: int, times: pd.Series | None) -> np.ndarray:
    """Return which rows are held out: of each user the latest, or drawn ones."""
    rows = torch.arange(len(users))
    table = Interactions.of(torch.stack([torch.tensor(users), rows], dim=1), int(users.max()) + 1, len(users))
    held = held_out(table, seed, None if times is None else _times(times)[table.items])
    found = np.zeros(len(users), dtype=bool)
    found[table.items[held].numpy()] = True
    return found


def _numbered(column: pd.Series, train: np.ndarray) -> tuple[Ids, Tensor]:
    """Return the ids that the training side knows, and the number of each row's, int64 [n]."""
    codes, values = pd.factorize(column)
    known = np.zeros(len(values), dtype=bool)
    known[codes[train]] = True
    ids = Ids.of(values[known].tolist())
    numbers = ids.numbers(values.tolist())
    return ids, numbers[torch.tensor(codes)]


def _times(column: pd.Series) -> Tensor:
    """Return times as numbers that sort as they do, float64 [n]; where one is missing, it is before all others."""
    values = column if pd.api.types.is_numeric_dtype(column) else pd.to_datetime(column).astype("int64")
    numbers = pd.to_numeric(values).to_numpy(dtype=float)
    return torch.from_numpy(np.nan_to_num(numbers, nan=-np.inf))
