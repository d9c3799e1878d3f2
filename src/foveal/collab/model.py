"""Models of ratings: one vector per user and one per item, and what is made of the two.

A model takes pairs int64 [B, 2], the numbers of user and item, and returns [B] or [B, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn

from foveal.collab.task import UNKNOWN, Id, Ids
from foveal.core.arguments import check_list
from foveal.core.errors import InputError, UnknownNameError
from foveal.models import module
from foveal.models.head import sigmoid_range
from foveal.models.pca import Vectors

_STD = 0.01  # of the first vectors, cut off at two deviations: the book's
_MOST = 600  # numbers of a vector: the book's rule of thumb
NOBODY = Ids(())
_LATER = ("unit", "limits")  # fields that the first version did not have
Module = module.Module


class Embedding(nn.Embedding):
    """A vector of `n_factors` for each of `n` numbers, drawn from a normal of 0.01 that is cut off at two deviations.

    It is `nn.Embedding` with the first weights of the book: numbers int64 [...] become float32 [..., `n_factors`].

    Args:
        n: how many vectors there are.
        n_factors: how long each is.

    Examples:
        >>> from foveal.collab.all import *
        >>> vectors = Embedding(5, 3)
        >>> vectors(torch.tensor([0, 4])).shape, bool((vectors.weight.abs() <= 0.02).all())
        (torch.Size([2, 3]), True)
    """

    def __init__(self, n: int, n_factors: int) -> None:
        super().__init__(n, n_factors)
        nn.init.trunc_normal_(self.weight, std=_STD, a=-2 * _STD, b=2 * _STD)


def embedding_size(n: int) -> int:
    """Return the usual size of a vector for `n` categories: 1.6 n^0.56, at most 600.

    Args:
        n: how many categories there are, the unknown one included.

    Examples:
        >>> from foveal.collab.all import *
        >>> embedding_size(944), embedding_size(1665)
        (74, 102)
    """
    return int(min(_MOST, round(1.6 * float(n) ** 0.56)))


def one_hot(x: int | Tensor, c: int) -> Tensor:
    """Return `c` zeros with a one at `x`, uint8 [c].

    Args:
        x: from 0 to c - 1; a tensor of several numbers gives a one at each of them.
        c: how many numbers.

    Raises:
        InputError: `x` is no such number.

    Examples:
        >>> from foveal.collab.all import *
        >>> one_hot(1, 3).tolist()
        [0, 1, 0]
    """
    numbers = torch.as_tensor(x)
    if numbers.dtype == torch.bool or numbers.is_floating_point() or bool(((numbers < 0) | (numbers >= c)).any()):
        raise InputError(f"`x` is a whole number, at least 0 and below {c}; got {x!r}.")
    made = torch.zeros(c, dtype=torch.uint8)
    made[numbers.long()] = 1
    return made


@dataclass(frozen=True, slots=True)
class CollabSpec:
    """All that is needed to build a model again.

    Attributes:
        n_users, n_items: numbers that there are, the unknown included.
        n_factors: the length of both vectors, or the lengths for users and for items.
        y_range: squeeze outputs into (low, high).
        layers: the hidden layers of a network over both vectors; without any, their product and two biases.
        unit: mean and standard deviation of the ratings, where outputs are in units of it before they are returned.
        limits: the lowest and the highest rating that a pair is answered with; what ranks items is not cut off.
    """

    n_users: int
    n_items: int
    n_factors: tuple[int, int]
    y_range: tuple[float, float] | None = None
    layers: tuple[int, ...] = ()
    unit: tuple[float, float] | None = None
    limits: tuple[float, float] | None = None

    @property
    def n_weights(self) -> int:
        """How many numbers its vectors and layers have at least."""
        sizes = (sum(self.n_factors), *self.layers)
        return self.n_users * self.n_factors[0] + self.n_items * self.n_factors[1] + sum(
            before * after for before, after in pairwise(sizes)
        )  # fmt: skip

    def as_ratings(self, output: Tensor) -> Tensor:
        """Return what vectors or layers give, brought into the range, or into the unit, of the ratings."""
        if self.y_range is not None:
            return sigmoid_range(output, *self.y_range)
        return output if self.unit is None else self.unit[0] + self.unit[1] * output

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON values; what is usual is not written, so that older versions read it."""
        return {name: value for name, value in asdict(self).items() if name not in _LATER or value is not None}


class _Embeddings(nn.Module):
    """Vectors whose number 0, the unknown, is in evaluation the mean of all others: training never meets it."""

    def train(self, mode: bool = True) -> Self:
        """Put the model into training or evaluation mode; the latter gives number 0 the mean of all other vectors.

        Args:
            mode: whether it is training.

        Returns:
            The model.
        """
        if not mode:
            with torch.no_grad():
                for table in self.children():
                    if isinstance(table, nn.Embedding) and len(table.weight) > 1:
                        table.weight[0] = table.weight[1:].mean(dim=0)
        return super().train(mode)


class EmbeddingDotBias(_Embeddings):
    """The model of ratings of the book: the product of a user's and an item's vector, and a bias of each.

    Number 0 stands for users and items that training did not know; in evaluation it has the mean of all other vectors.

    Attributes:
        spec: sizes and range; `from_classes` makes one.
        users, items: who the numbers stand for, by whom `bias` and `weight` look up vectors.
        u_weight, i_weight: the vectors, `Embedding`s of [users, n_factors] and [items, n_factors].
        u_bias, i_bias: the biases, `Embedding`s of length 1.

    Examples:
        >>> from foveal.collab.all import *
        >>> classes = {"user": ["ann", "ben"], "film": ["Alien", "Brazil"]}
        >>> model = EmbeddingDotBias.from_classes(4, classes, y_range=(0, 5.5)).eval()
        >>> ratings = model(torch.tensor([[1, 1], [2, 1]]))  # of fresh weights, near the middle of the range
        >>> ratings.shape, bool(((ratings - 2.75).abs() < 0.2).all())
        (torch.Size([2]), True)
    """

    def __init__(self, spec: CollabSpec, users: Ids = NOBODY, items: Ids = NOBODY) -> None:
        super().__init__()
        self.spec, self.users, self.items = spec, users, items
        size = spec.n_factors[0]
        self.u_weight, self.i_weight = Embedding(spec.n_users, size), Embedding(spec.n_items, size)
        self.u_bias, self.i_bias = Embedding(spec.n_users, 1), Embedding(spec.n_items, 1)

    @classmethod
    def from_classes(
        cls,
        n_factors: int,
        classes: Mapping[str, Sequence[Id]],
        user: str | None = None,
        item: str | None = None,
        y_range: tuple[float, float] | None = None,
    ) -> EmbeddingDotBias:
        """Return a model for the users and items of loaders, with fresh weights.

        Args:
            n_factors: the length of each vector.
            classes: `dls.classes`: the users and the items, under the names of their columns.
            user: the column of users; the first one by default.
            item: the column of items; the second one by default.
            y_range: squeeze outputs into (low, high).

        Raises:
            UnknownNameError: there is no such column.

        Examples:
            >>> from foveal.collab.all import *
            >>> classes = {"user": ["ann", "ben"], "film": ["Alien", "Brazil", "Cabaret"]}
            >>> model = EmbeddingDotBias.from_classes(4, classes)
            >>> model.u_weight.weight.shape, model.i_weight.weight.shape  # one more each, for the unknown
            (torch.Size([3, 4]), torch.Size([4, 4]))
        """
        columns = list(classes)
        for name in (user, item):
            if name is not None and name not in classes:
                raise UnknownNameError.of("column", name, columns)
        users, items = (
            Ids(tuple(one for one in classes[name] if one != UNKNOWN))
            for name in (user or columns[0], item or columns[1])
        )
        return cls(CollabSpec(len(users), len(items), (n_factors, n_factors), y_range), users, items)

    def forward(self, pairs_B2: Tensor) -> Tensor:
        """Return a rating per pair, float32 [B].

        Args:
            pairs_B2: numbers of users and items, int64 [B, 2].
        """
        users, items = pairs_B2.unbind(dim=1)
        rating = (self.u_weight(users) * self.i_weight(items)).sum(dim=1)
        rating = self._squeeze(rating + self.u_bias(users).squeeze(1) + self.i_bias(items).squeeze(1))
        return rating if self.spec.limits is None else rating.clamp(*self.spec.limits)

    def all_items(self, users_B: Tensor) -> Tensor:
        """Return the ratings of all items for some users, float32 [B, I], which are not cut off at the limits.

        Args:
            users_B: the users' numbers, int64 [B].

        Examples:
            >>> from foveal.collab.all import *
            >>> classes = {"user": ["ann", "ben"], "film": ["Alien", "Brazil", "Cabaret"]}
            >>> model = EmbeddingDotBias.from_classes(4, classes)
            >>> ratings = model.all_items(torch.tensor([1, 2]))
            >>> ratings.shape, ratings[0, 3].isclose(model(torch.tensor([[1, 3]]))[0]).item()
            (torch.Size([2, 4]), True)
        """
        product = self.u_weight(users_B) @ self.i_weight.weight.T
        return self._squeeze(product + self.u_bias(users_B) + self.i_bias.weight.T)

    def for_vector(self, user: Tensor) -> Tensor:
        """Return the ratings of all items, float32 [I], for somebody who is no user of training.

        Args:
            user: their vector and, last, their bias, float32 [n_factors + 1].

        Examples:
            >>> from foveal.collab.all import *
            >>> classes = {"user": ["ann", "ben"], "film": ["Alien", "Brazil", "Cabaret"]}
            >>> model = EmbeddingDotBias.from_classes(4, classes)
            >>> ann = torch.cat([model.u_weight.weight[1], model.u_bias.weight[1]])
            >>> model.for_vector(ann).allclose(model.all_items(torch.tensor([1]))[0])
            True
        """
        return self._squeeze(self.i_weight.weight @ user[:-1] + user[-1] + self.i_bias.weight.squeeze(1))

    def bias(self, names: Sequence[Id], *, is_item: bool = True) -> Tensor:
        """Return the biases of items, or of users, by name, float32 [n].

        Args:
            names: ids as the table has them.
            is_item: whether they are items.

        Raises:
            UnknownNameError: training did not know one of them.

        Examples:
            >>> from foveal.collab.all import *
            >>> classes = {"user": ["ann", "ben"], "film": ["Alien", "Brazil", "Cabaret"]}
            >>> model = EmbeddingDotBias.from_classes(4, classes)
            >>> model.bias(["Cabaret", "Alien"]).equal(model.i_bias.weight[[3, 1], 0])
            True
        """
        return self._by_name(self.i_bias if is_item else self.u_bias, names, is_item).squeeze(1)

    def weight(self, names: Sequence[Id], *, is_item: bool = True) -> Vectors:
        """Return the vectors of items, or of users, by name, float32 [n, n_factors]; `.pca(3)` makes that [n, 3].

        Args:
            names: ids as the table has them.
            is_item: whether they are items.

        Raises:
            UnknownNameError: training did not know one of them.

        Examples:
            >>> from foveal.collab.all import *
            >>> classes = {"user": ["ann", "ben"], "film": ["Alien", "Brazil", "Cabaret"]}
            >>> model = EmbeddingDotBias.from_classes(4, classes)
            >>> model.weight(["Cabaret", "Alien"]).shape, model.weight(["Alien", "Brazil", "Cabaret"]).pca(2).shape
            (torch.Size([2, 4]), torch.Size([3, 2]))
        """
        return self._by_name(self.i_weight if is_item else self.u_weight, names, is_item).as_subclass(Vectors)

    def _by_name(self, table: nn.Embedding, names: Sequence[Id], is_item: bool) -> Tensor:
        check_list("names", names, "ids")
        ids = self.items if is_item else self.users
        known = set(ids.names)
        if unknown := [name for name in names if name not in known]:
            kind, other = ("item", "False for users") if is_item else ("user", "True for items")
            raise UnknownNameError.of(kind, unknown[0], ids.names, f"`is_item` is {is_item}; {other}.")
        return table.weight.detach()[ids.numbers(names).to(table.weight.device)]

    def _squeeze(self, rating: Tensor) -> Tensor:
        return self.spec.as_ratings(rating)


class EmbeddingNN(_Embeddings):
    """A model of ratings: linear layers, with ReLU and batch normalisation, over a user's and an item's vector.

    Examples:
        >>> from foveal.collab.all import *
        >>> model = EmbeddingNN([(10, 4), (20, 6)], [8], y_range=(0, 5.5)).eval()
        >>> model(torch.tensor([[1, 1], [2, 19], [0, 0]])).shape, model.layers[0].in_features
        (torch.Size([3]), 10)
    """

    def __init__(
        self,
        emb_szs: CollabSpec | Sequence[tuple[int, int]],
        layers: Sequence[int] = (),
        *,
        y_range: tuple[float, float] | None = None,
    ) -> None:
        """Build it with fresh weights.

        Args:
            emb_szs: a spec, or (how many, length of the vector) of users and of items, as `get_emb_sz` returns them.
            layers: the sizes of the hidden layers.
            y_range: squeeze outputs into (low, high).
        """
        super().__init__()
        if not isinstance(emb_szs, CollabSpec):
            (n_users, of_user), (n_items, of_item) = emb_szs
            emb_szs = CollabSpec(n_users, n_items, (of_user, of_item), y_range, tuple(layers))
        self.spec = spec = emb_szs
        self.u_weight = Embedding(spec.n_users, spec.n_factors[0])
        self.i_weight = Embedding(spec.n_items, spec.n_factors[1])
        sizes = [sum(spec.n_factors), *spec.layers]
        hidden: list[nn.Module] = []
        for before, after in pairwise(sizes):
            hidden += [nn.Linear(before, after), nn.ReLU(inplace=True), nn.BatchNorm1d(after)]
        self.layers = nn.Sequential(*hidden, nn.Linear(sizes[-1], 1))

    def forward(self, pairs_B2: Tensor) -> Tensor:
        """Return a rating per pair, float32 [B].

        Args:
            pairs_B2: numbers of users and items, int64 [B, 2].
        """
        users, items = pairs_B2.unbind(dim=1)
        rating: Tensor = self.layers(torch.cat([self.u_weight(users), self.i_weight(items)], dim=1)).squeeze(1)
        return self.spec.as_ratings(rating)


CollabModel = EmbeddingDotBias | EmbeddingNN


def collab_model(spec: CollabSpec, users: Ids = NOBODY, items: Ids = NOBODY) -> CollabModel:
    """Return the model that a spec describes, with fresh weights.

    Args:
        spec: what is built.
        users: whom the numbers stand for.
        items: what the numbers stand for.
    """
    return EmbeddingNN(spec) if spec.layers else EmbeddingDotBias(spec, users, items)


def collab_spec(stored: dict[str, Any]) -> CollabSpec:
    """Return the spec that `to_dict` described, by way of JSON."""
    pairs: dict[str, Sequence[Any]] = {name: tuple(stored[name]) for name in ("n_factors", "layers")}
    ranges = {name: None if stored.get(name) is None else tuple(stored[name]) for name in ("y_range", *_LATER)}
    return CollabSpec(**{**stored, **pairs, **ranges})
