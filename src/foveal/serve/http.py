"""The application: its parts put together, the addresses of every model, and the status of each kind of error."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from foveal import __version__
from foveal.core import processors, runtime
from foveal.core.errors import ImageError, InputError
from foveal.core.registry import resolve
from foveal.inference.loading import load_predictor
from foveal.inference.store import read_manifest
from foveal.reporting.card import card_of
from foveal.serve.admission import RequestRefusedError
from foveal.serve.engine import Engine
from foveal.serve.guard import Guard, error_response
from foveal.serve.images import add_images
from foveal.serve.measures import Measures
from foveal.serve.page import STATIC, add_page
from foveal.serve.service import ServeSettings, Service
from foveal.tasks.kinds import kind_of

AddEndpoints = Callable[[FastAPI, Service, Any], dict[str, object]]
"""Adds the addresses of a kind of predictor, and returns what its page needs to know of the model."""

SETTINGS = "FOVEAL_SERVE"


def app_of(settings: ServeSettings) -> FastAPI:
    """Return the application that serves a bundle.

    Raises:
        ModelFileError: the bundle cannot be loaded.
    """
    measures, cores = Measures(), max(1, processors.usable() // settings.workers)
    predictor = load_predictor(settings.model, device=settings.device)
    engine = Engine(predictor, max_queue=settings.max_queue, num_workers=cores, on_batch=measures.count_batch)
    service = Service(settings, predictor, read_manifest(settings.model), engine, measures)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with runtime.on_threads(cores):
            await asyncio.to_thread(engine.start)
            yield
            await asyncio.to_thread(engine.stop)

    app = FastAPI(title="foveal", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(Guard, measures=measures, engine=engine, host=settings.host)
    for error in (RequestRefusedError, ImageError, InputError, HTTPException, ClientDisconnect):
        app.add_exception_handler(error, _handle_error)
    reference = kind_of(predictor.task).endpoints
    add_endpoints: AddEndpoints = add_images if reference is None else resolve(reference)
    _add_common(app, service, add_endpoints(app, service, predictor))
    return app


def app_from_environment() -> FastAPI:
    """Return the application whose settings stand in the environment, as every worker process makes it."""
    return app_of(ServeSettings.model_validate_json(os.environ[SETTINGS]))


def _add_common(app: FastAPI, service: Service, about: dict[str, object]) -> None:
    card = card_of(service.manifest, service.settings.model).to_dict()
    about = {"kind": service.predictor.task.kind, "card": card} | about

    @app.get("/model", summary="What the model answers, and its card.")
    async def model() -> dict[str, object]:
        return about

    @app.get("/healthz", summary="Whether the process is alive.")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether requests would be answered: 503 if the model's thread is gone.")
    async def readyz() -> JSONResponse:
        ready = service.engine.is_alive
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    @app.get("/metrics", summary="Counters in Prometheus' text format.", response_class=Response)
    async def metrics() -> Response:
        limiter = service.engine.limiter
        service.measures.n_slots.set(limiter.n_slots)
        service.measures.n_taken.set(limiter.n_taken)
        return Response(service.measures.text(), media_type=service.measures.kind)

    if not any(getattr(route, "path", "") == "/" for route in app.routes):  # a kind may have added a page of its own
        add_page(app, STATIC, "images")


async def _handle_error(_: Request, error: Exception) -> Response:
    """Return an error as JSON."""
    match error:
        case RequestRefusedError():
            return error_response(error)
        case ImageError():
            return error_response(RequestRefusedError(422, error.reason))
        case HTTPException():
            return error_response(RequestRefusedError(error.status_code, str(error.detail)))
        case ClientDisconnect():
            return error_response(RequestRefusedError(499, "The sender left."))
        case _:
            return error_response(RequestRefusedError(422, str(error)))
