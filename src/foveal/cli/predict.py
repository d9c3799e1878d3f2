"""`foveal predict`: answers for pictures, folders, patterns and lists, as many as there are."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.options import Device, Model

if TYPE_CHECKING:
    from foveal.bundle.predictor import Prediction, Predictor, Refused
    from foveal.results.journal import Journal

    Answers = Iterator[tuple[Path, Prediction | Refused]]


def predict(
    model: Model,
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="PICTURE|FOLDER|GLOB...", help="What to answer for; - reads a list from stdin."),
    ],
    *,
    out: Annotated[Path | None, typer.Option(help="Write a .csv, .jsonl, .parquet or (see --layout) .json.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an --out that was interrupted.")] = False,
    layout: Annotated[str, typer.Option(help="What a .json holds: 'coco' or 'label-studio'.")] = "coco",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 32,
    device: Device = None,
) -> None:
    """Answer for pictures; a picture that cannot be used is named, the others are answered."""
    from foveal.bundle.predictor import load_pictures
    from foveal.errors import InputError
    from foveal.results.writers import check_target

    if out is not None:
        check_target(out, layout)
    if resume and (out is None or out.suffix == ".json"):
        raise InputError("--resume goes on with an --out in .csv, .jsonl or .parquet.")
    files = _expand(pictures)
    predictor = load_pictures(model, device=device)
    if out is None:
        n_refused = _show(_answered(predictor, files, batch_size), predictor)
    elif out.suffix == ".json":
        n_refused = _write_layout(_answered(predictor, files, batch_size), predictor, out, layout)
    else:
        n_refused = _write_table(predictor, files, batch_size, out, model, resume=resume)
    if n_refused:
        raise typer.Exit(1)


def _answered(predictor: Predictor, files: Iterable[Path], batch_size: int) -> Answers:
    """Yield each file with its answer, reading no further ahead than the predictor does."""
    waiting: deque[Path] = deque()

    def noted() -> Iterator[Path]:
        for file in files:
            waiting.append(file)
            yield file

    for answer in predictor.predict_batch(noted(), batch_size=batch_size):
        yield waiting.popleft(), answer


def _show(answered: Answers, predictor: Predictor) -> int:
    from foveal.results.writers import row_of

    n_refused = 0
    for file, answer in _good(answered):
        if answer is None:
            n_refused += 1
        else:
            typer.echo(_line(row_of(file, answer, predictor.task)))
    return n_refused


def _write_layout(answered: Answers, predictor: Predictor, out: Path, layout: str) -> int:
    from foveal.results.writers import write_answers

    n_refused = 0

    def good() -> Iterator[tuple[Path, Prediction]]:
        nonlocal n_refused
        for file, answer in _good(answered):
            if answer is None:
                n_refused += 1
            else:
                yield file, answer

    n = write_answers(out, layout, good(), predictor.task)
    typer.echo(f"{n:,} of {n + n_refused:,} pictures answered, written to {out}.")
    return n_refused


def _write_table(
    predictor: Predictor, files: Iterator[Path], batch_size: int, out: Path, model: Path, *, resume: bool
) -> int:
    from foveal import storage
    from foveal.results.journal import Journal
    from foveal.results.writers import row_of

    with Journal(out, storage.file_hash(model), resume=resume) as journal:
        if journal.done:
            _skip(journal, files)
            typer.echo(f"Going on after {journal.done:,} pictures.", err=True)
        try:
            for n, (file, answer) in enumerate(_good(_answered(predictor, files, batch_size), journal), start=1):
                if answer is not None:
                    journal.add(row_of(file, answer, predictor.task))
                if n % batch_size == 0:
                    journal.flush()
        except KeyboardInterrupt:
            typer.echo(
                "Interrupted; what was answered is kept. Give the same command with --resume to go on.", err=True
            )
            raise
        n_answered, n_refused = journal.finish()
    typer.echo(f"{n_answered:,} of {n_answered + n_refused:,} pictures answered, written to {out}.")
    if n_refused:
        typer.echo(f"{n_refused:,} could not be used; they are listed in {journal.refused_path}.", err=True)
    return n_refused


def _good(answered: Answers, journal: Journal | None = None) -> Iterator[tuple[Path, Prediction | None]]:
    """Yield answers; name the pictures that got none, and yield None for them."""
    from foveal.bundle.predictor import Refused
    from foveal.tables import printable

    for file, answer in answered:
        if not isinstance(answer, Refused):
            yield file, answer
            continue
        typer.echo(f"refused: {answer.error}", err=True)
        if journal is not None:
            journal.refuse(printable(file), answer.error.reason)
        yield file, None


def _skip(journal: Journal, files: Iterator[Path]) -> None:
    from foveal.errors import InputError
    from foveal.tables import printable

    for name in journal.names():
        if (file := next(files, None)) is None or printable(file) != name:
            raise InputError(
                f"`{journal.path}` was begun with other pictures: there came {file}, where it has {name}. Give the "
                "same pictures, or leave out --resume to begin anew."
            )


def _expand(patterns: list[str]) -> Iterator[Path]:
    """Return the files that are meant: all are looked for at once, but a list on stdin is read as it comes."""
    found = [_stdin() if pattern == "-" else _matching(pattern) for pattern in patterns]
    return chain.from_iterable(found)


def _stdin() -> Iterator[Path]:
    from foveal.errors import InputError

    none = True
    for name in sys.stdin:
        if line := name.rstrip("\r\n"):
            none = False
            yield Path(line)
    if none:
        raise InputError("There is no picture in the list on stdin.")


def _matching(pattern: str) -> Sequence[Path]:
    import glob

    from foveal.errors import InputError
    from foveal.sources.folders import get_image_files

    path = Path(pattern)
    found: Sequence[Any]
    if path.is_dir():
        found = get_image_files(path)
    elif path.exists() or not glob.has_magic(pattern):
        found = [path]
    else:
        found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 -- absolute patterns too
    if not found:
        raise InputError(f"There is no picture in `{pattern}`.")
    return [Path(file) for file in found]


def _line(row: dict[str, Any]) -> str:
    """Return an answer as a person reads it."""
    name = row.pop("fname")
    answer = row.pop("predicted", None)
    if answer is None:
        return f"{name}: " + ", ".join(f"{key} {value:.5g}" for key, value in row.items())
    best = sorted(row.items(), key=lambda entry: -entry[1])[: max(3, len(str(answer).split()))]
    shares = ", ".join(f"{key} {value:.2f}" for key, value in best)
    return f"{name}: {answer or 'nothing found'}  ({shares})"
