"""The addresses of a model of ratings: a pair's rating, recommendations, and the search of items."""

from __future__ import annotations

import importlib
import importlib.resources
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from pydantic import BaseModel

from foveal.collab import service_schemas as schemas
from foveal.collab.item_search import ItemSearch, known_id, shortened
from foveal.collab.model import EmbeddingDotBias
from foveal.collab.predictor import RatingPredictor
from foveal.collab.recommended import Recommended
from foveal.collab.service_request import (
    Name,
    PairRequest,
    RecommendRequest,
    check_ratings,
    check_request,
    parse,
)
from foveal.collab.task import Id, Ids, ImplicitFeedback
from foveal.core import storage
from foveal.core.errors import near_match
from foveal.serve.admission import RequestRefusedError, Slot
from foveal.serve.assets import page_texts
from foveal.serve.forms import media_type
from foveal.serve.page import add_page
from foveal.serve.service import Service

_MOST_COMPARED = 2000  # cells of a column that a value is compared with for a hint; chosen by hand: some ms
_MOST_FOUND, _LONGEST_QUERY = 100, 200  # items of one search, characters of a query; chosen by hand

Answer = dict[str, object]
"""What goes out as JSON."""
Wanted = TypeVar("Wanted", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class _Ratings:
    service: Service
    predictor: RatingPredictor
    search: ItemSearch

    async def answer(self, request: Request, kind: type[Wanted], work: Callable[[Wanted], Answer]) -> Answer:
        with Slot(self.service.engine.limiter) as slot:
            content = media_type(request.headers.get("content-type", ""))
            if content != "application/json":
                raise RequestRefusedError(415, f"Send JSON (Content-Type application/json); got {content or 'none'}.")
            body = await self.service.body(request, slot)
            return await self.service.engine.run(lambda: work(parse(body, kind)))

    def rating(self, request: PairRequest) -> Answer:
        task, given = self.predictor.task, request.model_extra or {}
        user = _id(given.get(task.columns[0], given.get("user")), task.columns[0], task.users)
        item = _id(given.get(task.columns[1], given.get("item")), task.columns[1], task.items)
        answer = self.predictor.predict(user, item)
        known = zip(task.columns, (task.users.number(user), task.items.number(item)), strict=False)
        unknown = [name for name, number in known if number == 0]
        return {
            task.columns[0]: user,
            task.columns[1]: item,
            **task.to_json(answer.values, answer.label),
            "unknown": unknown,
        }

    def recommendations(self, request: RecommendRequest) -> Answer:
        task = self.predictor.task
        check_request(request, task.columns)
        n = min(request.k, len(task.items))
        wishes: dict[str, Any] = {
            "seen": request.seen,
            "by": request.by,
            "diverse": request.diverse,
            "exclude": [self.item(name, "exclude") for name in request.exclude],
            "only": self.only(request.only),
        }
        if request.liked is not None or request.ratings is not None:
            likes = self.likes(request)
            return {"recommended": self.rows(self.predictor.recommend_to_new(likes, n, **wishes))}
        given = request.model_extra or {}
        name, value = task.columns[0], given.get(task.columns[0], given.get("user"))
        if value is None:
            raise RequestRefusedError(
                422, f"`{name}` must be given, or of somebody new `liked` (a list of items) or `ratings` (by item)."
            )
        user = _id(value, name, task.users)
        if task.users.number(user) == 0:
            found = self.predictor.most_popular(n, exclude=wishes["exclude"], only=wishes["only"])
            return {name: user, "unknown": [name], "recommended": self.rows(found)}
        return {name: user, "recommended": self.rows(self.predictor.recommend(user, n, **wishes))}

    def item(self, name: Name, where: str) -> Id:
        """Return the item that is named by its id or, if there is no such id, by its title.

        Raises:
            RequestRefusedError: 422, no item of training has the id or the title.
        """
        search = self.search
        if (item := search.named(name)) is not None:
            return item
        raise RequestRefusedError(
            422, f"`{where}`: no item of training has the id or the title {shortened(name)}.{search.hint(name)}"
        )

    def likes(self, request: RecommendRequest) -> dict[Id, Any]:
        """Return the ratings of somebody new by item; None for an item that they like.

        Raises:
            RequestRefusedError: 422, nothing is named, or ratings are given that the model cannot use.
        """
        task, ratings = self.predictor.task, request.ratings or {}
        if ratings and isinstance(task, ImplicitFeedback):
            raise RequestRefusedError(
                422, f"`ratings`: this model knows who had a {task.columns[1]}, and no ratings; give a list `liked`."
            )
        check_ratings(ratings, task.low, task.high)
        likes: dict[Id, float | None] = {self.item(name, "liked"): None for name in request.liked or ()}
        likes |= {self.item(name, "ratings"): rating for name, rating in ratings.items()}
        if not likes:
            raise RequestRefusedError(422, "Name at least one item in `liked` or `ratings`.")
        by_rating = request.by == "rating" or self.predictor.ranking is None
        if by_rating and not (_places_by_rating(self.predictor) and any(value is not None for value in likes.values())):
            raise RequestRefusedError(422, _no_rating(self.predictor))
        return likes

    def only(self, wanted: list[Name] | dict[str, Name] | None) -> list[Id] | None:
        """Return the items among which is chosen; None where all are.

        Raises:
            RequestRefusedError: 422, no item of training is of that kind.
        """
        if wanted is None:
            return None
        if not isinstance(wanted, dict):
            return [self.item(name, "only") for name in wanted]
        known = set(self.search.ids)
        for column, value in wanted.items():
            known &= set(self.predictor.items.where(column, str(value)))
        if not known:
            told = " and ".join(f"`{column}` {shortened(value)}" for column, value in wanted.items())
            hint = "".join(self.value_hint(column, value) for column, value in wanted.items())
            raise RequestRefusedError(422, f"`only`: no item of training has {told}.{hint}")
        return list(known)

    def value_hint(self, column: str, value: str | float) -> str:
        table = self.predictor.items.columns
        assert table is not None  # `where` has refused a table without columns
        cells = table[column].dropna().astype(str).unique()[:_MOST_COMPARED]
        values = {part.strip() for cell in cells for part in re.split(r"[|,;]", cell)}
        return near_match(str(value)[:_LONGEST_QUERY], sorted(values))

    def rows(self, found: Sequence[Recommended]) -> list[Answer]:
        _, item, rating = self.predictor.task.columns
        rows: list[Answer] = []
        for one in found:
            row: Answer = {"title": one.title, "score": storage.finite(one.score), "because": self.named(one.because)}
            rows.append(row | {item: one.item, rating: storage.finite(one.rating)})  # a table may have a column `title`
        return rows

    def named(self, items: Sequence[Id]) -> list[Answer]:
        return [{"id": item, "title": self.predictor.titles.get(item)} for item in items]

    async def found(self, request: Request) -> Answer:
        query, limit = request.query_params.get("q", ""), request.query_params.get("limit", "20")
        if len(query) > _LONGEST_QUERY:
            raise RequestRefusedError(422, f"`q` may have up to {_LONGEST_QUERY} characters; got {len(query):,}.")
        if not (limit.isdecimal() and len(limit) < 9 and 1 <= int(limit) <= _MOST_FOUND):
            raise RequestRefusedError(
                422, f"`limit` must be a whole number from 1 to {_MOST_FOUND}; got {shortened(limit)}."
            )
        with Slot(self.service.engine.limiter):
            found = await self.service.engine.run(lambda: self.search.search(query, int(limit)))
        return {"items": self.named(found)}


def add_ratings(app: FastAPI, service: Service, predictor: RatingPredictor) -> dict[str, object]:
    """Add the addresses that answer for users and items.

    Args:
        app: what they are added to.
        service: what the addresses of this process share.
        predictor: the model that answers.

    Returns:
        What the page needs to know of the model.
    """
    task = predictor.task
    ratings = _Ratings(service, predictor, predictor.search)
    user, item, rating = columns = task.columns

    @app.post(
        "/predict",
        summary=f"The {rating} that a `{user}` would give a `{item}`.",
        openapi_extra=schemas.request_body(schemas.pair(columns)),
        responses=schemas.answer(schemas.pair_answer(columns)),
    )
    async def predict(request: Request) -> Answer:
        return {"answers": [await ratings.answer(request, PairRequest, ratings.rating)]}

    @app.post(
        "/recommend",
        summary=f"The `k` best of {item} for a `{user}`, or for somebody new by what they like.",
        openapi_extra=schemas.request_body(schemas.wishes(columns)),
        responses=schemas.answer(schemas.recommended(columns)),
    )
    async def recommend(request: Request) -> Answer:
        return await ratings.answer(request, RecommendRequest, ratings.recommendations)

    @app.get(
        "/items",
        summary=f"The {item} whose titles have the words of `q`.",
        openapi_extra={"parameters": schemas.QUERY},
        responses=schemas.answer(schemas.items()),
    )
    async def items(request: Request) -> Answer:
        return await ratings.found(request)

    if _places_by_rating(predictor):
        importlib.import_module("torch._dynamo")  # torch.optim loads it at its first step: 1.2 s of the first answer
    static = importlib.resources.files("foveal.collab").joinpath("static")
    add_page(app, page_texts(static, "ratings", ("service.js",)))
    return {"columns": list(columns), "explains": False} | _about(predictor)


def _about(predictor: RatingPredictor) -> dict[str, object]:
    """Return what the page needs to know besides the columns."""
    task, ranking = predictor.task, predictor.ranking
    has_ratings = not isinstance(task, ImplicitFeedback)
    return {
        "has_ratings": has_ratings,
        "has_titles": bool(predictor.titles),
        "low": task.low,
        "high": task.high,
        "ranks": ranking is not None,
        "reads": "had" if ranking is None else ranking.part.learns_from,
        "places_by_rating": _places_by_rating(predictor),
        "takes_ratings": has_ratings and (ranking is not None or _places_by_rating(predictor)),
    }


def _places_by_rating(predictor: RatingPredictor) -> bool:
    """Return whether the rating model can say what somebody new would rate."""
    return isinstance(predictor.model, EmbeddingDotBias) and not isinstance(predictor.task, ImplicitFeedback)


def _no_rating(predictor: RatingPredictor) -> str:
    """Return why somebody new cannot be ranked for by rating, and what to do."""
    if not _places_by_rating(predictor):
        return "This model cannot predict the ratings of somebody new" + (
            ': leave `by` at "ranking".' if predictor.ranking is not None else ", and it has no ranking model."
        )
    return (
        "By rating, somebody new is known by their ratings: give `ratings` of at least one item, such as "
        f'{{"ratings": {{"...": {predictor.task.high:g}}}}}.'
    )


def _id(value: object, name: str, ids: Ids) -> Id:
    """Return an id as training had it, or as it is where training had none: a form sends 7 as text.

    Raises:
        RequestRefusedError: 422, it is missing, or neither text nor a number.
    """
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise RequestRefusedError(422, f"`{name}` must be given, as text or a number; got {shortened(value)}.")
    known = known_id(ids, value)
    return value if known is None else known
