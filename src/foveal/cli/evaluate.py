"""`foveal evaluate`: a model against the labels of a source."""

from __future__ import annotations

from typing import Annotated

import typer

from foveal.cli import options as o

Option = typer.Option
_SPLITS = ("auto", "valid", "train", "all")


def evaluate(
    model: o.Model,
    table: o.SourceArgument,
    *,
    images: o.Images = None,
    image_column: o.ImageColumn = None,
    label_column: o.LabelColumn = None,
    label_columns: o.LabelColumns = None,
    label_delimiter: o.LabelDelimiter = None,
    valid_column: o.ValidColumn = None,
    empty: o.Empty = None,
    points: o.Points = None,
    targets: o.Targets = None,
    split: Annotated[str, Option(help="valid, train or all; valid where the source says, else all.")] = "auto",
) -> None:
    """Print, as JSON, how well a model does on a source's validation rows (on all, if it marks none)."""
    given = o.said({name: value for name, value in locals().items() if name not in {"model", "split"}})
    import json

    from foveal.core import storage
    from foveal.core.errors import InputError, UnknownNameError
    from foveal.data.datasets import ImageDataset
    from foveal.evaluation.predictions import predict_dataset
    from foveal.inference.predictor import load_image_predictor
    from foveal.runs.images import read
    from foveal.runs.settings import RunSettings
    from foveal.tasks.encoding import encode_known

    if split not in _SPLITS:
        raise UnknownNameError.of("split", split, _SPLITS)
    predictor = load_image_predictor(model)
    source = read(RunSettings.checked(**given, task=predictor.task.kind))
    source.require_usable()
    chosen = ("valid" if source.has_split else "all") if split == "auto" else split
    items = [item for item in source.items if chosen == "all" or item.is_valid == (chosen == "valid")]
    if not items:
        raise InputError(f"`{table}` has no rows for --split {chosen}.")
    truth = encode_known([item.label for item in items], lambda at: items[at].origin, predictor.task)
    dataset = ImageDataset([item.image for item in items], truth, predictor.task)
    scores = predict_dataset(predictor, dataset).scores()
    summary = {"task": predictor.task.kind, "split": chosen, "n": len(items), "metrics": scores}
    typer.echo(json.dumps(storage.finite(summary), indent=2, ensure_ascii=False))
