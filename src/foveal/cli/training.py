"""A training run from settings to a filled run folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from foveal import canvas, storage
from foveal.cli.settings import RunSettings, number
from foveal.data.block import block_for
from foveal.data.loaders import DataLoaders
from foveal.data.splits import RandomSplitter
from foveal.geometry.fit import RandomResizedCrop, Resize
from foveal.geometry.moves import Flip
from foveal.image.augment import aug_transforms
from foveal.learner import Learner
from foveal.results.predictions import constant_answer, predict_dataset, write_rows
from foveal.results.show import results_sheet
from foveal.sources.items import Source
from foveal.sources.table import TableColumns, read_table
from foveal.tasks.points import Points
from foveal.train.recorder import write_history
from foveal.vision.learner import vision_learner


def train_run(settings: RunSettings, folder: Path) -> dict[str, Any]:
    """Train, write the run folder, print what came out, and return the summary.

    Raises:
        FovealError: the input is wrong; nothing was written then.
    """
    console = Console(highlight=False, soft_wrap=True)
    began = time.perf_counter()
    source = read_source(settings)
    dls = loaders(settings, source)
    torch.manual_seed(settings.seed)
    learn = vision_learner(dls, settings.arch, weights=settings.weights, seed=settings.seed)
    learn.to_precision(settings.precision)
    _introduce(console, settings, source, learn)
    folder.mkdir(parents=True, exist_ok=True)
    settings.save(folder / "run.toml")
    learn.fine_tune(settings.epochs, settings.lr, freeze_epochs=settings.freeze_epochs)
    write_history(folder / "history.jsonl", learn.recorder.history)
    summary = _finish(learn, source, folder)
    summary["seconds"] = round(time.perf_counter() - began, 2)
    storage.write_json(folder / "summary.json", summary)
    _report(console, summary, folder)
    return summary


def read_source(settings: RunSettings) -> Source:
    """Read the table that the settings name."""
    columns = TableColumns(
        settings.image_column,
        settings.label_column,
        settings.valid_column,
        settings.points,
        settings.label_delimiter,
        "none" if settings.empty == "none" else "error",
    )
    return read_table(settings.table, images=settings.images, columns=columns, task=settings.task)


def loaders(settings: RunSettings, source: Source) -> DataLoaders:
    """Build the loaders with the transforms that suit the task."""
    if source.task == Points.kind:
        transforms: list[object] = [Resize(settings.size), *aug_transforms()]
    else:
        transforms = [RandomResizedCrop(settings.size, min_scale=settings.min_scale), Flip()]
    splitter = None if source.has_split else RandomSplitter(seed=settings.seed)
    block = block_for(source, splitter=splitter, item_tfms=transforms)
    return block.dataloaders(source, bs=settings.batch_size, seed=settings.seed)


def _finish(learn: Learner, source: Source, folder: Path) -> dict[str, Any]:
    """Write model, predictions and sheet from one fp32 pass; return the summary."""
    dls = learn.dls
    counts = {"n_train": dls.train.n, "n_valid": dls.valid.n}
    predictor = learn.predictor({"weights": learn.origin, **counts})
    predictions = predict_dataset(predictor, dls.valid.dataset)
    scores = predictions.scores()
    if dls.task.kind == Points.kind:
        baseline = constant_answer(predictor, dls.train.dataset, dls.valid.dataset).scores()
        scores["mean_point_median_error_pixels"] = baseline["median_error_pixels"]
    predictor.save(folder / "model.safetensors")
    base = source.items[0].picture.parent
    write_rows(folder / "predictions.csv", predictions.rows(base))
    canvas.save(results_sheet(predictions), folder / "samples.png")
    last = learn.recorder.history[-1]
    return {"task": dls.task.kind, **counts, "n_outputs": dls.task.n_outputs, "valid_loss": last.valid_loss} | {
        "metrics": scores
    }


def _introduce(console: Console, settings: RunSettings, source: Source, learn: Learner) -> None:
    dls, (height, width) = learn.dls, settings.size
    split = "" if source.has_split else f", split at random with seed {settings.seed}"
    points = dls.task.kind == Points.kind
    what = f"columns {', '.join(settings.points)}" if points else f"{dls.task.n_outputs} classes"
    console.print(
        f"[bold]data [/]  {settings.table.name}: {dls.train.n:,} to train on, {dls.valid.n:,} to validate{split}"
    )
    console.print(f"[bold]task [/]  {dls.task.kind}, {what}")
    console.print(f"[bold]model[/]  {settings.arch}, weights from {learn.origin}")
    console.print(f"[bold]size [/]  {height} x {width} pixels, {dls.bs} a step, on {dls.device.type}")
    console.print()


def _report(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    scores = dict(summary["metrics"])
    classes: Mapping[str, Mapping[str, float]] = scores.pop("classes", {})
    console.print()
    console.print("[bold]On the validation pictures[/]")
    for name, value in scores.items():
        console.print(f"  {name.replace('_', ' '):<34}{number(value)}")
    if classes:
        measure = next(name for name in next(iter(classes.values())) if name != "positives")
        table = Table(box=None, padding=(0, 2), header_style="bold")
        table.add_column("class")
        table.add_column(measure.replace("_", " "), justify="right")
        table.add_column("pictures", justify="right")
        for name, row in sorted(classes.items(), key=lambda entry: -entry[1]["positives"]):
            table.add_row(name, number(row[measure]), str(row["positives"]))
        console.print()
        console.print(table)
    console.print()
    console.print(f"[bold]Written to {folder}[/] in {summary['seconds']:.0f} s")
    for name, what in _FILES.items():
        console.print(f"  {name:<20}{what}")
    console.print(f"Ask it: foveal predict {folder / 'model.safetensors'} PICTURE")


_FILES = {
    "model.safetensors": "the model, one safe file",
    "samples.png": "validation pictures with what was predicted",
    "predictions.csv": "every validation picture",
    "summary.json": "the figures above",
    "history.jsonl": "one line an epoch",
    "run.toml": "the settings; repeat with: foveal train run.toml",
}
