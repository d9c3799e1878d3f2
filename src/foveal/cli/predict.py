"""`foveal predict`: answers for images, folders, patterns and lists, as many as there are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.options import Device, Model

if TYPE_CHECKING:
    from foveal.inference.predictor import Predictor
    from foveal.scale.resume_log import ResumeLog
    from foveal.scale.streaming import PredictionStream

SHARD_SIZE = 4096  # images; a file of them is some MB, and a part that is lost is done again in a minute


def predict(
    model: Model,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE|FOLDER|GLOB...", help="What to answer for; - reads a list from stdin."),
    ],
    *,
    out: Annotated[Path | None, typer.Option(help="Write a .csv, .jsonl, .parquet or (see --layout) .json.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an --out that was interrupted.")] = False,
    layout: Annotated[
        str | None, typer.Option(help="What a .json holds: 'coco' or 'label-studio'. (default: coco)")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 32,
    engine: Annotated[
        str | None, typer.Option(help="For an --out that is a folder: 'local' or 'ray'. (default: local)")
    ] = None,
    shard_size: Annotated[
        int | None, typer.Option(min=1, help=f"Images per file of such a folder. (default: {SHARD_SIZE})")
    ] = None,
    device: Device = None,
) -> None:
    """Answer for images; an image that cannot be used is named, the others are answered."""
    from foveal.core import progress, storage
    from foveal.core.errors import InputError

    with progress.busy("starting"):
        from foveal.evaluation.writers import check_target
        from foveal.inference.loading import load_image_predictor
        from foveal.scale.streaming import PredictionStream

    if layout is not None and (out is None or out.suffix != ".json"):
        raise InputError(f"--layout {layout} says what a .json holds: give --out FILE.json with it.")
    if out is not None and not out.suffix:
        size = shard_size or SHARD_SIZE
        _write_shards(model, images, out, engine or "local", size, batch_size, device, resume=resume)
        return
    for option, value in (("--engine", engine), ("--shard-size", shard_size)):
        if value is not None:
            raise InputError(f"{option} {value} is for answers in a folder: give --out DIR with it.")
    layout = layout or "coco"
    if out is not None:
        check_target(out, layout)
        storage.require_writable(out)
    if resume and (out is None or out.suffix == ".json"):
        raise InputError("--resume needs an --out in .csv, .jsonl or .parquet.")
    files = expand(images)
    with progress.busy("loading the model"):
        predictor = load_image_predictor(model, device=device)
    answered = PredictionStream(predictor, files, batch_size)
    if out is None:
        _show(answered)
    elif out.suffix == ".json":
        _write_layout(answered, out, layout)
    else:
        answered.n_refused = _write_table(predictor, files, batch_size, out, model, resume=resume)
    if answered.n_refused:
        raise typer.Exit(1)


def _show(answered: PredictionStream) -> None:
    from foveal.evaluation.writers import row_of

    for file, answer in answered:
        typer.echo(_line(row_of(file, answer, answered.predictor.task)))


def _write_layout(answered: PredictionStream, out: Path, layout: str) -> None:
    from foveal.evaluation.writers import write_answers

    predictor = answered.predictor
    n = write_answers(out, layout, answered, predictor.task, predictor.preparation.n_channels)
    typer.echo(f"{n:,} of {n + answered.n_refused:,} images answered, written to {out}.")


def _write_table(
    predictor: Predictor, files: Iterator[Path], batch_size: int, out: Path, model: Path, *, resume: bool
) -> int:
    from foveal.core import storage
    from foveal.evaluation.writers import row_of
    from foveal.scale.resume_log import ResumeLog, log_of
    from foveal.scale.streaming import PredictionStream

    if resume and not log_of(out).is_file():
        if out.is_file():
            typer.echo(f"{out} is written already, and no interrupted run of it is left: there is nothing to do.")
            return 0
        resume = False  # a job that is started again and again may not have come to its first image
    with ResumeLog(out, storage.file_hash(model), resume=resume) as resume_log:
        if resume_log.done:
            _skip(resume_log, files)
            typer.echo(f"Going on after {resume_log.done:,} images.", err=True)
        try:
            for file, answer in PredictionStream(predictor, files, batch_size, resume_log):
                resume_log.add(row_of(file, answer, predictor.task))
        except KeyboardInterrupt:
            typer.echo(
                "Interrupted; what was answered is kept. Give the same command with --resume to go on.", err=True
            )
            raise
        n_answered, n_refused = resume_log.finish()
    typer.echo(f"{n_answered:,} of {n_answered + n_refused:,} images answered, written to {out}.")
    if n_refused:
        typer.echo(f"{n_refused:,} could not be used; they are listed in {resume_log.refused_path}.", err=True)
    return n_refused


def _write_shards(
    model: Path,
    images: list[str],
    out: Path,
    engine: str,
    size: int,
    batch_size: int,
    device: str | None,
    *,
    resume: bool,
) -> None:
    from foveal.core import progress
    from foveal.core.errors import UnknownNameError
    from foveal.scale.on_ray import predict_on_ray
    from foveal.scale.shards import REFUSED, Shards, predict_here

    engines = {"local": predict_here, "ray": predict_on_ray}
    if engine not in engines:
        raise UnknownNameError.of("engine", engine, engines)
    addresses = [name for one in images for name in (map(str, _stdin()) if one == "-" else [one])]
    shards = Shards.begin(out, model, addresses, size=size, batch_size=batch_size, resume=resume)
    n_waiting = sum(len(shards.parts[number]) for number in shards.unfinished())
    with progress.Bar("answering", n_waiting) as bar:
        for n in engines[engine](shards, device=device):
            bar.advance(n)
    n_answered, refused = shards.finish()
    typer.echo(f"{n_answered:,} of {n_answered + len(refused):,} images answered, written to {out}.")
    if refused:
        typer.echo(f"{len(refused):,} could not be used; they are listed in {out / REFUSED}.", err=True)
        raise typer.Exit(1)


def _skip(resume_log: ResumeLog, files: Iterator[Path]) -> None:
    from foveal.core.errors import InputError
    from foveal.core.tables import printable

    for name in resume_log.names():
        if (file := next(files, None)) is None or printable(file) != name:
            raise InputError(
                f"`{resume_log.path}` was begun with other images: there came {file}, where it has {name}. Give the "
                "same images, or leave out --resume to begin anew."
            )


def expand(patterns: list[str]) -> Iterator[Path]:
    """Return the files that are meant: all are looked for at once, but a list on stdin is read as it comes."""
    from foveal.sources.addresses import files_at

    found = [_stdin() if pattern == "-" else files_at(pattern) for pattern in patterns]
    return chain.from_iterable(found)


def _stdin() -> Iterator[Path]:
    from foveal.core.errors import InputError

    none = True
    for name in sys.stdin:
        if line := name.rstrip("\r\n"):
            none = False
            yield Path(line)
    if none:
        raise InputError("There is no image in the list on stdin.")


def _line(row: dict[str, Any]) -> str:
    """Return an answer as a person reads it."""
    name = row.pop("fname")
    answer = row.pop("predicted", None)
    if answer is None:
        return f"{name}: " + ", ".join(f"{key} {value:.5g}" for key, value in row.items())
    best = sorted(row.items(), key=lambda entry: -entry[1])[: max(3, len(str(answer).split()))]
    shares = ", ".join(f"{key} {value:.2f}" for key, value in best)
    return f"{name}: {answer or 'nothing found'}  ({shares})"
