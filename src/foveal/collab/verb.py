"""`foveal recommend`: what users would like, by a model of ratings."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from foveal.collab.predictor import RatingPredictor
    from foveal.collab.recommended import Recommendations, Recommended
    from foveal.collab.task import Id

Option = typer.Option


class By(StrEnum):
    """What ranks."""

    RANKING = "ranking"
    RATING = "rating"


def recommend(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model.safetensors.")],
    users: Annotated[list[str] | None, typer.Argument(metavar="[USER...]", help="Users; all by default.")] = None,
    *,
    top: Annotated[int, Option(min=1, metavar="N", help="How many items.")] = 10,
    liked: Annotated[
        list[str] | None, Option(metavar="ITEM", help="For somebody new: what they like, by id or title; repeat it.")
    ] = None,
    seen: Annotated[bool, Option(help="Recommend also what a user had in training, or likes.")] = False,
    by: Annotated[
        By, Option(metavar="ranking|rating", help="What ranks: the ranking model, or predicted ratings.")
    ] = By.RANKING,
    diverse: Annotated[
        float, Option(min=0, max=1, metavar="NUMBER", help="Pass over items like those above them: 0 to 1.")
    ] = 0.0,
    exclude: Annotated[
        list[str] | None, Option(metavar="ITEM", help="Never these: an id, a title or COLUMN=VALUE; repeat it.")
    ] = None,
    only: Annotated[
        list[str] | None, Option(metavar="ITEM", help="Only among these: an id, a title or COLUMN=VALUE; repeat it.")
    ] = None,
    new_items: Annotated[
        Path | None,
        Option(metavar="FILE", help="A table of items that training did not know; with --only new, these alone."),
    ] = None,
    out: Annotated[Path | None, Option(metavar="FILE", help="A .csv, .jsonl or .parquet; printed by default.")] = None,
) -> None:
    """Recommend to users what they would like most, and say why.

    Examples:
        foveal recommend model.safetensors 42
        foveal recommend model.safetensors --liked 'Toy Story (1995)'

    More: docs/recommending.md
    """
    from foveal.collab.naming import item_named, user_named, wishes_of
    from foveal.collab.predictor import RatingPredictor
    from foveal.core.errors import InputError
    from foveal.core.tables import check_table, write_table
    from foveal.inference.loading import load_predictor

    if out is not None:
        check_table(out)
    if liked and users:
        raise InputError(f"--liked is for somebody new; {users[0]!r} is named as a user of training. Give one of both.")
    if liked and by is By.RATING:
        raise InputError(
            "--by rating ranks for somebody new by their ratings, and `--liked` gives none: leave --by out. With "
            "ratings, in Python: load_learner(MODEL).recommend_to_new({ITEM: RATING}, by='rating')."
        )
    predictor = load_predictor(model)
    if not isinstance(predictor, RatingPredictor):
        raise InputError(f"`{model}` answers for images: use `foveal predict`.")
    wishes = wishes_of(predictor, exclude or (), only or (), new_items)
    wishes |= {"by": by.value, "diverse": diverse}
    if liked:
        items = [item_named(predictor, text) for text in liked]
        lists: Iterable[tuple[Id | None, Recommendations]] = [
            (None, predictor.recommend_to_new(items, top, seen=seen, **wishes))
        ]
    else:
        chosen = [user_named(predictor, text) for text in users] if users else None
        lists = predictor.recommend_all(top, seen=seen, users=chosen, **wishes)
    if out is not None:
        n = write_table(out, _rows(predictor, lists), _columns(predictor))
        typer.echo(f"{n:,} recommendations, written to {out}.")
    else:
        _print(predictor, lists)


def _print(predictor: RatingPredictor, lists: Iterable[tuple[Id | None, Recommendations]]) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for user, found in lists:
        for rank, one in enumerate(found, start=1):
            typer.echo(_line(predictor, user, rank, one)[:width])


def _rows(
    predictor: RatingPredictor, lists: Iterable[tuple[Id | None, Recommendations]]
) -> Iterator[dict[str, object]]:
    columns = _columns(predictor)
    for name, found in lists:
        for rank, one in enumerate(found, start=1):
            title = (one.title,) if predictor.titles else ()
            because = " | ".join(str(predictor.items.name(reason)) for reason in one.because)
            cells = ("" if name is None else name, rank, one.item, *title, one.rating, one.score, because)
            yield dict(zip(columns, cells, strict=True))


def _columns(predictor: RatingPredictor) -> tuple[str, ...]:
    user, item, rating = predictor.task.columns
    title = (f"{item}_title",) if predictor.titles else ()
    return user, "rank", item, *title, rating, "score", "because"


def _line(predictor: RatingPredictor, user: Id | None, rank: int, one: Recommended) -> str:
    rating = "    " if one.rating is None else f"{one.rating:.2f}"
    why = (
        f"  because of {' and '.join(str(predictor.items.name(reason)) for reason in one.because)}"
        if one.because
        else ""
    )
    return f"{'you' if user is None else user}  {rank:>3}  {rating}  {one.title or one.item}{why}"
