"""A training run on ratings, from settings to a filled run folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from foveal.audit.checks import Audit, Figure
from foveal.collab.card import OF_BIASES, OF_THE_MEAN
from foveal.collab.fits import describe, fit, with_factors
from foveal.collab.learner import CollabLearner
from foveal.collab.ranking_model import Ranking
from foveal.collab.report import rating_report_on
from foveal.collab.run_data import RunData, run_data
from foveal.collab.settings import RatingRun
from foveal.collab.tables.reading import read_ratings
from foveal.collab.tables.table import RatingTable
from foveal.core import storage, timing
from foveal.core.errors import FovealError, InputError
from foveal.core.left_out import leaving_out
from foveal.core.tables import write_table
from foveal.inference.manifest import MetricPart
from foveal.runs import folder as run
from foveal.runs.console import new_console, number, timing_lines
from foveal.sources.items import LEVELS
from foveal.training.checkpoint import FILE as CHECKPOINT


def train_ratings(settings: RatingRun, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Train on a table with one rating per row, write the run folder, and print the results.

    Args:
        settings: of the run.
        folder: is made.
        resume: continue the run in the folder from its checkpoint.

    Returns:
        The summary.

    Raises:
        FovealError: the input is wrong; nothing was written then.
    """
    console = new_console()
    began = time.perf_counter()
    with timing.measure("ratings"):
        table = read_table(settings)
        table.require_usable(f"`{settings.data.table.name}`")
        data = run_data(settings, table)
    task = data.dls.task
    user, item, rating = task.columns
    _introduce(console, table)
    console.print(
        f"[bold]data [/]  {settings.data.table.name}: {data.dls.train.n:,} rows to train on, {data.dls.valid.n:,} to "
        f"validate: {data.split}"
    )
    console.print(f"[bold]task [/]  {rating}: {len(task.users) - 1:,} of {user}, {len(task.items) - 1:,} of {item}")
    training = with_factors(settings.training, data.dls)
    console.print(f"[bold]model[/]  {describe(training, data.dls)}\n")
    with storage.working_in(folder):
        settings.save(folder / run.SETTINGS)
        with timing.measure("ratings model"):
            learn = fit(training, data.dls, folder, resume=resume)
            learn.known, learn.items = data.known, data.items
        with timing.measure("ranking model"):
            ranking = learn.ranking
        console.print(f"\n[bold]ranks[/]  {_chosen(ranking)}")
        with timing.measure("predictions and report"):
            summary = _finish(learn, data, settings, folder, describe(training, data.dls))
        summary["timings"] = timing.rounded_seconds()
        summary["seconds"] = round(time.perf_counter() - began, 2)
        storage.write_json(folder / run.SUMMARY, summary)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        _report(console, summary, folder)
        return summary


def check_ratings(settings: RatingRun, by_features: bool) -> Audit:
    """Check a table with one rating per row as training would; nothing is written.

    Args:
        settings: name the table.
        by_features: is refused.

    Returns:
        The findings; what training would refuse is one of them.

    Raises:
        InputError: features are wanted, and there are no images.
    """
    if by_features:
        raise InputError("--by-features looks at images, and a table with ratings has none. Leave it out.")
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
        run_data(settings, table)
    except FovealError as error:
        return audit if audit.errors else audit.with_refusal(error)
    return audit


def read_table(settings: RatingRun) -> RatingTable:
    """Return the table that the settings name.

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


def _introduce(console: Console, table: RatingTable) -> None:
    """Print what a table was taken for, and in a line each what is to be known of its rows."""
    console.print(f"read as: {table.read_as}", highlight=False, markup=False)
    for finding in table.findings:
        where = ": ".join(part for part in (finding.where, finding.value) if part)
        line = f"{finding.level}: {finding.rule}: {where}. {finding.hint}".rstrip()
        console.print(line, highlight=False, markup=False)


def _chosen(ranking: Ranking) -> str:
    """Return a line on which ranking model was chosen, and out of how many."""
    return (
        f"{ranking.about}; {len(ranking.tried)} models were tried on training rows" if ranking.tried else ranking.about
    )


def _finish(learn: CollabLearner, data: RunData, settings: RatingRun, folder: Path, about: str) -> dict[str, Any]:
    """Write model, predictions and report.

    Returns:
        The summary.
    """
    learn.predictor().save(folder / run.MODEL)  # whatever comes after it, the model is kept
    title, repeat = f"foveal: {folder.name}", f"foveal train {folder / run.SETTINGS}"
    report = rating_report_on(learn, title=title, repeat=repeat, liked=data.liked, split=data.split, about=about)
    predictor, ranked = report.predictor, report.rankings
    columns = (*predictor.task.columns, "prediction")
    rows = zip(*data.names, *zip(*(pair[2:] for pair in report.pairs), strict=True), strict=True)
    write_table(folder / "predictions.csv", (dict(zip(columns, row, strict=True)) for row in rows))
    figures = report.figures
    trained = learn.trained().model_copy(
        update={
            "source": settings.data.table.name,
            "valid_loss": learn.validate()[0],
            "figures": {name: MetricPart(**one._asdict()) for name, one in figures.items()},
        }
    )
    replace(predictor, training=trained).save(folder / run.MODEL)
    with leaving_out("report", report.left_out):
        report.write(folder / run.REPORT)
    return {
        "left_out": report.left_out,
        "task": predictor.task.kind,
        "read_as": data.read_as,
        "split": data.split,
        "n_train": learn.dls.train.n,
        "n_valid": learn.dls.valid.n,
        "metrics": {name: one.value for name, one in figures.items()},
        "intervals": {name: [one.low, one.high] for name, one in figures.items()},
        "rankings": {} if ranked is None else ranked.table().to_dict("index"),
        "ranking_intervals": {} if ranked is None else {title: ranked.ndcg[title][1:] for title in ranked.of},
        "verdicts": report.verdicts,
    }


def _ranking_lines(summary: dict[str, Any]) -> Iterator[str]:
    """Yield a table of how well models rank."""
    rankings: dict[str, dict[str, float]] = summary["rankings"]
    if not rankings:
        return
    names = list(next(iter(rankings.values())))
    yield f"{'':<24}{names[-1]:<25}" + "".join(f"{name:<14}" for name in names[:-1]).rstrip()
    for which, row in rankings.items():
        low, high = summary["ranking_intervals"][which]
        others = "".join(f"{row[name]:<14.3f}" for name in names[:-1])
        yield f"{which:<24}{row[names[-1]]:.3f}  {low:.3f} to {high:.3f}   {others}".rstrip()


def _rating_lines(summary: dict[str, Any]) -> Iterator[str]:
    """Yield a table of how far predicted ratings are off."""
    names = [name for name in ("rmse", "mae") if name in summary["metrics"]]
    if not names:
        return
    yield f"{'':<24}" + "".join(f"{name:<26}" for name in names).rstrip()
    for which, ending in (
        ("predicted ratings", ""),
        ("biases alone", f"_{OF_BIASES}"),
        ("the mean", f"_{OF_THE_MEAN}"),
    ):
        cells = []
        for name in names:
            low, high = map(number, summary["intervals"][f"{name}{ending}"])
            cells.append(f"{number(summary['metrics'][f'{name}{ending}'])}  {low} to {high}")
        yield (f"{which:<24}" + "".join(f"{cell:<26}" for cell in cells)).rstrip()


def _report(console: Console, summary: dict[str, Any], folder: Path) -> None:
    console.print("\n[bold]On the validation rows[/]")
    for verdict in summary["verdicts"]:
        console.print(verdict, highlight=False)
    for lines in (_ranking_lines(summary), _rating_lines(summary)):
        for line in lines:
            console.print(f"  {line}", highlight=False)
    console.print(f"\n[bold]Written to {folder}[/] in {summary['seconds']:.0f} s")
    if summary["timings"]:  # which a command counts
        console.print(timing_lines(summary["timings"]))
    for name in (run.REPORT, run.MODEL, "predictions.csv", run.SUMMARY, run.HISTORY, run.SETTINGS):
        console.print(f"  {name:<26}{run.ABOUT[name].replace('image', 'row')}")
    console.print(f"Ask it: foveal recommend {folder / run.MODEL} USER")
