"""`foveal next`: which images to label next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from foveal.cli.asked import images_asked

if TYPE_CHECKING:
    from foveal.evaluation.choosing import By
    from foveal.runs.suggest import Suggestions

Option = typer.Option


def label_next(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE|FOLDER|GLOB...", help="Images that nobody has labelled; - is a list.")
    ],
    *,
    run: Annotated[
        Path | None, Option(metavar="DIR", help="A run trained on the labels so far; without it, where to begin.")
    ] = None,
    k: Annotated[int, Option("-k", "--most", min=1, metavar="N", help="How many to label next.")] = 20,
    by: Annotated[
        str | None,
        Option(
            metavar="HOW", help="'uncertainty' of the run's model, 'diversity' among the images, or 'both', as usual."
        ),
    ] = None,
    arch: Annotated[
        str | None, Option(metavar="NAME", help="Without a run: the backbone by which images are told apart.")
    ] = None,
    out: Annotated[Path | None, Option(metavar="FILE", help="Write them as a .csv, .jsonl or .parquet.")] = None,
) -> None:
    """Choose the images to label next: those that stand for most others of which the run's model is uncertain.

    Examples:
        foveal next new-images/ --run runs/train -k 50 --out next.csv

    More: docs/results.md
    """
    from foveal.core import progress, storage
    from foveal.core.errors import InputError
    from foveal.core.tables import check_table, write_table

    if run is None and by not in (None, "diversity"):
        raise InputError(f"--by {by} needs a model: give the run with --run, or leave it out to begin by diversity.")
    if run is not None and arch is not None:
        raise InputError(f"--arch {arch} is for images without a run: with --run, its own model looks at them.")
    with progress.busy("starting"):
        from foveal.runs.suggest import first_choice, suggest

    if out is not None:
        check_table(out)
        storage.require_writable(out)
    asked = images_asked(images)
    with progress.Bar("looking at images", asked.n) as bar:
        if run is None:
            found = first_choice(asked.images, k, arch=arch, advance=bar.advance)
        else:
            found = suggest(run, asked.images, k, by=cast("By", by or "both"), advance=bar.advance)
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
    from foveal.images.decode import name_of

    trained = f"next; the run was trained on {found.n_labelled:,}" if found.task is not None else "first"
    typer.echo(f"Label these {len(found.chosen):,} of {found.n:,} images {trained}.")
    for one in found.chosen:
        if one.prediction is None or one.uncertainty is None or found.task is None:
            typer.echo(name_of(one.image))
        else:
            row = row_of(one.image, one.prediction, found.task)
            typer.echo(f"uncertainty {one.uncertainty:.2f}  {line_of(row)}")
