"""`foveal check`: what is wrong with a source before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli import options as o

Option = typer.Option


def check(
    table: o.SourceArgument,
    *,
    images: o.Images = None,
    image_column: o.ImageColumn = None,
    label_column: o.LabelColumn = None,
    label_columns: o.LabelColumns = None,
    label_delimiter: o.LabelDelimiter = None,
    valid_column: o.ValidColumn = None,
    group_column: o.GroupColumn = None,
    empty: o.Empty = None,
    points: o.Points = None,
    targets: o.Targets = None,
    task: o.TaskName = None,
    user: o.User = None,
    item: o.Item = None,
    rating: o.Rating = None,
    implicit: o.Implicit = None,
    folds: o.Folds = None,
    seed: o.Seed = None,
    on_bad: o.OnBad = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, Option(help="Write a page with the images concerned.")] = None,
) -> None:
    """Judge labels, split, every image, and whatever training would refuse; exit code 1 if there are errors."""
    given = o.said({name: value for name, value in locals().items() if name not in {"as_json", "html"}})
    import json
    from dataclasses import asdict

    from foveal.collab.run import check_ratings
    from foveal.reporting.audit_page import print_audit, write_audit_page
    from foveal.runs.checking import check_images
    from foveal.runs.settings import RunSettings

    settings = RunSettings.checked(**given)
    judged = (check_images if settings.has_images else check_ratings)(settings)
    if as_json:
        whole = {"findings": [asdict(finding) for finding in judged.findings], "figures": judged.figures}
        typer.echo(json.dumps(whole, default=str, indent=2))
    else:
        print_audit(judged)
    if html is not None:
        write_audit_page(html, judged, title=table.name)
    if judged.errors:
        raise typer.Exit(1)
