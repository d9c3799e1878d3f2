"""`collab_learner`: a learner for ratings, from loaders and the sizes of a model."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal.collab.loaders import CollabDataLoaders
from foveal.collab.model import CollabSpec, collab_model, embedding_size
from foveal.collab.predictor import RatingPredictor
from foveal.collab.report import rating_report_on
from foveal.collab.task import Rating
from foveal.core.arguments import checked_keywords, checked_methods
from foveal.core.errors import InputError
from foveal.core.progress import display
from foveal.core.rng import order_for
from foveal.core.seeds import check_seed
from foveal.data.loader import DataLoader
from foveal.inference.manifest import TrainingPart
from foveal.inference.predictor import Prediction
from foveal.learner.export import write_export
from foveal.learner.trainer import Trainer
from foveal.metrics.common import MetricFunction

PathLike = str | os.PathLike[str]


@checked_methods
class CollabLearner(Trainer):
    """Trains a model of ratings and answers for users and items."""

    def predictor(self, training: TrainingPart | None = None) -> RatingPredictor:
        """Return what answers with the model as it is now, in fp32."""
        task = self.dls.task
        assert isinstance(task, Rating)
        return RatingPredictor.of(self.model, task, self.dls.train.dataset.inputs, training)

    def predict(self, *pair: Any) -> Prediction:
        """Answer for a user and an item, or for a tuple of both."""
        return self.predictor().predict(*pair)

    def get_preds(
        self, ds_idx: int = 1, *, dl: DataLoader | None = None, with_loss: bool = False
    ) -> tuple[Tensor, ...]:
        """Return predicted and true ratings [n, 1] of one side of the split, or of a loader, on the CPU.

        Args:
            ds_idx: 0 is the training side, in data order; 1 the validation side.
            dl: a loader instead, such as `dls.test_dl(frame)`.
            with_loss: append the loss of each pair [n].
        """
        chosen = self.dls[ds_idx] if dl is None else dl
        evaluation = self._training.evaluate(DataLoader(chosen.batcher, chosen.batch_size))
        losses = [evaluation.losses(self._loss())] if with_loss else []
        return (self.dls.task.activate(evaluation.outputs), evaluation.targets, *losses)

    def report(self, path: PathLike = "report.html") -> Path:
        """Write one self-contained page on the validation side; return its path."""
        return rating_report_on(self).write(path)

    def export(self, fname: PathLike = "export.pkl") -> Path:
        """Write one safe file that `load_learner` reads, below `path`; return where it is.

        Args:
            fname: the file; see `Learner.export`.
        """
        return write_export(self.predictor(self.trained()), self.path, fname)

    def trained(self) -> TrainingPart:
        """Return what a bundle says of its training."""
        day = dt.datetime.now(dt.UTC).date().isoformat()
        return TrainingPart(weights=self.origin, made=day, n_train=self.dls.train.n, n_valid=self.dls.valid.n)

    def show_results(self, ds_idx: int = 1, *, max_n: int = 9) -> None:
        """Show pairs of one side of the split, drawn at random but always the same, with rating and prediction.

        Args:
            ds_idx: 0 is the training side, 1 the validation side.
            max_n: how many pairs.
        """
        dataset = self.dls[ds_idx].dataset
        indices = order_for(0, 0, len(dataset))[:max_n].tolist()
        answers = self.predictor().answers(dataset.inputs[indices])
        display(dataset.frame(indices, prediction=answers[:, 0].tolist()))


def get_emb_sz(dls: CollabDataLoaders) -> list[tuple[int, int]]:
    """Return how many users and items there are, the unknown included, each with the usual size of its vectors."""
    sizes = (len(names) for names in dls.classes.values())
    return [(n, embedding_size(n)) for n in sizes]


@checked_keywords
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
) -> CollabLearner:
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
    return CollabLearner(dls, model, loss_func=loss_func, metrics=metrics, origin="random weights")
