"""The middleware around every request: headers of the answer, refusals as JSON, who may ask, and the count."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foveal.serve.admission import ConcurrencyLimiter, RequestRefusedError
from foveal.serve.measures import Measures
from foveal.serve.service import ServeSettings

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
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = frozenset({"/", "/app.js", "/app.css", "/healthz", "/readyz"})
"""What needs no key: the page, which asks for one, and what says whether the service is well."""
_UNREAD = frozenset({401, 403, 408, 413, 415, 421})
"""Statuses of refusals before the body was read: the connection is closed once it was, or too much of it came."""
_UNREAD_BYTES, _UNREAD_SECONDS = 64_000_000, 5.0  # of a refused body that are read; chosen by hand
_LOG = logging.getLogger("foveal.serve")


@dataclass(frozen=True, slots=True)
class Rules:
    """Who is answered.

    Attributes:
        hosts: names by which the service may be asked, besides those of this machine; None for any name.
        origins: pages of other sites that may ask.
        keys: of which a request must bring one; none for no key.
    """

    hosts: frozenset[str] | None
    origins: frozenset[str]
    keys: tuple[bytes, ...]


def rules_of(settings: ServeSettings) -> Rules:
    """Return who is answered by a service."""
    named = frozenset(name.lower() for name in settings.allow_hosts)
    is_bound = bool(named) or _is_local(settings.host)
    hosts = named | {settings.host.lower(), "localhost"} if is_bound else None
    origins = frozenset(origin.rstrip("/").lower() for origin in settings.allow_origins)
    return Rules(hosts, origins, tuple(key.encode() for key in settings.api_keys))


class Guard:
    """An ASGI middleware.

    A service that listens on this machine alone, or has names of its own, answers only to these names: a page of
    another host could otherwise reach it by pointing its own name here. What a page of another site makes a browser
    send is refused, too, unless that site is allowed. When all slots are taken, a request is refused before anything
    else is done for it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        measures: Measures,
        rules: Rules,
        limiter: Callable[[], ConcurrencyLimiter] | None = None,
        model: str = "",
    ) -> None:
        self.app, self._measures, self._rules, self._limiter = app, measures, rules, limiter
        self._headers = [*_RAW_HEADERS, *([(b"x-foveal-model", model.encode())] if model else [])]

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
        headers, method = self._headers + self._cors(scope), scope["method"]
        started, recorder = time.perf_counter(), _StatusRecorder(receive, send, headers, has_body=method != "HEAD")
        if method == "HEAD":  # the same as GET, without its body
            scope["method"] = "GET"
        try:
            if method == "OPTIONS" and len(headers) > len(self._headers):  # a browser asks for a page of another site
                await Response(status_code=204)(scope, receive, recorder.send)
            elif (refusal := self._refusal(scope)) is not None:
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
        rules, host = self._rules, _host_of(scope)
        if rules.hosts is not None and not (_is_local(host) or host in rules.hosts):
            names = ", ".join(sorted(rules.hosts))
            return RequestRefusedError(421, f"This service answers to the names {names} only; see --allow-host.")
        if scope["method"] not in _SAFE and not self._is_same_site(scope, host):
            return RequestRefusedError(
                403, "A page of another site asked: this service answers its own; see --allow-origin."
            )
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if rules.keys and path not in _OPEN and not _has_key(scope, rules.keys):
            return RequestRefusedError(401, "A key is needed, as `Authorization: Bearer KEY`.")
        if scope["method"] == "POST" and self._limiter is not None and self._limiter().is_full:
            return self._limiter().refusal
        return None

    def _is_same_site(self, scope: Scope, host: str) -> bool:
        """Return whether a program asked, or a page of this service, or one that is allowed to."""
        site, origin = _header(scope, b"sec-fetch-site"), _header(scope, b"origin").lower()
        if site in {"same-origin", "none"}:  # which a page cannot forge
            return True
        if not origin:
            return not site
        if origin in self._rules.origins:
            return True
        name = _name_of(origin.partition("://")[2])
        return name == host or (self._rules.hosts is not None and name in self._rules.hosts)

    def _cors(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        origin = _header(scope, b"origin")
        if origin.lower() not in self._rules.origins:
            return []
        names = (b"access-control-allow-headers", b"content-type, authorization")
        return [(b"access-control-allow-origin", origin.encode("latin-1")), names, (b"vary", b"Origin")]


class _StatusRecorder:
    """Adds the headers to an answer, and remembers its status; 0 until there is one."""

    def __init__(self, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]], *, has_body: bool) -> None:
        self._receive, self._send, self._headers, self._has_body, self.status = receive, send, headers, has_body, 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not self._has_body:
            message = {**message, "body": b""}
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.raw.extend(self._headers)
            headers.setdefault("Cache-Control", "no-store")
        if message["type"] == "http.response.body" and self.status in _UNREAD:
            await self._send({**message, "more_body": True})
            await _read_on(self._receive)  # the answer is whole already, but many read it once they have sent all
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)


def error_response(error: RequestRefusedError) -> Response:
    """Return a refusal as JSON; the connection is closed where the body is left unread."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status in _UNREAD:
        headers["Connection"] = "close"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(json.dumps({"error": error.reason}), error.status, headers, "application/json")


async def _read_on(receive: Receive) -> None:
    """Read what a refused sender still sends, within bounds, so that the connection is not cut under their hands."""
    n_bytes = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_UNREAD_SECONDS):
            while n_bytes <= _UNREAD_BYTES:
                message = await receive()
                n_bytes += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _header(scope: Scope, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


def _host_of(scope: Scope) -> str:
    """Return the host that a request is addressed to, without its port."""
    return _name_of(_header(scope, b"host"))


def _name_of(address: str) -> str:
    """Return the name in `name:port` or `[address]:port`."""
    if address.startswith("["):
        return address[1:].partition("]")[0].lower()
    return address.partition(":")[0].lower()


def _has_key(scope: Scope, keys: Sequence[bytes]) -> bool:
    """Return whether a request brings one of the keys; all are compared, so that the time tells nothing."""
    kind, _, given = _header(scope, b"authorization").partition(" ")
    found = [hmac.compare_digest(given.strip().encode(), key) for key in keys]
    return kind.lower() == "bearer" and any(found)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
