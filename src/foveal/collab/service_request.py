"""What a request to the service may hold: for whom, and which wishes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, ValidationError

from foveal.collab.item_search import shortened
from foveal.core.errors import near_match
from foveal.serve.admission import RequestRefusedError

MOST_ITEMS = 1000
"""Items of one answer, and of each list in a request; chosen by hand: 0.1 s of work, beyond what anybody reads."""

_MOST_DIVERSE = 100
"""Items of one answer with `diverse`: each is compared with all above it; 1,000 took 33 s (9,000 items, two cores)."""

Name = StrictStr | StrictInt | StrictFloat
"""An item by id or by title."""
Wanted = TypeVar("Wanted", bound=BaseModel)


class PairRequest(BaseModel):
    """A pair; the other names are the table's columns, or `user` and `item`."""

    model_config = ConfigDict(extra="allow")


class RecommendRequest(BaseModel):
    """Somebody, and wishes; the other name is the table's column of users, or `user`."""

    model_config = ConfigDict(extra="allow")

    liked: list[Name] | None = Field(
        default=None, max_length=MOST_ITEMS, description="Somebody new: items that they like, by id or title."
    )
    ratings: dict[str, float | None] | None = Field(
        default=None,
        max_length=MOST_ITEMS,
        description="Somebody new: their ratings by item (id or title); null for one that they like.",
    )
    k: int = Field(default=10, ge=1, le=MOST_ITEMS, description="How many items.")
    seen: bool = Field(default=False, description="Whether items that they had may be among them.")
    diverse: float = Field(
        default=0.0, ge=0, le=1, description="0: the best scores; towards 1, items like those above are passed over."
    )
    exclude: list[Name] = Field(
        default=[], max_length=MOST_ITEMS, description="Items that are left out, by id or title."
    )
    only: list[Name] | dict[str, Name] | None = Field(
        default=None,
        max_length=MOST_ITEMS,
        description="The items among which is chosen, by id or title, or a value by column of the items.",
    )
    by: Literal["ranking", "rating"] = Field(
        default="ranking", description="What sorts them: the ranking model, or the predicted rating."
    )


_EXPECTED = {
    "liked": f"a list of up to {MOST_ITEMS:,} items, each an id or a title",
    "ratings": f'an object of up to {MOST_ITEMS:,} ratings by item, such as {{"50": 4}}',
    "k": f"a whole number from 1 to {MOST_ITEMS:,}",
    "seen": "true or false",
    "diverse": "a number from 0 to 1",
    "exclude": f"a list of up to {MOST_ITEMS:,} items, each an id or a title",
    "only": f'a list of up to {MOST_ITEMS:,} items, each an id or a title, or an object such as {{"genre": "Drama"}}',
    "by": '"ranking" or "rating"',
}


def parse(body: bytes, kind: type[Wanted]) -> Wanted:
    """Return what a body holds.

    Args:
        body: JSON.
        kind: what it should hold.

    Raises:
        RequestRefusedError: 422, something in it is not as expected.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if name not in _EXPECTED:
            raise RequestRefusedError(422, f"Send a JSON object. {name} {first['msg']}".strip()) from None
        raise RequestRefusedError(
            422, f"`{name}` must be {_EXPECTED[name]}; got {shortened(first['input'])}."
        ) from None


def check_request(request: RecommendRequest, columns: tuple[str, str, str]) -> None:
    """Refuse names that a request should not hold, and what does not go together.

    Args:
        request: what is wanted.
        columns: of user, item and rating.

    Raises:
        RequestRefusedError: 422, a name is unknown, somebody is known and new at once, or `k` is too large.
    """
    if request.diverse and request.k > _MOST_DIVERSE:
        raise RequestRefusedError(422, f"With `diverse`, `k` is at most {_MOST_DIVERSE}; got {request.k:,}.")
    given = request.model_extra or {}
    users, items = (columns[0], "user"), (columns[1], "item")
    known = [*users, *RecommendRequest.model_fields]
    for name in given:
        if name not in known and name not in items:
            hint = near_match(name[:100], known)
            raise RequestRefusedError(
                422, f"A request has no {shortened(name)}.{hint} It may have: {', '.join(dict.fromkeys(known))}."
            )
    user = next((name for name in users if name in given), None)
    new = next((name for name in ("liked", "ratings") if getattr(request, name) is not None), None)
    if user and new:
        raise RequestRefusedError(
            422, f"`{user}` names somebody of training and `{new}` somebody new: give one of the two."
        )


def check_ratings(ratings: Mapping[str, float | None], low: float, high: float) -> None:
    """Refuse ratings that training cannot have had.

    Args:
        ratings: by item.
        low: the lowest rating of training.
        high: the highest.

    Raises:
        RequestRefusedError: 422, a rating lies outside.
    """
    for item, rating in ratings.items():
        if rating is not None and not (math.isfinite(rating) and low <= rating <= high):
            raise RequestRefusedError(
                422, f"`ratings`: {shortened(item)} has {rating:g}; a rating is from {low:g} to {high:g}."
            )
