"""The application: its parts put together, the addresses of every model, and the status of each kind of error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from foveal import __version__
from foveal.core import processors, runtime, storage
from foveal.core.errors import ImageError, InputError
from foveal.core.registry import resolve
from foveal.inference.loading import load_predictor
from foveal.inference.reference import Tally
from foveal.inference.store import read_manifest
from foveal.inference.watching import CountingFolder
from foveal.reporting.card import card_of
from foveal.serve.admission import RequestRefusedError
from foveal.serve.assets import STATIC, page_texts
from foveal.serve.engine import Engine
from foveal.serve.guard import Guard, error_response, rules_of
from foveal.serve.images import add_images
from foveal.serve.measures import Measures
from foveal.serve.page import add_page
from foveal.serve.service import ServeSettings, Service
from foveal.serve.watcher import Watcher
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of, require

AddEndpoints = Callable[[FastAPI, Service, Any], dict[str, object]]
"""Adds the addresses of a kind of predictor, and returns what its page needs to know of the model."""


@dataclass(frozen=True, slots=True)
class ModelApp:
    """The application of one model, and what answers in it.

    Attributes:
        app: ASGI.
        engine: answers; it runs from `start` to `stop`.
        watcher: counts the answers.
    """

    app: FastAPI
    engine: Engine
    watcher: Watcher

    def start(self) -> None:
        """Begin to answer, before the first request."""
        self.engine.start()

    def stop(self) -> None:
        """Answer for everything that waits, write what was counted, and end, after the last request."""
        self.engine.stop()
        self.watcher.finish()


def threads_of(settings: ServeSettings) -> int:
    """Return how many threads each process has."""
    return max(1, processors.usable() // settings.workers)


def model_app(settings: ServeSettings, measures: Measures) -> ModelApp:
    """Return the application that serves a bundle.

    Args:
        settings: of one model.
        measures: that it counts in.

    Raises:
        ModelFileError: the bundle cannot be loaded.
    """
    file = next(iter(settings.loaded_from), settings.model)
    sha256 = storage.file_hash(file) if file.is_file() else ""
    predictor = load_predictor(file, device=settings.device)
    if settings.collect is not None:
        require("--collect", predictor.task, has="has_classes")
    engine = Engine(
        predictor,
        max_queue=settings.max_queue,
        max_pixels=settings.max_pixels,
        num_workers=threads_of(settings),
        on_batch=measures.count_batch,
    )
    manifest = read_manifest(file)
    watcher = _watcher_of(settings, predictor.task, manifest.training.reference, sha256)
    service = Service(settings, predictor, manifest, engine, measures, watcher, sha256)
    app = FastAPI(title="foveal", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, measures=measures, rules=rules_of(settings), limiter=lambda: engine.limiter, model=sha256)
    for error in (RequestRefusedError, ImageError, InputError, HTTPException, ClientDisconnect):
        app.add_exception_handler(error, handle_error)
    reference = kind_of(predictor.task).endpoints
    add_endpoints: AddEndpoints = add_images if reference is None else resolve(reference)
    _add_common(app, service, add_endpoints(app, service, predictor))
    return ModelApp(app, engine, watcher)


def _watcher_of(settings: ServeSettings, task: AnyTask, reference: Tally | None, sha256: str) -> Watcher:
    if settings.monitor is None:
        return Watcher(task, reference, None)
    if reference is None:
        raise InputError(
            f"`{settings.model}` does not say what it answered on validation images, with which --monitor compares: it "
            "was exported by `learn.export` or an older version, or answers for something else than images. `foveal "
            "train` writes it."
        )
    return Watcher(task, reference, CountingFolder.begin(settings.monitor, settings.name, sha256, reference))


def app_of(settings: ServeSettings) -> FastAPI:
    """Return the application of one model, which starts and stops with its lifespan; see `hosting` for a whole service.

    Raises:
        ModelFileError: the bundle cannot be loaded.
    """
    found = model_app(settings, Measures())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with runtime.on_threads(threads_of(settings)):
            await asyncio.to_thread(found.start)
            yield
            await asyncio.to_thread(found.stop)

    found.app.router.lifespan_context = lifespan
    return found.app


def _add_common(app: FastAPI, service: Service, about: dict[str, object]) -> None:
    card = card_of(service.manifest, service.settings.model).to_dict()
    about = {"kind": service.predictor.task.kind, "sha256": service.sha256, "card": card} | about

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
        asked = service.watcher.last_day()
        service.measures.show_drift(await service.engine.run(lambda: service.watcher.drift(asked)))
        return Response(service.measures.text(), media_type=service.measures.kind)

    if not any(getattr(route, "path", "") == "/" for route in app.routes):  # a kind may have added a page of its own
        add_page(app, page_texts(STATIC, "images", ("service.js", "images_service.js")))


async def handle_error(_: Request, error: Exception) -> Response:
    """Return an error as JSON."""
    match error:
        case RequestRefusedError():
            return error_response(error)
        case ImageError():
            return error_response(RequestRefusedError(422, error.reason))
        case HTTPException():
            response = error_response(RequestRefusedError(error.status_code, str(error.detail)))
            response.headers.update(error.headers or {})
            return response
        case ClientDisconnect():
            return error_response(RequestRefusedError(499, "The sender left."))
        case _:
            return error_response(RequestRefusedError(422, str(error)))
