"""`foveal evaluate`: a model against the labels of a source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Option = typer.Option


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model.safetensors, or the folder of a run.")],
    table: Annotated[
        Path | None,
        typer.Argument(metavar="SOURCE", help="A table, a .json or a folder; without one a run's own validation side."),
    ] = None,
    *,
    given: dict[str, object],
    split: Annotated[
        str,
        Option(metavar="SIDE", help="Which side: valid, train, test or all; valid where the source says, else all."),
    ] = "auto",
) -> None:
    """Print, as JSON, how well a model does on a source's validation side (on all, if it marks none).

    Examples:
        foveal evaluate runs/train
        foveal evaluate runs/train/model.safetensors test.csv --images images/

    More: docs/results.md
    """
    import json

    from foveal.core import storage
    from foveal.runs.door import evaluate as evaluate_model

    result = evaluate_model(model, table, split=split, **given)  # type: ignore[arg-type]  # refused there by name
    n = len(result.predictions.labels)
    summary = {"task": result.predictions.task.kind, "split": result.split, "n": n, "metrics": result.metrics}
    typer.echo(json.dumps(storage.finite(summary), indent=2, ensure_ascii=False))
