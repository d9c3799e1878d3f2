"""`foveal check`: what is wrong with a source before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.options import SourceArgument

Option = typer.Option


def check(
    table: SourceArgument,
    *,
    given: dict[str, object],
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, Option(help="Write a page with the images concerned.")] = None,
    by_features: Annotated[
        bool, Option("--by-features", help="Look for crops, mirrors and edits, and for images unlike the rest.")
    ] = False,
) -> None:
    """Audit labels, split, every image, and whatever training would refuse; exit code 1 if there are errors."""
    import json
    from dataclasses import asdict

    from foveal import runs
    from foveal.reporting.audit_page import print_audit, write_audit_page

    audit = runs.check(table, by_features=by_features, **given)
    if as_json:
        whole = {"findings": [asdict(finding) for finding in audit.findings], "figures": audit.figures}
        typer.echo(json.dumps(whole, default=str, indent=2))
    else:
        print_audit(audit)
    if html is not None:
        write_audit_page(html, audit, title=table.name)
    if audit.errors:
        raise typer.Exit(1)
