"""A whole service: its models, which can be loaded anew while they answer, under the path where a proxy has it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from foveal import __version__
from foveal.core import runtime
from foveal.core.errors import FovealError
from foveal.reporting import page
from foveal.serve.guard import Guard, rules_of
from foveal.serve.http import ModelApp, handle_error, model_app, threads_of
from foveal.serve.measures import Measures
from foveal.serve.service import ServeSettings

SETTINGS = "FOVEAL_SERVE"
"""The settings in the environment, from which every worker process makes its service."""
_LOG = logging.getLogger("foveal.serve")
_WATCH_SECONDS = 1.0  # between two looks at a file; it is loaded once two looks in turn see the same
_FORWARDED_HOST = b"x-forwarded-host"
_Seen = tuple[int, int, int]


@dataclass(slots=True, eq=False)
class _InForce:
    """A model, how many requests it works on, and what is set while it works on none."""

    model: ModelApp
    n_in_work: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.idle.set()


class HostedModel:
    """The application of one model, which another may take the place of: requests in work end where they began."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings, self.measures = settings, Measures()
        self._in_force: _InForce | None = None

    def prepare(self) -> Self:
        """Load the model, before anything is served.

        Returns:
            The same model.

        Raises:
            ModelFileError: the bundle cannot be loaded.
        """
        self._in_force = _InForce(model_app(self.settings, self.measures))
        return self

    @property
    def current(self) -> ModelApp:
        """The model that answers new requests."""
        return self._current.model

    @property
    def _current(self) -> _InForce:
        assert self._in_force is not None
        return self._in_force

    async def start(self) -> None:
        """Begin to answer."""
        await asyncio.to_thread(self.current.start)

    async def stop(self) -> None:
        """Answer for everything that waits, then end."""
        await asyncio.to_thread(self.current.stop)

    async def reload(self) -> None:
        """Load the bundle anew; where that cannot be done, the old one stays, and the log says why."""
        try:
            new = await asyncio.to_thread(model_app, self.settings, self.measures)
            await asyncio.to_thread(new.start)
        except (FovealError, OSError) as error:
            _LOG.error("%s is not loaded anew, the model from before stays: %s", self.settings.model, error)
            return
        old, self._in_force = self._current, _InForce(new)
        _LOG.warning("%s was loaded anew.", self.settings.model)
        await old.idle.wait()
        await asyncio.to_thread(old.model.stop)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the model that is in force as it comes.

        Args:
            scope: of the request.
            receive: yields its messages.
            send: takes those of the answer.
        """
        chosen = self._current
        chosen.n_in_work += 1
        chosen.idle.clear()
        try:
            await chosen.model.app(scope, receive, send)
        finally:
            chosen.n_in_work -= 1
            if not chosen.n_in_work:
                chosen.idle.set()


class Hosting:
    """The ASGI application of a service: one model at /, or several, each at /models/NAME/."""

    def __init__(self, settings: ServeSettings) -> None:
        """Load all models.

        Raises:
            ModelFileError: a bundle cannot be loaded.
            InputError: two models have one name.
        """
        self.settings = settings
        self.models = {name: HostedModel(own).prepare() for name, own in settings.of_each().items()}
        self._index = _index_app(settings, self.models) if len(self.models) > 1 else None
        self._tasks = set[asyncio.Task[None]]()
        answer: Any = self._answer  # uvicorn has types of its own
        self._forwarded: Any = ProxyHeadersMiddleware(answer, list(settings.proxies))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or start and stop with the server.

        Args:
            scope: of the request.
            receive: yields its messages.
            send: takes those of the answer.
        """
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            return
        await self._forwarded(self._placed(scope), receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        root = scope["root_path"]
        if scope["path"] == root and root:
            await RedirectResponse(f"{root}/")(scope, receive, send)
            return
        await self._app_for(scope)(scope, receive, send)

    def _placed(self, scope: Scope) -> Scope:
        """Return a request as seen from outside: below `root_path`, whether the proxy has cut that off or not.

        Its client is still who connected; X-Forwarded-For names another one only afterwards.
        """
        root, path = self.settings.root_path, scope["path"]
        inside = path if not root or path == root or path.startswith(f"{root}/") else root + path
        headers = scope["headers"]
        if _client(scope) in self._forwarded.trusted_hosts:
            named = [value for name, value in headers if name == _FORWARDED_HOST]
            if named:
                headers = [(b"host", named[0].split(b",")[0].strip()), *((n, v) for n, v in headers if n != b"host")]
        return {**scope, "root_path": root, "path": inside, "raw_path": None, "headers": headers}

    def _app_for(self, scope: Scope) -> ASGIApp:
        """Return what answers; of several models, the request is then seen from below the model's own path."""
        if self._index is None:
            return next(iter(self.models.values()))
        below = f"{scope['root_path']}/models/"
        name, slash, _ = scope["path"].removeprefix(below).partition("/")
        if not scope["path"].startswith(below) or name not in self.models:
            return self._index
        own = f"{below}{name}"
        if not slash:
            return RedirectResponse(f"{own}/")
        scope["root_path"] = own
        return self.models[name]

    async def _live(self, receive: Receive, send: Send) -> None:
        with ExitStack() as stack:
            await receive()
            try:
                stack.enter_context(runtime.on_threads(threads_of(self.settings)))
                for one in self.models.values():
                    await one.start()
                self._listen()
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await send({"type": "lifespan.startup.complete"})
            await receive()
            for task in self._tasks:
                task.cancel()
            for one in self.models.values():
                await one.stop()
            await send({"type": "lifespan.shutdown.complete"})

    def _listen(self) -> None:
        """Load models anew when told to by a signal, or when their files change."""
        if self.settings.workers > 1:  # then the process that started this one sees to it
            return
        loop = asyncio.get_running_loop()
        if hasattr(signal, "SIGHUP"):
            with contextlib.suppress(RuntimeError, ValueError):  # not the main thread, as in tests
                loop.add_signal_handler(signal.SIGHUP, self._reload_all)
        if self.settings.watch:
            for one in self.models.values():
                self._keep(asyncio.ensure_future(self._watch(one)))

    def _reload_all(self) -> None:
        for one in self.models.values():
            self._keep(asyncio.ensure_future(one.reload()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, one: HostedModel) -> None:
        file = WatchedFiles([one.settings.model])
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if file.have_changed():
                await one.reload()


def hosting_from_environment() -> Hosting:
    """Return the service whose settings stand in the environment, as every worker process makes it."""
    return Hosting(ServeSettings.model_validate_json(os.environ[SETTINGS]))


class WatchedFiles:
    """Files that are looked at again and again, each time to see whether they were written anew."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._known = self._last = self._seen()

    def have_changed(self) -> bool:
        """Return whether the files are others than before, all there, and as at the last look: written to the end."""
        now, last = self._seen(), self._last
        self._last = now
        if now == last != self._known and None not in now:
            self._known = now
            return True
        return False

    def _seen(self) -> list[_Seen | None]:
        return [_seen(file) for file in self._files]


def _seen(file: Path) -> _Seen | None:
    """Return what changes with a file: its number, time and size; None where it is not there."""
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _index_app(settings: ServeSettings, models: Mapping[str, HostedModel]) -> FastAPI:
    """Return what answers outside of all models: their list, and whether the service is well."""
    app = FastAPI(title="foveal", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, measures=Measures(), rules=rules_of(settings))
    app.add_exception_handler(HTTPException, handle_error)

    @app.get("/models", summary="The names of the models; each answers at /models/NAME/.")
    async def names() -> dict[str, list[str]]:
        return {"models": list(models)}

    @app.get("/healthz", summary="Whether the process is alive.")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether all models would answer: 503 if the thread of one is gone.")
    async def readyz(response: Response) -> dict[str, bool]:
        ready = {name: one.current.engine.is_alive for name, one in models.items()}
        response.status_code = 200 if all(ready.values()) else 503
        return ready

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page.links("Models", {name: f"models/{quote(name)}/" for name in models}))

    @app.get("/app.css", include_in_schema=False)
    async def style() -> Response:
        return Response(page.STYLE, media_type="text/css; charset=utf-8")

    return app
