"""`foveal set`: other thresholds or another temperature for a model, with the figures that they give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.options import Model

if TYPE_CHECKING:
    from foveal.evaluation.figures import Decided

Option = typer.Option


def set_decision(
    model: Model,
    *,
    threshold: Annotated[
        list[str] | None,
        Option(metavar="CLASS=VALUE", help="CLASS=VALUE, or VALUE for all classes; may be given again."),
    ] = None,
    tune: Annotated[
        str | None,
        Option(
            metavar="GOAL", help="Tune thresholds on the validation images: f1, 'precision>=0.9' or 'recall>=0.95'."
        ),
    ] = None,
    only: Annotated[
        list[str] | None, Option("--for", metavar="CLASS", help="Tune this class alone; may be given again.")
    ] = None,
    one_for_all: Annotated[bool, Option("--one-for-all", help="Tune one threshold for all classes.")] = False,
    temperature: Annotated[
        float | None, Option(metavar="NUMBER", help="Divide the logits by this; answers stay as they are.")
    ] = None,
    out: Annotated[Path | None, Option(metavar="FILE", help="The new file. (default: MODEL-set.safetensors)")] = None,
) -> None:
    """Write a model anew with other thresholds or another temperature, and with the metrics that these give.

    Examples:
        foveal set model.safetensors --threshold cat=0.7 --out careful.safetensors
        foveal set model.safetensors --tune 'precision>=0.9' --for cat

    More: docs/results.md
    """
    from foveal.core.errors import InputError
    from foveal.evaluation.figures import decide_anew
    from foveal.inference.loading import load_image_predictor

    if threshold is None and tune is None and temperature is None:
        raise InputError("Nothing is to be set: give --threshold CLASS=VALUE, --tune METRIC or --temperature VALUE.")
    if (one_for_all or only) and tune is None:
        raise InputError("--one-for-all and --for say what --tune tunes: give --tune METRIC with them.")
    target = out or model.with_name(f"{model.stem}-set.safetensors")
    if target.exists():
        raise InputError(f"`{target}` exists already. Name another file with --out.")
    decided = decide_anew(
        load_image_predictor(model, device="cpu"),
        thresholds=parse_thresholds(threshold or ()),
        tune=tune,
        per_class=not one_for_all,
        only=only or (),
        temperature=temperature,
    )
    decided.predictor.save(target)
    _print_change(decided, only or ())
    if tune is not None and tune.startswith("precision") and threshold is None and not one_for_all:
        _print_never_found(decided, tune, only or tuple(decided.after.parts))
    typer.echo(f"\nwritten: {target}")


def parse_thresholds(given: Sequence[str]) -> dict[str, float] | float | None:
    """Return thresholds by class, or one for all; None without any.

    Args:
        given: `CLASS=VALUE`, where a class may hold `=` itself, or one `VALUE`.

    Raises:
        InputError: one is no number, a class is named twice, or one for all stands beside others.
    """
    from foveal.core.errors import InputError

    by_class: dict[str, float] = {}
    for word in given:
        name, sign, value = word.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            raise InputError(f"--threshold is CLASS=VALUE or VALUE, as cat=0.9 or 0.4; got {word!r}.") from None
        if not sign:
            if len(given) > 1:
                raise InputError(f"--threshold {word} is for all classes, and others are given beside it.")
            return number
        if name in by_class:
            raise InputError(f"--threshold names {name!r} twice.")
        by_class[name] = number
    return by_class or None


def _print_change(decided: Decided, classes: Sequence[str]) -> None:
    """Print the metrics before and now, and below them those of some classes."""
    from rich.console import Console
    from rich.table import Table

    from foveal.reporting.card import format_cell

    console = Console(highlight=False)
    if not decided.after.headline:
        console.print(
            "The bundle holds no validation answers, so how well the new decision does is not known: the metrics of "
            "the old one are left out.",
            soft_wrap=True,
        )
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("metric")
    for name in ("before", "now", "95% interval"):
        table.add_column(name, justify="right")
    for name, now in decided.after.headline.items():
        before = decided.before.headline.get(name)
        interval = "" if now.low is None else f"{format_cell(now.low)} to {format_cell(now.high)}"
        was = "" if before is None else format_cell(before.value)
        table.add_row(name.replace("_", " "), was, format_cell(now.value), interval)
    for name in classes:
        both = [figures.parts.get(name, {}) for figures in (decided.before, decided.after)]
        for metric in ("precision", "recall"):
            table.add_row(f"{metric} of {name}", *(_cell(parts.get(metric)) for parts in both))
    console.print(table)
    expected = decided.predictor.training.on_others
    if expected:
        shown = ", ".join(f"{name} {format_cell(value)}" for name, value in expected.items())
        console.print(f"\nThresholds were tuned on these very images. Expect on others: {shown}.", soft_wrap=True)


def _print_never_found(decided: Decided, goal: str, classes: Sequence[str]) -> None:
    """Name the tuned classes of which only a threshold that finds nothing keeps a goal of precision."""
    parts = decided.after.parts
    never = [name for name in classes if parts[name]["positives"] and parts[name]["recall"] == 0]
    if never:
        typer.echo(
            f"\nNo threshold of {', '.join(never)} keeps {goal} but one that finds nothing: ask for less, or train on "
            "more images of it."
        )


def _cell(value: float | None) -> str:
    from foveal.reporting.card import format_cell

    return format_cell(None if value is None or math.isnan(value) else value)
