"""Recommendations: the items that a ranking model puts first for somebody, why, and what they are left out for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict

import torch
from torch import Tensor, nn

from foveal.collab.interactions import Interactions
from foveal.collab.item_table import ItemTable
from foveal.collab.ranking import first_items
from foveal.collab.ranking_model import Ranking
from foveal.collab.recommended import Recommendations, Recommended
from foveal.collab.task import Id, Ids, Rating
from foveal.core.arguments import check_list
from foveal.core.errors import InputError, near_match

_CELLS = 1 << 22  # scores in one pass: 16 MB
_REASONS = 2  # items that are named as a reason for another; chosen by hand: a line at 80 columns
_POOL = 10  # times as many items as are wanted are looked at for diverse ones


class Wishes(TypedDict, total=False):
    """Fields of `Ask` besides how many items, and whether what was seen may be among them."""

    by: Literal["ranking", "rating"]
    diverse: float
    exclude: Collection[Id]
    only: Collection[Id] | None
    new_items: ItemTable | None
    only_new: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """What is wanted of a list of recommendations.

    Attributes:
        n: how many items.
        seen: whether items that somebody had may be among them.
        by: "ranking", or "rating": the predicted one.
        diverse: 0 takes the best scores; towards 1, items that are like those above them are passed over.
        exclude: items that are never recommended.
        only: the items among which is chosen; all by default.
        new_items: titles and columns of items that training did not know; they are ranked among the others.
        only_new: recommend the new items alone.
    """

    n: int = 10
    seen: bool = False
    by: Literal["ranking", "rating"] = "ranking"
    diverse: float = 0.0
    exclude: Collection[Id] = ()
    only: Collection[Id] | None = None
    new_items: ItemTable | None = None
    only_new: bool = False

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InputError(f"At least one item is recommended; got n={self.n}.")
        if not 0 <= self.diverse <= 1:
            raise InputError(f"`diverse` is from 0 to 1; got {self.diverse:g}.")
        check_list("exclude", self.exclude, "ids of items")
        check_list("only", self.only or (), "ids of items")
        if self.new_items is not None and not isinstance(self.new_items, ItemTable):
            raise InputError(f"`new_items` is an ItemTable of titles and columns; got {type(self.new_items).__name__}.")
        if self.only_new and self.new_items is None:
            raise InputError("`only_new` needs `new_items`.")
        if self.by not in ("ranking", "rating"):
            raise InputError(f"`by` is 'ranking' or 'rating'; got {self.by!r}.")


class Rater(Protocol):
    """What recommendations need besides a ranking model: who is known, and what they would rate."""

    @property
    def task(self) -> Rating:
        """Users, items and columns."""

    @property
    def had(self) -> Interactions:
        """What the users of training had."""

    @property
    def titles(self) -> Mapping[Id, str]:
        """Of items."""

    def answers(self, pairs_N2: Tensor) -> Tensor:
        """Return the ratings [N, 1] of pairs given as numbers."""

    def scores(self, users: Tensor, *, seen: bool = False) -> Tensor:
        """Return the ratings of all items for users, [U, I]."""


Rate = Callable[[int, Tensor], list[float | None]]
"""From the place of somebody in a group, and numbers of items, to the ratings that these would get."""


class Recommender:
    """Recommends to users of training and to others."""

    def __init__(self, rater: Rater, ranking: Ranking | None, ask: Ask) -> None:
        """Prepare what is the same for everybody.

        Args:
            rater: knows users, items and ratings.
            ranking: the ranking model; None ranks by rating.
            ask: what is wanted.

        Raises:
            InputError: an item of `exclude` or `only` is not known, or new items cannot be placed.
        """
        self.rater, self.ask, self._has_ranking = rater, ask, ranking is not None
        self.ranking = ranking if ask.by == "ranking" else None
        self._n_items = len(rater.task.items)
        self._out = torch.full((self._n_items,), ask.only is not None or ask.only_new)
        if ask.only is not None:
            self._out[[self.number(item) for item in ask.only]] = False
        self._out[[0, *(self.number(item) for item in ask.exclude)]] = True
        self._new = self._place(ask.new_items) if ask.new_items is not None else None

    def number(self, item: Id) -> int:
        """Return the number of an item.

        Raises:
            InputError: training did not know it.
        """
        return known_number(self.rater.task.items, item, "item")

    def for_users(self, users: Tensor) -> Iterator[Recommendations]:
        """Yield the items for each user of training.

        Args:
            users: their numbers, int64 [U].
        """
        for some in torch.split(users, max(1, _CELLS // self._n_items)):
            had = self.rater.had.rows(some)
            reads = had if self.ranking is None else self.ranking.reads.rows(some)
            scores = (
                self.rater.scores(some, seen=True).clone()
                if self.ranking is None
                else self._ranked(self.ranking, reads)
            )

            def rate(row: int, items: Tensor, some: Tensor = some) -> list[float | None]:
                known = self._known(items)
                pairs = torch.stack([some[row].expand_as(known), known], dim=1)
                found: list[float | None] = self.rater.answers(pairs)[:, 0].tolist()
                return found

            yield from self._lists(scores, reads, had, rate)

    def for_new(self, given: Mapping[Id, float | None], ratings_I: Tensor | None) -> Recommendations:
        """Return the items for somebody whom training did not know.

        Args:
            given: what they had, with ratings where there are some.
            ratings_I: what they would rate all items, [I]; None where the rating model cannot say.

        Raises:
            InputError: training did not know an item, or there is nothing to rank by.
        """
        numbers = {self.number(item): rating for item, rating in given.items()}
        ranking = self.ranking

        def table(chosen: Iterable[int]) -> Interactions:
            items = torch.tensor(sorted(chosen), dtype=torch.int64)
            return Interactions.of(torch.stack([torch.zeros_like(items), items], dim=1), 1, self._n_items)

        def rate(row: int, items: Tensor) -> list[float | None]:
            del row
            return [None] * len(items) if ratings_I is None else ratings_I[self._known(items)].tolist()

        had = reads = table(numbers)
        if ranking is not None:
            reads = table(at for at, rating in numbers.items() if ranking.is_read(rating))
            scores = self._ranked(ranking, reads)
        elif ratings_I is not None:
            scores = ratings_I[None].clone()
        else:
            has_ratings = any(rating is not None for rating in given.values())
            raise InputError(self._no_rating(has_ratings=has_ratings))
        return next(self._lists(scores, reads, had, rate))

    def _no_rating(self, *, has_ratings: bool) -> str:
        """Return why somebody new cannot be ranked for by rating, and what to do."""
        if has_ratings:
            return "This model cannot predict the ratings of somebody new" + (
                ': leave `by` at "ranking".' if self._has_ranking else ", and it has no ranking model."
            )
        instead = ', or leave `by` at "ranking"' if self._has_ranking else ""
        return f"By rating, somebody new is known by their ratings: give {{item: rating}} of at least one{instead}."

    def _place(self, new_items: ItemTable) -> tuple[list[Id], Tensor]:
        """Return the ids and the vectors of new items.

        Raises:
            InputError: items are ranked by rating, or nothing is known of the new items or of the columns of known
                ones.
        """
        if self.ask.by == "rating":
            raise InputError("New items have no predicted rating yet: by='rating' cannot rank them.")
        if self.ranking is None or self.ranking.content is None:
            raise InputError(
                "New items are placed by the columns of known ones, and this model knows none: train it with a table "
                "of items (--items), of at most 8,192 of them."
            )
        features = new_items.features
        if features is None:
            raise InputError("Nothing is known of the new items but their ids: give a table with titles or columns.")
        ids = features.index.tolist()
        fresh = [at for at, item in enumerate(ids) if self.rater.task.items.number(item) == 0]
        return [ids[at] for at in fresh], self.ranking.content.vectors(features.iloc[fresh])

    def _ranked(self, ranking: Ranking, reads: Interactions) -> Tensor:
        """Return the scores of all items, and behind them of the new ones, [U, I + C]."""
        scores = ranking.scores(reads)
        if self._new is None:
            return scores.clone()
        return torch.cat([scores, ranking.ranker.scores_by(reads, self._new[1])], dim=1)

    def _lists(self, scores: Tensor, reads: Interactions, had: Interactions, rate: Rate) -> Iterator[Recommendations]:
        scores[:, : self._n_items][:, self._out] = -torch.inf
        if not self.ask.seen:
            scores[had.users, had.items] = -torch.inf
        n = self.ask.n
        first = first_items(scores, n * _POOL if self.ask.diverse else n)
        for row, items in enumerate(first):
            chosen = items[~scores[row, items].isneginf()]
            if self.ask.diverse and self.ranking is not None:
                chosen = chosen[_spread(scores[row, chosen], self._vectors(self.ranking, chosen), n, self.ask.diverse)]
            history = reads.items[reads.starts[row] : reads.starts[row + 1]]
            yield Recommendations(
                Recommended(self._id(item), rating, score, because, self._title(item))
                for item, rating, score, because in zip(
                    chosen.tolist(),
                    rate(row, chosen),
                    scores[row, chosen].tolist(),
                    self._reasons(history, chosen),
                    strict=True,
                )
            )

    def _vectors(self, ranking: Ranking, items: Tensor) -> Tensor:
        known = ranking.ranker.vectors(self._known(items))
        if self._new is not None and bool((is_new := items >= self._n_items).any()):
            known[is_new] = self._new[1][items[is_new] - self._n_items]
        return known

    def _reasons(self, history: Tensor, items: Tensor) -> list[tuple[Id, ...]]:
        """Return which items of a history speak most for each of others."""
        if self.ranking is None or not len(history) or not len(items):
            return [()] * len(items)
        shares = self.ranking.ranker.shares(history, self._known(items))
        shares[items >= self._n_items] = 0
        most, at = shares.topk(min(_REASONS, shares.shape[1]), dim=1)
        names = self.rater.task.items.names
        return [
            tuple(names[int(history[place])] for place, share in zip(places, values, strict=True) if share > 0)
            for places, values in zip(at.tolist(), most.tolist(), strict=True)
        ]

    def _known(self, items: Tensor) -> Tensor:
        """Return the numbers of items, 0 for new ones: what training knows of them."""
        return items.where(items < self._n_items, 0)

    def _id(self, item: int) -> Id:
        if item >= self._n_items:
            assert self._new is not None
            return self._new[0][item - self._n_items]
        return self.rater.task.items.names[item]

    def _title(self, item: int) -> str | None:
        new_items = self.ask.new_items
        if item >= self._n_items and new_items is not None:
            return new_items.titles.get(self._id(item))
        return self.rater.titles.get(self._id(item))


def known_number(ids: Ids, value: Id, what: str) -> int:
    """Return the number of a user or an item.

    Args:
        ids: all that training knows.
        value: one of them.
        what: "user" or "item".

    Raises:
        InputError: training did not know it.
    """
    if (number := ids.number(value)) == 0:
        hint = near_match(str(value), map(str, ids.known))
        raise InputError(f"The {what} {value!r} did not occur in training.{hint}")
    return number


def _spread(scores: Tensor, vectors: Tensor, n: int, diverse: float) -> Tensor:
    """Return which of some items, best first, make a list of `n` that are not alike, int64.

    Carbonell and Goldstein 1998, "The Use of MMR, Diversity-Based Reranking": each next item is the one with the best
    score less what it is like one that is already chosen.

    Args:
        scores: [m], descending.
        vectors: of the items, [m, D]; two are alike as the cosine of the angle between theirs.
        n: how many.
        diverse: the weight of likeness, 0 to 1.
    """
    if not len(scores):
        return torch.zeros(0, dtype=torch.int64)
    unit = nn.functional.normalize(vectors, dim=1)
    alike = unit @ unit.T
    worth = (scores - scores[-1]) / (scores[0] - scores[-1]).clamp(min=1e-12)
    nearest, chosen = torch.full((len(scores),), -1.0), [0]
    left = torch.ones(len(scores), dtype=torch.bool)
    while len(chosen) < min(n, len(scores)):
        left[chosen[-1]] = False
        nearest = torch.maximum(nearest, alike[chosen[-1]])
        chosen.append(int(((1 - diverse) * worth - diverse * nearest).where(left, -torch.inf).argmax()))
    return torch.tensor(chosen)
