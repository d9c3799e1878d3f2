"""Which ranking model a table gets, with which penalty: the best on pairs that are held out of the training rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from foveal.collab.interactions import Interactions
from foveal.collab.rankers.als import Als
from foveal.collab.rankers.base import LearnsFrom, Ranker, Scorer
from foveal.collab.rankers.blend import Blend
from foveal.collab.rankers.ease import Ease, fit_ease, fits
from foveal.collab.rankers.items import ItemNeighbours
from foveal.collab.rankers.popularity import Popularity
from foveal.collab.ranking import ranked_at_k
from foveal.core.rng import generator_for

_HELD_OUT = 0.2  # of each user's pairs
_JUDGES = 4096  # users that candidates are compared on: the standard error of NDCG is about .004 then
_AT_ONCE = 512  # users that are scored at once: 512 x 8,192 items are 16 MB
_TRIED_PAIRS = 1 << 20  # of a larger table, so many pairs try the settings of iALS and of item kNN
_EDGE = 1e-6  # of the ratings' standard deviation: a rating that is the mean stays liked in other units
Settings = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class History:
    """What training knows of its users.

    Attributes:
        had: all pairs, with their ratings (NaN where a user only had an item), or with ones.
        liked: of `had.items`, bool [N]: rated the mean or more, or not rated.
        times: of `had.items`, [N].
    """

    had: Interactions
    liked: Tensor
    times: Tensor | None = None

    @classmethod
    def of(
        cls, pairs_N2: Tensor, ratings: Tensor | None, n_users: int, n_items: int, times: Tensor | None = None
    ) -> History:
        """Return the history of some pairs.

        Args:
            pairs_N2: numbers of users and items, int64 [N, 2].
            ratings: of the pairs, NaN where one is missing, [N]; None where there are only pairs.
            n_users: how many users there are, the unknown one included.
            n_items: how many items there are, the unknown one included.
            times: of the pairs, [N].
        """
        had = Interactions.of(pairs_N2, n_users, n_items, None if ratings is None else ratings.double())
        liked = are_liked(had.values, -torch.inf if ratings is None else liked_from(had.values))
        return cls(had, liked, None if times is None else Interactions.of(pairs_N2, n_users, n_items, times).values)

    @cached_property
    def inputs(self) -> dict[LearnsFrom, Interactions]:
        """What a ranking model may learn from, as ones: what users had, and what they liked where that is less."""
        tables: dict[LearnsFrom, Interactions] = {"had": as_ones(self.had)}
        if self.liked.any() and not self.liked.all():
            tables["liked"] = as_ones(self.had.only(self.liked))
        return tables

    def without(self, left_out: Tensor) -> History:
        """Return it without some pairs, bool [N]."""
        return History(self.had.only(~left_out), self.liked[~left_out])


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A ranking model that was tried.

    Attributes:
        title: what it is called.
        learns_from: a name of `History.inputs`.
        settings: that it was fitted with.
        ndcg: NDCG@10 on the pairs held out, mean of users.
        seconds: that fitting and scoring took.
    """

    title: str
    learns_from: LearnsFrom
    settings: Settings
    ndcg: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The ranking model of a table.

    Attributes:
        ranker: fitted on all training pairs.
        learns_from: a name of `History.inputs`.
        tried: all candidates, best first.
        neighbours: the best item kNN that learns from the same, to compare with.
    """

    ranker: Blend
    learns_from: LearnsFrom = "had"
    tried: Sequence[Candidate] = field(default=())
    neighbours: Ranker | None = None


@dataclass(frozen=True, slots=True)
class _Family:
    """A kind of ranking model.

    Attributes:
        title: of its members.
        fit: from a table and settings.
        grid: the values of each setting, ascending; the search begins in the middle.
        pairs: it is tried on so many pairs, at most.
    """

    title: str
    fit: Callable[..., Ranker]
    grid: Mapping[str, Sequence[float]]
    pairs: int | None = None


_EASE = _Family(Ease.title, fit_ease, {"penalty": (5, 10, 30, 100, 300, 700, 1500, 4000, 10_000)})
_KNN = _Family(
    ItemNeighbours.title, ItemNeighbours.fit, {"n_neighbours": (20, 50, 100, 200, 400), "shrink": (1, 10, 100)}
)
_ONE_KNN = _Family(ItemNeighbours.title, ItemNeighbours.fit, {"n_neighbours": (100,), "shrink": (10,)}, _TRIED_PAIRS)
_ALS = _Family(
    Als.title,
    Als.fit,
    {
        "unseen": (0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1),
        "penalty": (0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
        "n_factors": (16, 32, 64),
    },
    _TRIED_PAIRS,
)
_POPULARITY = _Family(Popularity.title, Popularity.fit, {})


def liked_from(ratings: Tensor) -> float:
    """Return the rating from which on an item is liked: the mean of those that are known."""
    known = ratings[~ratings.isnan()].double()
    if not len(known):
        return -float("inf")
    return float(known.mean()) - _EDGE * float(known.std(correction=0))


def are_liked(ratings: Tensor, bound: float) -> Tensor:
    """Return whether items are liked, bool [N]: those rated the bound or more, and those that have no rating.

    Args:
        ratings: NaN where a user only had an item, [N].
        bound: of `liked_from`.
    """
    return (ratings.double() >= bound) | ratings.isnan()


def choose_ranker(history: History, *, seed: int = 0) -> Chosen:
    """Compare ranking models on pairs held out of the training rows, and fit the best one on all of them.

    Args:
        history: the training rows; the latest of each user are held out, where there are times.
        seed: draws what is held out where there are no times.

    Returns:
        The model, what it reads of a user, what was tried, and item kNN to compare with.
    """
    search = _Search(history, held_out(history.had, seed, history.times), seed)
    if not len(search.users):
        return Chosen(Blend([Popularity.fit(history.had)], [1.0]))
    is_large = len(history.had.items) > _TRIED_PAIRS
    search.add(_POPULARITY)
    search.add(_ONE_KNN if is_large else _KNN)
    if fits(history.had):
        search.add(_EASE)
    if not is_large or not fits(history.had):
        search.add(_ALS)
    best = search.blend_or(search.best())
    blend = search.refit(best)
    near = next((model for model in blend.models if model.title == ItemNeighbours.title), None)
    if near is None:
        near = search.fit_some(search.best(ItemNeighbours.title, best.learns_from))
    return Chosen(blend, best.learns_from, search.ordered, near)


class _Tried(NamedTuple):
    """A candidate, what it is made of, and its NDCG for each user."""

    candidate: Candidate
    parts: Sequence[tuple[_Family, Settings]]
    by_user: Tensor


class _Fitted(NamedTuple):
    """The best candidate of a family so far, and its models."""

    candidate: Candidate
    models: Sequence[Ranker]


class _Search:
    """Candidates that were tried on the same held out pairs."""

    def __init__(self, history: History, held: Tensor, seed: int) -> None:
        self.history, self.known = history, history.without(held)
        self.truth = as_ones(history.had.only(held & history.liked))
        users = ((self.truth.counts > 0) & (self.known.had.counts > 0)).nonzero()[:, 0]
        if len(users) > _JUDGES:
            users = users[torch.from_numpy(generator_for(seed, 0, 1).permutation(len(users))[:_JUDGES])].sort()[0]
        self.users, self.inputs, self.seed = users, self.known.inputs, seed
        self.tried: dict[tuple[object, ...], _Tried] = {}
        self._best_models: dict[tuple[str, LearnsFrom], _Fitted] = {}

    @property
    def ordered(self) -> list[Candidate]:
        return sorted((one.candidate for one in self.tried.values()), key=lambda one: -one.ndcg)

    def best(self, title: str | None = None, learns_from: str | None = None) -> Candidate:
        fitting = (one for one in self.ordered if title in (None, one.title))
        return next(one for one in fitting if learns_from in (None, one.learns_from))

    def refit(self, candidate: Candidate) -> Blend:
        """Return a candidate, fitted on all training pairs."""
        tried = next(one for one in self.tried.values() if one.candidate is candidate)
        table = self.history.inputs[candidate.learns_from]
        models = [family.fit(table, **settings) for family, settings in tried.parts]
        return Blend.of(models, table.rows(self.users[:_AT_ONCE])) if len(models) > 1 else Blend(models, [1.0])

    def fit_some(self, candidate: Candidate) -> Ranker:
        """Return one model, fitted on as many training pairs as it was tried with."""
        (family, settings), *_ = next(one.parts for one in self.tried.values() if one.candidate is candidate)
        return family.fit(self._some(self.history.inputs[candidate.learns_from], family.pairs), **settings)

    def blend_or(self, best: Candidate) -> Candidate:
        """Return the best of each family together; or the best of all, where that is clearly better.

        Which single model is best on the pairs held out is often chance, and their sum is rarely worse than any.
        """
        name = best.learns_from
        own = {one.candidate.title: one for one in self.tried.values()}
        titles = [title for title in own if title != _POPULARITY.title]
        members = [self.best(title, name) for title in titles]
        parts = [part for one in self.tried.values() if one.candidate in members for part in one.parts]
        if len(parts) < 2:
            return best
        blend = self._score(" + ".join(family.title for family, _ in parts), name, parts)
        single = next(one for one in self.tried.values() if one.candidate is best)
        lead = single.by_user - blend.by_user
        error = float(lead.std()) / len(lead) ** 0.5 if len(lead) > 1 else 0.0
        return best if float(lead.mean()) > error else blend.candidate

    def add(self, family: _Family) -> None:
        """Try a family: the input with the middle of its settings, then one setting after the other."""
        at = {name: len(values) // 2 for name, values in family.grid.items()}
        scored = {name: self._try(family, name, at) for name in self.inputs}
        name = max(scored, key=scored.__getitem__)
        best = scored[name]
        for setting, values in family.grid.items():
            for step in (1, -1):
                while 0 <= at[setting] + step < len(values):
                    moved = at | {setting: at[setting] + step}
                    if (found := self._try(family, name, moved)) <= best:
                        break
                    best, at = found, moved

    def _try(self, family: _Family, name: LearnsFrom, at: Mapping[str, int]) -> float:
        settings = {setting: values[at[setting]] for setting, values in family.grid.items()}
        return self._score(family.title, name, [(family, settings)]).candidate.ndcg

    def _score(self, title: str, name: LearnsFrom, parts: Sequence[tuple[_Family, Settings]]) -> _Tried:
        several = len(parts) > 1
        settings = {
            f"{family.title} {key}" if several else key: value for family, own in parts for key, value in own.items()
        }
        if (known := self.tried.get((title, name, *settings.values()))) is not None:
            return known
        began, table = time.perf_counter(), self.inputs[name]
        models = [self._fitted(family, own, name) for family, own in parts]
        blend = Blend.of(models, table.rows(self.users[:_AT_ONCE]))
        by_user = self._ndcg(blend, table)
        candidate = Candidate(title, name, settings, float(by_user.mean()), time.perf_counter() - began)
        best = self._best_models.get((title, name))
        if best is None or candidate.ndcg > best.candidate.ndcg:
            self._best_models[title, name] = _Fitted(candidate, models)
        found = self.tried[title, name, *settings.values()] = _Tried(candidate, parts, by_user)
        return found

    def _fitted(self, family: _Family, settings: Settings, name: LearnsFrom) -> Ranker:
        """Return a fitted model: the best of its family where it is that, else a new one."""
        best = self._best_models.get((family.title, name))
        if best is not None and dict(best.candidate.settings) == dict(settings):
            return best.models[0]
        return family.fit(self._some(self.inputs[name], family.pairs), **settings)

    def _some(self, table: Interactions, most: int | None) -> Interactions:
        """Return the rows of so many users, drawn, that they have about `most` pairs."""
        if most is None or len(table.items) <= most:
            return table
        drawn = torch.from_numpy(generator_for(self.seed, 0, 2).permutation(len(table)))
        return table.rows(drawn[table.counts[drawn].cumsum(0) <= most])

    def _ndcg(self, ranker: Scorer, table: Interactions) -> Tensor:
        found = []
        for users in torch.split(self.users, _AT_ONCE):
            scores = ranker.scores(table.rows(users)).clone()
            scores[:, 0] = -torch.inf
            seen = self.known.had.rows(users)
            scores[seen.users, seen.items] = -torch.inf
            found.append(ranked_at_k(scores, self.truth.rows(users).dense()).ndcg)
        return torch.cat(found)


def held_out(had: Interactions, seed: int, times: Tensor | None = None) -> Tensor:
    """Return which pairs of each user are held out, bool [N]: the latest, or drawn ones.

    Args:
        had: the pairs.
        seed: of the draws.
        times: of the pairs, [N].
    """
    drawn = torch.from_numpy(generator_for(seed, 0, 0).random(len(had.items)))
    order = drawn.argsort() if times is None else times.argsort(stable=True)
    order = order[had.users[order].argsort(stable=True)]
    place = torch.arange(len(order)) - had.starts[had.users[order]]
    held = torch.empty(len(order), dtype=torch.bool)
    counts = had.counts[had.users[order]]
    held[order] = place >= counts - (counts * _HELD_OUT).round()
    return held


def as_ones(table: Interactions) -> Interactions:
    """Return the same pairs with ones for values."""
    return Interactions(table.starts, table.items, torch.ones(len(table.items)), table.n_items)
