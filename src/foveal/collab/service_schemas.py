"""The JSON of requests and answers about ratings, for /openapi.json: names depend on the table's columns."""

from __future__ import annotations

from typing import Any

from foveal.collab.service_request import RecommendRequest
from foveal.serve.schemas import Refusal

Schema = dict[str, Any]  # JSON schema, an open format
_ID: Schema = {"oneOf": [{"type": "string"}, {"type": "number"}], "description": "As the table has it."}
_TITLE: Schema = {"type": ["string", "null"], "description": "Null where no title is known."}
_ITEM: Schema = {"type": "object", "properties": {"id": _ID, "title": _TITLE}, "required": ["id", "title"]}
REFUSALS: dict[int | str, Schema] = {
    408: {"model": Refusal, "description": "The body did not come in time."},
    413: {"model": Refusal, "description": "The body is too large."},
    415: {"model": Refusal, "description": "The body is not JSON."},
    421: {"model": Refusal, "description": "The service listens on its own machine only and has another name there."},
    422: {"model": Refusal, "description": "The request cannot be answered; `error` says why."},
    503: {"model": Refusal, "description": "All places are taken; `Retry-After` says when to try again."},
}
QUERY: list[Schema] = [
    {
        "name": "q",
        "in": "query",
        "schema": {"type": "string", "default": ""},
        "description": "Words of a title, or their beginnings, in any order; an id. Empty: the most popular items.",
    },
    {"name": "limit", "in": "query", "schema": {"type": "integer", "default": 20}, "description": "The most items."},
]


def request_body(schema: Schema) -> Schema:
    """Return what FastAPI adds to the description of an address that takes JSON."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def answer(schema: Schema) -> dict[int | str, Schema]:
    """Return the description of an address's answers: the usual one, and refusals."""
    return {200: {"description": "The answer.", "content": {"application/json": {"schema": schema}}}, **REFUSALS}


def pair(columns: tuple[str, str, str]) -> Schema:
    """Return what a request for one rating holds."""
    return _object({columns[0]: _ID, columns[1]: _ID}, columns[:2])


def pair_answer(columns: tuple[str, str, str]) -> Schema:
    """Return what the answer with one rating holds."""
    unknown = {"type": "array", "items": {"type": "string"}, "description": "Columns whose id training did not know."}
    one = {columns[0]: _ID, columns[1]: _ID, columns[2]: {"type": "number"}, "unknown": unknown}
    return _object({"answers": {"type": "array", "items": _object(one, one)}}, ["answers"])


def wishes(columns: tuple[str, str, str]) -> Schema:
    """Return what a request for recommendations holds, with an example for somebody new."""
    properties = RecommendRequest.model_json_schema()["properties"]
    user = {**_ID, "description": f"Somebody of training; also as `{columns[0]}`."}
    return {"type": "object", "properties": {"user": user, **properties}, "example": {"liked": ["..."], "k": 5}}


def recommended(columns: tuple[str, str, str]) -> Schema:
    """Return what the answer with recommendations holds."""
    one = {
        "title": _TITLE,
        "score": {"type": "number", "description": "What they are sorted by; comparable within one answer only."},
        "because": {"type": "array", "items": _ITEM, "description": "What they had that speaks most for it."},
        columns[1]: _ID,
        columns[2]: {"type": ["number", "null"], "description": "The predicted rating; null where it is not known."},
    }
    user = {**_ID, "description": "Absent for somebody new."}
    unknown = {
        "type": "array",
        "items": {"type": "string"},
        "description": "The column of users, where training did not know the user; then popular items are recommended.",
    }
    rows = {"type": "array", "items": _object(one, one), "description": "The best first."}
    return _object({columns[0]: user, "unknown": unknown, "recommended": rows}, ["recommended"])


def items() -> Schema:
    """Return what the answer of a search holds."""
    return _object({"items": {"type": "array", "items": _ITEM, "description": "The best match first."}}, ["items"])


def _object(properties: Schema, required: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required)}
