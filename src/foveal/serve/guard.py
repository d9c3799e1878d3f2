"""What stands around every request: the headers of its answer, whom it was addressed to, and its count."""

from __future__ import annotations

import ipaddress
import json
import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foveal.serve.admission import RequestRefusedError
from foveal.serve.engine import Engine
from foveal.serve.measures import Measures

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), camera=(self)",
}
_RAW = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
_LOG = logging.getLogger("foveal.serve")


class Guard:
    """An ASGI middleware.

    A service that listens on this machine alone answers only to this machine's names: a page of another host could
    otherwise reach it by pointing its own name here. Where all places are taken, nothing else is done for a request.
    """

    def __init__(self, app: ASGIApp, *, measures: Measures, engine: Engine, host: str) -> None:
        self.app, self._measures, self._engine = app, measures, engine
        self._names = {host.lower(), "localhost"} if _is_local(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, request = time.perf_counter(), _Passing(receive, send)
        try:
            if (refused := self._refused(scope)) is not None:
                await said(refused)(scope, request.receive, request.send)
            else:
                await self.app(scope, request.receive, request.send)
        except Exception:
            _LOG.exception("A request could not be answered.")
            if request.status:
                raise
            await said(RequestRefusedError(500, "The service failed; its log says why."))(scope, receive, request.send)
        finally:
            path = getattr(scope.get("route"), "path", "full" if request.status == 503 else "other")
            self._measures.request(path, request.status, began)

    def _refused(self, scope: Scope) -> RequestRefusedError | None:
        if self._names is not None and not (_is_local(name := _named(scope)) or name in self._names):
            return RequestRefusedError(421, "This service answers to the name localhost only; see --host.")
        if scope["method"] == "POST" and self._engine.places.full:
            return self._engine.places.refusal
        return None


class _Passing:
    """A request on its way, and the status of its answer; 0 until there is one."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.receive, self._send, self.status = receive, send, 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.raw.extend(_RAW)
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)


def said(error: RequestRefusedError) -> Response:
    """Return a refusal as JSON; after one whose body is not to be read the connection is closed."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status in {408, 413, 415, 421}:
        headers["Connection"] = "close"
    return Response(json.dumps({"error": error.reason}), error.status, headers, "application/json")


def _named(scope: Scope) -> str:
    """Return the host that a request was addressed to, without its port."""
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
