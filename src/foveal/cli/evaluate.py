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
    out: Annotated[
        Path | None,
        Option(metavar="FILE", help="A .csv, .jsonl or .parquet for the answers, with truth and loss."),
    ] = None,
) -> None:
    """Print, as JSON, how well a model does on a source's validation side (on all, if it marks none).

    Examples:
        foveal evaluate runs/train
        foveal evaluate runs/train test.csv --images images/ --out answers.csv

    More: docs/results.md
    """
    import json

    from foveal.core import progress, storage
    from foveal.core.tables import check_table, write_table
    from foveal.runs.door import evaluate as evaluate_model

    if out is not None:
        check_table(out)
        storage.require_writable(out)
    result = evaluate_model(model, table, split=split, **given)  # type: ignore[arg-type]  # refused there by name
    predictions = result.predictions
    if out is not None:
        write_table(out, predictions.rows(result.image_folder))
    with progress.busy("intervals"):
        intervals = {name: [one.low, one.high] for name, one in predictions.intervals().items()}
    summary = {
        "task": predictions.task.kind,
        "split": result.split,
        "n": len(predictions.labels),
        "metrics": result.metrics,
        "intervals": intervals,
    }
    typer.echo(json.dumps(storage.finite(summary), indent=2, ensure_ascii=False))
