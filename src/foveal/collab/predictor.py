"""The predictor of ratings: pairs of a user and an item in, ratings out; recommendations, to new users too."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Unpack

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from foveal.collab.interactions import Interactions
from foveal.collab.item_search import ItemSearch
from foveal.collab.item_table import NO_ITEMS, ItemTable, stored_items
from foveal.collab.model import EmbeddingDotBias, EmbeddingNN, collab_model, collab_spec
from foveal.collab.ranking_model import Ranking, stored_ranking
from foveal.collab.recommended import Recommendations, Recommended
from foveal.collab.recommender import Ask, Recommender, Wishes, known_number
from foveal.collab.task import Id, Rating
from foveal.core import runtime
from foveal.core.arguments import check_list
from foveal.core.errors import InputError
from foveal.inference.manifest import Manifest, OwnPart, Positive, TrainingPart, current_versions
from foveal.inference.prediction import Prediction
from foveal.inference.predictor import model_text
from foveal.inference.store import hashes_of, write_bundle
from foveal.models.vision import check_fit
from foveal.tasks.base import AnyTask

_BATCH = 4096  # pairs that are read ahead where any number of them comes; chosen by hand
_PAIRS = 1 << 20  # pairs in one pass of the model: some hundred MB at 50 factors
_STEPS = 100  # of L-BFGS for a new user's vector; the problem is convex and small, so fewer are used; chosen by hand


class CollabPart(BaseModel):
    """What a bundle says of a model of users and items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_users: Positive
    n_items: Positive
    n_factors: tuple[Positive, Positive]
    y_range: tuple[float, float] | None
    layers: tuple[Positive, ...]
    unit: tuple[float, float] | None = None
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class RatingPredictor:
    r"""A trained model that answers for pairs of users and items, and a model that ranks items.

    `load_learner` reads one from a file, `learn.predictor()` makes one of a learner.

    Attributes:
        model: returns the rating of a pair, in fp32 and evaluation mode.
        task: the users and items that it knows, and the range of ratings.
        seen: the pairs of training, as numbers, int64 [n, 2].
        device: where it answers.
        training: what it was trained on.
        items: titles and columns of the items.
        make_ranking: fits the ranking model when it is first needed; None ranks by rating.

    Examples:
        >>> from foveal.collab.all import *
        >>> names = ["user", "film", "rating", "time"]
        >>> ratings = pd.read_csv(untar_data(URLs.SAMPLE_ML) / "u.data", sep="\t", names=names)
        >>> learn = collab_learner(CollabDataLoaders.from_df(ratings, seed=0), 5, y_range=(0.5, 5.5), seed=0)
        >>> best = learn.predictor().most_popular(n=3)
        >>> [one.score >= 0.5 for one in best]  # the share of users who had it
        [True, True, True]
    """

    model: nn.Module
    task: Rating
    seen: Tensor
    device: torch.device
    training: TrainingPart
    items: ItemTable = NO_ITEMS
    make_ranking: Callable[[], Ranking] | None = None

    @classmethod
    def of(
        cls,
        model: nn.Module,
        task: Rating,
        seen: Tensor,
        training: TrainingPart | None = None,
        *,
        items: ItemTable = NO_ITEMS,
        make_ranking: Callable[[], Ranking] | None = None,
    ) -> RatingPredictor:
        """Return a predictor of a copy of a model, in fp32 and evaluation mode, on the device that it is on.

        Args:
            model: takes pairs int64 [B, 2] and returns ratings [B] or [B, 1].
            task: what it answers.
            seen: the pairs of training, as numbers, int64 [n, 2].
            training: what it was trained on.
            items: titles and columns of the items.
            make_ranking: fits the ranking model when it is first needed; None ranks by rating.
        """
        device = next(model.parameters()).device
        own = copy.deepcopy(model).float().eval().requires_grad_(requires_grad=False)
        return cls(own, task, seen.cpu(), device, training or TrainingPart(), items, make_ranking)

    @cached_property
    def ranking(self) -> Ranking | None:
        """The ranking model; None where ratings alone can rank."""
        return None if self.make_ranking is None else self.make_ranking()

    @cached_property
    def had(self) -> Interactions:
        """What the users of training had."""
        return Interactions.of(self.seen, len(self.task.users), len(self.task.items))

    @cached_property
    def search(self) -> ItemSearch:
        """What finds items by their names."""
        popularity = torch.bincount(self.seen[:, 1], minlength=len(self.task.items))[1:]
        return ItemSearch(self.task.items, self.titles, popularity.tolist())

    @property
    def titles(self) -> Mapping[Id, str]:
        """Of items, by their ids."""
        return self.items.titles

    def predict(self, user: Any, item: Any = None) -> Prediction:
        """Answer for one pair, given as two ids or as a tuple of both.

        A user or an item that training did not know is answered for as such: what is left is the other's share.

        Args:
            user: an id as the table has it, or (user, item).
            item: an id as the table has it; None where `user` is a tuple.

        Returns:
            The predicted rating.

        Raises:
            InputError: it is no pair.
        """
        return next(self.predict_batch([user if item is None else (user, item)]))

    def predict_batch(self, pairs: Iterable[tuple[Id, Id]]) -> Iterator[Prediction]:
        """Answer for any number of pairs, in order and in constant memory.

        Args:
            pairs: (user, item) each, ids as the table has them.

        Returns:
            An iterator over the predicted rating of each pair.

        Raises:
            InputError: it is no list; or, once it is its turn, something in it is no pair.
        """
        check_list("pairs", pairs, "(user, item)")
        return self._answers_for(iter(pairs))

    def _answers_for(self, rest: Iterator[object]) -> Iterator[Prediction]:
        while group := [_checked_pair(pair) for pair in islice(rest, _BATCH)]:
            values = self.answers(self.task.pairs([user for user, _ in group], [item for _, item in group]))
            for value in values:
                yield Prediction(float(value), value, value)

    @torch.inference_mode()
    def answers(self, pairs_N2: Tensor) -> Tensor:
        """Return the ratings, float32 [N, 1], of pairs that are given as numbers, int64 [N, 2]."""
        starts = range(0, max(1, len(pairs_N2)), _PAIRS)
        parts = (self.model(pairs_N2[at : at + _PAIRS].to(self.device)) for at in starts)
        return torch.cat([self.task.activate(part).cpu() for part in parts])

    @torch.inference_mode()
    def scores(self, users: Tensor, *, seen: bool = False) -> Tensor:
        """Return the ratings of all items for some users, float32 [U, I]; -inf for the unknown item.

        Args:
            users: their numbers, int64 [U].
            seen: whether items that a user had in training keep their ratings; otherwise they are -inf too.
        """
        n_items = len(self.task.items)
        if isinstance(self.model, EmbeddingDotBias):
            found = self.task.activate(self.model.all_items(users.to(self.device)).reshape(-1))
        else:
            pairs = torch.cartesian_prod(users, torch.arange(n_items))
            found = self.answers(pairs)
        table = found.cpu().reshape(len(users), n_items).clone()
        table[:, 0] = -torch.inf
        if not seen:
            mark(table, users, self.seen, -torch.inf)
        return table

    def recommend(self, user: Id, n: int = 10, *, seen: bool = False, **wishes: Unpack[Wishes]) -> Recommendations:
        """Return the items that a user would like most, by the ranking model where there is one.

        Args:
            user: an id as the table has it.
            n: how many items.
            seen: whether those that the user had in training may be among them.
            wishes: fields of `Ask`: by="rating", diverse=0.3, exclude=..., only=..., new_items=....

        Raises:
            InputError: training did not know the user, or an item that is named.
        """
        number = known_number(self.task.users, user, "user")
        ask = Ask(n=n, seen=seen, **wishes)
        return next(Recommender(self, self.ranking, ask).for_users(torch.tensor([number])))

    def recommend_all(
        self, n: int = 10, *, seen: bool = False, users: Sequence[Id] | None = None, **wishes: Unpack[Wishes]
    ) -> Iterator[tuple[Id, Recommendations]]:
        """Return users of training, one after the other, with the `n` items that they would like most.

        Args:
            n: how many items per user.
            seen: whether those that a user had in training may be among them.
            users: ids as the table has them; all by default.
            wishes: as of `recommend`.

        Returns:
            An iterator over (user, recommendations).

        Raises:
            InputError: `users` is no list; or, once the iterator is used, training did not know one of them.
        """
        if users is not None:
            check_list("users", users, "ids of users")
        return self._recommendations(self.task.users.known if users is None else users, Ask(n=n, seen=seen, **wishes))

    def _recommendations(self, chosen: Sequence[Id], ask: Ask) -> Iterator[tuple[Id, Recommendations]]:
        numbers = torch.tensor([known_number(self.task.users, user, "user") for user in chosen], dtype=torch.int64)
        lists = Recommender(self, self.ranking, ask).for_users(numbers)
        yield from zip(chosen, lists, strict=True)

    def recommend_to_new(
        self,
        ratings: Mapping[Id, float] | Mapping[Id, float | None] | Iterable[Id],
        n: int = 10,
        *,
        seen: bool = False,
        **wishes: Unpack[Wishes],
    ) -> Recommendations:
        """Return the `n` items that somebody would like most of whom only a few ratings are known.

        Args:
            ratings: by item, None for one that they liked, or only items that they liked; at least one.
            n: how many items.
            seen: whether the items that are given may be among them.
            wishes: as of `recommend`.

        Raises:
            InputError: training did not know an item, nothing is given, or only items and no rating with by="rating".
        """
        check_list("ratings", ratings, "items that somebody liked, or {item: rating}")
        given: dict[Id, float | None] = dict(ratings) if isinstance(ratings, Mapping) else dict.fromkeys(ratings)
        if not given:
            raise InputError("At least one rating is needed of a new user.")
        known = {item: value for item, value in given.items() if value is not None}
        would = self._ratings_of_new(known) if known and isinstance(self.model, EmbeddingDotBias) else None
        return Recommender(self, self.ranking, Ask(n=n, seen=seen, **wishes)).for_new(given, would)

    def most_popular(
        self, n: int = 10, *, exclude: Iterable[Id] = (), only: Iterable[Id] | None = None
    ) -> Recommendations:
        """Return the `n` items that most users of training had, with the share of users who had them as the score.

        That is all there is for somebody of whom nothing is known.

        Args:
            n: how many items.
            exclude: items that are left out.
            only: items among which is chosen; all by default.

        Raises:
            InputError: `exclude` or `only` is no list.
        """
        check_list("exclude", exclude, "ids of items")
        check_list("only", only or (), "ids of items")
        left_out, chosen = set(exclude), None if only is None else set(only)
        ids = (one for one in self.search.ids if one not in left_out and (chosen is None or one in chosen))
        counts = torch.bincount(self.seen[:, 1], minlength=len(self.task.items)).tolist()
        n_users, number = max(1, len(self.task.users.known)), self.task.items.number
        return Recommendations(
            Recommended(item, None, counts[number(item)] / n_users, (), self.titles.get(item))
            for item in islice(ids, n)
        )

    def _ratings_of_new(self, ratings: Mapping[Id, float]) -> Tensor:
        """Return what somebody new would rate all items, [I].

        The user's vector and bias are those that fit the ratings best while staying near the users of training (the
        mode of a Gaussian around their mean, with their spread); the items stay as they are.
        """
        model = self.model
        assert isinstance(model, EmbeddingDotBias)
        numbers = torch.tensor([known_number(self.task.items, item, "item") for item in ratings])
        wanted = torch.tensor(list(ratings.values()), dtype=torch.float32).to(self.device)
        users = torch.cat([model.u_weight.weight, model.u_bias.weight], dim=1)[1:]
        mean, spread = users.mean(dim=0), users.std(dim=0).clamp(min=1e-3)
        noise = self.training.valid_loss or 1.0
        offset = torch.zeros_like(mean, requires_grad=True)
        optimizer: Any = torch.optim.LBFGS([offset], max_iter=_STEPS, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            found = model.for_vector(mean + offset * spread)[numbers.to(self.device)]
            loss = self.task.error(found, wanted, reduction="sum") / noise + (offset**2).sum()
            torch.autograd.backward(loss)
            return loss.detach()

        with torch.enable_grad():
            optimizer.step(closure)
        return self.task.activate(model.for_vector(mean + offset.detach() * spread)).reshape(-1).cpu()

    def similar(self, item: Id, n: int = 10) -> Recommendations:
        """Return the `n` items whose vectors point most nearly the same way, with the cosine of the angle.

        Args:
            item: an id as the table has it.
            n: how many items.

        Raises:
            InputError: training did not know the item, or the model has no vectors of its own kind.
        """
        number = known_number(self.task.items, item, "item")
        vectors = self._vectors("Similar items")
        table = nn.functional.cosine_similarity(vectors[number][None], vectors).cpu().clone()
        table[[0, number]] = -torch.inf
        found, names = table.topk(min(n, len(table) - 2)), self.task.items.names
        pairs = zip(found.values.tolist(), found.indices.tolist(), strict=True)
        return Recommendations(
            Recommended(names[at], None, value, (), self.titles.get(names[at])) for value, at in pairs
        )

    def components(self, n: int = 3) -> tuple[tuple[Id, ...], Tensor]:
        """Return the items, and their coordinates along the first principal components of their vectors, [I, n]."""
        vectors = self._vectors("Principal components")[1:].cpu()
        centred = vectors - vectors.mean(dim=0)
        _, _, directions = torch.linalg.svd(centred, full_matrices=False)
        return self.task.items.known, centred @ directions[:n].T

    def __repr__(self) -> str:
        return f"{type(self).__name__}({model_text(self.model)}; {self.task!r}; {self.device})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bundle: one .safetensors file; of a module written by hand, its weights."""
        part: OwnPart | dict[str, Any] = OwnPart(module=type(self.model).__name__)
        if isinstance(self.model, EmbeddingDotBias | EmbeddingNN):
            CollabPart.model_validate(self.model.spec.to_dict())
            part = self.model.spec.to_dict()
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()} | {"seen": self.seen}
        extra, more = ({}, {}) if self.ranking is None else self.ranking.stored()
        tensors |= more | self.items.stored()
        manifest = Manifest(
            task=self.task.to_dict(),
            model=part,
            training=self.training,
            extra=extra,
            versions=current_versions(),
            tensors=hashes_of(tensors),
        )
        write_bundle(path, tensors, manifest)

    def _vectors(self, what: str) -> Tensor:
        if not isinstance(self.model, EmbeddingDotBias | EmbeddingNN):
            raise InputError(f"{what} need the model of `collab_learner`; this one is {type(self.model).__name__}.")
        return self.model.i_weight.weight


def _checked_pair(pair: object) -> tuple[Any, Any]:
    both = tuple(pair) if isinstance(pair, Iterable) and not isinstance(pair, str | bytes) else ()
    if len(both) != 2:
        raise InputError(f"A pair is (user, item); got {pair!r}.")
    return both


def rating_predictor(
    manifest: Manifest, task: AnyTask, tensors: Mapping[str, Tensor], device: torch.device, model: nn.Module | None
) -> RatingPredictor:
    """Return the predictor that a bundle holds; of a module written by hand, `model` is filled.

    Args:
        manifest: of the bundle.
        task: that the bundle describes.
        tensors: the model's weights under `model.NAME`, and `seen`, the pairs of training int64 [n, 2].
        device: where it answers.
        model: a module written by hand, to be filled.

    Raises:
        InputError: its parts do not fit together.
    """
    assert isinstance(task, Rating)
    part, sizes = manifest.model, (len(task.users), len(task.items))
    weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    seen = tensors.get("seen")
    if isinstance(part, dict):
        spec = collab_spec(CollabPart.model_validate(part).model_dump())
        if (spec.n_users, spec.n_items) != sizes:
            raise InputError(
                f"its model knows {spec.n_users} x {spec.n_items} ids and its task {sizes[0]} x {sizes[1]}."
            )
        if spec.n_weights > sum(tensor.numel() for tensor in weights.values()):
            raise InputError("its vectors are larger than what the file holds of them.")
        model = collab_model(spec, task.users, task.items)
    if model is None:
        raise InputError("its model is one of images.")
    if seen is None or seen.dtype != torch.int64 or seen.ndim != 2 or seen.shape[1] != 2:
        raise InputError("it does not hold the pairs of training.")
    if len(seen) and (int(seen.min()) < 0 or bool((seen.amax(dim=0) >= torch.tensor(sizes)).any())):
        raise InputError("its pairs of training name ids that it does not know.")
    check_fit(model, weights)
    model.load_state_dict(weights)
    runtime.to_device(model.eval().requires_grad_(requires_grad=False), device)
    ranking = stored_ranking(manifest.extra, tensors, seen, sizes) if manifest.extra else None
    return RatingPredictor(
        model,
        task,
        seen,
        device,
        manifest.training,
        stored_items(tensors),
        None if ranking is None else lambda: ranking,
    )


def mark(table: Tensor, users: Tensor, pairs_N2: Tensor, value: float) -> None:
    """Set a value in a table [U, I] of some users where they have a pair of user and item.

    Args:
        table: [U, I], changed in place.
        users: the number of the user of each row, int64 [U].
        pairs_N2: numbers of users and items, int64 [N, 2]; pairs of other users are left out.
        value: what is set.
    """
    if not len(pairs_N2):
        return
    row = torch.full((1 + int(max(users.max(), pairs_N2[:, 0].max())),), -1)
    row[users] = torch.arange(len(users))
    at = row[pairs_N2[:, 0]]
    table[at[at >= 0], pairs_N2[at >= 0, 1]] = value
