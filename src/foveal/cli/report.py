"""`foveal report`: the page of a run, written anew."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from foveal.cli.options import Run

Option = typer.Option


def report(
    run: Run,
    *,
    given: dict[str, Any],
    out: Annotated[Path | None, Option(metavar="FILE", help="The page. (default: RUN/report.html)")] = None,
    label_issues: Annotated[
        Path | None,
        Option(metavar="FILE", help="Also write labels that are probably wrong: .csv, .jsonl, .parquet or .json."),
    ] = None,
    doubts: Annotated[Path | None, Option(hidden=True)] = None,
    layout: Annotated[
        str | None,
        Option(metavar="coco|label-studio", help="Of a .json: coco or label-studio. (default: label-studio)"),
    ] = None,
) -> None:
    """Write the report of a run again: by other columns, without images, or with labels that are probably wrong.

    Examples:
        foveal report runs/train --by camera --label-issues issues.csv

    More: docs/results.md
    """
    from foveal.core.errors import InputError
    from foveal.runs.images import rewrite_report
    from foveal.runs.parsing import parse_names
    from foveal.runs.run import Run as ReadRun

    if doubts is not None:
        warnings.warn("--doubts is now --label-issues.", DeprecationWarning, stacklevel=1)
    target = label_issues or doubts
    if layout is not None and (target is None or target.suffix != ".json"):
        raise InputError(f"--layout {layout} says what a .json holds: give --label-issues FILE.json with it.")
    by = parse_names(given.get("by"))
    page = rewrite_report(run, by=by, out=out, embed_images=given.get("embed_images"))
    typer.echo(f"Written to {page}.")
    if target is not None:
        n = ReadRun(run).interpretation().export_label_issues(target, layout=layout or "label-studio")
        typer.echo(f"{n} label{'' if n == 1 else 's'} probably wrong, written to {target}.")
