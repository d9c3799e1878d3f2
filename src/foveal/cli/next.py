"""`foveal next`: which images to label next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from foveal.cli.asked import images_asked
from foveal.cli.options import Run

if TYPE_CHECKING:
    from foveal.evaluation.choosing import By
    from foveal.runs.suggest import Suggestions

Option = typer.Option


def label_next(
    run: Run,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE|FOLDER|GLOB...", help="Images that nobody has labelled; - is a list.")
    ],
    *,
    k: Annotated[int, Option("-k", "--most", min=1, help="How many to label next.")] = 20,
    by: Annotated[
        str, Option(help="'uncertainty' of the model, 'diversity' among the images, or 'both'.", show_default=True)
    ] = "both",
    out: Annotated[Path | None, Option(help="Write them as a .csv, .jsonl or .parquet.")] = None,
) -> None:
    """Choose the images to label next: those that say most of others of which the run's model is uncertain."""
    from foveal.core import progress, storage
    from foveal.core.tables import check_table, write_table

    with progress.busy("starting"):
        from foveal.runs.suggest import suggest

    if out is not None:
        check_table(out)
        storage.require_writable(out)
    asked = images_asked(images)
    with progress.Bar("looking at images", asked.n) as bar:
        found = suggest(run, asked.images, k, by=cast("By", by), advance=bar.advance)
    for refused in found.refused:
        typer.echo(f"refused: {refused.error}", err=True)
    if out is None:
        _print(found)
    else:
        n = write_table(out, found.rows())
        typer.echo(f"{n:,} of {found.n:,} images to label next, written to {out}.")
    if found.refused:
        raise typer.Exit(1)


def _print(found: Suggestions) -> None:
    from foveal.cli.predict import line_of
    from foveal.evaluation.writers import row_of

    typer.echo(
        f"Label these {len(found.chosen):,} of {found.n:,} images next; the run was trained on {found.n_labelled:,}."
    )
    for one in found.chosen:
        row = row_of(one.image, one.prediction, found.predictor.task)
        typer.echo(f"uncertainty {one.uncertainty:.2f}  {line_of(row)}")
