"""Arguments and options that several verbs share, besides the settings of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _model_file(path: Path) -> Path:
    """Return the file of a model; the folder of a run stands for the one in it."""
    inside = path / "model.safetensors"
    return inside if inside.is_file() else path


Model = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="A model.safetensors, or the folder of a run.", callback=_model_file),
]
SourceArgument = Annotated[Path, typer.Argument(metavar="SOURCE", help="A table, a .json or a folder of images.")]
Device = Annotated[
    str | None,
    typer.Option(metavar="DEVICE", help="Where to answer: cpu, cuda, cuda:1, mps. (default: the best at hand)"),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
