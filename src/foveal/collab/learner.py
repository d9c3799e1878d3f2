"""The way to a learner for ratings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from foveal.collab.loaders import CollabDataLoaders
from foveal.collab.model import CollabSpec, collab_model, embedding_size
from foveal.core.errors import InputError
from foveal.core.rng import check_seed
from foveal.learner.learner import Learner
from foveal.metrics.common import MetricFunction


def get_emb_sz(dls: CollabDataLoaders) -> list[tuple[int, int]]:
    """Return how many users and items there are, the unknown included, each with the usual size of its vectors."""
    sizes = (len(names) for names in dls.classes.values())
    return [(n, embedding_size(n)) for n in sizes]


def collab_learner(
    dls: CollabDataLoaders,
    n_factors: int = 50,
    use_nn: bool = False,
    emb_szs: dict[str, int] | None = None,
    layers: Sequence[int] | None = None,
    *,
    y_range: tuple[float, float] | None = None,
    loss_func: Callable[[Tensor, Tensor], Tensor] | None = None,
    metrics: MetricFunction | Iterable[MetricFunction] | None = None,
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
            torch.manual_seed(check_seed(seed))
        model = collab_model(spec, task.users, task.items)
    return Learner(dls, model, loss_func=loss_func, metrics=metrics, origin="random weights")
