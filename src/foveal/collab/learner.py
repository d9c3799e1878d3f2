"""`collab_learner`: a learner for ratings, from loaders and the sizes of a model."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal.collab.interpret import RatingInterpretation
from foveal.collab.item_table import NO_ITEMS, ItemTable
from foveal.collab.loaders import CollabDataLoaders
from foveal.collab.model import CollabSpec, collab_model, embedding_size
from foveal.collab.predictor import RatingPredictor
from foveal.collab.ranking_model import Known, Ranking, make_ranking
from foveal.collab.report import rating_report_on
from foveal.collab.task import ImplicitFeedback, Rating
from foveal.core.arguments import check_list, check_number, checked_keywords, checked_methods
from foveal.core.errors import InputError
from foveal.core.progress import display
from foveal.core.rng import order_for
from foveal.core.seeds import check_seed
from foveal.data.loader import DataLoader, require_loader
from foveal.inference.manifest import TrainingPart
from foveal.inference.prediction import Prediction
from foveal.learner.export import write_export
from foveal.learner.trainer import Trainer
from foveal.metrics.common import MetricFunction

PathLike = str | os.PathLike[str]


@checked_methods
class CollabLearner(Trainer):
    r"""A learner of ratings: it trains a model of users and items, predicts ratings, and recommends.

    `collab_learner` makes one; `learn.predictor()` recommends, and so does what `load_learner` reads from its export.

    Examples:
        >>> from foveal.collab.all import *
        >>> names = ["user", "film", "rating", "time"]
        >>> ratings = pd.read_csv(untar_data(URLs.SAMPLE_ML) / "u.data", sep="\t", names=names)
        >>> learn = collab_learner(CollabDataLoaders.from_df(ratings, seed=0), 5, y_range=(0.5, 5.5), seed=0)
        >>> with learn.no_logging():
        ...     learn.fit_one_cycle(1, 5e-3, wd=0.1)
        >>> len(learn.predictor().recommend(1, n=3))
        3
    """

    def predictor(self, training: TrainingPart | None = None) -> RatingPredictor:
        """Return a copy of the model as it is now that is ready to answer, in fp32 and evaluation mode.

        Args:
            training: what a bundle tells of the training, as `trained` returns it; nothing by default.
        """
        task = self.dls.task
        assert isinstance(task, Rating)
        return RatingPredictor.of(
            self.model, task, self.known.pairs, training, items=self.items, make_ranking=lambda: self.ranking
        )

    @cached_property
    def items(self) -> ItemTable:
        """Titles and columns of the items; whoever knows some sets it."""
        return NO_ITEMS

    @cached_property
    def known(self) -> Known:
        """The pairs of training, each once."""
        dataset = self.dls.train.dataset
        ratings = None if isinstance(dataset.task, ImplicitFeedback) else dataset.targets[:, 0]
        return Known.of(dataset.inputs, ratings, len(dataset.task.items))

    @cached_property
    def ranking(self) -> Ranking:
        """The model that recommends, chosen and fitted on the pairs of training when it is first needed."""
        task = self.dls.task
        assert isinstance(task, Rating)
        return make_ranking(task, self.known, features=self.items.features)

    def predict(self, *pair: Any) -> Prediction:
        r"""Answer for a user and an item, for a tuple of both, or for a row of a table with their columns.

        Args:
            pair: two ids as the table has them, one tuple of two, or a row: a dictionary or a pandas Series.

        Returns:
            The predicted rating, as label and in both tensors; of an id that training did not know the mean of all
            others is taken.

        Raises:
            InputError: the row lacks a column, or it is no pair.

        Examples:
            >>> from foveal.collab.all import *
            >>> names = ["user", "film", "rating", "time"]
            >>> ratings = pd.read_csv(untar_data(URLs.SAMPLE_ML) / "u.data", sep="\t", names=names)
            >>> learn = collab_learner(CollabDataLoaders.from_df(ratings, seed=0), 5, y_range=(0.5, 5.5), seed=0)
            >>> learn.predict(48, 23).label == learn.predict(ratings.iloc[0]).label  # user 48 and film 23
            True
        """
        row: Any = pair[0] if len(pair) == 1 else pair
        task = self.dls.task
        assert isinstance(task, Rating)
        user, item, _ = task.columns
        if hasattr(row, "keys"):
            if absent := [name for name in (user, item) if name not in row]:
                raise InputError(f"The row has no `{absent[0]}`; it has {', '.join(map(str, row.keys()))}.")
            row = (row[user], row[item])
        return self.predictor().predict(row)

    def interpretation(self, ds_idx: int = 1, *, dl: DataLoader | None = None) -> RatingInterpretation:
        """Return predicted and true ratings of one side, to look at: what `Interpretation.from_learner` gives.

        Args:
            ds_idx: 0 is the training side, 1 the validation side.
            dl: a loader instead.
        """
        ratings, targets, losses = self.get_preds(ds_idx, dl=dl, with_loss=True)
        return RatingInterpretation(
            (self.dls[ds_idx] if dl is None else require_loader(dl)).dataset, ratings, targets, losses
        )

    def get_preds(
        self, ds_idx: int = 1, *, dl: DataLoader | None = None, with_loss: bool = False
    ) -> tuple[Tensor, ...]:
        """Return predicted and true ratings [n, 1] of one side of the split, or of a loader, on the CPU.

        Args:
            ds_idx: 0 is the training side, in data order; 1 the validation side.
            dl: a loader instead, such as `dls.test_dl(frame)`.
            with_loss: append the loss of each pair [n].
        """
        chosen = self.dls[ds_idx] if dl is None else require_loader(dl)
        evaluation = self._training.evaluate(DataLoader(chosen.batcher, chosen.batch_size))
        losses = [evaluation.losses(self._loss())] if with_loss else []
        return (self.dls.task.activate(evaluation.outputs), evaluation.targets, *losses)

    def report(self, path: PathLike = "report.html") -> Path:
        """Write one self-contained HTML page on the validation side.

        Args:
            path: of the page, from the working directory.

        Returns:
            Its path.
        """
        return rating_report_on(self).write(path)

    def export(self, fname: PathLike = "export.pkl") -> Path:
        """Write one safe file that `load_learner` reads, below `path`.

        The model that ranks items is chosen and fitted first, on the pairs of training.

        Args:
            fname: the file; see `Learner.export`.

        Returns:
            Where the file is.

        Examples:
            >>> import tempfile
            >>> from foveal.collab.all import *
            >>> films = {"user": ["ann", "ann", "ben", "ben"], "film": ["Alien", "Brazil", "Alien", "Brazil"]}
            >>> ratings = pd.DataFrame(films | {"rating": [5, 3, 4, 1]})
            >>> learn = collab_learner(CollabDataLoaders.from_df(ratings, splitter=IndexSplitter([3])))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     load_learner(learn.export(Path(folder) / "films.safetensors")).task.items.known
            ('Alien', 'Brazil')
        """
        return write_export(self.predictor(self.trained()), self.path, fname)

    def _what(self) -> str:
        return repr(self.dls.task)

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


def _sizes_by_column(
    given: Mapping[str, int] | Sequence[tuple[int, int]] | None, known: Mapping[str, int]
) -> Mapping[str, int]:
    """Return the size of the vectors by column.

    Args:
        given: as `collab_learner` takes them.
        known: how many users and items there are, by column.

    Raises:
        InputError: they are for other columns, or for other numbers of users and items.
    """
    if isinstance(given, Mapping):
        if odd := set(given) - set(known):
            raise InputError(f"`emb_szs` names the columns {' and '.join(known)}; got {', '.join(sorted(odd))}.")
        return given
    sizes = [tuple(pair) for pair in given or ()]
    if given is not None and [pair[0] for pair in sizes if len(pair) == 2] != list(known.values()):
        expected = ", ".join(f"({n}, size)" for n in known.values())
        raise InputError(
            f"`emb_szs` is [{expected}], of {' and of '.join(known)} with the unknown one included; got {sizes}. "
            "`get_emb_sz(dls)` returns the usual ones."
        )
    return {name: size for name, (_, size) in zip(known, sizes, strict=False)}


def get_emb_sz(dls: CollabDataLoaders) -> list[tuple[int, int]]:
    """Return how many users and items there are, the unknown included, each with the usual size of its vectors.

    The sizes are those of `embedding_size`; `collab_learner(dls, use_nn=True, emb_szs=...)` takes the list, changed or
    not.

    Args:
        dls: the loaders of ratings.

    Examples:
        >>> from foveal.collab.all import *
        >>> films = {"user": ["ann", "ann", "ben", "ben"], "film": ["Alien", "Brazil", "Alien", "Brazil"]}
        >>> ratings = pd.DataFrame(films | {"rating": [5, 3, 4, 1]})
        >>> get_emb_sz(CollabDataLoaders.from_df(ratings, splitter=IndexSplitter([3])))
        [(3, 3), (3, 3)]
    """
    sizes = (len(names) for names in dls.classes.values())
    return [(n, embedding_size(n)) for n in sizes]


@checked_keywords
def collab_learner(
    dls: CollabDataLoaders,
    n_factors: int = 50,
    use_nn: bool = False,
    emb_szs: Mapping[str, int] | Sequence[tuple[int, int]] | None = None,
    layers: Sequence[int] | None = None,
    *,
    y_range: tuple[float, float] | None = None,
    loss_func: Callable[[Tensor, Tensor], Tensor] | None = None,
    metrics: MetricFunction | Iterable[MetricFunction] | None = None,
    seed: int | None = None,
) -> CollabLearner:
    r"""Return a learner that finds a vector for each user and each item.

    Args:
        dls: the loaders.
        n_factors: the size of the vectors; their product and two biases are the rating.
        use_nn: layers over both vectors instead of their product.
        emb_szs: with `use_nn`, the size of the vectors by column, as {"user": 74, "title": 101}, or (how many, size)
            of users and of items, as `get_emb_sz` returns them; by the number of categories by default.
        layers: with `use_nn`, the sizes of the hidden layers; [50, 10] by default.
        y_range: squeeze ratings into (low, high), a little wider than they are.
        loss_func: of (raw outputs, targets); the task's by default, the mean squared error of ratings.
        metrics: functions of (raw outputs, targets).
        seed: draws the first weights; torch's global random state by default.

    Raises:
        InputError: `emb_szs` or `layers` are given without `use_nn`, the sizes are for other columns or numbers, or
            `layers` is no list of widths.

    Examples:
        >>> from foveal.collab.all import *
        >>> names = ["user", "film", "rating", "time"]
        >>> ratings = pd.read_csv(untar_data(URLs.SAMPLE_ML) / "u.data", sep="\t", names=names)
        >>> learn = collab_learner(CollabDataLoaders.from_df(ratings, seed=0), 5, y_range=(0.5, 5.5), seed=0)
        >>> with learn.no_logging():
        ...     learn.fit_one_cycle(3, 5e-3, wd=0.1)
        >>> 0.7 < learn.validate()[0] < 0.9  # mean squared error, of ratings from 1 to 5
        True
    """
    task = dls.task
    user, item, _ = task.columns
    n_users, n_items = len(task.users), len(task.items)
    sizes = (n_factors, n_factors)
    if emb_szs is not None and not use_nn:
        raise InputError("`emb_szs` is for use_nn=True; without it, `n_factors` is the size of all vectors.")
    if layers is not None:
        if not use_nn:
            raise InputError("`layers` is for use_nn=True.")
        check_list("layers", layers, "widths of layers, such as [50, 10]")
        for width in layers:
            check_number("layers", width, at_least=1, whole=True)
    if use_nn:
        given = _sizes_by_column(emb_szs, {user: n_users, item: n_items})
        sizes = (given.get(user, embedding_size(n_users)), given.get(item, embedding_size(n_items)))
    hidden = tuple(layers or (50, 10)) if use_nn else ()
    unit = None
    if y_range is None and not isinstance(task, ImplicitFeedback):
        unit = (float(dls.train.dataset.targets.double().mean()), task.unit)
    spec = CollabSpec(n_users, n_items, sizes, y_range, hidden, unit)
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(check_seed(seed))
        model = collab_model(spec, task.users, task.items)
    return CollabLearner(dls, model, loss_func=loss_func, metrics=metrics, origin="random weights")
