"""The way to a learner for ratings, and how well it ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from foveal.bundle.ratings import RatingPredictor, mark, popular
from foveal.collab.loaders import CollabDataLoaders
from foveal.errors import InputError
from foveal.learner.learner import Learner
from foveal.metrics.common import Metric
from foveal.metrics.ranking import ndcg_at_k, precision_at_k, recall_at_k
from foveal.models.embedding import CollabSpec, collab_model, embedding_size

_USERS = 1024


def collab_learner(
    dls: CollabDataLoaders,
    n_factors: int = 50,
    use_nn: bool = False,
    emb_szs: dict[str, int] | None = None,
    layers: Sequence[int] | None = None,
    *,
    y_range: tuple[float, float] | None = None,
    loss_func: Callable[[Tensor, Tensor], Tensor] | None = None,
    metrics: Metric | Iterable[Metric] | None = None,
    seed: int | None = None,
) -> Learner:
    """Return a learner that finds a vector for each user and each item.

    Args:
        dls: the loaders.
        n_factors: the size of the vectors; their product and two biases are the rating.
        use_nn: layers over both vectors instead of their product.
        emb_szs: with `use_nn`, the size of the vectors by column, as {"user": 74, "title": 101}; by the number of
            categories by default.
        layers: with `use_nn`, the sizes of the hidden layers; [50, 10] by default.
        y_range: squeeze ratings into (low, high), a little wider than they are.
        loss_func: the task's by default.
        metrics: functions of (raw outputs, targets).
        seed: draws the first weights; torch's global random state by default.
    """
    task = dls.task
    user, item, _ = task.columns
    n_users, n_items = len(task.users), len(task.items)
    sizes = (n_factors, n_factors)
    if use_nn:
        given = emb_szs or {}
        if odd := set(given) - {user, item}:
            raise InputError(f"`emb_szs` names the columns {user} and {item}; got {', '.join(sorted(odd))}.")
        sizes = (given.get(user, embedding_size(n_users)), given.get(item, embedding_size(n_items)))
    hidden = tuple(layers or (50, 10)) if use_nn else ()
    spec = CollabSpec(n_users, n_items, sizes, y_range, hidden)
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = collab_model(spec, task.users, task.items)
    return Learner(dls, model, loss_func=loss_func, metrics=metrics, origin="random weights")


def rank_metrics(learn: Learner, k: int = 10, *, liked: float | None = None) -> pd.DataFrame:
    """Return precision, recall and NDCG at `k` of a model, and of recommending to all what is most popular.

    Every item that a user did not have in training is ranked; right is what they liked in validation.

    Args:
        learn: trained on ratings.
        k: how many items are recommended.
        liked: the rating from which on a user liked an item; the mean rating by default (all, where there are none).
    """
    predictor = learn.predictor()
    if not isinstance(predictor, RatingPredictor):
        raise InputError(f"Rankings are judged of ratings; this task is {learn.task.kind}.")
    train, valid = (loader.dataset for loader in learn.dls)
    bound = float(train.targets.mean()) if liked is None else liked
    pairs = valid.inputs[(valid.targets[:, 0] >= bound) & (valid.inputs > 0).all(dim=1)]
    if not len(pairs):
        raise InputError(f"Nobody liked anything in validation: no rating of a known item is {bound:.3g} or more.")
    popularity = popular(predictor.seen, len(predictor.task.items))
    figures: dict[str, Any] = {"precision": precision_at_k, "recall": recall_at_k, "NDCG": ndcg_at_k}
    sums = {which: dict.fromkeys(figures, 0.0) for which in ("model", "most popular")}
    users = torch.unique(pairs[:, 0])
    for start in range(0, len(users), _USERS):
        some = users[start : start + _USERS]
        scores = predictor.scores(some)
        by_popularity = torch.where(scores.isneginf(), -torch.inf, popularity.expand_as(scores))
        truth = torch.zeros_like(scores)
        mark(truth, some, pairs, 1.0)
        for which, ranked in (("model", scores), ("most popular", by_popularity)):
            for name, figure in figures.items():
                sums[which][name] += float(figure(ranked, truth, k)) * len(some)
    table = {which: {f"{name}@{k}": value / len(users) for name, value in by.items()} for which, by in sums.items()}
    return pd.DataFrame(table).T
