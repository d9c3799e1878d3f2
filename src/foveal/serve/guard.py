"""What stands around every request: the headers of its answer, whom it was addressed to, and its count."""

from __future__ import annotations

import ipaddress
import json
import time

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foveal.serve.admission import FULL, Places
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
_FULL = json.dumps({"error": FULL}).encode()
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """An ASGI middleware.

    A service that listens on this machine alone answers only to this machine's names: a page of another host could
    otherwise reach it by pointing its own name here.
    """

    def __init__(self, app: ASGIApp, *, measures: Measures, engine: Engine, host: str) -> None:
        self.app, self._measures, self._engine, self._local = app, measures, engine, _is_local(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.raw.extend(_RAW)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            if self._local and _named(scope) not in _LOCAL:
                reason = "This service answers to the name localhost only; start it with --host to change that."
                await JSONResponse({"error": reason}, 421)(scope, receive, sending)
                return
            if scope["method"] == "POST" and self._engine.places.full:  # before anything else is done for it
                await _come_again(self._engine.places, sending)
                return
            await self.app(scope, receive, sending)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "full" if status == 503 else "other")
            self._measures.request(path, status, began)


async def _come_again(places: Places, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"retry-after", str(places.seconds_to_come_again).encode())]
    headers.append((b"content-length", str(len(_FULL)).encode()))
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": _FULL})


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
