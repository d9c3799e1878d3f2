"""Admission: how many pictures may be at work at once, and how bodies are read from those who were let in.

A request takes a place before a byte of its body is read. Whoever sends slowly gives the place back meanwhile, so that
a few slow senders cannot hold the service. All of it runs on one event loop, so nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Self

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

_PATIENCE = 0.25
FULL = "All places are taken; come again."


class RequestRefusedError(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        reason: in words.
        retry_after: seconds after which to come again.
    """

    def __init__(self, status: int, reason: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after


class Places:
    """The places of those who are at work.

    Attributes:
        n: how many there are.
        taken: how many are taken; a request with several pictures may take more than are left.
        seconds_each: how long a picture takes, for `Retry-After`.
    """

    def __init__(self, n: int, seconds_each: float = 0.0) -> None:
        self.n, self.taken, self.seconds_each = n, 0, seconds_each

    @property
    def full(self) -> bool:
        """Whether all are taken."""
        return self.taken >= self.n

    @property
    def seconds_to_come_again(self) -> int:
        """After how many seconds a place should be free, at least one."""
        return max(1, math.ceil(self.taken * self.seconds_each))


class Place:
    """A place, as a context: taken on entry, given back on exit; meanwhile it may be given back or grow."""

    def __init__(self, places: Places) -> None:
        self._places, self._own = places, 0

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.give()

    def take(self) -> None:
        """Take a place, unless one is held.

        Raises:
            RequestRefusedError: 503, all are taken.
        """
        if self._own == 0:
            if self._places.full:
                raise RequestRefusedError(503, FULL, retry_after=self._places.seconds_to_come_again)
            self.grow(1)

    def grow(self, n: int) -> None:
        """Hold `n` places more, for further pictures of one request."""
        self._own += n
        self._places.taken += n

    def give(self) -> None:
        """Give all back."""
        self._places.taken -= self._own
        self._own = 0


async def read_body(request: Request, place: Place, *, most: int, seconds: float) -> bytes:
    """Return the body of a request.

    Args:
        request: let in, with `place`.
        place: is given back while the sender is slow.
        most: bytes.
        seconds: for all of it.

    Raises:
        RequestRefusedError: 408, it took too long; 413, it is too large (what it says of its length is believed);
            503, the place was given back and none was left.
        ClientDisconnect: the sender left.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise _too_large(most)
    parts: list[bytes] = []
    size, began = 0, time.monotonic()
    while True:
        message = await _received(request, place, began, seconds)
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > most:
            raise _too_large(most)
        if not message.get("more_body", False):
            place.take()
            return b"".join(parts)


async def _received(request: Request, place: Place, began: float, seconds: float) -> Message:
    waiting = asyncio.ensure_future(request.receive())
    done, _ = await asyncio.wait({waiting}, timeout=max(0.0, _PATIENCE - (time.monotonic() - began)))
    if not done:
        place.give()
        done, _ = await asyncio.wait({waiting}, timeout=max(0.0, seconds - (time.monotonic() - began)))
    if not done:
        waiting.cancel()
        raise RequestRefusedError(408, f"The body did not come within {seconds:g} seconds.")
    return waiting.result()


def _too_large(most: int) -> RequestRefusedError:
    return RequestRefusedError(413, f"A body may have up to {most / 1e6:g} MB.")
