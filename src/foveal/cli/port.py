"""`foveal port`: a fastai notebook as foveal's, and what of it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Option = typer.Option
_WORDS = {
    "runs": "run",
    "changed": "run as changed",
    "not in foveal": "hold what is not in foveal",
    "needs": "need one of those",
}


def port(
    notebook: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="A fastai notebook (.ipynb) or script (.py).")],
    *,
    to: Annotated[
        Path | None, Option(metavar="FILE", help="The copy. (default: NOTEBOOK-foveal.ipynb beside it)")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a copy for foveal and say of each cell whether it runs, without running it; exit code 1 if one does not.

    Examples:
        foveal port lesson.ipynb

    More: docs/porting.md
    """
    import json

    from foveal.port import notebook as ported

    result = ported.port(notebook, to)
    if as_json:
        rows = [
            {
                result.unit: cell.number,
                "line": cell.first_line,
                "verdict": cell.verdict,
                "needs": list(cell.needs),
                "reasons": list(cell.reasons),
            }
            for cell in result.cells
        ]
        whole = {"notebook": str(result.path), "copy": str(result.to), "counts": result.counts, "cells": rows}
        typer.echo(json.dumps(whole, indent=2))
    else:
        _print(result)
    if not result.runs:
        raise typer.Exit(1)


def _print(result: object) -> None:
    """Print the table of verdicts, and what they come to."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from foveal.port.notebook import Ported

    assert isinstance(result, Ported)
    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(result.unit, justify="right", no_wrap=True)
    table.add_column("first line", no_wrap=True, overflow="ellipsis", width=24)
    table.add_column("verdict", width=13)
    table.add_column("reason")
    for cell in result.cells:
        verdict = f"needs {result.unit} {', '.join(map(str, cell.needs))}" if cell.verdict == "needs" else cell.verdict
        table.add_row(str(cell.number), Text(cell.first_line), verdict, Text("\n".join(cell.reasons)))
    console.print(table)
    counts = [f"{result.counts[verdict]} {words}" for verdict, words in _WORDS.items() if verdict in result.counts]
    total = f"Of {len(result.cells)} {result.unit}s: {', '.join(counts) or 'no code'}."
    console.print(f"\n{total} Written to {result.to}.", soft_wrap=True)
