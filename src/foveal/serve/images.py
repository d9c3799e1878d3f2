"""The addresses of a model of images: answers, and what the model looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from pydantic import JsonValue
from starlette.responses import JSONResponse, Response

from foveal.core import storage
from foveal.core.errors import InputError
from foveal.images.png import encoded_png
from foveal.inference.explain import overlay
from foveal.inference.predictor import Predictor
from foveal.serve.admission import Slot
from foveal.serve.assets import page_model
from foveal.serve.collect import Collector
from foveal.serve.engine import Out
from foveal.serve.forms import Upload, check_media_type, parse_uploads
from foveal.serve.schemas import AllRefused, Answers, Kept, Refusal
from foveal.serve.service import Service
from foveal.tasks.confidence import json_of

_AT_ONCE = 4  # images of one request, so that a form with many leaves room for others; chosen by hand
_FILE: dict[str, JsonValue] = {"type": "string", "format": "binary"}
_FORM: dict[str, JsonValue] = {"type": "object", "properties": {"file": {"type": "array", "items": _FILE}}}
_REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": _FILE},
            "application/octet-stream": {"schema": _FILE},
            "multipart/form-data": {"schema": _FORM},
        },
    }
}
_Responses = dict[int | str, dict[str, Any]]  # as FastAPI declares them
Labels = Annotated[list[str] | None, Query()]
OnFirst = Callable[[Request, Callable[[bytes], Any]], Awaitable[Any]]
"""Returns what a function makes of the first image of a request."""
_REFUSALS: _Responses = {
    401: {"model": Refusal, "description": "The service wants a key, and the request brings none of them."},
    403: {"model": Refusal, "description": "A page of another site made a browser send it."},
    408: {"model": Refusal, "description": "The body did not come in time."},
    413: {"model": Refusal, "description": "The body is too large, or holds too many images."},
    415: {"model": Refusal, "description": "The body is neither an image nor a form."},
    421: {"model": Refusal, "description": "The service listens on its own machine only and has another name there."},
    422: {"model": AllRefused, "description": "No image of the request can be used."},
    503: {"model": Refusal, "description": "All places are taken; `Retry-After` says when to try again."},
}
_FULL: _Responses = {507: {"model": Refusal, "description": "The folder for corrections is full."}}
_PNG: _Responses = {
    200: {"content": {"image/png": {"schema": _FILE}}, "description": "A PNG of the size of the image."}
}


def add_images(app: FastAPI, service: Service, predictor: Predictor) -> dict[str, object]:
    """Add the addresses that answer for images.

    Args:
        app: what they are added to.
        service: what the addresses of this process share.
        predictor: the model that answers.

    Returns:
        What the page needs to know of the model.
    """
    engine, measures, watcher, task = service.engine, service.measures, service.watcher, predictor.task

    async def answer(upload: Upload) -> Mapping[str, object]:
        try:
            prediction, (height, width) = await engine.answer(upload.content)
        except InputError as error:
            measures.count_image("refused")
            return {"name": upload.name, "error": getattr(error, "reason", str(error))}
        measures.count_image("answered")
        if watcher.count(prediction):
            await engine.run(watcher.write)
        about = {"name": upload.name, "width": width, "height": height}
        return about | json_of(task, prediction.values, prediction.label, prediction.radius, prediction.is_known)

    async def in_turn(turn: asyncio.Semaphore, upload: Upload) -> Mapping[str, object]:
        async with turn:
            return await answer(upload)

    async def read_uploads(request: Request, slot: Slot) -> list[Upload]:
        content_type = request.headers.get("content-type", "")
        check_media_type(content_type)
        body = await service.body(request, slot)
        return await engine.run(lambda: parse_uploads(body, content_type))

    # FastAPI neither validates nor filters a `Response`: `response_model` only describes it.
    @app.post(
        "/predict",
        summary="Answer for one image, or for the files of a form.",
        openapi_extra=_REQUEST_BODY,
        response_model=Answers,
        responses=_REFUSALS,
    )
    async def predict(request: Request) -> Response:
        with Slot(engine.limiter) as slot:
            uploads = await read_uploads(request, slot)
            slot.grow(min(len(uploads), _AT_ONCE) - 1)
            turn = asyncio.Semaphore(_AT_ONCE)
            answers = await asyncio.gather(*(in_turn(turn, upload) for upload in uploads))
        if all("error" in entry for entry in answers):
            return JSONResponse({"error": answers[0]["error"], "answers": answers}, 422)
        return JSONResponse(storage.finite({"answers": answers}))

    async def on_first(request: Request, work: Callable[[bytes], Out]) -> Out:
        """Return what a function makes of the first image of a request, in a thread."""
        with Slot(engine.limiter) as slot:
            image = (await read_uploads(request, slot))[0].content
            return await engine.run_for(image, lambda: work(image))

    _add_explain(app, predictor, on_first)
    folder, limit = service.settings.collect, service.settings.collect_bytes
    if folder is not None:
        _add_corrections(app, Collector(folder, limit, task, service.sha256), on_first)
    about = {
        "explains": predictor.supports_explain,
        "collects": folder is not None,
        "max_body": service.settings.max_body,
    }
    return page_model(predictor) | about


def _add_explain(app: FastAPI, predictor: Predictor, on_first: OnFirst) -> None:
    @app.post(
        "/explain",
        summary="An image, dark where the model did not look for `label` (Grad-CAM).",
        openapi_extra=_REQUEST_BODY,
        response_class=Response,
        responses=_PNG | _REFUSALS,
    )
    async def explain(request: Request, label: str | None = None) -> Response:
        png = await on_first(request, lambda image: encoded_png(overlay(predictor, image, label)[0]))
        return Response(png, media_type="image/png")


def _add_corrections(app: FastAPI, collector: Collector, on_first: OnFirst) -> None:
    @app.post(
        "/correction",
        summary="Keep an image whose answer was wrong, with the labels that are right.",
        openapi_extra=_REQUEST_BODY,
        response_model=Kept,
        responses=_REFUSALS | _FULL,
    )
    async def correct(request: Request, label: Labels = None, answered: Labels = None) -> dict[str, str]:
        return {"kept": await on_first(request, lambda image: collector.keep(image, label or (), answered or ()))}
