"""`foveal train`: a table of pictures to a trained model in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Option = typer.Option


def train(
    source: Annotated[Path, typer.Argument(metavar="TABLE", help="A .csv, .tsv or .parquet table, or a run.toml.")],
    *,
    images: Annotated[Path | None, Option(help="Folder of the pictures. [default: the table's]")] = None,
    image_column: Annotated[str | None, Option(help="Column of file names. [default: fname]")] = None,
    label_column: Annotated[str | None, Option(help="Column of labels. [default: labels]")] = None,
    valid_column: Annotated[str | None, Option(help="Column that marks validation. [default: is_valid]")] = None,
    label_delimiter: Annotated[str | None, Option(help="What separates several labels. [default: a space]")] = None,
    empty: Annotated[str | None, Option(help="An empty label cell is an 'error' or means 'none'.")] = None,
    points: Annotated[str | None, Option(help="Columns of points: x,y[,x2,y2,...], in pixels.")] = None,
    task: Annotated[str | None, Option(help="auto, multi-label, single-label or points.")] = None,
    arch: Annotated[str | None, Option(help="Any timm model. [default: tf_efficientnet_lite0]")] = None,
    weights: Annotated[Path | None, Option(help="A file with the backbone's weights.")] = None,
    size: Annotated[str | None, Option(help="Pixels: 128, or HEIGHTxWIDTH like 240x320. [default: 224]")] = None,
    min_scale: Annotated[float | None, Option(help="Least share of a picture in a crop. [default: 0.35]")] = None,
    epochs: Annotated[int | None, Option(help="Epochs that train everything. [default: 5]")] = None,
    freeze_epochs: Annotated[int | None, Option(help="Epochs before, that train the head. [default: 1]")] = None,
    lr: Annotated[float | None, Option(help="Base learning rate. [default: 0.002]")] = None,
    batch_size: Annotated[int | None, Option(help="Pictures a step. [default: 64]")] = None,
    seed: Annotated[int | None, Option(help="Decides every random draw. [default: 0]")] = None,
    precision: Annotated[str | None, Option(help="auto, fp32, bf16 or fp16.")] = None,
    out: Annotated[Path | None, Option(help="Run folder. [default: runs/TABLE]")] = None,
) -> None:
    """Train on a table of pictures; fill a run folder with model, predictions, figures and settings."""
    from foveal.cli import training
    from foveal.cli.settings import RunSettings, free_folder, parse_names, parse_size

    given: dict[str, Any] = {
        "images": images,
        "image_column": image_column,
        "label_column": label_column,
        "valid_column": valid_column,
        "label_delimiter": label_delimiter,
        "empty": empty,
        "points": parse_names(points) or None,
        "task": task,
        "arch": arch,
        "weights": weights,
        "size": parse_size(size) if size is not None else None,
        "min_scale": min_scale,
        "epochs": epochs,
        "freeze_epochs": freeze_epochs,
        "lr": lr,
        "batch_size": batch_size,
        "seed": seed,
        "precision": precision,
    }
    said = {name: value for name, value in given.items() if value is not None}
    if source.suffix == ".toml":
        settings = RunSettings.checked(**(RunSettings.load(source).model_dump() | said))
    else:
        settings = RunSettings.checked(table=source, **said)
    training.train_run(settings, free_folder(out, settings.table.stem))
