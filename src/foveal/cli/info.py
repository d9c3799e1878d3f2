"""`foveal info`: the card of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.options import Model


def info(
    model: Model,
    *,
    markdown: Annotated[Path | None, typer.Option(help="Write it as Markdown to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the whole manifest as JSON.")] = False,
) -> None:
    """Say what a model does, how well, what it was trained on, and what to know of it."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from foveal.core import storage
    from foveal.inference.store import read_bundle
    from foveal.reporting.card import card_of, format_cell

    bundle = read_bundle(model)
    manifest = bundle.manifest
    if json:
        typer.echo(manifest.model_dump_json(indent=2))
        return
    card = card_of(manifest, model)
    if markdown is not None:
        storage.write_text(markdown, card.markdown())
        typer.echo(f"Written to {markdown}.")
        return
    console = Console(highlight=False)
    n = sum(tensor.numel() for tensor in bundle.tensors.values())
    console.print(
        f"[bold]{escape(card.title)}[/]  {model.stat().st_size / 1e6:.1f} MB, {n:,} numbers, every hash right"
    )
    console.print(escape(card.lead))
    for section in card.sections:
        table = Table(
            *map(escape, section.head),
            box=None,
            padding=(0, 2, 0, 0),
            header_style="dim",
            show_header=any(section.head),
        )
        for row in section.rows:
            table.add_row(*(escape(format_cell(cell)) for cell in row))
        console.print(f"\n[bold]{section.title}[/]", table, sep="\n")
