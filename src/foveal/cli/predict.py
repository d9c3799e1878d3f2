"""`foveal predict`: answers for images, folders, patterns, lists, videos and cameras, as many as there are."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.asked import Asked, Every, images_asked, paths_on_stdin
from foveal.cli.options import Device, Model

if TYPE_CHECKING:
    from foveal.images.decode import ImageSource
    from foveal.inference.prediction import Prediction
    from foveal.inference.predictor import Predictor
    from foveal.scale.resume_log import ResumeLog
    from foveal.scale.shards import Shards

Layout = Annotated[
    str | None,
    typer.Option(metavar="coco|label-studio", help="What a .json holds: 'coco' or 'label-studio'. (default: coco)"),
]
Engine = Annotated[
    str | None,
    typer.Option(metavar="local|ray", help="For an --out that is a folder: 'local' or 'ray'. (default: local)"),
]
ShardSize = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Images per file of such a folder. (default: 4096)")
]
_FRAMES = 8  # of a video at a time, at most: one of 1920 x 1080 takes 6 MB, and three batches are at work


def predict(
    model: Model,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE|FOLDER|GLOB...", help="What to answer for; - reads a list from stdin."),
    ],
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a .csv, .jsonl, .parquet or (see --layout) .json.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an --out that was interrupted.")] = False,
    every: Every = None,
    layout: Layout = None,
    draw: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write each image with its answer drawn on it, as DIR/NAME.png.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Images at a time.")] = 32,
    engine: Engine = None,
    shard_size: ShardSize = None,
    anywhere: Annotated[
        bool, typer.Option("--anywhere", help="Read images that a table names wherever they lie.")
    ] = False,
    device: Device = None,
) -> None:
    """Answer for images; an image that cannot be used is named, the others are answered.

    Examples:
        foveal predict runs/train/model.safetensors new-images/ --out answers.csv
        foveal predict runs/heads/model.safetensors new.jpg --draw drawn/

    More: docs/serving.md
    """
    from foveal.core import progress, storage
    from foveal.core.errors import InputError

    with progress.busy("starting"):
        from foveal.evaluation.writers import check_target
        from foveal.inference.loading import load_image_predictor

    folder = {"--engine": engine, "--shard-size": shard_size, "--anywhere": anywhere or None}
    _check_options(out, {"--layout": layout, "--every": every, "--draw": draw, **folder}, resume=resume)
    if out is not None and not out.suffix:
        _write_shards(
            _begin(out, model, images, shard_size, batch_size, resume=resume, anywhere=anywhere),
            engine or "local",
            device,
        )
        return
    layout = layout or "coco"
    if out is not None:
        check_target(out, layout)
        storage.require_writable(out)
    asked = images_asked(images, every)
    if resume and asked.is_live:
        raise InputError("--resume cannot go back to what a camera showed: name another --out to begin anew.")
    with progress.busy("loading the model"):
        predictor = load_image_predictor(model, device=device)
    batch_size = min(batch_size, _FRAMES) if asked.is_video else batch_size
    if out is None:
        n_refused = _show(predictor, asked, batch_size, draw)
    elif out.suffix == ".json":
        n_refused = _write_layout(predictor, asked, batch_size, out, layout, draw)
    else:
        n_refused = _write_table(predictor, asked, batch_size, out, model, resume=resume, draw=draw)
    if n_refused:
        raise typer.Exit(1)


def _check_options(out: Path | None, given: Mapping[str, object], *, resume: bool) -> None:
    """Refuse options that `out` has no use for.

    Raises:
        InputError: there is one.
    """
    from foveal.core.errors import InputError

    suffix = None if out is None else out.suffix
    uses: dict[str, tuple[bool, str]] = {
        "--layout": (suffix == ".json", "says what a .json holds: give --out FILE.json with it."),
        "--every": (suffix not in ("", ".json"), "gives frames, not files: give --out a .csv, .jsonl or .parquet."),
        "--draw": (suffix != "", "is not for an --out that is a folder."),
        "--engine": (suffix == "", "is for answers in a folder: give --out DIR with it."),
        "--anywhere": (suffix == "", "is for tables of images: give --out DIR with it."),
        "--shard-size": (suffix == "", "is for answers in a folder: give --out DIR with it."),
    }
    for option, (is_of_use, reason) in uses.items():
        if given[option] is not None and not is_of_use:
            value = "" if given[option] is True else f" {given[option]}"
            raise InputError(f"{option}{value} {reason}")
    if resume and suffix in (None, ".json"):
        raise InputError("--resume needs an --out in .csv, .jsonl or .parquet, or a folder.")


def _show(predictor: Predictor, asked: Asked, batch_size: int, draw: Path | None) -> int:
    """Return how many images could not be used; the answers for the others are printed."""
    from foveal.evaluation.writers import row_of
    from foveal.scale.streaming import PredictionStream

    answered = PredictionStream(predictor, asked.images, batch_size, one_by_one=asked.is_live)
    for image, answer in _drawn(answered, predictor, draw):
        typer.echo(line_of(row_of(image, answer, predictor.task)))
    return answered.n_refused


def _write_layout(
    predictor: Predictor, asked: Asked, batch_size: int, out: Path, layout: str, draw: Path | None
) -> int:
    """Return how many images could not be used; the other answers are written as a labelling tool reads them."""
    from foveal.core import progress
    from foveal.evaluation.writers import write_answers
    from foveal.scale.streaming import PredictionStream

    with progress.Bar("answering", asked.n) as bar:
        answered = PredictionStream(predictor, asked.images, batch_size, advance=bar.advance)
        drawn = _drawn(answered, predictor, draw)
        n = write_answers(out, layout, drawn, predictor.task, predictor.preparation.n_channels)
    typer.echo(f"{n:,} of {n + answered.n_refused:,} images answered, written to {out}.")
    return answered.n_refused


def _write_table(
    predictor: Predictor, asked: Asked, batch_size: int, out: Path, model: Path, *, resume: bool, draw: Path | None
) -> int:
    """Return how many images could not be used; the answers for the others are written to a table."""
    from foveal.core import storage
    from foveal.scale.resume_log import ResumeLog, log_of

    if resume and not log_of(out).is_file():
        if out.is_file():
            typer.echo(f"{out} is written already, and no interrupted run of it is left: there is nothing to do.")
            return 0
        resume = False  # a job that is started again and again may not have come to its first image
    with ResumeLog(out, storage.file_hash(model), resume=resume) as resume_log:
        if resume_log.done:
            _skip(resume_log, asked)
            typer.echo(f"Going on after {resume_log.done:,} images.", err=True)
        if asked.is_live:  # SIGTERM, as of `timeout`, and an interrupt end it, also where the parent ignores that one
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.default_int_handler)
        try:
            _log_answers(predictor, asked, batch_size, resume_log, draw)
        except KeyboardInterrupt:
            if not asked.is_live:  # of a camera it is the end
                typer.echo(
                    "Interrupted; what was answered is kept. Give the same command with --resume to go on.", err=True
                )
                raise
        n_answered, n_refused = resume_log.finish()
    typer.echo(f"{n_answered:,} of {n_answered + n_refused:,} images answered, written to {out}.")
    if n_refused:
        typer.echo(f"{n_refused:,} could not be used; they are listed in {resume_log.refused_path}.", err=True)
    return n_refused


def _log_answers(predictor: Predictor, asked: Asked, batch_size: int, resume_log: ResumeLog, draw: Path | None) -> None:
    from foveal.core import progress
    from foveal.evaluation.writers import row_of
    from foveal.scale.streaming import PredictionStream

    with progress.Bar("answering", asked.n) as bar:
        bar.advance(resume_log.done)
        answered = PredictionStream(
            predictor, asked.images, batch_size, resume_log, one_by_one=asked.is_live, advance=bar.advance
        )
        for image, answer in _drawn(answered, predictor, draw):
            resume_log.add(row_of(image, answer, predictor.task))


def _drawn(
    answered: Iterable[tuple[ImageSource, Prediction]], predictor: Predictor, folder: Path | None
) -> Iterable[tuple[ImageSource, Prediction]]:
    if folder is None:
        return answered
    from foveal.evaluation.show import drawn_answers

    return drawn_answers(answered, predictor.task, folder, predictor.preparation.n_channels)


def _begin(
    out: Path, model: Path, images: list[str], size: int | None, batch_size: int, *, resume: bool, anywhere: bool
) -> Shards:
    from foveal.scale.shards import Shards

    addresses = [name for one in images for name in (map(str, paths_on_stdin()) if one == "-" else [one])]
    return Shards.begin(out, model, addresses, size=size, batch_size=batch_size, resume=resume, anywhere=anywhere)


def _write_shards(shards: Shards, engine: str, device: str | None) -> None:
    from foveal.core import progress
    from foveal.core.errors import UnknownNameError
    from foveal.scale.on_ray import predict_on_ray
    from foveal.scale.shards import REFUSED, predict_here

    engines = {"local": predict_here, "ray": predict_on_ray}
    if engine not in engines:
        raise UnknownNameError.of("engine", engine, engines)
    n_waiting = sum(len(shards.parts[number]) for number in shards.unfinished())
    with progress.Bar("answering", n_waiting) as bar:
        for n in engines[engine](shards, device=device):
            bar.advance(n)
    n_answered, refused = shards.finish()
    typer.echo(f"{n_answered:,} of {n_answered + len(refused):,} images answered, written to {shards.folder}.")
    if refused:
        typer.echo(f"{len(refused):,} could not be used; they are listed in {shards.folder / REFUSED}.", err=True)
        raise typer.Exit(1)


def _skip(resume_log: ResumeLog, asked: Asked) -> None:
    from foveal.core.errors import InputError
    from foveal.core.tables import printable
    from foveal.images.decode import name_of

    for name in resume_log.names():
        image = next(asked.images, None)
        came = None if image is None else printable(name_of(image))
        if came != name:
            raise InputError(
                f"`{resume_log.path}` was begun with other images: there came {came}, where it has {name}. Give the "
                "same images, or leave out --resume to begin anew."
            )


def line_of(row: dict[str, Any]) -> str:
    """Return an answer as a person reads it."""
    name, answer, among = (row.pop(column, None) for column in ("fname", "predicted", "prediction_set"))
    odd = "; unlike the images that the model knows" if row.pop("known", None) is False else ""
    if answer is None:
        return f"{name}: " + ", ".join(f"{key} {value:.5g}" for key, value in row.items()) + odd
    best = sorted(row.items(), key=lambda entry: -entry[1])[: max(3, len(str(answer).split()))]
    shares = ", ".join(f"{key} {value:.2f}" for key, value in best)
    within = "" if among is None or among == answer else f"; 90% sure: {among or 'nothing'}"
    return f"{name}: {answer or 'nothing found'}  ({shares}){within}{odd}"
