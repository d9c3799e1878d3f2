"""The addresses of a model of images: answers, and what the model looked at."""

from __future__ import annotations

import asyncio
import io
from typing import Any

from fastapi import FastAPI, Request
from PIL import Image
from starlette.responses import JSONResponse, Response

from foveal.core import storage
from foveal.core.errors import InputError
from foveal.inference.explain import overlay
from foveal.inference.predictor import Predictor
from foveal.serve.admission import Place
from foveal.serve.forms import Upload, check_kind, uploads_of
from foveal.serve.service import Service
from foveal.tasks.kinds import kind_of

_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "properties": {"file": {"type": "array", "items": _IMAGE["schema"]}}}}
_TAKES_IMAGES = {
    "requestBody": {
        "required": True,
        "content": {"image/*": _IMAGE, "application/octet-stream": _IMAGE, "multipart/form-data": _FORM},
    }
}


def add_images(app: FastAPI, service: Service, predictor: Predictor) -> dict[str, Any]:
    """Add the addresses; return what the page needs to know of the model."""
    engine, measures, task = service.engine, service.measures, predictor.task

    async def one(upload: Upload) -> dict[str, Any]:
        try:
            answer = await engine.answer(upload.content)
        except InputError as error:
            measures.image("refused")
            return {"name": upload.name, "error": getattr(error, "reason", str(error))}
        measures.image("answered")
        height, width = answer.size_hw
        said = task.to_json(answer.prediction.values, answer.prediction.label)
        return {"name": upload.name, "width": width, "height": height, **said}

    async def uploads(request: Request, place: Place) -> list[Upload]:
        kind = request.headers.get("content-type", "")
        check_kind(kind)
        body = await service.body(request, place)
        return await engine.run(lambda: uploads_of(body, kind))

    @app.post("/predict", summary="Answer for one image, or for the files of a form.", openapi_extra=_TAKES_IMAGES)
    async def predict(request: Request) -> Any:
        with Place(engine.places) as place:
            given = await uploads(request, place)
            place.grow(len(given) - 1)
            answers = await asyncio.gather(*map(one, given))
        if all("error" in answer for answer in answers):
            return JSONResponse({"error": answers[0]["error"], "answers": answers}, 422)
        return JSONResponse(storage.finite({"answers": answers}))

    @app.post(
        "/explain", summary="An image, dark where the model did not look for `label` (Grad-CAM).",
        openapi_extra=_TAKES_IMAGES, response_class=Response,
    )  # fmt: skip
    async def explain(request: Request, label: str | None = None) -> Response:
        with Place(engine.places) as place:
            given = await uploads(request, place)
            png = await engine.run(lambda: _explained(predictor, given[0], label))
        return Response(png, media_type="image/png")

    return {
        "names": list(task.names),
        "thresholds": dict(zip(task.names, task.decision.thresholds, strict=False)),
        "decides": kind_of(task).has_thresholds,
        "explains": predictor.supports_explain,
        "skeleton": [list(pair) for pair in getattr(task, "skeleton", ())],
        "max_body": service.settings.max_body,
    }


def _explained(predictor: Predictor, upload: Upload, label: str | None) -> bytes:
    pixels, _ = overlay(predictor, upload.content, label)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
