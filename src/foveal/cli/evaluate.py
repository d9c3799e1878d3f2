"""`foveal evaluate`: a model against the labels of a source."""

from __future__ import annotations

from typing import Annotated

import typer

from foveal.cli.options import Model, SourceArgument

Option = typer.Option


def evaluate(
    model: Model,
    table: SourceArgument,
    *,
    given: dict[str, object],
    split: Annotated[str, Option(help="valid, train, test or all; valid where the source says, else all.")] = "auto",
) -> None:
    """Print, as JSON, how well a model does on a source's validation rows (on all, if it marks none)."""
    import json

    from foveal.core import storage
    from foveal.runs.door import evaluate as evaluate_model

    result = evaluate_model(model, table, split=split, **given)  # type: ignore[arg-type]  # refused there by name
    n = len(result.predictions.labels)
    summary = {"task": result.predictions.task.kind, "split": result.split, "n": n, "metrics": result.metrics}
    typer.echo(json.dumps(storage.finite(summary), indent=2, ensure_ascii=False))
