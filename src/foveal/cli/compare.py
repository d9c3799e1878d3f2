"""`foveal compare`: two runs on the same validation images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.options import Run

if TYPE_CHECKING:
    from foveal.evaluation.compare import Comparison

Option = typer.Option
_CODES = {"second": 0, "unclear": 1, "mixed": 1, "first": 3}


def compare(
    first: Run,
    second: Run,
    *,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
    exit_code: Annotated[
        bool, Option("--exit-code", help="End with 0 if the second is better, 3 if the first is, 1 if it is not clear.")
    ] = False,
    on_shared: Annotated[
        bool, Option("--on-shared", help="Compare although the runs share less than half of their validation images.")
    ] = False,
) -> None:
    """Say whether the second run is better than the first, with the interval of each difference.

    Examples:
        foveal compare runs/train runs/train-2

    More: docs/results.md
    """
    import json

    from foveal.core import storage
    from foveal.runs.door import compare as compare_runs

    found = compare_runs(first, second, on_shared=on_shared)
    if as_json:
        rows = {
            one.metric: {"first": one.first, "second": one.second, "better": one.verdict, **one.difference._asdict()}
            for one in found.differences
        }
        summary = {"verdict": found.verdict, "images": found.n, "left_out": found.left_out, "figures": rows}
        typer.echo(json.dumps(storage.finite(summary), indent=2))
    else:
        _print(found, str(first), str(second))
    if exit_code:
        raise typer.Exit(_CODES[found.verdict])


def _print(found: Comparison, first: str, second: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from foveal.evaluation.compare import LEVEL
    from foveal.runs.console import number

    console = Console(highlight=False)
    console.print(f"A is {first}\nB is {second}", soft_wrap=True, markup=False)
    console.print(f"On {found.n:,} validation images of both.")
    if found.left_out:
        console.print(
            f"[bold]Another split:[/] {found.left_out:,} images that only one of them was validated on are left out; "
            "the other may have been trained on them."
        )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("metric")
    for name in ("A", "B", "B - A", "interval", "better"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.differences:
        low, value, high = (f"{v:+.3f}" for v in (one.difference.low, one.difference.value, one.difference.high))
        better = {"first": "A", "second": "B"}.get(one.verdict, "")
        values = number(one.first), number(one.second)
        table.add_row(one.metric.replace("_", " "), *values, value, f"{low} to {high}", better)
    console.print()
    console.print(table)
    n, metric = len(found.differences), found.differences[0].metric.replace("_", " ")
    console.print(f"\nWith {LEVEL:.0%} all {n} intervals hold together.")
    console.print(
        {
            "second": f"B is better, by {metric}.",
            "first": f"A is better, by {metric}.",
            "mixed": f"Mixed: {metric} and another metric clearly say the opposite of each other.",
            "unclear": f"Not clear: the interval of {metric} holds 0. More validation images would narrow it.",
        }[found.verdict]
    )
