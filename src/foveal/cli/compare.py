"""`foveal compare`: two runs on the same validation images."""

from __future__ import annotations

from typing import Annotated

import typer

from foveal.cli.options import Run

Option = typer.Option


def compare(
    first: Run,
    second: Run,
    *,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether the second run is better than the first, with the interval of each difference."""
    import json

    from rich.console import Console
    from rich.table import Table

    from foveal.core import storage
    from foveal.runs.console import number
    from foveal.runs.door import compare as compare_runs

    found = compare_runs(first, second)
    if as_json:
        rows = {
            one.metric: {"first": one.first, "second": one.second, "better": one.verdict, **one.difference._asdict()}
            for one in found.differences
        }
        summary = {"images": found.n, "left_out": found.left_out, "figures": rows}
        typer.echo(json.dumps(storage.finite(summary), indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    left_out = f"; {found.left_out:,} that only one of them answered for are left out" if found.left_out else ""
    console.print(f"A is {first}, B is {second}; on {found.n:,} validation images of both{left_out}.\n")
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column("metric", no_wrap=True)
    for name in ("A", "B", "B - A", "95% interval", "better"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.differences:
        low, value, high = (f"{v:+.4f}" for v in (one.difference.low, one.difference.value, one.difference.high))
        better = {"first": "A", "second": "B"}.get(one.verdict, "")
        values = number(one.first), number(one.second)
        table.add_row(one.metric.replace("_", " "), *values, value, f"{low} to {high}", better)
    console.print(table)
    if all(not one.verdict for one in found.differences):
        console.print("\nNo difference is clear: each interval holds 0. More validation images would narrow them.")
