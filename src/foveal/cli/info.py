"""`foveal info`: the card of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.options import Model

_FEW_COLUMNS = 3  # of a table; in a wider one what is not defined is a dash, to leave room for the rest


def info(
    model: Model,
    *,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as Markdown to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the whole manifest as JSON.")] = False,
) -> None:
    """Say what a model does, how well, what it was trained on, and what to know of it.

    Examples:
        foveal info model.safetensors

    More: docs/serving.md
    """
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
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_header=any(section.head))
        for name in section.head:
            table.add_column(escape(name), overflow="fold")
        is_wide = len(section.head) > _FEW_COLUMNS
        for row in section.rows:
            table.add_row(*("-" if cell is None and is_wide else escape(format_cell(cell)) for cell in row))
        console.print(f"\n[bold]{section.title}[/]", table, sep="\n")
