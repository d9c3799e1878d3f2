"""`foveal report`: the page of a run, written anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli import options as o

Option = typer.Option


def report(
    run: o.Run,
    *,
    by: o.By = None,
    embed_images: Annotated[
        bool | None, Option(help="Whether images may stand in it. (default: as in the run)")
    ] = None,
    out: Annotated[Path | None, Option(help="The page. (default: RUN/report.html)")] = None,
    label_issues: Annotated[
        Path | None, Option(help="Also write labels that are probably wrong: .csv, .jsonl, .parquet or .json.")
    ] = None,
    layout: Annotated[str, Option(help="Of a .json: coco or label-studio.")] = "label-studio",
) -> None:
    """Write the report of a run again: by other columns, without images, or with the doubtful labels as a file."""
    from foveal.evaluation.interpret import Interpretation
    from foveal.runs.folder import predictions_of, settings_of, write_report
    from foveal.runs.images import read
    from foveal.runs.settings import parse_names

    settings = settings_of(run)
    if by is not None:
        settings = settings.model_copy(update={"by": parse_names(by)})
    page = write_report(
        run, read(settings) if settings.by else None, by=settings.by, out=out, embed_images=embed_images
    )
    typer.echo(f"Written to {page}.")
    if label_issues is not None:
        n = Interpretation(predictions_of(run)).export_label_issues(label_issues, layout=layout)
        typer.echo(f"{n} doubts, written to {label_issues}.")
