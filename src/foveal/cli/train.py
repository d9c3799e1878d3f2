"""`foveal train`: a source of images to a trained model in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli import options as o
from foveal.core import distributed, timing

if TYPE_CHECKING:
    from foveal.runs.settings import RunSettings

Option = typer.Option


def train(
    table: Annotated[
        Path | None, typer.Argument(metavar="SOURCE", help="A table, a .json, a folder, or a run.toml.")
    ] = None,
    *,
    images: o.Images = None,
    image_column: o.ImageColumn = None,
    label_column: o.LabelColumn = None,
    label_columns: o.LabelColumns = None,
    label_delimiter: o.LabelDelimiter = None,
    valid_column: o.ValidColumn = None,
    group_column: o.GroupColumn = None,
    by: o.By = None,
    empty: o.Empty = None,
    points: o.Points = None,
    targets: o.Targets = None,
    point_names: o.PointNames = None,
    flip_pairs: o.FlipPairs = None,
    on_bad: o.OnBad = None,
    task: o.TaskName = None,
    recipe: Annotated[
        str | None, Option(help="'probe': the best linear head, then everything; or 'book'. (default: probe)")
    ] = None,
    arch: Annotated[str | None, Option(help="Any timm model. (default: tf_efficientnet_lite0)")] = None,
    weights: Annotated[Path | None, Option(help="A file with the backbone's weights.")] = None,
    size: Annotated[str | None, Option(help="Pixels: 128, or HEIGHTxWIDTH like 240x320. (default: 224)")] = None,
    min_scale: Annotated[float | None, Option(help="Least share of an image in a crop. (default: 0.5)")] = None,
    epochs: Annotated[int | None, Option(help="Epochs that train everything. (default: 4, book 5 or 20)")] = None,
    freeze_epochs: Annotated[
        int | None, Option(help="Epochs before, for the head; the book's recipe only. (default: 1)")
    ] = None,
    lr: Annotated[float | None, Option(help="Base learning rate. (default: 0.001, book 0.002 or 0.01)")] = None,
    time: o.Time = None,
    batch_size: o.BatchSize = None,
    seed: o.Seed = None,
    seeds: Annotated[int | None, Option(help="Train this often, from --seed on; mean and spread.")] = None,
    folds: o.Folds = None,
    precision: Annotated[str | None, Option(help="auto, fp32, bf16 or fp16.")] = None,
    user: o.User = None,
    item: o.Item = None,
    rating: o.Rating = None,
    implicit: o.Implicit = None,
    factors: Annotated[int | None, Option(help="Size of the vectors of users and items. (default: 50)")] = None,
    embed_images: Annotated[bool | None, Option(help="Whether images may stand in the report. (default: yes)")] = None,
    together: Annotated[
        int | None, Option("--processes", min=1, help="Processes that train together, usually one a GPU.")
    ] = None,
    out: Annotated[Path | None, Option(help="Run folder. (default: runs/SOURCE)")] = None,
    resume: Annotated[Path | None, Option(help="Go on with the run in this folder, to the bit.")] = None,
) -> None:
    """Train on images; fill a run folder with model, predictions, figures and settings."""
    given = o.said({name: value for name, value in locals().items() if name not in {"out", "resume", "together"}})
    if together is not None and together > 1:
        from foveal.runs.folder import free_folder
        from foveal.scale.launch import launch

        launch(together, [] if resume or table is None else ["--out", str(free_folder(out, table.stem))])
    elif resume is not None:
        _go_on(resume, out, given)
    else:
        _start(table, out, given)


def _go_on(folder: Path, out: Path | None, given: dict[str, Any]) -> None:
    from foveal.core.errors import InputError
    from foveal.runs.folder import is_unbegun, settings_of
    from foveal.training.checkpoint import read

    if given or out is not None:
        raise InputError("--resume goes on with what is written in the run's folder: give no other option with it.")
    settings = settings_of(folder)
    begun = settings.repeats or not is_unbegun(folder)
    if not begun:
        typer.echo("The run was stopped before its first checkpoint: it begins again.")
    elif not settings.repeats:
        read(folder)
    _run(settings, folder, resume=begun)


def _start(table: Path | None, out: Path | None, given: dict[str, Any]) -> None:
    from foveal.core.errors import InputError
    from foveal.runs.folder import free_folder
    from foveal.runs.settings import RunSettings
    from foveal.training.checkpoint import FILE

    if table is None:
        raise InputError("What to train on? Give a table, a .json, a folder or a run.toml, or --resume RUN.")
    settings = RunSettings.checked(**given)
    if table.suffix == ".toml":
        del given["table"]
        settings = RunSettings.checked(**(RunSettings.load(table).model_dump() | given))
    if distributed.world_size() == 1:
        _run(settings, free_folder(out, settings.table.stem), resume=False)
    elif out is None:
        raise InputError("Processes that work together need to know where: give --out.")
    else:
        going_on = distributed.was_restarted() and (out / FILE).exists()
        if distributed.was_restarted():
            typer.echo(
                "A process was killed; all begin again" + (" where the last checkpoint is." if going_on else ".")
            )
        _run(settings, out, resume=going_on)


def _run(settings: RunSettings, folder: Path, *, resume: bool) -> None:
    """Start or resume what the settings ask for; several runs find out by themselves what is there."""
    with timing.timed("imports"):
        from foveal.collab import run as ratings
        from foveal.core.errors import InputError
        from foveal.runs import folds as repeats
        from foveal.runs import images as training

    if distributed.world_size() > 1 and (settings.repeats or not settings.has_images):
        raise InputError("Several processes train one model of images: leave out --seeds, --folds and --task rating.")
    if not settings.has_images:
        ratings.train_ratings(settings, folder, resume=resume)
    elif settings.repeats:
        repeats.train_repeatedly(settings, folder)
    else:
        training.train_run(settings, folder, resume=resume)
