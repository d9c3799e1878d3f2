"""`foveal similar`: images that are like others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.asked import images_asked

Option = typer.Option


def similar(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE|FOLDER|GLOB...", help="Images for which others are looked for.")
    ],
    *,
    among: Annotated[
        list[str], Option(metavar="FOLDER|GLOB", help="Where to look; may be given several times, - is a list.")
    ],
    k: Annotated[int, Option("-k", "--most", min=1, metavar="N", help="How many for each image.")] = 10,
    model: Annotated[
        Path | None,
        Option(metavar="MODEL", help="By the features of this model; by default those of a backbone on this machine."),
    ] = None,
    arch: Annotated[
        str | None, Option(metavar="NAME", help="Without a model: which backbone. (default: the largest)")
    ] = None,
    out: Annotated[Path | None, Option(metavar="FILE", help="Write them as a .csv, .jsonl or .parquet.")] = None,
) -> None:
    """Find the images that are most like others, by the features of a model or of a backbone.

    Examples:
        foveal similar odd.jpg --among images/ -k 5

    More: docs/results.md
    """
    from foveal.core import progress, storage
    from foveal.core.errors import InputError
    from foveal.core.tables import check_table, write_table

    if model is not None and arch is not None:
        raise InputError(f"--arch {arch} is for looking without a model: with --model, its own features are compared.")
    with progress.busy("starting"):
        from foveal.evaluation.bank import extractor_at_hand, look, most_similar
        from foveal.images.decode import name_of
        from foveal.inference.loading import load_image_predictor

    if out is not None:
        check_table(out)
        storage.require_writable(out)
    asked, there = list(images_asked(images).images), list(images_asked(among).images)
    predictor = extractor_at_hand(arch) if model is None else load_image_predictor(model)
    with progress.Bar("looking at images", len(asked) + len(there)) as bar:
        query, bank = look(predictor, asked, bar.advance), look(predictor, there, bar.advance)
    for refused in (*query.refused, *bank.refused):
        typer.echo(f"refused: {refused.error}", err=True)
    found = list(zip(query.images, most_similar(query, bank, k), strict=True))
    rows = [
        {"fname": name_of(image), "similar": name_of(one.image), "similarity": round(one.similarity, 4)}
        for image, matches in found
        for one in matches
    ]
    if out is not None:
        typer.echo(f"{write_table(out, rows, ('fname', 'similar', 'similarity')):,} pairs, written to {out}.")
    else:
        for image, matches in found:
            typer.echo(f"like {name_of(image)}:")
            for one in matches:
                typer.echo(f"  {one.similarity:.3f}  {name_of(one.image)}")
    if query.refused or bank.refused:
        raise typer.Exit(1)
