"""What a ranking model is: from what somebody had to a score for each item."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from foveal.collab.interactions import Interactions

Kind = Literal["ease", "ease-by-users", "item-knn", "ials", "popularity"]
LearnsFrom = Literal["had", "liked"]
"""What a ranking model reads of a user: all items, or those rated the mean or more."""


class Scorer(Protocol):
    """Scores items for anybody of whom some items are known; users of training have no place of their own in it."""

    @property
    def title(self) -> str:
        """Its name in tables."""

    @property
    def settings(self) -> Mapping[str, float]:
        """What it was made with."""

    def scores(self, histories: Interactions) -> Tensor:
        """Return a score for each item, float32 [U, I]; what somebody had is scored too.

        Args:
            histories: what each of U people had, as ones.
        """

    def vectors(self, items: Tensor) -> Tensor:
        """Return what stands for items, [n, D]: scores are products of them and of what stands for people.

        Args:
            items: their numbers, int64 [n].
        """

    def scores_by(self, histories: Interactions, vectors_CD: Tensor) -> Tensor:
        """Return the scores of items of which only the vectors are known, float32 [U, C].

        Args:
            histories: what each of U people had, as ones.
            vectors_CD: as `vectors` returns them.
        """

    def shares(self, history: Tensor, items: Tensor) -> Tensor:
        """Return what each item that somebody had adds to the scores of others, [n, m].

        Args:
            history: numbers of the items that somebody had, int64 [m].
            items: numbers of items that are recommended, int64 [n].
        """


class VectorScorer(ABC):
    """A scorer whose scores are products of what stands for people and what stands for items.

    Unless a subclass has something better, what stands for people is what they had, and the number of a vector that
    belongs to an item is what having it adds.
    """

    __slots__ = ()

    @abstractmethod
    def vectors(self, items: Tensor) -> Tensor:
        """Return what stands for items, int64 [n], as [n, D]."""

    def people(self, histories: Interactions) -> Tensor:
        """Return what stands for people, [U, D]."""
        return histories.matrix()

    def scores_by(self, histories: Interactions, vectors_CD: Tensor) -> Tensor:
        """Return the scores of items of which only the vectors are known, float32 [U, C].

        Args:
            histories: what each of U people had, as ones.
            vectors_CD: as `vectors` returns them.
        """
        return self.people(histories) @ vectors_CD.T.contiguous()

    def shares(self, history: Tensor, items: Tensor) -> Tensor:
        """Return what each item that somebody had adds to the scores of others, [n, m].

        Args:
            history: numbers of the items that somebody had, int64 [m].
            items: numbers of items that are recommended, int64 [n].
        """
        return self.vectors(items)[:, history]


class Ranker(Scorer, Protocol):
    """A scorer that a bundle can hold."""

    kind: ClassVar[Kind]
    """Its name in a bundle."""

    def tensors(self) -> Mapping[str, Tensor]:
        """Return what is stored of it."""
