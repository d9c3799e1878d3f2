"""The report of a model of ratings: one self-contained page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import torch

from foveal import canvas, page, storage
from foveal.bundle.ratings import RatingPredictor
from foveal.metrics.bootstrap import Interval, interval
from foveal.models.embedding import EmbeddingDotBias
from foveal.results.report import loss_curves
from foveal.train.state import EpochResult

_SHOWN = 10


@dataclass(frozen=True, eq=False)
class RatingReport:
    """What a report on ratings is made of.

    Attributes:
        title: of the page.
        facts: (what, value).
        pairs: what was answered for the validation side: (user, item, rating, prediction).
        predictor: answered.
        baseline: the mean rating in training.
        rankings: rows of a table, (which, figures), under `ranking_names`; empty where nobody liked anything.
        history: an entry an epoch.
        repeat: the command that repeats the run.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    pairs: Sequence[tuple[Any, Any, float, float]]
    predictor: RatingPredictor
    baseline: float
    ranking_names: Sequence[str] = ()
    rankings: Sequence[Sequence[Any]] = ()
    history: Sequence[EpochResult] = ()
    repeat: str = ""

    @cached_property
    def scores(self) -> dict[str, Interval]:
        """Return RMSE and MAE with their bootstrap intervals, and those of always answering the mean rating."""
        truth, answers = (torch.tensor([pair[at] for pair in self.pairs])[:, None] for at in (2, 3))
        figures = self.predictor.task.figures()
        found = {name: interval(of, answers, truth) for name, of in figures.items()}
        mean = torch.full_like(truth, self.baseline)
        return found | {f"{name}_of_the_mean": interval(of, mean, truth) for name, of in figures.items()}

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, atomically; return its path."""
        storage.write_text(path, page.page(self.title, self._parts()))
        return Path(path)

    def _parts(self) -> Iterator[str]:
        user, item, rating = self.predictor.task.columns
        said = f"rating, judged on {len(self.pairs):,} pairs that it was not trained on"
        yield f'<h1>{escape(self.title)}</h1><p class="lead">{said}</p>' + page.table(("", ""), self.facts)
        yield "<h2>How well it works</h2>" + _table_of(self.scores)
        if self.rankings:
            yield "<h2>How well it ranks</h2>" + page.table(self.ranking_names, self.rankings)
            yield (
                "<p>All items that a user did not have in training are ranked; right is what they liked in validation. "
                "The other row recommends to everybody what most people had.</p>"
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
                yield f"<h2>{escape(item)}: {what} (bias)</h2>" + page.table((item, "bias"), rows)
        worst = sorted(self.pairs, key=lambda pair: -abs(pair[2] - pair[3]))[:_SHOWN]
        yield "<h2>The answers that are most wrong</h2>" + page.table((user, item, rating, "prediction"), worst)
        if self.repeat:
            yield f"<h2>To repeat it</h2><pre>{escape(self.repeat)}</pre>"


def _table_of(scores: Mapping[str, Interval]) -> str:
    rows = [
        (name.replace("_", " "), one.value, f"{page.number(one.low)} to {page.number(one.high)}")
        for name, one in scores.items()
    ]
    return page.table(("figure", "value", "interval"), rows)
