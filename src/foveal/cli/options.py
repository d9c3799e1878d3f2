"""Arguments and options that several verbs share, besides the settings of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model.safetensors.")]
SourceArgument = Annotated[Path, typer.Argument(metavar="SOURCE", help="A table, a .json or a folder of images.")]
Device = Annotated[
    str | None,
    typer.Option(metavar="DEVICE", help="Where to answer: cpu, cuda, cuda:1, mps. (default: the best at hand)"),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
