"""A run's folder: what is in it, and how it is read back."""

from __future__ import annotations

import csv
import json
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from foveal.audit.checks import Audit
from foveal.core import kept, storage
from foveal.core.errors import InputError
from foveal.core.spelling import in_command, spelled
from foveal.core.warn import warn
from foveal.evaluation.forecast import Forecast
from foveal.evaluation.interpret import Interpretation
from foveal.evaluation.predictions import Predictions
from foveal.evaluation.thresholds import ThresholdFit
from foveal.images.decode import name_of
from foveal.images.parquet_rows import row_of
from foveal.inference.loading import load_image_predictor
from foveal.metrics.bootstrap import Interval
from foveal.reporting.report import Report
from foveal.runs.image_settings import ImageRun
from foveal.runs.settings import RunSettings, arguments_of_python, load_settings
from foveal.sources.items import Source
from foveal.training.callbacks.logs import read_history

Summary = dict[str, Any]
"""What summary.json holds."""
SETTINGS, SUMMARY, AUDIT = "run.toml", "summary.json", "audit.json"
MODEL, HISTORY, SPLIT = "model.safetensors", "history.jsonl", "split.csv"
PREDICTIONS, REPORT, SAMPLES = "predictions.safetensors", "report.html", "samples.png"
HELD_OUT = "held_out.safetensors"
BEFORE_TRAINING = (SETTINGS, SPLIT, AUDIT)
BASELINE = "mean_point_"
ABOUT = {
    REPORT: "open this first: how well it works, and where not",
    MODEL: "the model, one safe file",
    SAMPLES: "validation images with what was predicted",
    "predictions.csv": "every validation image: what was predicted, the truth, the loss",
    PREDICTIONS: "the same for foveal compare and report",
    HELD_OUT: "the same for training images, each by a probe fitted without it",
    SUMMARY: "the metrics above",
    HISTORY: "one line per epoch",
    SPLIT: "which image was on which side",
    AUDIT: "what was found in the data before training",
    SETTINGS: "the settings; repeat with: foveal train run.toml",
}


def how_to_resume(folder: Path) -> str:
    """Return a sentence with what resumes a run, for somebody at a command line or in Python."""
    in_words = f"foveal train --resume {folder}" if in_command() else f'foveal.train(resume="{folder}")'
    return f"Resume it with: {in_words}"


def settings_of(folder: Path) -> RunSettings:
    """Return the settings of a run.

    Raises:
        InputError: the folder is not that of a run.
    """
    if not (folder / SETTINGS).is_file():
        raise InputError(f"`{folder}` is not the folder of a run: it holds no {SETTINGS}.")
    return load_settings(folder / SETTINGS)


def image_settings_of(folder: Path) -> ImageRun:
    """Return the settings of a run on images.

    Raises:
        InputError: the folder is not that of a run, or of one on something else.
    """
    settings = settings_of(folder)
    if not isinstance(settings, ImageRun):
        raise InputError(f"`{folder}` is a run with --task {settings.kind}: this is for runs on images.")
    return settings


def is_unbegun(folder: Path) -> bool:
    """Return whether a run in a folder was stopped before its first checkpoint, so that nothing of worth is there."""
    names = {file.name for file in folder.iterdir() if not file.name.startswith(".")}
    ours = (folder / storage.LOCK).exists() and not storage.is_worked_in(folder)
    return ours and SETTINGS in names and names <= set(BEFORE_TRAINING)


def stem_of(source: Path) -> str:
    """Return what a run on a source is called: like its file or folder, also where that is `.` or `..`."""
    return storage.whole_path(source).stem or "run"


def free_folder(wanted: Path | None, stem: str) -> Path:
    """Return the folder of a run: `wanted` if nothing would be lost, by default the first free runs/STEM[-N].

    Raises:
        InputError: `wanted` holds something already.
    """
    if wanted is not None:
        if wanted.is_dir() and is_unbegun(wanted):
            for name in BEFORE_TRAINING:
                (wanted / name).unlink(missing_ok=True)
        elif wanted.exists() and (not wanted.is_dir() or {file.name for file in wanted.iterdir()} - {storage.LOCK}):
            raise InputError(f"`{wanted}` exists already and is not an empty folder. Name another one with --out.")
        return wanted
    for number in range(1, 1 + 10**6):
        folder = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
        if not folder.exists():
            return folder
    raise InputError("`runs` is full. Name a folder with --out.")


def summary_of(folder: Path) -> Summary:
    """Return the summary of a run, NaN where a metric is not defined.

    Raises:
        InputError: the run did not come to its end.
    """
    if not (folder / SUMMARY).is_file():
        raise InputError(f"The run in `{folder}` has not ended. {how_to_resume(folder)}")
    summary: Summary = storage.with_nan(json.loads((folder / SUMMARY).read_text(encoding="utf-8")))
    return summary


def predictions_of(folder: Path) -> Predictions:
    """Return what a run answered for its validation images.

    Raises:
        InputError: the folder is not that of a run, or holds several.
    """
    image_settings_of(folder)
    summary = summary_of(folder)
    if not (folder / PREDICTIONS).is_file() and "runs" in summary:
        names = ", ".join(str(folder / name) for name in summary["runs"])
        raise InputError(f"`{folder}` holds several runs on the same images. Name one of them: {names}.")
    return Predictions.load(folder / PREDICTIONS)


def interpretation_of(folder: Path) -> Interpretation:
    """Return what a run answered, to be looked at; labels of the training side are checked with those of validation.

    Raises:
        InputError: the folder is not that of a run, or holds several.
    """
    found = predictions_of(folder)
    held_out = Predictions.load(folder / HELD_OUT) if (folder / HELD_OUT).is_file() else None
    return Interpretation(found, held_out)


def sides_of(folder: Path) -> dict[str, list[Path]]:
    """Return the images of a run by the side of the split, `train` and `valid`.

    Args:
        folder: of the run.

    Raises:
        InputError: none of them lies where the run says.
    """
    sides: dict[str, list[Path]] = {"train": [], "valid": []}
    with (folder / SPLIT).open(encoding="utf-8", newline="") as opened:
        for row in csv.DictReader(opened):
            sides[row["split"]].append(Path(row.get("path") or row["fname"]))  # 0.1 wrote the path alone
    named = [path for paths in sides.values() for path in paths]
    if named and not any(path.is_file() or row_of(path) is not None for path in named):
        raise InputError(f"None of the images of `{folder}` lies where it did, such as `{named[0]}`: are they mounted?")
    return sides


def image_folder(settings: ImageRun) -> Path:
    """Return the folder that a run names its images relative to, from the root on."""
    table = Path(settings.data.table)
    return storage.whole_path(settings.data.images or (table if table.is_dir() else table.parent))


def _may_show(settings: ImageRun, predictions: Predictions) -> bool:
    """Return whether the images of a run may stand in its page, where nobody says so."""
    if not settings.output.embed_images:
        return False
    base = image_folder(settings)
    named = [storage.whole_path(name_of(image)) for image in predictions.images]
    too_wide = kept.home().is_relative_to(base)
    outside = named if too_wide else [path for path in named if not path.is_relative_to(base)]
    if outside:
        message = (
            f"`{outside[0]}` and {len(outside) - 1:,} other images of this run do not lie in a folder of images of its "
            f"own (`{base}`), so no image is shown. If you trust the run: --embed-images"
        )
        warn(spelled(message, arguments_of_python()))
    return not outside


def slices_of(source: Source, images: Sequence[Any], columns: Sequence[str]) -> dict[str, list[Hashable]]:
    """Return what the source says in some columns, one value per image.

    Raises:
        InputError: an image is not in the source.
    """
    about = {item.image.absolute(): dict(item.about) for item in source.items}
    if missing := [image for image in images if Path(image).absolute() not in about]:
        raise InputError(f"`{missing[0]}` of this run is not in the table any more: its columns are not known.")
    return {column: [about[Path(image).absolute()].get(column) for image in images] for column in columns}


def write_report(
    folder: Path,
    source: Source | None = None,
    *,
    by: Sequence[str] = (),
    out: Path | None = None,
    embed_images: bool | None = None,
) -> Path:
    """Write the report of a run on images from what its folder holds.

    Args:
        folder: of a run.
        source: where the columns `by` are found.
        by: columns that metrics are given by.
        out: the page; report.html in the folder by default.
        embed_images: whether images may stand in the page; by default as the settings say, and only if all of them lie
            in the images' folder: a run that came from elsewhere may name any file.

    Returns:
        The path of the page.
    """
    settings, summary, predictions = image_settings_of(folder), summary_of(folder), predictions_of(folder)
    audit = json.loads((folder / AUDIT).read_text(encoding="utf-8"))
    report = Report(
        title=f"foveal: {folder.name}",
        facts=list(summary["facts"].items()),
        interpretation=interpretation_of(folder),
        predictor=load_image_predictor(folder / MODEL) if (folder / MODEL).is_file() else None,
        history=read_history(folder / HISTORY) if (folder / HISTORY).is_file() else (),
        audit=Audit.from_dict(audit),
        tuned=ThresholdFit.from_dict(summary["tuned"]) if "tuned" in summary else None,
        repeat=f"foveal train {folder / SETTINGS}",
        images=_may_show(settings, predictions) if embed_images is None else embed_images,
        intervals={name: Interval(summary["metrics"][name], *both) for name, both in summary["intervals"].items()},
        slices=slices_of(source, predictions.images, by) if source is not None else {},
        runs=summary.get("runs", {}),
        left_out=summary.get("left_out", {}),
        radius_coverage=summary["metrics"].get("radius_coverage"),
        forecast=Forecast.from_dict(summary["forecast"]) if "forecast" in summary else None,
        baselines={name: value for name, value in summary["metrics"].items() if name.startswith(BASELINE)},
    )
    return report.write(out or folder / REPORT)
