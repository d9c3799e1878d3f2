"""`foveal predict`: answers for pictures, folders and patterns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.options import Model

if TYPE_CHECKING:
    from foveal.bundle.predictor import Refused


def predict(
    model: Model,
    pictures: Annotated[list[str], typer.Argument(metavar="PICTURE|FOLDER|GLOB...", help="What to answer for.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Write a .csv, .jsonl, .parquet or (see --layout) .json.")] = None,
    layout: Annotated[str, typer.Option(help="What a .json holds: 'coco' or 'label-studio'.")] = "coco",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 32,
) -> None:
    """Answer for pictures; a picture that cannot be used is named, the others are answered."""
    from foveal.bundle.predictor import Prediction, load_pictures
    from foveal.results.writers import check_target, rows_of, write_answers

    if out is not None:
        check_target(out, layout)
    files = list(_expand(pictures))
    predictor = load_pictures(model)
    refused: list[Refused] = []

    def answered() -> Iterator[tuple[Path, Prediction]]:
        for file, answer in zip(files, predictor.predict_batch(files, batch_size=batch_size), strict=True):
            if isinstance(answer, Prediction):
                yield file, answer
            else:
                refused.append(answer)

    if out is None:
        for row in rows_of(answered(), predictor.task):
            typer.echo(_line(dict(row)))
    else:
        n = write_answers(out, layout, answered(), predictor.task)
        typer.echo(f"{n} of {len(files)} pictures answered, written to {out}.")
    for bad in refused:
        typer.echo(f"refused: {bad.error}", err=True)
    if refused:
        raise typer.Exit(1)


def _expand(patterns: list[str]) -> Iterator[Path]:
    import glob

    from foveal.errors import InputError
    from foveal.sources.folders import get_image_files

    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            found: list[Path] = list(get_image_files(path))
        elif path.exists() or not glob.has_magic(pattern):
            found = [path]
        else:
            found = sorted(Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207 -- absolute patterns too
        if not found:
            raise InputError(f"There is no picture in `{pattern}`.")
        yield from found


def _line(row: dict[str, Any]) -> str:
    """Return an answer as a person reads it."""
    name = row.pop("fname")
    answer = row.pop("predicted", None)
    if answer is None:
        return f"{name}: " + ", ".join(f"{key} {value:.5g}" for key, value in row.items())
    best = sorted(row.items(), key=lambda entry: -entry[1])[: max(3, len(str(answer).split()))]
    shares = ", ".join(f"{key} {value:.2f}" for key, value in best)
    return f"{name}: {answer or 'nothing found'}  ({shares})"
