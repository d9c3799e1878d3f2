"""The ranking model of a bundle: what it learned from, what it knows of each user, and how it came to be chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from foveal.collab.content import Content, ContentPart
from foveal.collab.interactions import Interactions
from foveal.collab.rankers.base import Ranker, Scorer
from foveal.collab.rankers.blend import Blend
from foveal.collab.rankers.choice import Candidate, History, are_liked, choose_ranker, liked_from
from foveal.collab.rankers.ease import MOST
from foveal.collab.rankers.popularity import Popularity
from foveal.collab.rankers.stored import RankerPart, blend_of, part_of, tensors_of
from foveal.collab.task import Rating
from foveal.core.errors import InputError

_READ, _CONTENT, _OWN = "ranking.read", "ranking.content", "ranking.model."
"""Tensors of a bundle: which pairs are read, the content's weights, and what the ranking model is made of."""
_LEAST_DESCRIBED = 10  # items; chosen by hand: below it a regression on words has nothing to learn from


class Known(NamedTuple):
    """The pairs that a ranking model learns from.

    Attributes:
        pairs: of users and items, int64 [n, 2], each once.
        ratings: theirs, NaN where a user only had an item, [n]; None where there are only pairs.
        times: theirs, [n].
    """

    pairs: Tensor
    ratings: Tensor | None
    times: Tensor | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.pairs):,} pairs)"

    @classmethod
    def of(cls, pairs_N2: Tensor, ratings: Tensor | None, n_items: int) -> Known:
        """Return pairs without all but the last of those that occur several times.

        Args:
            pairs_N2: int64 [N, 2].
            ratings: theirs, [N]; None where there are only pairs.
            n_items: how many items there are, the unknown one included.
        """
        order = (pairs_N2[:, 0] * n_items + pairs_N2[:, 1]).argsort(stable=True)
        ordered = pairs_N2[order]
        is_last = torch.ones(len(order), dtype=torch.bool)
        is_last[:-1] = (ordered[1:] != ordered[:-1]).any(dim=1)
        kept = order[is_last].sort()[0]
        return cls(pairs_N2[kept], None if ratings is None else ratings[kept])


@dataclass(frozen=True, eq=False)
class Ranking:
    """A ranking model, and what it knows of the users of training.

    Attributes:
        ranker: the model.
        read: which pairs of training it reads, bool [n].
        reads: these pairs by user, as ones.
        part: its description.
        content: from the columns of items to their vectors, where items have columns.
        tried: what it was chosen from, best first; empty in a bundle that was read.
        neighbours: item kNN, to compare with; None in a bundle that was read.
    """

    ranker: Blend
    read: Tensor
    reads: Interactions
    part: RankerPart
    content: Content | None = None
    tried: Sequence[Candidate] = field(default=())
    neighbours: Ranker | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.about})"

    @property
    def about(self) -> str:
        """What it is and learns from, in words."""
        return f"{self.ranker.title}, from what users {self.part.learns_from}"

    @cached_property
    def popularity(self) -> Popularity:
        """What is left to say of somebody of whom nothing is known."""
        return Popularity.fit(self.reads)

    def scores(self, histories: Interactions, ranker: Scorer | None = None) -> Tensor:
        """Return a score for each item, float32 [U, I]: the popularity where a history is empty.

        Args:
            histories: what is read of each of U people, as ones.
            ranker: another model that reads the same.
        """
        nothing = (histories.counts == 0)[:, None]
        return torch.where(nothing, self.popularity.scores(histories), (ranker or self.ranker).scores(histories))

    def is_read(self, rating: float | None) -> bool:
        """Return whether an item that somebody gave a rating counts for them."""
        bound = self.part.liked_from
        return rating is None or bound is None or self.part.learns_from == "had" or rating >= bound

    def stored(self) -> tuple[dict[str, object], dict[str, Tensor]]:
        """Return what a bundle holds of it: its description as JSON values, and tensors by name."""
        tensors = {_READ: self.read} | {f"{_OWN}{name}": tensor for name, tensor in tensors_of(self.ranker).items()}
        about: dict[str, object] = {"ranker": self.part.model_dump()}
        if self.content is not None:
            tensors[_CONTENT] = self.content.weights.half()
            about["content"] = self.content.part.model_dump()
        return about, {name: tensor.contiguous() for name, tensor in tensors.items()}


def stored_ranking(
    about: Mapping[str, object], tensors: Mapping[str, Tensor], seen: Tensor, sizes: tuple[int, int]
) -> Ranking:
    """Return the ranking model of a bundle.

    Args:
        about: its description, as `Ranking.stored` returned it.
        tensors: of the bundle.
        seen: the pairs of training, int64 [n, 2].
        sizes: how many users and items there are, the unknown included.

    Raises:
        InputError: its parts do not fit together.
    """
    part = RankerPart.model_validate(about["ranker"])
    own = {name.removeprefix(_OWN): tensor for name, tensor in tensors.items() if name.startswith(_OWN)}
    read = tensors.get(_READ)
    if read is None or read.dtype != torch.bool or read.shape != seen.shape[:1]:
        raise InputError("it does not say which pairs of training its ranking model reads.")
    content = None
    if "content" in about:
        weights = tensors.get(_CONTENT)
        content_part = ContentPart.model_validate(about["content"])
        if weights is None or weights.ndim != 2 or len(weights) != content_part.width:
            raise InputError("what it knows of the items' columns does not fit their description.")
        content = Content(content_part, weights.float())
    return Ranking(blend_of(part, own, sizes[1]), read, Interactions.of(seen[read], *sizes), part, content)


def make_ranking(
    task: Rating,
    known: Known,
    *,
    seed: int = 0,
    features: pd.DataFrame | None = None,
) -> Ranking:
    """Return a ranking model, chosen by pairs held out of training and fitted to all.

    Args:
        task: whom the numbers stand for.
        known: the pairs of training; the latest of each user are held out to choose by, where there are times.
        seed: draws what is held out where times are missing.
        features: columns of items, by their ids.
    """
    seen, ratings, times = known
    sizes = len(task.users), len(task.items)
    chosen = choose_ranker(History.of(seen, ratings, *sizes, times), seed=seed)
    bound = None if ratings is None else liked_from(ratings)
    read = torch.ones(len(seen), dtype=torch.bool)
    if chosen.learns_from == "liked" and ratings is not None and bound is not None:
        read = are_liked(ratings, bound)
    part = part_of(chosen.ranker, chosen.learns_from, bound)
    reads = Interactions.of(seen[read], *sizes)
    content = None if features is None else _content(chosen.ranker, task, features)
    return Ranking(chosen.ranker, read, reads, part, content, chosen.tried, chosen.neighbours)


def _content(ranker: Scorer, task: Rating, features: pd.DataFrame) -> Content | None:
    """Return what the columns of items tell of their vectors; None where few items have columns, or very many."""
    numbers = task.items.numbers(features.index.tolist())
    known = (numbers > 0).numpy()
    if known.sum() < _LEAST_DESCRIBED or len(task.items) > MOST:
        return None
    return Content.fit(features[known], ranker.vectors(numbers[numbers > 0]))
