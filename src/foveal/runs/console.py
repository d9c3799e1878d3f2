"""Where runs print, and what a training run prints before it begins and after it has ended."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from foveal.core import distributed, timing
from foveal.core.spelling import spelled
from foveal.evaluation.forecast import Forecast
from foveal.learner.learner import Learner
from foveal.reporting import page
from foveal.reporting.card import format_weights
from foveal.runs import folder as run
from foveal.runs.folder import Summary
from foveal.runs.image_settings import ImageRun
from foveal.runs.settings import arguments_of_python
from foveal.sources.items import Source
from foveal.tasks.kinds import kind_of


def number(value: float) -> str:
    """Return a number as a person reads it, with four digits."""
    return page.number(value, digits=4)


def timing_lines(timings: Mapping[str, float]) -> str:
    """Return what seconds were spent on, in lines of 80 columns."""
    entries = ", ".join(f"{name} {seconds:.1f}" for name, seconds in timings.items())
    return textwrap.fill(f"seconds: {entries}", 80, initial_indent="  ", subsequent_indent="    ")


def print_profile(account: timing.Account, counted: timing.Account) -> None:
    """Print where the time of this process went.

    Args:
        account: seconds by name, one part after the other.
        counted: those of threads that ran beside them.
    """
    whole = timing.since_start()
    rest = whole - sum(account.values(), timing.Seconds())
    rows = [*account.items(), ("everything else", rest), ("whole process", whole)]
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for head in ("where the time went", "seconds", "of processors"):
        table.add_column(head, justify="left" if head.startswith("where") else "right", no_wrap=True)
    for name, seconds in rows:
        table.add_row(name, f"{seconds.clock:.2f}", f"{seconds.processor:.2f}", end_section=name == "everything else")
    for name, seconds in counted.items():
        table.add_row(f"  of it, while images are loaded: {name}", "", f"{seconds.processor:.2f}")
    out = new_console()
    out.print()
    out.print(table)


def new_console() -> Console:
    """Return where a run prints: lines are not broken, numbers not coloured."""
    return Console(highlight=False, soft_wrap=True)


def introduce(out: Console, settings: ImageRun, source: Source, learn: Learner) -> None:
    """Print what is trained on what."""
    dls, (height, width) = learn.dls, learn.dls.preparation.input_size_hw
    split = "" if source.has_split else f", split by foveal with seed {settings.training.seed}"
    known = arguments_of_python()
    what = f"{dls.task.n_outputs} classes" if kind_of(dls.task).has_classes else ", ".join(dls.task.names)
    out.print("read as: " + source.read_as, markup=False)
    if source.why:
        out.print(f"    by {source.why}; {spelled('--format NAME', known)} says otherwise", markup=False)
    out.print(
        f"[bold]data [/]  {settings.data.table.name}: {dls.train.n:,} to train on, {dls.valid.n:,} to validate{split}"
    )
    for note in source.notes:
        out.print(f"       {spelled(note, known)}")
    if drawn := dls.train.sampling_text:
        out.print(f"       images are drawn {drawn}")
    if weights := format_weights(learn.class_weights):
        out.print(f"       weights in the loss: {weights}", markup=False)
    out.print(f"[bold]task [/]  {dls.task.kind}, {what}")
    out.print(f"[bold]model[/]  {settings.training.arch}, {learn.model.spec.head} head, weights from {learn.origin}")
    shared = f", shared by {distributed.world_size()} processes" if distributed.world_size() > 1 else ""
    out.print(f"[bold]size [/]  {height} x {width} pixels, {dls.bs} per step{shared}, on {dls.device.type}")
    out.print()


def print_outcome(out: Console, summary: Summary, folder: Path) -> None:
    """Print the metrics, what the seconds were spent on, and what the folder holds."""
    scores = dict(summary["metrics"])
    parts = [name for name, value in scores.items() if isinstance(value, Mapping)]
    each: Mapping[str, Mapping[str, float]] = scores.pop(parts[0]) if parts else {}
    out.print()
    out.print("[bold]On the validation images[/]")
    for name, value in scores.items():
        low, high = summary["intervals"].get(name, (math.nan, math.nan))
        bounds = "" if math.isnan(low) else f"   {number(low)} to {number(high)}"
        out.print(f"  {name.replace('_', ' '):<34}{number(value)}{bounds}")
    if "f1" in (decided := summary["decision"]):
        tuned_f1, half, unseen = (number(decided[name]) for name in ("f1", "f1_at_half", "f1_on_unseen_images"))
        out.print(
            f"  thresholds: {decided['thresholds']}; F1 {tuned_f1} with them, {half} at .5; tuned ones give {unseen} "
            "on images that they were not tuned on"
        )
    if "forecast" in summary:
        out.print(f"  {Forecast.from_dict(summary['forecast'])}", soft_wrap=True)
    if each:
        measures = list(next(iter(each.values())))
        table = Table(box=None, padding=(0, 1), header_style="bold")
        table.add_column({"classes": "class", "numbers": "number"}.get(parts[0], parts[0]), no_wrap=True)
        for measure in measures:
            table.add_column(measure.replace("_", " "), justify="right", no_wrap=True)
        for name, row in sorted(each.items(), key=lambda entry: -entry[1][measures[-1]]):
            table.add_row(name, *(number(row[measure]) for measure in measures))
        out.print()
        out.print(table)
    out.print()
    out.print(f"[bold]Written to {folder}[/] in {summary['seconds']:.0f} s")
    if summary["timings"]:  # which a command counts
        out.print(timing_lines(summary["timings"]))
    for name, what in run.ABOUT.items():
        if (folder / name).exists():
            out.print(f"  {name:<26}{what}")
    out.print(f"Ask it: foveal predict {folder / run.MODEL} IMAGE")
