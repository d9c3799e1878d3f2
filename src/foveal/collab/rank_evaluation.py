"""How well a model ranks: beside item kNN, what is most popular, and the predicted ratings, on the same users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor

from foveal.collab.predictor import RatingPredictor, mark
from foveal.collab.rankers.base import Scorer
from foveal.collab.rankers.choice import are_liked, liked_from
from foveal.collab.rankers.popularity import Popularity
from foveal.collab.ranking import Ranked, ranked_at_k
from foveal.core.errors import InputError
from foveal.core.rng import generator_for
from foveal.metrics.bootstrap import Interval, interval

K = 10
"""Items that are recommended: a line on a page, and the usual cut in the literature."""
POPULAR = Popularity.title
BY_RATING = "predicted rating"
_USERS = 1024  # ranked at once: 1,024 x 10,000 items are 40 MB in single precision
_MOST_USERS = 10_000  # of whom figures are computed: their standard error is below .003 then


class Evaluated(Protocol):
    """What is evaluated: a learner of ratings."""

    @property
    def dls(self) -> Any:
        """Its loaders."""

    def predictor(self) -> RatingPredictor:
        """What answers with the model as it is now."""


@dataclass(frozen=True, eq=False)
class Rankings:
    """How well models rank, for the same users.

    Attributes:
        k: how many items were recommended.
        of: figures of each user, by the model's title; the one that recommends is first.
    """

    k: int
    of: Mapping[str, Ranked]

    @property
    def first(self) -> str:
        """The title of the model that recommends."""
        return next(iter(self.of))

    @property
    def n_users(self) -> int:
        """How many users liked something on the validation side."""
        return len(self.of[self.first].ndcg)

    def table(self) -> pd.DataFrame:
        """Return precision, recall and NDCG, means of users, with a row per model."""
        names = {f"precision@{self.k}": "precision", f"recall@{self.k}": "recall", f"NDCG@{self.k}": "ndcg"}
        rows = {
            title: {name: float(getattr(ranked, field).mean()) for name, field in names.items()}
            for title, ranked in self.of.items()
        }
        return pd.DataFrame(rows).T

    @cached_property
    def ndcg(self) -> Mapping[str, Interval]:
        """NDCG by the model's title, with the interval that other users would give."""
        return {title: interval(torch.mean, ranked.ndcg) for title, ranked in self.of.items()}

    def gain_over(self, title: str) -> Interval:
        """Return how much better the model that recommends is than another, in NDCG, on the same users."""
        return interval(torch.mean, self.of[self.first].ndcg - self.of[title].ndcg)


def evaluate_rankings(predictor: RatingPredictor, pairs_N2: Tensor, k: int = K) -> Rankings:
    """Rank all items that users did not have in training; right are those that they liked afterwards.

    Args:
        predictor: with or without a ranking model.
        pairs_N2: of users and the items that they liked, int64 [N, 2].
        k: how many items are recommended.

    Returns:
        Precision, recall and NDCG of each user, by the title of the model; the one that recommends is first.

    Raises:
        InputError: no pair is of a known user and item.
    """
    pairs = pairs_N2[(pairs_N2 > 0).all(dim=1)]
    users = torch.unique(pairs[:, 0])
    if not len(users):
        raise InputError("Nobody liked anything in validation that training knows: rankings cannot be evaluated.")
    if len(users) > _MOST_USERS:
        users = users[torch.from_numpy(generator_for(0).permutation(len(users))[:_MOST_USERS]).sort()[0]]
    ranking = predictor.ranking
    rankers: dict[str, Scorer] = {}
    if ranking is not None:
        rankers = {one.title: one for one in (ranking.ranker, ranking.neighbours) if one is not None}
    popular = Popularity.fit(predictor.had)
    parts: dict[str, list[Ranked]] = {}
    for start in range(0, len(users), _USERS):
        some = users[start : start + _USERS]
        had = predictor.had.rows(some)
        truth = torch.zeros(len(some), len(predictor.task.items))
        mark(truth, some, pairs, 1.0)
        scores = {}
        if ranking is not None:
            reads = ranking.reads.rows(some)
            scores = {title: ranking.scores(reads, ranker) for title, ranker in rankers.items()}
        scores[POPULAR] = popular.scores(had)
        scores[BY_RATING] = predictor.scores(some, seen=True)
        if ranking is None:  # what recommends stands first
            scores = {name: scores[name] for name in (BY_RATING, POPULAR)}
        for title, found in scores.items():
            table = found.clone()
            table[:, 0] = -torch.inf
            table[had.users, had.items] = -torch.inf
            parts.setdefault(title, []).append(ranked_at_k(table, truth, k))
    return Rankings(k, {title: Ranked(*map(torch.cat, zip(*some, strict=True))) for title, some in parts.items()})


def liked_pairs(pairs_N2: Tensor, ratings: Tensor, training_ratings: Tensor, liked: float | None = None) -> Tensor:
    """Return the pairs that count as liked, int64 [n, 2].

    Args:
        pairs_N2: of the validation side.
        ratings: theirs, NaN where a user only had an item, [N].
        training_ratings: of the training side, whose mean is the bound.
        liked: the bound instead.

    Raises:
        InputError: nothing is liked.
    """
    bound = liked_from(training_ratings) if liked is None else liked
    pairs = pairs_N2[are_liked(ratings, bound)]
    if not len(pairs):
        raise InputError(f"Nobody liked anything in validation: no rating of a known item is {bound:.3g} or more.")
    return pairs


def rank_metrics(learn: Evaluated, k: int = K, *, liked: float | None = None) -> pd.DataFrame:
    r"""Return precision, recall and NDCG at `k` of the model that recommends, and of others to compare with.

    Every item that a user did not have in training is ranked; right is what they liked in validation. The rows are the
    ranking model, item kNN if that is another one, what is most popular, and a ranking by predicted ratings.

    Args:
        learn: trained on ratings.
        k: how many items are recommended.
        liked: the rating from which on a user liked an item; the mean rating by default (every pair, without ratings).

    Raises:
        InputError: the learner is not one of ratings, or nobody liked anything in validation that training knows.

    Examples:
        >>> from foveal.collab.all import *
        >>> names = ["user", "film", "rating", "time"]
        >>> ratings = pd.read_csv(untar_data(URLs.SAMPLE_ML) / "u.data", sep="\t", names=names)[::4]
        >>> learn = collab_learner(CollabDataLoaders.from_df(ratings, splitter=TimeSplitter("time")), 5)
        >>> rank_metrics(learn, k=5).columns.tolist()
        ['precision@5', 'recall@5', 'NDCG@5']
    """
    predictor = learn.predictor()
    if not isinstance(predictor, RatingPredictor):
        raise InputError(f"Only models of ratings rank items; this task is {predictor.task.kind}.")
    train, valid = (loader.dataset for loader in learn.dls)
    pairs = liked_pairs(valid.inputs, valid.targets[:, 0], train.targets[:, 0], liked)
    return evaluate_rankings(predictor, pairs, k).table()
