"""The middleware around every request: headers of the answer, refusals as JSON, the host (421), and the count."""

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
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
_UNREAD = frozenset({408, 413, 415, 421})
"""Statuses of refusals before the body was read: the connection is closed, or it would have to be read after all."""
_LOG = logging.getLogger("foveal.serve")


class Guard:
    """An ASGI middleware.

    A service that listens on this machine alone answers only to this machine's names: a page of another host could
    otherwise reach it by pointing its own name here. When all slots are taken, a request is refused before anything
    else is done for it.
    """

    def __init__(self, app: ASGIApp, *, measures: Measures, engine: Engine, host: str) -> None:
        self.app, self._measures, self._engine = app, measures, engine
        self._hosts = {host.lower(), "localhost"} if _is_local(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it.

        Args:
            scope: of the connection; only HTTP requests are guarded.
            receive: yields the messages of the request.
            send: takes the messages of the answer.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, recorder = time.perf_counter(), _StatusRecorder(send)
        try:
            if (refusal := self._refusal(scope)) is not None:
                await error_response(refusal)(scope, receive, recorder.send)
            else:
                await self.app(scope, receive, recorder.send)
        except Exception:
            _LOG.exception("A request could not be answered.")
            if recorder.status:
                raise
            failure = RequestRefusedError(500, "The service failed; its log says why.")
            await error_response(failure)(scope, receive, recorder.send)
        finally:
            path = getattr(scope.get("route"), "path", "full" if recorder.status == 503 else "other")
            self._measures.count_request(path, recorder.status, started)

    def _refusal(self, scope: Scope) -> RequestRefusedError | None:
        if self._hosts is not None and not (_is_local(host := _host_of(scope)) or host in self._hosts):
            return RequestRefusedError(421, "This service answers to the name localhost only; see --host.")
        if scope["method"] == "POST" and self._engine.limiter.is_full:
            return self._engine.limiter.refusal
        return None


class _StatusRecorder:
    """Adds the headers to an answer, and remembers its status; 0 until there is one."""

    def __init__(self, send: Send) -> None:
        self._send, self.status = send, 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.raw.extend(_RAW_HEADERS)
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)


def error_response(error: RequestRefusedError) -> Response:
    """Return a refusal as JSON; the connection is closed where the body is left unread."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status in _UNREAD:
        headers["Connection"] = "close"
    return Response(json.dumps({"error": error.reason}), error.status, headers, "application/json")


def _host_of(scope: Scope) -> str:
    """Return the host that a request is addressed to, without its port."""
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
