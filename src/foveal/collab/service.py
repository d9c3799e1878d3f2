"""The addresses of a model of ratings: a pair's rating, and a user's recommendations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foveal.collab.predictor import RatingPredictor
from foveal.collab.task import Id, Ids
from foveal.serve.admission import RequestRefusedError, Slot
from foveal.serve.forms import media_type
from foveal.serve.service import Service


class _Asked(BaseModel):
    """A pair, or a user and how many items; the other names are the table's columns, or `user` and `item`."""

    model_config = ConfigDict(extra="allow")

    k: int = Field(default=10, ge=1)


Asked = dict[str, object]
"""What a request holds: the fields of `_Asked`, and the names of user and item."""
Answer = dict[str, object]
"""What goes out as JSON."""


@dataclass(frozen=True, slots=True)
class _Ratings:
    service: Service
    predictor: RatingPredictor

    async def answer(self, request: Request, work: Callable[[Asked], Answer]) -> Answer:
        with Slot(self.service.engine.limiter) as slot:
            given = await self.asked(request, slot)
            return await self.service.engine.run(lambda: work(given))

    async def asked(self, request: Request, slot: Slot) -> Asked:
        kind = media_type(request.headers.get("content-type", ""))
        if kind != "application/json":
            raise RequestRefusedError(415, f"Send JSON (Content-Type application/json); got {kind or 'none'}.")
        body = await self.service.body(request, slot)
        try:
            return _Asked.model_validate_json(body).model_dump()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise RequestRefusedError(422, f"Send a JSON object. {where} {first['msg']}".strip()) from None

    def user(self, given: Asked) -> Id:
        return _id(given, self.predictor.task.columns[0], "user", self.predictor.task.users)

    def item(self, given: Asked) -> Id:
        return _id(given, self.predictor.task.columns[1], "item", self.predictor.task.items)

    def rating(self, given: Asked) -> Answer:
        task, user, item = self.predictor.task, self.user(given), self.item(given)
        answer = self.predictor.predict(user, item)
        known = zip(task.columns, (task.users.number(user), task.items.number(item)), strict=False)
        unknown = [name for name, number in known if number == 0]
        return {
            task.columns[0]: user,
            task.columns[1]: item,
            **task.to_json(answer.values, answer.label),
            "unknown": unknown,
        }

    def recommendations(self, given: Asked) -> Answer:
        task, user = self.predictor.task, self.user(given)
        k = given["k"]
        assert isinstance(k, int)  # `_Asked` has seen to it
        found = self.predictor.recommend(user, min(k, len(task.items)))
        rows = [{task.columns[1]: one.item, task.columns[2]: one.rating} for one in found]
        return {task.columns[0]: user, "recommended": rows}


def add_ratings(app: FastAPI, service: Service, predictor: RatingPredictor) -> dict[str, object]:
    """Add the addresses; return what the page needs to know of the model.

    Args:
        app: what they are added to.
        service: what the addresses of this process share.
        predictor: the model that answers.
    """
    ratings = _Ratings(service, predictor)
    user, item, rating = predictor.task.columns

    @app.post("/predict", summary=f"The {rating} that a `{user}` would give a `{item}`.")
    async def predict(request: Request) -> Answer:
        return {"answers": [await ratings.answer(request, ratings.rating)]}

    @app.post("/recommend", summary=f"The `k` best of {item} for a `{user}`, without what they had.")
    async def recommend(request: Request) -> Answer:
        return await ratings.answer(request, ratings.recommendations)

    return {"columns": list(predictor.task.columns), "explains": False}


def _id(given: Asked, name: str, also: str, ids: Ids) -> Id:
    """Return an id as training had it: a form sends 7 as text."""
    value = given.get(name, given.get(also))
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise RequestRefusedError(422, f"`{name}` must be given, as text or a whole number.")
    if ids.number(value):
        return value
    other = str(value) if isinstance(value, int) else int(value) if value.isdecimal() and len(value) < 19 else value
    return other if ids.number(other) else value
