"""`foveal recommend`: what users would like, by a model of ratings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

Option = typer.Option


def recommend(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model.safetensors.")],
    users: Annotated[list[str] | None, typer.Argument(metavar="[USER...]", help="Users; all by default.")] = None,
    *,
    top: Annotated[int, Option(help="How many items.")] = 10,
    seen: Annotated[bool, Option(help="Recommend also what a user had in training.")] = False,
    out: Annotated[Path | None, Option(help="A .csv, .jsonl or .parquet; printed by default.")] = None,
) -> None:
    """Recommend to users what they would rate highest."""
    from foveal.collab.predictor import RatingPredictor
    from foveal.core.errors import InputError
    from foveal.core.tables import check_table, write_table
    from foveal.inference.loading import load_predictor

    if out is not None:
        check_table(out)
    predictor = load_predictor(model)
    if not isinstance(predictor, RatingPredictor):
        raise InputError(f"`{model}` answers for images: use `foveal predict`.")
    user, item, rating = predictor.task.columns
    known = {str(value): value for value in predictor.task.users.known}

    def rows() -> Iterator[dict[str, str | float | None]]:
        chosen = ((name, predictor.recommend(known.get(name, name), top, seen=seen)) for name in users or ())
        for name, found in chosen if users else predictor.recommend_all(top, seen=seen):
            for rank, one in enumerate(found, start=1):
                yield {user: name, "rank": rank, item: one.item, rating: one.rating}

    if out is not None:
        typer.echo(f"{write_table(out, rows()):,} recommendations, written to {out}.")
        return
    for row in rows():
        typer.echo(f"{row[user]}  {row['rank']:>3}  {row[rating]:.2f}  {row[item]}")
