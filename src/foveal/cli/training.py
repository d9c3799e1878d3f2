"""A training run from settings to a filled run folder."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from foveal import canvas, progress, storage
from foveal.audit.checks import SKIPPED, Audit, audit, names_of, without_bad
from foveal.bundle.predictor import Predictor
from foveal.callbacks.extras import KeepBest
from foveal.callbacks.logs import HistoryFile, write_history
from foveal.cli.settings import RunSettings, number
from foveal.data.block import block_for
from foveal.data.loaders import DataLoaders
from foveal.errors import InputError, TableError
from foveal.geometry.fit import RandomResizedCrop, Resize
from foveal.geometry.moves import Flip
from foveal.image.augment import aug_transforms
from foveal.image.decode import name_of
from foveal.learner import Learner
from foveal.results.interpret import Interpretation
from foveal.results.predictions import Predictions, constant_answer, predict_dataset, write_rows
from foveal.results.report import Report, facts_of
from foveal.results.show import results_sheet
from foveal.results.thresholds import tuned
from foveal.sources.items import Source
from foveal.sources.recognise import read_source
from foveal.sources.table import TableColumns
from foveal.splits.splitters import Splitter
from foveal.splits.stratify import StratifiedSplitter
from foveal.tasks.catalog import CLASSES
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.train.checkpoint import FILE as CHECKPOINT
from foveal.train.checkpoint import Checkpoints
from foveal.vision.learner import vision_learner


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `foveal train` does unless told otherwise; measured on the real sets, see benchmarks/results."""

    head: str
    probe: bool
    epochs: int
    lr: float
    lr_mult: float
    freeze_epochs: int


_USUAL_BATCH = 64
PROBE = Recipe("linear", probe=True, epochs=4, lr=1e-3, lr_mult=10.0, freeze_epochs=0)
PROBE_POINTS = replace(PROBE, head="spatial")
BOOK = Recipe("pooled", probe=False, epochs=5, lr=2e-3, lr_mult=100.0, freeze_epochs=1)
BOOK_POINTS = replace(BOOK, epochs=20, lr=1e-2)


def train_run(settings: RunSettings, folder: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train, write the run folder, print what came out, and return the summary.

    With `resume` the run in the folder goes on from its checkpoint.

    Raises:
        FovealError: the input is wrong; nothing was written then.
    """
    console = Console(highlight=False, soft_wrap=True)
    began = time.perf_counter()
    source, found = judged(settings, read(settings))
    dls = loaders(settings, source)
    torch.manual_seed(settings.seed)
    recipe = recipe_of(settings, dls)
    learn = vision_learner(dls, settings.arch, head=recipe.head, weights=settings.weights, seed=settings.seed)
    learn.to_precision(settings.precision)
    if settings.batch_size == "auto":
        settings = settings.model_copy(update={"batch_size": learn.largest_batch()})
        learn.dls = loaders(settings, source)
    _introduce(console, settings, source, learn)
    folder.mkdir(parents=True, exist_ok=True)
    settings.save(folder / "run.toml")
    write_rows(folder / "split.csv", _split_rows(dls))
    storage.write_json(folder / "audit.json", {"findings": [asdict(f) for f in found.findings], **found.figures})
    kept = KeepBest(from_start=True)
    hooks = [*([kept] if recipe.probe else []), HistoryFile(folder / "history.jsonl"), Checkpoints(folder)]
    minutes = None if settings.time is None else settings.time - (time.perf_counter() - began) / 60
    try:
        learn.fine_tune(
            None if minutes is not None else settings.epochs or recipe.epochs,
            settings.lr or recipe.lr,
            freeze_epochs=recipe.freeze_epochs if settings.freeze_epochs is None else settings.freeze_epochs,
            lr_mult=recipe.lr_mult,
            probe=recipe.probe,
            minutes=minutes,
            cbs=hooks,
            resume=folder if resume else None,
        )
    except (KeyboardInterrupt, SystemExit):
        console.print(f"\nStopped; all that was done is kept. Go on with: foveal train --resume {folder}")
        raise
    write_history(folder / "history.jsonl", learn.recorder.history)
    if kept.best is not None:
        which = "of the probe" if kept.epoch is None else f"after epoch {kept.epoch}"
        console.print(f"Kept the weights {which}, whose valid_loss is the lowest.")
    summary = _finish(learn, source, found, folder, pictures=settings.pictures)
    if kept.best is not None:
        summary["valid_loss"] = kept.best
    summary["seconds"] = round(time.perf_counter() - began, 2)
    storage.write_json(folder / "summary.json", summary)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    _report(console, summary, folder)
    return summary


def recipe_of(settings: RunSettings, dls: DataLoaders) -> Recipe:
    """Return the recipe that was asked for, or the one that suits the task.

    Raises:
        InputError: the settings do not go together.
    """
    points = dls.task.kind == Points.kind
    if settings.recipe == "probe" and settings.freeze_epochs:
        raise InputError("--freeze-epochs belongs to --recipe book: with `probe` the head is fitted at once.")
    if settings.recipe == "book" or settings.freeze_epochs is not None:
        return BOOK_POINTS if points else BOOK
    return PROBE_POINTS if points else PROBE


def read(settings: RunSettings) -> Source:
    """Read the source that the settings name."""
    columns = TableColumns(
        image=settings.image_column,
        label=settings.label_column,
        labels=settings.label_columns,
        valid=settings.valid_column,
        group=settings.group_column,
        points=settings.points,
        targets=settings.targets,
        label_delimiter=settings.label_delimiter,
        empty="none" if settings.empty == "none" else "error",
    )
    source = read_source(settings.table, images=settings.images, columns=columns, task=settings.task)
    return replace(source, point_names=settings.point_names) if settings.point_names else source


def judged(settings: RunSettings, source: Source) -> tuple[Source, Audit]:
    """Audit a source; leave out bad pictures if the settings say so.

    Raises:
        TableError: there are errors; the message lists them.
    """
    with progress.Bar("reading pictures", len(source.items)) as bar:
        found = audit(source, advance=bar.advance)
    skipping = SKIPPED if settings.on_bad == "skip" else frozenset()
    try:
        found.require_usable(f"`{settings.table}`", skipping=skipping)
    except TableError as error:
        hint = "See `foveal check` for all findings; `--on-bad skip` leaves out pictures that cannot be used."
        raise TableError(f"{error}\n{hint}") from None
    if skipping:
        source = without_bad(source, found)
    return source, found


def loaders(settings: RunSettings, source: Source) -> DataLoaders:
    """Build the loaders with the transforms that suit the task."""
    if source.task in CLASSES:
        transforms: list[object] = [RandomResizedCrop(settings.size, min_scale=settings.min_scale), Flip()]
    else:  # nothing that is asked for may be cut off
        transforms = [Resize(settings.size, method="squish"), *aug_transforms()]
    splitter = None if source.has_split else _splitter(settings, source)
    block = block_for(source, splitter=splitter, flip_pairs=settings.flip_pairs, item_tfms=transforms)
    if settings.batch_size != "auto":
        return block.dataloaders(source, bs=settings.batch_size, seed=settings.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There are .* items to train on, fewer than a batch")
        return block.dataloaders(source, bs=_USUAL_BATCH, seed=settings.seed)


def _splitter(settings: RunSettings, source: Source) -> Splitter:
    """Keep groups together and, for labels, every label's rate the same on both sides."""
    labels = (lambda item: names_of(item.label)) if source.task in CLASSES else None
    group = (lambda item: item.group) if settings.group_column is not None else None
    return StratifiedSplitter(labels, seed=settings.seed, group=group)


def _split_rows(dls: DataLoaders) -> Iterator[dict[str, Any]]:
    for side, loader in zip(("train", "valid"), dls, strict=True):
        yield from ({"fname": name_of(picture), "split": side} for picture in loader.dataset.pictures)


def _finish(learn: Learner, source: Source, found: Audit, folder: Path, *, pictures: bool) -> dict[str, Any]:
    """Write model, predictions and sheet from one fp32 pass; return the summary."""
    dls = learn.dls
    counts = {"n_train": dls.train.n, "n_valid": dls.valid.n}
    decided = _decide(learn)
    predictor = learn.predictor({"weights": learn.origin, **counts})
    predictions = predict_dataset(predictor, dls.valid.dataset)
    scores = predictions.scores()
    intervals = {name: [found.low, found.high] for name, found in predictions.intervals().items()}
    if dls.task.kind == Points.kind:
        baseline = constant_answer(predictor, dls.train.dataset, dls.valid.dataset).scores()
        scores["mean_point_median_error_pixels"] = baseline["median_error_pixels"]
    _write_report(learn, predictions, predictor, found, folder, pictures=pictures)
    predictor.save(folder / "model.safetensors")
    base = source.items[0].picture.parent
    write_rows(folder / "predictions.csv", predictions.rows(base))
    canvas.save(results_sheet(predictions), folder / "samples.png")
    last = learn.recorder.history[-1]
    return {"task": dls.task.kind, **counts, "n_outputs": dls.task.n_outputs, "valid_loss": last.valid_loss} | {
        "metrics": scores,
        "intervals": intervals,
        "decision": decided,
    }


def _write_report(
    learn: Learner, predictions: Predictions, predictor: Predictor, found: Audit, folder: Path, *, pictures: bool
) -> None:
    Report(
        title=f"foveal: {folder.name}",
        facts=facts_of(learn),
        interpretation=Interpretation(predictions),
        predictor=predictor,
        history=learn.recorder.history,
        audit=found,
        tuned=learn.tuned,
        repeat=f"foveal train {folder / 'run.toml'}",
        pictures=pictures,
    ).write(folder / "report.html")


def _decide(learn: Learner) -> dict[str, Any]:
    """Choose temperature and thresholds on the validation side, for labels; return what is to be known of them."""
    kind = learn.dls.task.kind
    if kind not in CLASSES:
        return {}
    decided: dict[str, Any] = {"temperature": learn.calibrate()}
    if kind == MultiLabel.kind:
        preds, targets = learn.get_preds()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* have fewer than .* validation pictures")
            tries = {each: tuned(preds, targets, learn.dls.vocab, per_class=each) for each in (True, False)}
        each, best = max(tries.items(), key=lambda entry: entry[1].unseen)
        if best.unseen > best.before:
            learn.use_thresholds(best)
        decided["thresholds"] = "one a class" if each else "one for all"
        decided |= {"f1_at_half": best.before, "f1": best.after, "f1_on_unseen_pictures": best.unseen}
        decided["uncertain"] = list(best.few)
        if best.unseen <= best.before:
            decided |= {"thresholds": "0.5 for all", "f1": best.before}
    return decided


def _introduce(console: Console, settings: RunSettings, source: Source, learn: Learner) -> None:
    dls, (height, width) = learn.dls, settings.size
    split = "" if source.has_split else f", split by foveal with seed {settings.seed}"
    what = f"{dls.task.n_outputs} classes" if dls.task.kind in CLASSES else ", ".join(dls.task.names)
    console.print(
        f"[bold]data [/]  {settings.table.name} ({source.kind}): {dls.train.n:,} to train on, "
        f"{dls.valid.n:,} to validate{split}"
    )
    for note in source.notes:
        console.print(f"       {note}")
    console.print(f"[bold]task [/]  {dls.task.kind}, {what}")
    console.print(f"[bold]model[/]  {settings.arch}, {learn.model.spec.head} head, weights from {learn.origin}")
    console.print(f"[bold]size [/]  {height} x {width} pixels, {dls.bs} a step, on {dls.device.type}")
    console.print()


def _report(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    scores = dict(summary["metrics"])
    parts = [name for name, value in scores.items() if isinstance(value, Mapping)]
    each: Mapping[str, Mapping[str, float]] = scores.pop(parts[0]) if parts else {}
    console.print()
    console.print("[bold]On the validation pictures[/]")
    for name, value in scores.items():
        low, high = summary["intervals"].get(name, (math.nan, math.nan))
        bounds = "" if math.isnan(low) else f"   {number(low)} to {number(high)}"
        console.print(f"  {name.replace('_', ' '):<34}{number(value)}{bounds}")
    if "f1" in (decided := summary["decision"]):
        tuned_f1, half, unseen = (number(decided[name]) for name in ("f1", "f1_at_half", "f1_on_unseen_pictures"))
        console.print(
            f"  thresholds: {decided['thresholds']}; F1 {tuned_f1} with them, {half} at .5; tuned ones give {unseen} "
            "on pictures that they were not tuned on"
        )
    if each:
        measures = list(next(iter(each.values())))
        table = Table(box=None, padding=(0, 2), header_style="bold")
        table.add_column({"classes": "class", "numbers": "number"}.get(parts[0], parts[0]))
        for measure in measures:
            table.add_column(measure.replace("_", " "), justify="right")
        for name, row in sorted(each.items(), key=lambda entry: -entry[1][measures[-1]]):
            table.add_row(name, *(number(row[measure]) for measure in measures))
        console.print()
        console.print(table)
    console.print()
    console.print(f"[bold]Written to {folder}[/] in {summary['seconds']:.0f} s")
    for name, what in _FILES.items():
        console.print(f"  {name:<20}{what}")
    console.print(f"Ask it: foveal predict {folder / 'model.safetensors'} PICTURE")


_FILES = {
    "report.html": "open this first: how well it works, and where not",
    "model.safetensors": "the model, one safe file",
    "samples.png": "validation pictures with what was predicted",
    "predictions.csv": "every validation picture",
    "summary.json": "the figures above",
    "history.jsonl": "one line an epoch",
    "split.csv": "which picture was on which side",
    "audit.json": "what was found in the data before",
    "run.toml": "the settings; repeat with: foveal train run.toml",
}
