"""`foveal monitor`: whether what a model is asked is still like what it was validated on."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.asked import images_asked
from foveal.cli.options import Device

if TYPE_CHECKING:
    from rich.console import Console

    from foveal.inference.reference import Drift
    from foveal.inference.watching import Watched

Option = typer.Option
_BATCH = 32  # images at a time
_MOST_RATES = 10  # labels that a table holds; all are in --json
_CHANGES = {
    "none": "as on validation",
    "small": "changed: look",
    "large": "changed much: look now",
    "unclear": "too few images to tell",
}
_WHAT_TO_DO = (
    "Look at some of the images that were asked, and label them: `foveal evaluate` says how well the model does on "
    "them. Where it does worse, train with them."
)


def monitor(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="DIR|IMAGE...", help="What `foveal serve --monitor` wrote or, with --model, images."),
    ],
    *,
    model: Annotated[
        Path | None, Option(metavar="MODEL", help="Answer for images with this model, and look at the answers.")
    ] = None,
    days: Annotated[float | None, Option(min=0, metavar="N", help="Only the last so many days of a service.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
    exit_code: Annotated[bool, Option("--exit-code", help="End with 1 where something changed.")] = False,
    device: Device = None,
) -> None:
    """Compare what a model is asked with the images that it was validated on.

    Examples:
        foveal monitor new-images/ --model runs/train/model.safetensors

    More: docs/serving.md
    """
    from foveal.core import storage
    from foveal.core.errors import InputError
    from foveal.inference.watching import read_watched

    if model is not None:
        if days is not None:
            raise InputError(f"--days {days:g} is for what a service wrote; with --model, name the images that count.")
        found = [_answer(model, sources, device)]
    else:
        if device is not None or len(sources) > 1:
            given = f"--device {device}" if device is not None else f"`{sources[1]}`"
            raise InputError(f"{given} is for images: give the model that is to answer for them with --model.")
        since = None if days is None else dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
        found = read_watched(Path(sources[0]), since=since)
    if as_json:
        typer.echo(json.dumps(storage.finite([_to_dict(one) for one in found]), indent=2))
    else:
        for one in found:
            _print(one)
    if exit_code and any(one.drift.change in ("small", "large") for one in found):
        raise typer.Exit(1)


def _answer(model: Path, sources: list[str], device: str | None) -> Watched:
    """Return what became of answers for images."""
    from foveal.core import progress, storage
    from foveal.core.errors import InputError
    from foveal.inference.loading import load_image_predictor
    from foveal.inference.reference import count_answer, drift_of
    from foveal.inference.store import bundle_name
    from foveal.inference.watching import Watched
    from foveal.scale.streaming import PredictionStream

    with progress.busy("loading the model"):
        predictor = load_image_predictor(model, device=device)
    reference = predictor.training.reference
    if reference is None:
        raise InputError(
            f"`{model}` does not say what it answered on validation images: it was exported by `learn.export` or an "
            "older version. `foveal train` writes it."
        )
    tally = reference.emptied()
    asked = images_asked(sources)
    with progress.Bar("answering", asked.n) as bar:
        for _, answer in PredictionStream(predictor, asked.images, _BATCH, advance=bar.advance):
            count_answer(tally, predictor.task, answer)
    drift = drift_of(reference, tally)
    return Watched(bundle_name(model), storage.file_hash(model), None, None, drift)


def _to_dict(one: Watched) -> dict[str, object]:
    drift = one.drift
    return {
        "model": one.name,
        "sha256": one.sha256,
        "first": one.first and one.first.isoformat(),
        "last": one.last and one.last.isoformat(),
        "images": drift.n,
        "validation_images": drift.n_reference,
        "change": drift.change,
        "signals": {shift.name: shift.index._asdict() | {"change": shift.change} for shift in drift.shifts},
        "labels": {rate.label: {"validation": rate.reference} | rate.now._asdict() for rate in drift.rates},
    }


def _print(one: Watched) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    drift = one.drift
    console.print(f"[bold]{escape(one.name)}[/]  {one.sha256[:16]}", soft_wrap=True)
    when = f", {one.first:%Y-%m-%d} to {one.last:%Y-%m-%d} (UTC)" if one.first and one.last else ""
    console.print(f"{drift.n:,} images asked{when}, beside {drift.n_reference:,} of validation.\n")
    if not drift.shifts:
        console.print("Too few images to say anything: at least 30 are needed.\n")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for name in ("stability index", "95% interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for shift in drift.shifts:
        value, low, high = shift.index
        shown = ("", "") if math.isnan(value) else (f"{value:.2f}", f"{low:.2f} to {high:.2f}")
        table.add_row(escape(shift.name), *shown, _CHANGES[shift.change])
    console.print(table)
    _print_rates(console, drift)
    console.print(_WHAT_TO_DO if drift.change in ("small", "large") else f"In all: {_CHANGES[drift.change]}.")
    console.print()


def _print_rates(console: Console, drift: Drift) -> None:
    from rich.markup import escape
    from rich.table import Table

    console.print()
    if not drift.rates:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("share of images with")
    for name in ("validation", "now", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for rate in drift.rates[:_MOST_RATES]:
        before, now, low, high = (f"{100 * share:.1f}%" for share in (rate.reference, *rate.now))
        table.add_row(escape(rate.label), before, now, f"{low} to {high}")
    console.print(table)
    if (more := len(drift.rates) - _MOST_RATES) > 0:
        console.print(f"and {more} other labels: --json lists them")
    console.print()
