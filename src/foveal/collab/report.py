"""The report of a model of ratings: one self-contained page; and how well it ranks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from markupsafe import Markup
from torch import Tensor, nn

from foveal.collab.bayes import sampled_answers
from foveal.collab.card import OF_BIASES, OF_THE_MEAN
from foveal.collab.loaders import RatingDataset
from foveal.collab.model import EmbeddingDotBias
from foveal.collab.predictor import RatingPredictor
from foveal.collab.rank_evaluation import POPULAR, Rankings, evaluate_rankings, liked_pairs
from foveal.collab.task import Id, ImplicitFeedback
from foveal.collab.verdict import ranking_verdict, rating_verdict
from foveal.core import storage
from foveal.core.left_out import leaving_out
from foveal.evaluation import plots
from foveal.images import canvas
from foveal.metrics.bootstrap import Interval, interval
from foveal.reporting import page
from foveal.reporting.report import where_made
from foveal.training.recorder import Recorder
from foveal.training.state import EpochResult

_SHOWN = 10  # rows of each table; chosen by hand


@dataclass(frozen=True, eq=False)
class RatingReport:
    """What a report on ratings is made of.

    Attributes:
        title: of the page.
        facts: (what, value).
        pairs: what was answered for the validation side: (user, item, rating, prediction).
        predictor: answered.
        baseline: the mean rating in training.
        biases: what user and item biases alone answer for the pairs, [n].
        rankings: how well models rank; None where that cannot be known.
        history: one entry per epoch.
        repeat: the command that repeats the run.
        left_out: results that could not be had, with the reason.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    pairs: Sequence[tuple[Id, Id, float, float]]
    predictor: RatingPredictor
    baseline: float
    biases: Tensor | None = None
    rankings: Rankings | None = None
    history: Sequence[EpochResult] = ()
    repeat: str = ""
    left_out: dict[str, str] = field(default_factory=dict)

    @cached_property
    def figures(self) -> dict[str, Interval]:
        """Return `scores`, and before them NDCG of the recommendations and of what is most popular."""
        if self.rankings is None:
            return self.scores
        name = f"ndcg_at_{self.rankings.k}"
        ranked = {name: self.rankings.ndcg[self.rankings.first], f"{name}_of_most_popular": self.rankings.ndcg[POPULAR]}
        return ranked | self.scores

    @cached_property
    def verdicts(self) -> list[str]:
        """Return what the figures mean, in sentences: of the recommendations, and of the ratings."""
        found = [] if self.rankings is None else [ranking_verdict(self.rankings)]
        return [*found, *filter(None, [rating_verdict(self.scores)])]

    @cached_property
    def scores(self) -> dict[str, Interval]:
        """Return RMSE and MAE with their bootstrap intervals, and those of user and item biases and of the mean."""
        truth, answers = (torch.tensor([pair[at] for pair in self.pairs])[:, None] for at in (2, 3))
        figures = self.predictor.task.report_metrics()
        found = {name: interval(of, answers, truth) for name, of in figures.items()}
        others = {OF_THE_MEAN: torch.full_like(truth, self.baseline)}
        if self.biases is not None:
            others = {OF_BIASES: self.biases[:, None].to(truth.dtype)} | others
        for ending, other in others.items():
            found |= {f"{name}_{ending}": interval(of, other, truth) for name, of in figures.items()}
        return found

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, atomically.

        Returns:
            Its path.
        """
        storage.write_text(path, page.page(self.title, self._parts()))
        return Path(path)

    def _parts(self) -> Iterator[Markup]:
        user, item, rating = self.predictor.task.columns
        lead = f"rating, measured on {len(self.pairs):,} pairs that it was not trained on"
        yield page.opening(self.title, lead) + page.table(("", ""), self.facts)
        if self.rankings is not None:
            figures = self.rankings.table()
            sure = [self.rankings.ndcg[str(title)] for title in figures.index]
            yield page.section("How well it recommends", page.paragraph(ranking_verdict(self.rankings)))
            yield page.table(
                ("", *map(str, figures.columns), "interval"),
                [
                    (title, *(f"{value:.3f}" for value in row), f"{one.low:.3f} to {one.high:.3f}")
                    for (title, row), one in zip(figures.iterrows(), sure, strict=True)
                ],
            )
            yield page.paragraph(
                f"All items that a user did not have in training are ranked for {self.rankings.n_users:,} users; right "
                "is what they liked in validation. Item kNN recommends what the same people had; the most popular is "
                "the same for everybody."
            )
        if self.scores:
            verdict = rating_verdict(self.scores)
            yield page.section("How well it predicts ratings", page.paragraph(verdict), _table_of(self.scores))
        if len(self.history) > 1:
            yield page.drawing(canvas.png(plots.loss_curves(self.history)), "loss by epoch")
        model = self.predictor.model
        if isinstance(model, EmbeddingDotBias):
            names, biases = self.predictor.task.items.known, model.i_bias.weight[1:, 0].cpu()
            for what, order in (
                ("liked whoever asks", biases.argsort(descending=True)),
                ("not liked", biases.argsort()),
            ):
                rows = [(self.predictor.items.name(names[at]), float(biases[at])) for at in order[:_SHOWN].tolist()]
                yield page.section(f"{item}: {what} (bias)", page.table((item, "bias"), rows))
        ordered = sorted(self.pairs, key=lambda pair: -abs(pair[2] - pair[3]))[:_SHOWN]
        worst = [(pair[0], self.predictor.items.name(pair[1]), *pair[2:]) for pair in ordered]
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


def rating_report_on(
    learn: Rated, *, title: str = "", repeat: str = "", liked: Tensor | None = None, split: str = "", about: str = ""
) -> RatingReport:
    """Return the report on a learner's validation side.

    Args:
        learn: trained on ratings.
        title: of the page; the name of the model by default.
        repeat: the command that repeats the run.
        liked: the pairs of the validation side that users liked, int64 [n, 2]; those rated the mean or more by default.
        split: how the validation side was chosen.
        about: what predicts ratings; the name of the model by default.
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
            ("rows", f"{len(train):,} to train on, {len(valid):,} to validate{f': {split}' if split else ''}"),
            ("ratings by", about or type(learn.model).__name__),
            *([] if predictor.ranking is None else [("recommended by", predictor.ranking.about)]),
            *where_made(learn.dls.device),
        ],
        pairs=pairs,
        predictor=predictor,
        baseline=float(train.targets.mean()),
        biases=_biases(predictor, train, valid, answers),
        rankings=_rankings(learn, liked, left_out),
        history=learn.recorder.history if learn.recorder.losses else (),
        repeat=repeat,
        left_out=left_out,
    )


def _biases(
    predictor: RatingPredictor, train: RatingDataset, valid: RatingDataset, answers: Sequence[float]
) -> Tensor | None:
    """Return what user and item biases alone answer; None where there are no ratings."""
    if isinstance(predictor.task, ImplicitFeedback):
        return None
    model = predictor.model
    if isinstance(model, EmbeddingDotBias) and not model.u_weight.weight.any():  # a small table: it is biases alone
        return torch.tensor(answers)
    return sampled_answers(train, valid.inputs, 0)


def _rankings(learn: Rated, liked: Tensor | None, left_out: dict[str, str]) -> Rankings | None:
    train, valid = (loader.dataset for loader in learn.dls)
    found: list[Rankings] = []
    with leaving_out("rankings", left_out):
        if liked is None:
            liked = liked_pairs(valid.inputs, valid.targets[:, 0], train.targets[:, 0])
        found.append(evaluate_rankings(learn.predictor(), liked))
    return next(iter(found), None)


def _table_of(scores: Mapping[str, Interval]) -> Markup:
    return page.table(("metric", "value", "interval"), page.intervals(scores))
