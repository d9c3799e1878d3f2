"""The door of Python: `foveal.train`, `check`, `evaluate` and `compare` do what the commands of these names do.

The commands call these functions; nothing is decided in `cli`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from foveal.core import distributed, progress, timing
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.progress import say
from foveal.core.registry import resolve
from foveal.core.spelling import errors_spelled, spelled
from foveal.runs.settings import (
    Check,
    RunSettings,
    Train,
    Value,
    Values,
    all_settings,
    arguments_of_python,
    kind_of_run,
    load_settings,
    make_settings,
    option,
)

if TYPE_CHECKING:
    from foveal.audit.checks import Audit
    from foveal.evaluation.compare import Comparison
    from foveal.evaluation.predictions import Predictions
    from foveal.runs.clean import Cleaned
    from foveal.runs.image_settings import ImageRun
    from foveal.runs.run import Run
    from foveal.sources.items import Item

PathLike = str | os.PathLike[str]
_INSTEAD = {
    "time": ("epochs",),
    "epochs": ("time",),
    "seeds": ("folds", "fold", "split_seed"),
    "folds": ("seeds", "fold", "split_seed"),
    **dict.fromkeys(("size", "arch", "batch_size", "precision"), ("measured",)),
}
"""What of a run.toml no longer holds where a setting is given beside it."""
SPLITS = ("auto", "valid", "train", "test", "all")


@errors_spelled(arguments_of_python)
def train(
    source: PathLike | None = None, *, out: PathLike | None = None, resume: PathLike | None = None, **settings: Value
) -> Run:
    """Train a model on a source with the best recipe that is known, as `foveal train` does, and fill a run folder.

    The result is the command's to the last bit: same settings, same weights, same files. Progress and results are
    printed.

    Args:
        source: a table, a .json, a folder, or the run.toml of a run to repeat.
        out: the run's folder; runs/SOURCE by default, or the first free runs/SOURCE-N.
        resume: the folder of a run to continue where it stopped; nothing else is given then.
        settings: see `foveal train --help`: images="photos/", size=128, epochs=4, folds=5, points="x,y", ...

    Returns:
        The run: its metrics, predictions, model and report. See `Run` for an example that trains.

    Raises:
        InputError: the source or a setting cannot be used; nothing was written then.

    Examples:
        Whatever is wrong is found before anything is trained:

        >>> import foveal
        >>> foveal.train("photos.csv", sise=64)
        Traceback (most recent call last):
        ...
        foveal.core.errors.UnknownNameError: There is no setting `sise`. Did you mean `size`? ...
    """
    from foveal.runs.run import Run

    return Run(start(source, out=out, resume=resume, given=settings))


def start(source: PathLike | None, *, out: PathLike | None, resume: PathLike | None, given: Values) -> Path:
    """Train; see `train`.

    Args:
        source: see `train`.
        out: see `train`.
        resume: see `train`.
        given: settings by name.

    Returns:
        The run's folder.

    Raises:
        InputError: the source or a setting cannot be used, or something else is given with `resume`.
    """
    if resume is not None:
        if given or out is not None or source is not None:
            raise InputError("--resume continues with what is written in the run's folder: give nothing else with it.")
        return _resume(Path(resume))
    settings = settings_for(source, given)
    folder = Path(out) if out is not None else None
    if distributed.world_size() > 1:
        return _together(settings, folder)
    with _starting():
        from foveal.runs.folder import free_folder, stem_of

    return _train(settings, free_folder(folder, stem_of(settings.table)), resume=False)


def settings_for(source: PathLike | None, given: Values) -> RunSettings:
    """Return the settings for a source, or those of a run.toml with some of them changed.

    Args:
        source: a table, a .json, a folder, or a run.toml.
        given: settings by name.

    Raises:
        InputError: the source or a setting cannot be used.
    """
    if source is None:
        raise InputError("What to train on? Give a table, a .json, a folder or a run.toml, or --resume RUN.")
    if "table" in given:
        raise InputError("The source is the first argument: leave out `table`.")
    path = Path(source)
    if path.suffix != ".toml":
        return make_settings(table=path, **given)
    stored = load_settings(path)
    if not given:
        return stored
    dropped = {other for name in given for other in _INSTEAD.get(name, ())} - set(given)
    kept = {name: value for name, value in stored.given().items() if name not in dropped}
    return make_settings(**{"table": stored.table, "task": stored.get("task")} | kept | given)


@contextmanager
def _starting() -> Iterator[None]:
    """Import in the block what takes a second: torch and its like."""
    with timing.measure("imports"), progress.busy("starting"):
        yield


def _resume(folder: Path) -> Path:
    from foveal.runs.folder import SUMMARY, is_unbegun, settings_of
    from foveal.training.checkpoint import FILE, read

    settings = settings_of(folder)
    if (folder / SUMMARY).is_file() and not (folder / FILE).is_file():
        say(f"The run in `{folder}` has ended; there is nothing to continue.")
        return folder
    begun = settings.repeats or not is_unbegun(folder)
    if not begun:
        say("The run was stopped before its first checkpoint: it begins again.")
    elif not settings.repeats:
        read(folder)
    return _train(settings, folder, resume=begun)


def _together(settings: RunSettings, folder: Path | None) -> Path:
    """Train as one of several processes, which were started for it.

    Returns:
        The folder that was given.

    Raises:
        InputError: no folder is given.
    """
    from foveal.training.checkpoint import FILE

    if folder is None:
        raise InputError("Processes that work together need to know where: give --out.")
    going_on = distributed.was_restarted() and (folder / FILE).exists()
    if distributed.was_restarted():
        say("A process was killed; all begin again" + (" where the last checkpoint is." if going_on else "."))
    return _train(settings, folder, resume=going_on)


def _train(settings: RunSettings, folder: Path, *, resume: bool) -> Path:
    """Start or continue a run; several runs find out by themselves what is there.

    Returns:
        The folder that was given.

    Raises:
        InputError: there are several processes, and what is trained is not one model of images.
    """
    kind = kind_of_run(settings.kind)
    if distributed.world_size() > 1 and (settings.repeats or not kind.parallel):
        raise InputError("Several processes train one model of images: leave out --seeds, --folds and --task.")
    with _starting():
        run: Train = resolve(kind.train)
    run(settings, folder, resume)
    return folder


_COLUMNS = frozenset({"image_column", "label_column", "label_columns", "label_delimiter", "valid_column"})
_READING = _COLUMNS | {
    "images",
    "split_file",
    "empty",
    "points",
    "targets",
    "task",
    "format",
    "predictions",
    "encoding",
}


def is_reading(name: str, panel: str) -> bool:
    """Return whether a setting, by name and panel, says how the labels of images are read."""
    return panel in {"data", "task"} and name in _READING


def is_checked(name: str, panel: str) -> bool:
    """Return whether a setting, by name and panel, decides how a source is read and split."""
    return panel in {"data", "task"} or name in {"seed", "folds"}


def _check_names(verb: str, given: Values, belongs: Callable[[str, str], bool]) -> None:
    """Refuse settings that a verb does not use.

    Raises:
        InputError: there is such a setting, which the message names.
    """
    known = all_settings()
    for name in given:
        if name in known and not belongs(name, known[name][0]):
            raise InputError(f"{option(name)} is not used by `foveal {verb}`; it belongs to `foveal train`.")


@errors_spelled(arguments_of_python)
def check(source: PathLike, *, by_features: bool = False, **settings: Value) -> Audit:
    """Audit a source as `foveal check` does: labels, split, every image, and whatever training would refuse.

    Args:
        source: a table, a .json, a folder, or a run.toml.
        by_features: whether a backbone looks at the images as well, for crops, mirrors and edits of one image, above
            all across the split, and for images that are unlike the rest.
        settings: as for `train`, those that decide how the source is read and split.

    Returns:
        The audit: findings with their place and a hint; `audit.errors` stop training.

    Raises:
        InputError: the source cannot be read at all, or a setting cannot be used.

    Examples:
        >>> import tempfile
        >>> import foveal
        >>> from foveal.vision.all import *
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pd.DataFrame({"image": ["a.jpg", "b.jpg"], "label": ["cat", "dog"]}).to_csv(f"{folder}/pets.csv")
        ...     audit = foveal.check(f"{folder}/pets.csv")
        >>> [(finding.rule, finding.where) for finding in audit.errors]
        [('no such image file', 'pets.csv, row 2'), ('no such image file', 'pets.csv, row 3')]
    """
    _check_names("check", settings, is_checked)
    checked = settings_for(source, settings)
    run: Check = resolve(kind_of_run(checked.kind).check)
    audit, known = run(checked, by_features), arguments_of_python()
    findings = [replace(one, value=spelled(one.value, known), hint=spelled(one.hint, known)) for one in audit.findings]
    return replace(audit, findings=findings)


@errors_spelled(arguments_of_python)
def write_clean(source: PathLike, audit: Audit, path: PathLike, **settings: Value) -> Cleaned:
    """Write the items of a source that have no errors as a table to train on, as `foveal check --write-clean` does.

    Args:
        source: a table, a .json or a folder of images.
        audit: what `check` returned for it.
        path: a .csv, .jsonl or .parquet.
        settings: as for `check`.

    Returns:
        What is in the table, what is left out by rule, and the settings with which `train` reads it.

    Raises:
        InputError: the source holds no images, nothing is left, or the ending is another one.
    """
    from foveal.runs.clean import write_clean as write
    from foveal.runs.image_settings import ImageRun

    _check_names("check", settings, is_checked)
    chosen = settings_for(source, settings)
    if not isinstance(chosen, ImageRun):
        raise InputError(f"A clean table is written of sources of images; `{source}` holds none.")
    return write(chosen, audit, Path(path))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well a model does on a source.

    Attributes:
        split: the side that it was evaluated on.
        predictions: its answers with the truth.
        metrics: the headline metrics, and those of each class, point or number.
        image_folder: what the source names its images relative to.
    """

    split: str
    predictions: Predictions
    metrics: Values
    image_folder: Path

    def __repr__(self) -> str:
        headline = ((name, value) for name, value in self.metrics.items() if not isinstance(value, dict))
        shown = ", ".join(f"{name} {value:.4g}" for name, value in headline)
        return f"{type(self).__name__}({self.split!r}, {len(self.predictions.images):,} images: {shown})"


@errors_spelled(arguments_of_python)
def evaluate(
    model: PathLike,
    source: PathLike | None = None,
    *,
    split: Literal["auto", "valid", "train", "test", "all"] = "auto",
    **settings: Value,
) -> Evaluation:
    """Evaluate a model on the labels of a source, as `foveal evaluate` does.

    Args:
        model: a model.safetensors, or the folder of a run.
        source: a table, a .json or a folder; the validation side of the run by default.
        split: the side to evaluate on; by default `valid` where the source marks one, else all.
        settings: as for `train`, those that decide how the source is read.

    Returns:
        The side, the answers with their truth, and the metrics.

    Raises:
        InputError: the source or a setting cannot be used, the side is empty, or there is neither source nor run.
        UnknownNameError: there is no such side or setting.
        ModelFileError: the model cannot be loaded, or does not answer for images.

    Examples:
        >>> import tempfile
        >>> import foveal
        >>> from foveal.vision.all import *
        >>> path = untar_data(URLs.SAMPLE_PASCAL)
        >>> few = pd.read_csv(path / "train.csv")[:40]
        >>> dls = ImageDataLoaders.from_df(few, path, folder="train", label_delim=" ", item_tfms=Resize(32), bs=4)
        >>> learn = vision_learner(dls, "test_efficientnet", pretrained=False)  # a small backbone for tests
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     few.to_csv(f"{folder}/few.csv", index=False)
        ...     model = learn.export(Path(folder) / "model.safetensors")
        ...     found = foveal.evaluate(model, f"{folder}/few.csv", images=path / "train", split="train")
        >>> found.split, len(found.predictions.labels) == list(few.is_valid).count(False), "f1" in found.metrics
        ('train', True, True)
    """
    from foveal.data.datasets import ImageDataset
    from foveal.evaluation.predictions import predict_dataset
    from foveal.evaluation.radii import coverage_of, radius_metrics
    from foveal.inference.loading import load_image_predictor
    from foveal.runs import folder as run
    from foveal.runs.image_settings import ImageRun
    from foveal.runs.images import validation_items
    from foveal.tasks.encoding import encode_known

    if split not in SPLITS:
        raise UnknownNameError.of("split", split, SPLITS)
    _check_names("evaluate", settings, is_reading)
    is_run = Path(model).is_dir()
    predictor = load_image_predictor(Path(model) / run.MODEL if is_run else model)
    if source is not None:
        reading = ImageRun.of(**settings_for(source, {"task": predictor.task.kind} | settings).given())
        side, items = _items_of_side(reading, split)
    elif not is_run or settings or split not in {"auto", "valid"}:
        raise InputError(
            f"Name a source to evaluate on: without one, only the validation side of a run is known; got `{model}`."
        )
    else:
        reading = run.image_settings_of(Path(model))
        side, items = "valid", validation_items(Path(model))
    truth = encode_known([item.label for item in items], lambda at: items[at].origin, predictor.task)
    n_channels = predictor.preparation.n_channels
    dataset = ImageDataset([item.image for item in items], truth, predictor.task, n_channels)
    predictions = predict_dataset(predictor, dataset)
    radii = radius_metrics(predictions, coverage_of(predictions))
    return Evaluation(side, predictions, predictions.scores() | radii, run.image_folder(reading))


def _items_of_side(settings: ImageRun, split: str) -> tuple[str, list[Item]]:
    """Return the side of a source that is meant, and its items.

    Raises:
        InputError: the source cannot be used, or has no items of that side.
    """
    from foveal.runs.images import read

    found = read(settings)
    found.require_usable()
    side = ("valid" if found.has_split else "all") if split == "auto" else split
    items = (
        list(found.test)
        if side == "test"
        else [item for item in found.items if side == "all" or item.is_valid == (side == "valid")]
    )
    if not items:
        raise InputError(f"`{settings.data.table}` has no rows for --split {side}.")
    return side, items


@errors_spelled(arguments_of_python)
def compare(first: Run | PathLike, second: Run | PathLike, *, on_shared: bool = False) -> Comparison:
    """Compare two runs on the images that both answered for, as `foveal compare` does.

    Args:
        first: a run, or its folder.
        second: another one.
        on_shared: compare even where they share less than half of their validation images.

    Returns:
        How many images are shared, and for each headline metric the difference with its interval.

    Raises:
        InputError: they answer different questions, or share too few images; or a folder is not that of a run.

    Examples:
        >>> import foveal
        >>> foveal.compare("runs/first", "runs/second")
        Traceback (most recent call last):
        ...
        foveal.core.errors.InputError: `runs/first` is not the folder of a run: it holds no run.toml.
    """
    from foveal.runs.run import Run

    return (first if isinstance(first, Run) else Run(first)).compare(second, on_shared=on_shared)
