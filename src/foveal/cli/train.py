"""`foveal train`: a source of images to a trained model in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.core import timing

Option = typer.Option


def train(
    table: Annotated[
        Path | None, typer.Argument(metavar="SOURCE", help="A table, a .json, a folder, or a run.toml.")
    ] = None,
    *,
    given: dict[str, object],
    together: Annotated[
        int | None,
        Option(
            "--processes",
            min=1,
            metavar="N",
            help="Processes that train together, usually one per GPU.",
            rich_help_panel="Run",
        ),
    ] = None,
    out: Annotated[
        Path | None, Option(metavar="DIR", help="Run folder. (default: runs/SOURCE)", rich_help_panel="Run")
    ] = None,
    resume: Annotated[
        Path | None, Option(metavar="RUN", help="Continue the run in this folder, bit-exactly.", rich_help_panel="Run")
    ] = None,
    profile: Annotated[
        bool, Option("--profile", help="Print at the end where the time went.", rich_help_panel="Run")
    ] = False,
) -> None:
    """Train a model; fill a run folder with model, predictions, metrics and settings.

    Examples:
        foveal train train.csv --images images/ --size 128
        foveal train heads.csv --images images/ --points x,y
        foveal train --resume runs/train

    More: docs/training.md
    """
    from foveal.runs.door import start

    if together is not None and together > 1:
        from foveal.runs.folder import free_folder, stem_of
        from foveal.scale.launch import launch

        launch(together, [] if resume or table is None else ["--out", str(free_folder(out, stem_of(table)))])
        return
    if not profile:
        start(table, out=out, resume=resume, given=given)
        return
    begun = timing.since_start()
    with timing.spent() as account, timing.counting_threads() as counted:
        start(table, out=out, resume=resume, given=given)
    from foveal.runs.console import print_profile

    print_profile({"start of Python": begun} | account, counted)
