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

from foveal.audit.checks import SKIPPED, Audit, audit, names_of, without_bad
from foveal.core import distributed, progress, storage, timing
from foveal.core.errors import InputError, TableError
from foveal.core.left_out import leaving_out
from foveal.core.tables import write_rows
from foveal.data.block import block_for
from foveal.data.loaders import DataLoaders
from foveal.data.splits.splitters import Splitter
from foveal.data.splits.stratify import KFoldSplitter, StratifiedSplitter
from foveal.evaluation.predictions import Predictions, constant_answer, predict_dataset
from foveal.evaluation.show import results_sheet
from foveal.evaluation.thresholds import ThresholdFit, tune_best_thresholds
from foveal.geometry.fit import RandomResizedCrop, Resize
from foveal.geometry.moves import Flip
from foveal.images import canvas
from foveal.images.augment import aug_transforms
from foveal.images.decode import name_of
from foveal.inference.manifest import MetricPart
from foveal.learner.learner import Learner
from foveal.learner.vision import vision_learner
from foveal.reporting.report import facts_of
from foveal.runs import folder as run
from foveal.runs.console import introduce, new_console, print_outcome
from foveal.runs.settings import RunSettings
from foveal.sources.items import Source
from foveal.sources.recognise import read_source
from foveal.sources.table import TableColumns
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.registry import CLASSES
from foveal.training.callbacks.extras import KeepBest
from foveal.training.callbacks.logs import HistoryFile, write_history
from foveal.training.checkpoint import FILE as CHECKPOINT
from foveal.training.checkpoint import Checkpoints


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
    began = time.perf_counter()
    with timing.timed("images"):
        source, found = judged(settings, read(settings))
    return train_on(settings, source, found, folder, resume=resume, began=began)


def train_on(
    settings: RunSettings,
    source: Source,
    found: Audit,
    folder: Path,
    *,
    resume: bool = False,
    whole: Path | None = None,
    began: float | None = None,
) -> dict[str, Any]:
    """Do what `train_run` does, on a source that was judged; `whole` is the folder of several runs, this one in it.

    The time that the settings allow counts from `began`, by the clock of `time.perf_counter`; by default from now.
    """
    console = new_console()
    began = time.perf_counter() if began is None else began
    with timing.timed("model and loaders"):
        dls = loaders(settings, source)
        torch.manual_seed(settings.seed)
        recipe = recipe_of(settings, dls)
        learn = vision_learner(dls, settings.arch, head=recipe.head, weights=settings.weights, seed=settings.seed)
    learn.to_precision(settings.precision).measured.update(settings.measured)
    if settings.batch_size == "auto":
        with timing.timed("batch size"):
            settings = settings.model_copy(update={"batch_size": learn.largest_batch()})
            learn.dls = loaders(settings, source)
    introduce(console, settings, source, learn)
    with storage.working_in(folder):
        settings.save(folder / run.SETTINGS)
        write_rows(folder / run.SPLIT, _split_rows(dls))
        storage.write_json(folder / run.AUDIT, found.to_dict())
        kept = KeepBest(from_start=True)
        hooks = [*([kept] if recipe.probe else []), HistoryFile(folder / run.HISTORY), Checkpoints(folder)]
        minutes = None if settings.time is None else settings.time - (time.perf_counter() - began) / 60
        try:
            with timing.timed("epochs"):
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
            console.print(f"\nStopped; all that was done is kept. Go on with: foveal train --resume {whole or folder}")
            raise
        if not distributed.is_first():
            return {}
        with distributed.single_process():
            return _written(learn, settings, source, kept, folder, began=began, whole=whole)


def _written(
    learn: Learner,
    settings: RunSettings,
    source: Source,
    kept: KeepBest,
    folder: Path,
    *,
    began: float,
    whole: Path | None,
) -> dict[str, Any]:
    """Write what a trained model leaves behind; print and return the summary."""
    console = new_console()
    settings.model_copy(update={"measured": learn.measured}).save(folder / run.SETTINGS)
    write_history(folder / run.HISTORY, learn.recorder.history)
    summary = _finish(learn, settings, source, folder)
    if kept.best is not None:
        summary["valid_loss"] = kept.best
    storage.write_json(folder / run.SUMMARY, summary)
    with timing.timed("report"), leaving_out("report", summary["left_out"]):
        run.write_report(folder, source, by=settings.by)
    summary["timings"] = timing.rounded()
    summary["seconds"] = round(time.perf_counter() - began, 2)
    storage.write_json(folder / run.SUMMARY, summary)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    if whole is None:
        print_outcome(console, summary, folder)
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
    """Read the source that the settings name.

    Raises:
        InputError: it is one that holds no images.
    """
    settings.require_images()
    columns = TableColumns(
        image=settings.image_column,
        label=settings.label_column,
        labels=settings.label_columns,
        valid=settings.valid_column,
        group=settings.group_column,
        points=settings.points,
        targets=settings.targets,
        about=settings.by,
        label_delimiter=settings.label_delimiter,
        empty="none" if settings.empty == "none" else "error",
    )
    source = read_source(settings.table, images=settings.images, columns=columns, task=settings.task)
    if settings.folds is not None and source.has_split:
        items = [replace(item, is_valid=None) for item in source.items]
        source = replace(source, items=items, notes=(*source.notes, "Its own split is set aside for the folds."))
    return replace(source, point_names=settings.point_names) if settings.point_names else source


def audited(source: Source) -> Audit:
    """Audit a source, with a bar."""
    with progress.Bar("reading images", len(source.items)) as bar:
        return audit(source, advance=bar.advance)


def judged(settings: RunSettings, source: Source) -> tuple[Source, Audit]:
    """Audit a source; leave out bad images if the settings say so.

    Raises:
        TableError: there are errors; the message lists them.
    """
    found = audited(source)
    skipping = skipped_by(settings)
    try:
        found.require_usable(f"`{settings.table}`", skipping=skipping)
    except TableError as error:
        hint = "See `foveal check` for all findings; `--on-bad skip` leaves out images that cannot be used."
        raise TableError(f"{error}\n{hint}") from None
    if skipping:
        source = without_bad(source, found)
    return source, found


def skipped_by(settings: RunSettings) -> frozenset[str]:
    """Return the rules whose errors leave out an image instead of stopping the run."""
    return SKIPPED if settings.on_bad == "skip" else frozenset()


def loaders(settings: RunSettings, source: Source) -> DataLoaders:
    """Build the loaders with the transforms that suit the task."""
    if source.task in CLASSES:
        transforms: list[object] = [RandomResizedCrop(settings.size, min_scale=settings.min_scale), Flip()]
    else:  # nothing that is asked for may be cut off
        transforms = [Resize(settings.size, method="squish"), *aug_transforms()]
    splitter = None if source.has_split else _splitter(settings, source)
    vocab = None
    if settings.folds is not None and source.task in CLASSES:  # all folds answer for the same classes
        vocab = sorted({name for item in source.items for name in names_of(item.label)})
    block = block_for(source, splitter=splitter, vocab=vocab, flip_pairs=settings.flip_pairs, item_tfms=transforms)
    if settings.batch_size != "auto":
        return block.dataloaders(source, bs=settings.batch_size, seed=settings.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There are .* items to train on, fewer than a batch")
        return block.dataloaders(source, bs=_USUAL_BATCH, seed=settings.seed)


def _splitter(settings: RunSettings, source: Source) -> Splitter:
    """Keep groups together and, for labels, every label's rate the same on both sides."""
    labels = (lambda item: names_of(item.label)) if source.task in CLASSES else None
    group = (lambda item: item.group) if settings.group_column is not None else None
    seed = settings.seed if settings.split_seed is None else settings.split_seed
    if settings.folds is not None:
        return KFoldSplitter(settings.folds, settings.fold or 0, labels, seed, group=group)
    return StratifiedSplitter(labels, seed=seed, group=group)


def _split_rows(dls: DataLoaders) -> Iterator[dict[str, Any]]:
    for side, loader in zip(("train", "valid"), dls, strict=True):
        yield from ({"fname": name_of(image), "split": side} for image in loader.dataset.images)


def _finish(learn: Learner, settings: RunSettings, source: Source, folder: Path) -> dict[str, Any]:
    """Write model, predictions and sheet from one fp32 pass; return the summary."""
    dls, left_out = learn.dls, dict[str, str]()
    counts = {"n_train": dls.train.n, "n_valid": dls.valid.n}
    with timing.timed("thresholds"):
        decided = _decide(learn, left_out)
    predictor = learn.predictor()
    with timing.timed("predictions"):
        predictions = predict_dataset(predictor, dls.valid.dataset)
    with timing.timed("metrics and intervals"):
        scores = predictions.scores()
        intervals = intervals_of(predictions, left_out)
    if dls.task.kind == Points.kind:
        with leaving_out("error of the mean point", left_out):
            baseline = constant_answer(predictor, dls.train.dataset, dls.valid.dataset).scores()
            scores[f"{run.BASELINE}median_error_pixels"] = baseline["median_error_pixels"]
    last = learn.recorder.history[-1]
    trained = learn.trained().model_copy(
        update={
            "source": f"{settings.table.name}, {source.kind}",
            "valid_loss": last.valid_loss,
            "figures": {
                name: MetricPart(value=scores[name], low=low, high=high) for name, (low, high) in intervals.items()
            },
            "parts": next((value for value in scores.values() if isinstance(value, Mapping)), {}),
        }
    )
    replace(predictor, training=trained).save(folder / run.MODEL)
    predictions.save(folder / run.PREDICTIONS)
    write_rows(folder / "predictions.csv", predictions.rows(source.items[0].image.parent))
    with leaving_out("sheet of validation images", left_out):
        canvas.save(results_sheet(predictions), folder / run.SAMPLES)
    return {"task": dls.task.kind, **counts, "n_outputs": dls.task.n_outputs, "valid_loss": last.valid_loss} | {
        "metrics": scores,
        "intervals": intervals,
        "decision": decided,
        "left_out": left_out,
        "facts": dict(facts_of(learn)),
        **({} if learn.tuned is None else {"tuned": asdict(learn.tuned)}),
    }


def intervals_of(predictions: Predictions, left_out: dict[str, str]) -> dict[str, list[float]]:
    """Return the bounds of each headline figure, not defined where they cannot be had."""
    intervals = {name: [math.nan, math.nan] for name in predictions.task.figures()}
    with leaving_out("intervals", left_out):
        intervals |= {name: [found.low, found.high] for name, found in predictions.intervals().items()}
    return intervals


def _decide(learn: Learner, left_out: dict[str, str]) -> dict[str, Any]:
    """Choose temperature and thresholds on the validation side, for labels; return what is to be known of them."""
    kind = learn.dls.task.kind
    if kind not in CLASSES:
        return {}
    decided: dict[str, Any] = {}
    with leaving_out("temperature", left_out):
        decided["temperature"] = learn.calibrate()
    if kind == MultiLabel.kind:
        with leaving_out("tuned thresholds", left_out):
            preds, targets = learn.get_preds()
            best = tune_best_thresholds(preds, targets, learn.dls.vocab)
            if best.is_improvement:
                learn.use_thresholds(best)
            decided |= decision_of(best)
    return decided


def decision_of(best: ThresholdFit) -> dict[str, Any]:
    """Return what is to be known of thresholds, whether they are taken or not."""
    scores = {"f1_at_half": best.before, "f1": best.after, "f1_on_unseen_images": best.unseen}
    if not best.is_improvement:
        return {"thresholds": "0.5 for all", **scores, "f1": best.before, "uncertain": list(best.few)}
    n_distinct = len(set(best.thresholds))
    shared = n_distinct < len(best.thresholds) - 1
    each = "one for all" if n_distinct == 1 else "one a class, few positives share one" if shared else "one a class"
    return {"thresholds": each, **scores, "uncertain": list(best.few)}
