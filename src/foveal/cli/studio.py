"""`foveal studio`: label, check and train on a page of this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from foveal.cli.options import SourceArgument

Option = typer.Option


def studio(
    table: SourceArgument,
    *,
    given: dict[str, object],
    names: Annotated[
        str | None,
        Option(
            metavar="A,B,...", help="Classes or points, a,b,c, where nothing is labelled yet; the page asks otherwise."
        ),
    ] = None,
    arch: Annotated[
        str | None, Option(metavar="NAME", help="The backbone that looks at the images. (default: the largest)")
    ] = None,
    port: Annotated[
        int, Option(min=1, max=65535, metavar="PORT", help="Where the page is, on this machine alone.")
    ] = 8642,
    browser: Annotated[bool, Option(help="Whether to open the page, from a terminal.")] = True,
) -> None:
    """Open a page on which images are labelled, labels and copies checked, and a model is trained; nothing is sent.

    Examples:
        foveal studio unlabelled/

    More: docs/afternoon.md
    """
    import os
    import sys
    import webbrowser

    from foveal.core import lazy, progress
    from foveal.core.errors import InputError

    for package in ("uvicorn", "fastapi", "python_multipart", "prometheus_client"):
        lazy.require(package, extra="serve", purpose="A studio")
    with progress.busy("starting"):
        from foveal.runs.door import settings_for
        from foveal.runs.image_settings import ImageRun
        from foveal.studio.run import run_studio

    settings = settings_for(table, given)
    if not isinstance(settings, ImageRun):
        raise InputError(f"A studio is for images; `{table}` holds none.")
    chosen = [name.strip() for name in (names or "").split(",") if name.strip()]
    if chosen and settings.task.task == "auto":
        raise InputError("--names needs --task: multi-label, single-label or points.")

    def tell(line: str, address: str) -> None:
        typer.echo(line)
        has_screen = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
        if browser and address and has_screen and sys.stdout.isatty():
            webbrowser.open(address)

    run_studio(settings, chosen, arch=arch, port=port, tell=tell)
