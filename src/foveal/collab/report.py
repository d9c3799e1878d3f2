"""The report of a model of ratings: one self-contained page; and how well it ranks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from markupsafe import Markup
from torch import Tensor, nn

from foveal.collab.model import EmbeddingDotBias
from foveal.collab.predictor import RatingPredictor, mark, popular
from foveal.collab.ranking import ndcg_at_k, precision_at_k, recall_at_k
from foveal.collab.task import Id
from foveal.core import storage
from foveal.core.errors import InputError
from foveal.core.left_out import leaving_out
from foveal.images import canvas
from foveal.metrics.bootstrap import Interval, interval
from foveal.reporting import page
from foveal.reporting.report import loss_curves, where_made
from foveal.training.recorder import Recorder
from foveal.training.state import EpochResult

_SHOWN = 10  # rows of each table; chosen by hand
_USERS = 1024  # ranked at once: 1,024 x 10,000 items are 40 MB in single precision


@dataclass(frozen=True, eq=False)
class RatingReport:
    """What a report on ratings is made of.

    Attributes:
        title: of the page.
        facts: (what, value).
        pairs: what was answered for the validation side: (user, item, rating, prediction).
        predictor: answered.
        baseline: the mean rating in training.
        rankings: figures at 10 of the model and of what is most popular; empty where nobody liked anything.
        history: one entry per epoch.
        repeat: the command that repeats the run.
        left_out: results that could not be had, with the reason.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    pairs: Sequence[tuple[Id, Id, float, float]]
    predictor: RatingPredictor
    baseline: float
    rankings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    history: Sequence[EpochResult] = ()
    repeat: str = ""
    left_out: dict[str, str] = field(default_factory=dict)

    @cached_property
    def scores(self) -> dict[str, Interval]:
        """Return RMSE and MAE with their bootstrap intervals, and those of always answering the mean rating."""
        truth, answers = (torch.tensor([pair[at] for pair in self.pairs])[:, None] for at in (2, 3))
        figures = self.predictor.task.report_metrics()
        found = {name: interval(of, answers, truth) for name, of in figures.items()}
        mean = torch.full_like(truth, self.baseline)
        return found | {f"{name}_of_the_mean": interval(of, mean, truth) for name, of in figures.items()}

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, atomically; return its path."""
        storage.write_text(path, page.page(self.title, self._parts()))
        return Path(path)

    def _parts(self) -> Iterator[Markup]:
        user, item, rating = self.predictor.task.columns
        lead = f"rating, measured on {len(self.pairs):,} pairs that it was not trained on"
        yield page.opening(self.title, lead) + page.table(("", ""), self.facts)
        yield page.section("How well it works", _table_of(self.scores))
        if self.rankings:
            yield page.section("How well it ranks") + page.table(
                ("", *next(iter(self.rankings.values()))),
                [(which, *row.values()) for which, row in self.rankings.items()],
            )
            yield page.paragraph(
                "All items that a user did not have in training are ranked; right is what they liked in validation. "
                "The other row recommends to everybody what most people had."
            )
        if len(self.history) > 1:
            yield page.drawing(canvas.png(loss_curves(self.history)), "loss by epoch")
        model = self.predictor.model
        if isinstance(model, EmbeddingDotBias):
            names, biases = self.predictor.task.items.known, model.i_bias.weight[1:, 0].cpu()
            for what, order in (
                ("liked whoever asks", biases.argsort(descending=True)),
                ("not liked", biases.argsort()),
            ):
                rows = [(names[at], float(biases[at])) for at in order[:_SHOWN].tolist()]
                yield page.section(f"{item}: {what} (bias)", page.table((item, "bias"), rows))
        worst = sorted(self.pairs, key=lambda pair: -abs(pair[2] - pair[3]))[:_SHOWN]
        yield page.section("The answers that are most wrong", page.table((user, item, rating, "prediction"), worst))
        if self.left_out:
            yield page.section("Left out", page.table(("what", "why"), list(self.left_out.items())))
        if self.repeat:
            yield page.section("To repeat it", page.code(self.repeat))


class Rated(Protocol):
    """What a report on ratings is made from: a learner of them."""

    model: nn.Module
    recorder: Recorder

    @property
    def dls(self) -> Any:
        """Its loaders."""

    def predictor(self) -> RatingPredictor:
        """What answers with the model as it is now."""


def rating_report_on(learn: Rated, *, title: str = "", repeat: str = "") -> RatingReport:
    """Return the report on a learner's validation side.

    Args:
        learn: trained on ratings.
        title: of the page; the name of the model by default.
        repeat: the command that repeats the run.
    """
    predictor: RatingPredictor = learn.predictor()
    left_out: dict[str, str] = {}
    train, valid = (loader.dataset for loader in learn.dls)
    answers = predictor.answers(valid.inputs)[:, 0].tolist()
    pairs = [
        (*valid.ids(pair), *both)
        for pair, *both in zip(valid.inputs, valid.targets[:, 0].tolist(), answers, strict=True)
    ]
    return RatingReport(
        title=title or f"{type(learn.model).__name__}, rating",
        facts=[
            ("rows", f"{len(train):,} to train on, {len(valid):,} to validate"),
            ("model", type(learn.model).__name__),
            *where_made(learn.dls.device),
        ],
        pairs=pairs,
        predictor=predictor,
        baseline=float(train.targets.mean()),
        rankings=_rankings(learn, left_out),
        history=learn.recorder.history,
        repeat=repeat,
        left_out=left_out,
    )


def _rankings(learn: Rated, left_out: dict[str, str]) -> dict[str, dict[str, float]]:
    rankings: dict[str, dict[str, float]] = {}
    with leaving_out("rankings", left_out):
        for which, row in rank_metrics(learn).iterrows():
            rankings[str(which)] = {str(name): float(value) for name, value in row.items()}
    return rankings


def rank_metrics(learn: Rated, k: int = 10, *, liked: float | None = None) -> pd.DataFrame:
    """Return precision, recall and NDCG at `k` of a model, and of recommending to all what is most popular.

    Every item that a user did not have in training is ranked; right is what they liked in validation.

    Args:
        learn: trained on ratings.
        k: how many items are recommended.
        liked: the rating from which on a user liked an item; the mean rating by default (every pair, without ratings).
    """
    predictor = learn.predictor()
    if not isinstance(predictor, RatingPredictor):
        raise InputError(f"Only models of ratings rank items; this task is {predictor.task.kind}.")
    train, valid = (loader.dataset for loader in learn.dls)
    bound = float(train.targets.mean()) if liked is None else liked
    pairs = valid.inputs[(valid.targets[:, 0] >= bound) & (valid.inputs > 0).all(dim=1)]
    if not len(pairs):
        raise InputError(f"Nobody liked anything in validation: no rating of a known item is {bound:.3g} or more.")
    popularity = popular(predictor.seen, len(predictor.task.items))
    figures: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
        "precision": precision_at_k,
        "recall": recall_at_k,
        "NDCG": ndcg_at_k,
    }
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


def _table_of(scores: Mapping[str, Interval]) -> Markup:
    return page.table(("metric", "value", "interval"), page.intervals(scores))
