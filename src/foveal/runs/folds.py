"""Several runs as one: with other seeds, or with each fold of the data in turn for validation."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from foveal.core import storage, timing
from foveal.core.left_out import leaving_out
from foveal.core.tables import write_table
from foveal.evaluation.predictions import Predictions
from foveal.evaluation.thresholds import tune_best_thresholds
from foveal.reporting.report import table_of_runs
from foveal.runs import folder as run
from foveal.runs.console import new_console, number
from foveal.runs.folder import Summary
from foveal.runs.image_settings import ImageRun
from foveal.runs.images import audit_source, loaders, read, train_on, train_once
from foveal.runs.results import decision_of, intervals_of
from foveal.sources.items import Source
from foveal.tasks.base import Decision
from foveal.tasks.kinds import kind_of
from foveal.training.checkpoint import FILE as CHECKPOINT


def train_images(settings: ImageRun, folder: Path, resume: bool = False) -> Summary:
    """Train one run on images, or several with other seeds or folds.

    Args:
        settings: of the run.
        folder: is made; several runs have a folder each in it.
        resume: continue a single run from its checkpoint; several find out by themselves what is there.

    Returns:
        The summary, of several runs with mean and spread.

    Raises:
        FovealError: the input is wrong; nothing was written then.
    """
    if settings.repeats:
        return train_repeatedly(settings, folder)
    return train_once(settings, folder, resume=resume)


def train_repeatedly(settings: ImageRun, folder: Path) -> Summary:
    """Train once per seed or fold, each in a folder of its own; print mean and spread.

    Runs that are already there are not repeated, and one that was stopped is resumed, so that the same call resumes.

    Returns:
        The summary of all runs.

    Raises:
        FovealError: the input is wrong; nothing was written then.
    """
    console = new_console()
    began = time.perf_counter()
    source, found = audit_source(settings, read(settings))
    try_splits(settings, source)
    with storage.working_in(folder):
        settings.save(folder / run.SETTINGS)
        storage.write_json(folder / run.AUDIT, found.to_dict())
        summaries: dict[str, Summary] = {}
        for name, part in parts_of(settings).items():
            console.print(f"[bold]{name}[/]")
            if not (folder / name / run.SUMMARY).is_file():
                resume = (folder / name / CHECKPOINT).is_file()
                with timing.spent():
                    train_on(part, source, found, folder / name, resume=resume, whole=folder)
            summaries[name] = run.summary_of(folder / name)
            console.print()
        first = next(iter(summaries.values()))
        summary: Summary = {"task": first["task"], "n_outputs": first["n_outputs"]}
        times = (
            f"{settings.training.folds} folds"
            if settings.training.folds is not None
            else f"{settings.training.seeds} seeds"
        )
        seconds = sum(one["seconds"] for one in summaries.values())
        summary["facts"] = first["facts"] | {
            "images": f"{len(source.items):,}, trained on {times}",
            "training": f"{seconds:.0f} s for all of them",
        }
        summary["runs"] = {name: _figures(one["metrics"]) for name, one in summaries.items()}
        if settings.training.folds is not None:
            parts = [Predictions.load(folder / name / run.PREDICTIONS) for name in summaries]
            summary |= _out_of_fold(Predictions.concatenate(parts), run.image_folder(settings), folder)
        summary["seconds"] = round(time.perf_counter() - began, 2)
        storage.write_json(folder / run.SUMMARY, summary)
        if settings.training.folds is not None:
            with leaving_out("report", summary["left_out"]):
                run.write_report(folder, source, by=settings.output.by, embed_images=settings.output.embed_images)
            storage.write_json(folder / run.SUMMARY, summary)
        _report(console, summary, folder)
        return summary


def try_splits(settings: ImageRun, source: Source) -> None:
    """Build what each run begins with, so that what one of them would refuse is refused before the first.

    Raises:
        InputError: one of them cannot be trained.
    """
    runs = [settings] if settings.training.folds is None else parts_of(settings).values()  # seeds share their split
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each run warns by itself
        for each in runs:
            loaders(each, source)


def parts_of(settings: ImageRun) -> dict[str, ImageRun]:
    """Return the settings of each run by the name of its folder; each repeats by itself."""
    alone = settings.with_values(seeds=None, split_seed=settings.training.seed)
    if settings.training.folds is not None:
        return {f"fold-{at + 1}": alone.with_values(fold=at) for at in range(settings.training.folds)}
    seeds = range(settings.training.seed, settings.training.seed + (settings.training.seeds or 1))
    return {f"seed-{seed}": alone.with_values(seed=seed) for seed in seeds}


def _out_of_fold(joined: Predictions, base: Path, folder: Path) -> Summary:
    """Write the answers for every image by the model that had not seen it.

    Returns:
        A summary of what they are worth.
    """
    left_out: dict[str, str] = {}
    found: Summary = {"left_out": left_out}
    kind = kind_of(joined.task)
    if kind.has_classes:
        joined = joined.with_decision(Decision())
    if kind.has_thresholds:
        with leaving_out("tuned thresholds", left_out):
            tuned = tune_best_thresholds(joined.values, joined.targets, joined.task.names)
            found["decision"] = decision_of(tuned)
            if tuned.is_improvement:
                joined = joined.with_decision(Decision(tuned.thresholds))
                found["tuned"] = asdict(tuned)
    joined.save(folder / run.PREDICTIONS)
    write_table(folder / "predictions.csv", joined.rows(base))
    intervals = intervals_of(joined, left_out)
    return found | {"n_valid": len(joined.labels), "metrics": joined.scores(), "intervals": intervals}


def _figures(metrics: Summary) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not isinstance(value, Mapping)}


def _report(console: Console, summary: Summary, folder: Path) -> None:
    head, rows = table_of_runs(summary["runs"])
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for at, name in enumerate(head):
        table.add_column(name, justify="right" if at else "left")
    for name, *values in rows:
        table.add_row(name, *(number(value) for value in values))
    console.print("[bold]Mean and spread (standard deviation) over the runs[/]")
    console.print(table)
    every = list(summary["runs"].values())
    if len(every) > 1 and all(metrics == every[0] for metrics in every):
        console.print(
            "All runs agree: a head that is found at once does not depend on the seed. --folds shows how much is luck."
        )
    if "metrics" in summary:
        console.print("\n[bold]Every image answered by the model that had not seen it[/]")
        for name, value in _figures(summary["metrics"]).items():
            low, high = summary["intervals"].get(name, (math.nan, math.nan))
            console.print(f"  {name.replace('_', ' '):<34}{number(value)}   {number(low)} to {number(high)}")
    console.print(f"\n[bold]Written to {folder}[/] in {summary['seconds']:.0f} s; each run has its own report.")
