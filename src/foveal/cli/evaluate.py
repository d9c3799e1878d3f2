"""`foveal evaluate`: a model against the labels of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Option = typer.Option


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model.safetensors.")],
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A .csv, .tsv or .parquet table.")],
    *,
    images: Annotated[Path | None, Option(help="Folder of the pictures. [default: the table's]")] = None,
    image_column: Annotated[str | None, Option(help="Column of file names. [default: fname]")] = None,
    label_column: Annotated[str | None, Option(help="Column of labels. [default: labels]")] = None,
    valid_column: Annotated[str | None, Option(help="Column that marks validation. [default: is_valid]")] = None,
    label_delimiter: Annotated[str | None, Option(help="What separates several labels. [default: a space]")] = None,
    empty: Annotated[str, Option(help="An empty label cell is an 'error' or means 'none'.")] = "error",
    points: Annotated[str | None, Option(help="Columns of points: x,y[,x2,y2,...].")] = None,
    split: Annotated[str, Option(help="valid, train or all; valid where the table says, else all.")] = "auto",
) -> None:
    """Print, as JSON, how well a model does on a table's validation rows (on all, if it marks none)."""
    import json

    from foveal import storage
    from foveal.bundle.predictor import load_learner
    from foveal.cli.settings import RunSettings, parse_names
    from foveal.cli.training import read_source
    from foveal.data.datasets import Dataset, encode_known
    from foveal.errors import InputError, UnknownNameError
    from foveal.results.predictions import predict_dataset

    if split not in {"auto", "valid", "train", "all"}:
        raise UnknownNameError.of("split", split, ("auto", "valid", "train", "all"))
    predictor = load_learner(model)
    settings = RunSettings.checked(
        table=table,
        images=images,
        image_column=image_column,
        label_column=label_column,
        valid_column=valid_column,
        label_delimiter=label_delimiter,
        empty=empty,
        points=parse_names(points),
        task=predictor.task.kind,
    )
    source = read_source(settings)
    chosen = ("valid" if source.has_split else "all") if split == "auto" else split
    items = [item for item in source.items if chosen == "all" or item.is_valid == (chosen == "valid")]
    if not items:
        raise InputError(f"`{table}` has no rows for --split {chosen}.")
    targets = encode_known([item.label for item in items], [item.origin for item in items], predictor.task)
    dataset = Dataset([item.picture for item in items], targets, predictor.task)
    scores = predict_dataset(predictor, dataset).scores()
    summary = {"task": predictor.task.kind, "split": chosen, "n": len(items), "metrics": scores}
    typer.echo(json.dumps(storage.finite(summary), indent=2, ensure_ascii=False))
