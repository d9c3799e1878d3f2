"""A training run on ratings, from settings to a filled run folder."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from foveal.audit.checks import Audit, Figure
from foveal.collab.learner import CollabLearner, collab_learner
from foveal.collab.loaders import CollabDataLoaders
from foveal.collab.report import rating_report_on
from foveal.collab.settings import RatingRun
from foveal.collab.tables.reading import read_ratings
from foveal.collab.tables.table import RatingTable
from foveal.core import storage, timing
from foveal.core.errors import FovealError
from foveal.core.left_out import leaving_out
from foveal.core.tables import write_rows
from foveal.data.splits.splitters import ColSplitter, RandomSplitter
from foveal.inference.manifest import MetricPart
from foveal.runs import folder as run
from foveal.runs.console import new_console, number, timing_lines
from foveal.sources.columns import VALID_COLUMNS
from foveal.sources.items import LEVELS
from foveal.training.callbacks.extras import KeepBest
from foveal.training.callbacks.logs import HistoryFile
from foveal.training.checkpoint import FILE as CHECKPOINT
from foveal.training.checkpoint import Checkpoints

_EPOCHS = 5  # as the book's chapter on collaborative filtering
_LR = 5e-3  # as the book's
_DECAY = 0.1  # as the book's
_MARGIN = 0.1  # of the range of ratings, so that the highest can be reached: the book's 5.5 for 5


def train_ratings(settings: RatingRun, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Train on a table with one rating per row, write the run folder, print the results, and return the summary.

    Args:
        settings: of the run.
        folder: is made.
        resume: continue the run in the folder from its checkpoint.

    Raises:
        FovealError: the input is wrong; nothing was written then.
    """
    console = new_console()
    began = time.perf_counter()
    with timing.measure("ratings"):
        table = read_table(settings)
        table.require_usable(f"`{settings.data.table.name}`")
        dls = rating_loaders(settings, table)
    task = dls.task
    margin = _MARGIN * (task.high - task.low)
    y_range = None if table.kind != "ratings" else (task.low - margin, task.high + margin)
    learn = collab_learner(dls, settings.training.factors, y_range=y_range, seed=settings.training.seed)
    user, item, rating = task.columns
    _introduce(console, table)
    console.print(
        f"[bold]data [/]  {settings.data.table.name}: {dls.train.n:,} rows to train on, {dls.valid.n:,} to validate"
    )
    console.print(f"[bold]task [/]  {rating}: {len(task.users) - 1:,} of {user}, {len(task.items) - 1:,} of {item}")
    console.print(
        f"[bold]model[/]  dot product with biases, {settings.training.factors} factors, on {dls.device.type}\n"
    )
    with storage.working_in(folder):
        settings.save(folder / run.SETTINGS)
        hooks = [KeepBest(), HistoryFile(folder / run.HISTORY), Checkpoints(folder)]
        torch.manual_seed(settings.training.seed)
        epochs, resumed = settings.training.epochs or _EPOCHS, folder if resume else None
        with timing.measure("epochs"):
            learn.fit_one_cycle(epochs, settings.training.lr or _LR, wd=_DECAY, cbs=hooks, resume=resumed)
        with timing.measure("predictions and report"):
            summary = _finish(learn, settings, folder)
        summary["timings"] = timing.rounded_seconds()
        summary["seconds"] = round(time.perf_counter() - began, 2)
        storage.write_json(folder / run.SUMMARY, summary)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        _report(console, summary, folder)
        return summary


def check_ratings(settings: RatingRun) -> Audit:
    """Check a table with one rating per row as training would; nothing is written."""
    figures: dict[str, Figure] = {"kind": "ratings", "task": settings.task.task}
    try:
        table = read_table(settings)
    except FovealError as error:
        return Audit((), figures).with_refusal(error)
    findings = sorted(table.findings, key=lambda finding: LEVELS.index(finding.level))
    user, item, _ = table.columns
    figures |= {"read as": table.read_as, "items": len(table.frame)}
    figures |= {"users": table.frame[user].nunique(), "rated": table.frame[item].nunique()}
    audit = Audit(findings, figures)
    try:
        table.require_usable()
        rating_loaders(settings, table)
    except FovealError as error:
        return audit if audit.errors else audit.with_refusal(error)
    return audit


def read_table(settings: RatingRun) -> RatingTable:
    """Read the table that the settings name.

    Raises:
        FovealError: it cannot be read, or the settings do not fit.
    """
    data = settings.data
    return read_ratings(
        data.table,
        user=data.user,
        item=data.item,
        rating=data.rating,
        time=data.time_column,
        items=data.items,
        not_rated=data.not_rated,
        on_bad=data.on_bad,
        implicit=data.implicit,
        valid=data.valid_column,
        encoding=data.encoding,
    )


def rating_loaders(settings: RatingRun, table: RatingTable) -> CollabDataLoaders:
    """Split a table as its column says or at random, and build its loaders; rows without a rating are left out.

    Args:
        settings: of the run.
        table: as `read_table` returns it.

    Raises:
        FovealError: the table or the settings are wrong.
    """
    frame = table.rated
    column = settings.data.valid_column or next((name for name in VALID_COLUMNS if name in frame.columns), None)
    user, item, rating = table.columns
    return CollabDataLoaders.from_df(
        frame,
        user_name=user,
        item_name=item,
        rating_name=rating,
        seed=settings.training.seed,
        splitter=RandomSplitter(0.2, settings.training.seed) if column is None else ColSplitter(column),
        implicit=table.kind != "ratings",
        bs=settings.training.batch_size,
    )


def _introduce(console: Console, table: RatingTable) -> None:
    """Print what a table was taken for, and in a line each what is to be known of its rows."""
    console.print(f"read as: {table.read_as}", highlight=False, markup=False)
    for finding in table.findings:
        where = ": ".join(part for part in (finding.where, finding.value) if part)
        line = f"{finding.level}: {finding.rule}: {where}. {finding.hint}".rstrip()
        console.print(line, highlight=False, markup=False)


def _finish(learn: CollabLearner, settings: RatingRun, folder: Path) -> dict[str, Any]:
    """Write model, predictions and report; return the summary."""
    learn.predictor().save(folder / run.MODEL)  # whatever comes after it, the model is kept
    report = rating_report_on(learn, title=f"foveal: {folder.name}", repeat=f"foveal train {folder / run.SETTINGS}")
    predictor = report.predictor
    columns = (*predictor.task.columns, "prediction")
    write_rows(folder / "predictions.csv", (dict(zip(columns, pair, strict=True)) for pair in report.pairs))
    trained = learn.trained().model_copy(
        update={
            "source": settings.data.table.name,
            "valid_loss": learn.validate()[0],
            "figures": {name: MetricPart(**one._asdict()) for name, one in report.scores.items()},
        }
    )
    replace(predictor, training=trained).save(folder / run.MODEL)
    with leaving_out("report", report.left_out):
        report.write(folder / run.REPORT)
    return {
        "left_out": report.left_out,
        "task": predictor.task.kind,
        "n_train": learn.dls.train.n,
        "n_valid": learn.dls.valid.n,
        "metrics": {name: one.value for name, one in report.scores.items()},
        "intervals": {name: [one.low, one.high] for name, one in report.scores.items()},
        "rankings": report.rankings,
    }


def _report(console: Console, summary: dict[str, Any], folder: Path) -> None:
    console.print("\n[bold]On the validation rows[/]")
    for name, value in summary["metrics"].items():
        low, high = summary["intervals"][name]
        console.print(f"  {name.replace('_', ' '):<24}{number(value)}   {number(low)} to {number(high)}")
    for which, row in summary["rankings"].items():
        console.print(f"  {which:<24}" + "   ".join(f"{name} {value:.3f}" for name, value in row.items()))
    console.print(f"\n[bold]Written to {folder}[/] in {summary['seconds']:.0f} s")
    console.print(timing_lines(summary["timings"]))
    for name in (run.REPORT, run.MODEL, "predictions.csv", run.SUMMARY, run.HISTORY, run.SETTINGS):
        console.print(f"  {name:<26}{run.ABOUT[name].replace('image', 'row')}")
    console.print(f"Ask it: foveal recommend {folder / run.MODEL} USER")
