"""A training run on images, from settings to a filled run folder."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from foveal.audit.checks import SKIPPED, Audit, audit, with_copies_together, without_bad
from foveal.core import distributed, progress, storage, timing
from foveal.core.errors import InputError, TableError
from foveal.core.left_out import leaving_out
from foveal.core.tables import write_rows
from foveal.data.block import block_for, kind_of_labels
from foveal.data.decoding_cost import decoding_cost
from foveal.data.loaders import DataLoaders
from foveal.data.samples import Transforms
from foveal.data.splits.splitters import Splitter
from foveal.data.splits.stratify import KFoldSplitter, StratifiedSplitter
from foveal.evaluation.predictions import absolute_name, relative_name
from foveal.geometry.moves import Flip
from foveal.geometry.resize import RandomResizedCrop, Resize
from foveal.images.augment import aug_transforms
from foveal.images.channels import CHANNELS
from foveal.images.decoded import DecodedImages
from foveal.images.parquet_rows import row_of
from foveal.learner.learner import Learner
from foveal.learner.vision import vision_learner
from foveal.runs import folder as run
from foveal.runs.backbone import size_of, with_backbone
from foveal.runs.console import introduce, new_console, print_outcome
from foveal.runs.folder import Summary
from foveal.runs.image_settings import USUAL_BATCH, ImageRun
from foveal.runs.results import part, write_results
from foveal.sources.formats import TableColumns
from foveal.sources.items import Item, Source
from foveal.sources.recognise import read_source
from foveal.sources.split_file import with_split_file
from foveal.tasks.kinds import BOOK, TASKS, has_classes
from foveal.tasks.vocab import names_of
from foveal.training.callbacks.extras import KeepBest
from foveal.training.callbacks.logs import HistoryFile, write_history
from foveal.training.checkpoint import FILE as CHECKPOINT
from foveal.training.checkpoint import Checkpoints


def train_once(settings: ImageRun, folder: Path, resume: bool = False) -> Summary:
    """Train, write the run folder, and print the results.

    Args:
        settings: of a single run.
        folder: is made.
        resume: continue the run in the folder from its checkpoint.

    Returns:
        The summary.

    Raises:
        FovealError: the input is wrong; nothing was written then.
    """
    began = time.perf_counter()
    with timing.measure("images"):
        source, found = audit_source(settings, read(settings))
    return train_on(settings, source, found, folder, resume=resume, began=began)


def train_on(
    settings: ImageRun,
    source: Source,
    found: Audit,
    folder: Path,
    *,
    resume: bool = False,
    whole: Path | None = None,
    began: float | None = None,
) -> Summary:
    """Do what `train_once` does, on a source that was audited; `whole` is the folder of several runs, this one in it.

    The time that the settings allow counts from `began`, by the clock of `time.perf_counter`; by default from now.

    Returns:
        The summary; empty of all processes but the first.

    Raises:
        KeyboardInterrupt: the user stopped it; what is in the folder resumes from there.
        SystemExit: a signal stopped it.
    """
    console = new_console()
    began = time.perf_counter() if began is None else began
    settings = with_backbone(settings, source.task, lambda some: loaders(some, source), console)
    training = settings.training
    with timing.measure("model and loaders"):
        dls = loaders(settings, source)
        learn = _new_learner(settings, dls)
    if training.batch_size == "auto":
        with timing.measure("batch size"):
            settings = settings.with_values(batch_size=learn.largest_batch())
            learn.dls = loaders(settings, source)
    introduce(console, settings, source, learn)
    _keep_decoded(learn, settings)
    with storage.working_in(folder):
        settings.save(folder / run.SETTINGS)
        write_rows(folder / run.SPLIT, _split_rows(dls, run.image_folder(settings)))
        storage.write_json(folder / run.AUDIT, found.to_dict())
        kept = KeepBest(from_start=True)
        probes = learn.recipe is not None and learn.recipe.probe
        hooks = [*([kept] if probes else []), HistoryFile(folder / run.HISTORY), Checkpoints(folder)]
        minutes = None if training.time is None else training.time - (time.perf_counter() - began) / 60
        try:
            with timing.measure("epochs"):
                learn.fine_tune(
                    training.epochs,
                    training.lr,
                    freeze_epochs=training.freeze_epochs,
                    views=training.views,
                    minutes=minutes,
                    cbs=hooks,
                    resume=folder if resume else None,
                )
        except (KeyboardInterrupt, SystemExit):
            console.print(f"\nStopped; all that was done is kept. {run.how_to_resume(whole or folder)}")
            raise
        if not distributed.is_first():
            return {}
        with distributed.single_process():
            if probes and learn.head_fit is None and resume:  # the probe was before the stop
                learn.head_fit = _new_learner(settings, dls).fit_head()
            return _finish(learn, settings, source, found, kept, folder, began=began, whole=whole)


def _new_learner(settings: ImageRun, dls: DataLoaders) -> Learner:
    training = settings.training
    torch.manual_seed(training.seed)
    learn = vision_learner(
        dls,
        training.arch,
        recipe=_recipe_name(settings),
        weights=training.weights,
        seed=training.seed,
        class_weights=training.class_weights,
    )
    learn.to_precision(training.precision).measured.update(training.measured)
    return learn


def _finish(
    learn: Learner,
    settings: ImageRun,
    source: Source,
    found: Audit,
    kept: KeepBest,
    folder: Path,
    *,
    began: float,
    whole: Path | None,
) -> Summary:
    """Write what a trained model leaves behind, and print the summary.

    Returns:
        The summary.
    """
    console = new_console()
    settings.with_values(measured=learn.measured).save(folder / run.SETTINGS)
    write_history(folder / run.HISTORY, learn.recorder.history)
    summary = write_results(learn, settings, source, found, folder)
    if kept.best is not None:
        summary["valid_loss"] = kept.best
    storage.write_json(folder / run.SUMMARY, summary)
    with part("report"), leaving_out("report", summary["left_out"]):
        run.write_report(folder, source, by=settings.output.by, embed_images=settings.output.embed_images)
    summary["timings"] = timing.rounded_seconds()
    summary["seconds"] = round(time.perf_counter() - began, 2)
    storage.write_json(folder / run.SUMMARY, summary)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    if whole is None:
        print_outcome(console, summary, folder)
    return summary


def _keep_decoded(learn: Learner, settings: ImageRun) -> None:
    """Let the loaders decode each image once where that is wanted, or saves time over all passes of all runs."""
    training, kept = settings.training, DecodedImages.usual()
    if training.keep_decoded == "no" or kept is None:
        return
    if training.keep_decoded == "auto":
        runs = training.folds or training.seeds or 1
        size_hw = learn.dls.preparation.input_size_hw
        epochs = training.epochs or (learn.recipe or BOOK).usual_epochs(learn.dls.train.n, size_hw)
        n_passes = runs * (1 + (training.freeze_epochs or 0) + epochs)
        cost = decoding_cost(learn.dls.train, learn.dls.valid, n_passes)
        if cost is None or not cost.pays(kept.n_bytes):
            return
        learn.recorder.say(str(cost))
    learn.dls.keep_decoded(kept)


def _recipe_name(settings: ImageRun) -> Literal["best", "probe", "book"]:
    """Return the recipe that the settings name; epochs for the head alone are the book's."""
    training = settings.training
    if training.recipe == "auto":
        return "best" if training.freeze_epochs is None else "book"
    return training.recipe


def read(settings: ImageRun) -> Source:
    """Return the source that the settings name.

    Raises:
        InputError: it is one that holds no images, or a setting is given that its task does not use.
    """
    columns = TableColumns(
        image=settings.data.image_column,
        label=settings.data.label_column,
        labels=settings.data.label_columns,
        valid=settings.data.valid_column,
        group=settings.data.group_column,
        points=settings.task.points,
        targets=settings.task.targets,
        about=settings.output.by,
        label_delimiter=settings.data.label_delimiter,
        empty=settings.data.empty,
    )
    source = read_source(
        settings.data.table,
        images=settings.data.images,
        columns=columns,
        task=settings.task.task,
        format=settings.data.format,
        predictions=settings.data.predictions,
        encoding=settings.data.encoding,
    )
    if (kind := TASKS.find(source.task)) is not None:
        settings.refuse_unused(kind)
    source = replace(source, items=_from_the_root(source.items), test=_from_the_root(source.test))
    if settings.data.split_file is not None:
        source = with_split_file(source, settings.data.split_file, run.image_folder(settings))
    if settings.training.folds is not None and source.has_split:
        items = [replace(item, is_valid=None) for item in source.items]
        source = replace(source, items=items, notes=(*source.notes, "Its own split is set aside for the folds."))
    return replace(source, point_names=settings.task.point_names) if settings.task.point_names else source


def _from_the_root(items: Sequence[Item]) -> list[Item]:
    """Return items whose images are named from the root on, as the settings of the run will name their folder."""
    return [item if _is_whole(item.image) else replace(item, image=storage.whole_path(item.image)) for item in items]


def _is_whole(image: Path) -> bool:
    return image.is_absolute() or ((row := row_of(image)) is not None and "://" in row.table)


def validation_items(folder: Path) -> list[Item]:
    """Return the items of a run's validation side, from its source as that is now.

    Args:
        folder: of the run.

    Raises:
        InputError: the folder is not that of a single run, or an image is not in the source any more.
    """
    settings = run.image_settings_of(folder)
    if not (folder / run.SPLIT).is_file():
        raise InputError(f"`{folder}` has no {run.SPLIT}: name one run of a series, or a source.")
    wanted = [storage.whole_path(path) for path in run.sides_of(folder)["valid"]]
    items = {storage.whole_path(item.image): item for item in read(settings).items}
    if lacking := [path for path in wanted if path not in items]:
        raise InputError(
            f"`{lacking[0]}` of the validation side of `{folder}` is not in `{settings.data.table}` any more."
        )
    return [items[path] for path in wanted]


def audit_with_bar(settings: ImageRun, source: Source) -> Audit:
    """Return the audit of a source, made behind a progress bar.

    Args:
        settings: say what images are read as.
        source: what the reader found.
    """
    with progress.Bar("reading images", len(source.items)) as bar:
        return audit(source, n_channels=CHANNELS[settings.data.channels], advance=bar.advance)


def audit_source(settings: ImageRun, source: Source) -> tuple[Source, Audit]:
    """Return a source and its audit; bad images are left out if the settings say so.

    Raises:
        TableError: there are errors; the message lists them.
    """
    found = audit_with_bar(settings, source)
    skipping = rules_to_skip(settings)
    try:
        found.require_usable(f"`{settings.data.table}`", skipping=skipping)
    except TableError as error:
        hint = "See `foveal check` for all findings; `--on-bad skip` leaves out images that cannot be used."
        raise TableError(f"{error}\n{hint}") from None
    if skipping:
        source = without_bad(source, found)
    return with_copies_together(source, found), found


def rules_to_skip(settings: ImageRun) -> frozenset[str]:
    """Return the rules whose errors leave out an image instead of stopping the run."""
    return SKIPPED if settings.data.on_bad == "skip" else frozenset()


def loaders(settings: ImageRun, source: Source) -> DataLoaders:
    """Return the loaders of a source, with the transforms that suit the task."""
    training, size = settings.training, size_of(settings, source.task)
    if kind_of_labels(source).crops:
        transforms: Transforms = [RandomResizedCrop(size, min_scale=training.min_scale), Flip()]
    else:  # a point or number to learn may not be cut off
        transforms = [Resize(size, method="squish"), *aug_transforms()]
    splitter = None if source.has_split else _splitter(settings, source)
    vocab = None
    if training.folds is not None and has_classes(source.task):  # all folds answer for the same classes
        vocab = sorted({name for item in source.items for name in names_of(item.label)})
    block = block_for(
        source,
        splitter=splitter,
        vocab=vocab,
        flip_pairs=settings.task.flip_pairs,
        n_channels=CHANNELS[settings.data.channels],
        item_tfms=transforms,
    )
    n = USUAL_BATCH if training.batch_size == "auto" else training.batch_size
    with warnings.catch_warnings():
        if n == USUAL_BATCH:  # which nobody chose, so that fewer images are no news
            warnings.filterwarnings("ignore", "There are .* items to train on, fewer than a batch")
        return block.dataloaders(source, bs=n, seed=training.seed, sampling=training.sampling)


def _splitter(settings: ImageRun, source: Source) -> Splitter:
    """Return a splitter that keeps groups together and, for labels, every label's rate the same on both sides."""
    training = settings.training
    labels = (lambda item: names_of(item.label)) if has_classes(source.task) else None
    has_groups = settings.data.group_column is not None or any(item.group is not None for item in source.items)
    group = (lambda item: item.image if item.group is None else item.group) if has_groups else None
    seed = training.seed if training.split_seed is None else training.split_seed
    if training.folds is not None:
        return KFoldSplitter(training.folds, training.fold or 0, labels, seed, group=group)
    return StratifiedSplitter(labels, seed=seed, group=group)


def _split_rows(dls: DataLoaders, base: Path) -> Iterator[dict[str, str]]:
    for side, loader in zip(("train", "valid"), dls, strict=True):
        for image in loader.dataset.images:
            yield {"fname": relative_name(image, base), "split": side, "path": absolute_name(image)}


def rewrite_report(
    folder: Path, *, by: tuple[str, ...] = (), out: Path | None = None, embed_images: bool | None = None
) -> Path:
    """Write the report of a run anew; what was chosen for it before stays, as it is kept in the run's settings.

    Args:
        folder: of the run.
        by: columns of the source that metrics are given by, besides those from before; ("none",) takes those away.
        out: the page; report.html in the folder by default, and only then what is chosen is kept.
        embed_images: whether images may stand in it; as the settings say by default.

    Returns:
        The path of the page.

    Raises:
        InputError: the run is not one on images, or there is no such column.
    """
    settings = run.image_settings_of(folder)
    columns = () if by == ("none",) else tuple(dict.fromkeys((*settings.output.by, *by)))
    chosen = settings.with_values(by=columns)
    source = read(chosen) if columns else None
    page = run.write_report(folder, source, by=columns, out=out, embed_images=embed_images)
    if out is None and columns != settings.output.by:
        chosen.save(folder / run.SETTINGS)
    return page
