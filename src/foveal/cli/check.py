"""`foveal check`: what is wrong with a source before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.options import SourceArgument

if TYPE_CHECKING:
    from foveal.runs.clean import Cleaned

Option = typer.Option


def check(
    table: SourceArgument,
    *,
    given: dict[str, object],
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, Option(metavar="FILE", help="Write a page with the images concerned.")] = None,
    write_clean: Annotated[
        Path | None,
        Option(metavar="FILE", help="Write the items without errors as a .csv, .jsonl or .parquet to train on."),
    ] = None,
    by_features: Annotated[
        bool, Option("--by-features", help="Look for crops, mirrors and edits, and for images unlike the rest.")
    ] = False,
) -> None:
    """Audit labels, split, every image, and whatever training would refuse; exit code 1 if there are errors.

    Examples:
        foveal check train.csv --images images/ --html audit.html
        foveal check train.csv --images images/ --write-clean clean.csv
        foveal check unpacked-folder/

    More: docs/your-data.md
    """
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
    if write_clean is not None:
        _write_clean(runs.write_clean(table, audit, write_clean, **given), err=as_json)
    elif audit.errors:
        raise typer.Exit(1)


def _write_clean(cleaned: Cleaned, *, err: bool) -> None:
    """Say what was written, what is not in it, and how to train on it."""
    import shlex

    from foveal.runs.settings import option

    left_out = "; ".join(f"{rule} ({n})" for rule, n in cleaned.left_out.items()) or "nothing"
    words = [word for name, value in cleaned.settings.items() for word in (option(name), value)]
    typer.echo(f"{cleaned.n:,} items written to {cleaned.path}. Left out: {left_out}.", err=err)
    if cleaned.remaining:
        rest = "; ".join(f"{rule} ({n})" for rule, n in cleaned.remaining.items())
        typer.echo(f"Not mended by leaving items out: {rest}.", err=err)
    typer.echo(f"Train on them: foveal train {shlex.join([str(cleaned.path), *words])}", err=err)
