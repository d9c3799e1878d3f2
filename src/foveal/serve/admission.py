"""Admission: how many images may be at work at once, and how bodies are read from those who were let in.

A request takes a place before a byte of its body is read. Whoever sends slowly gives the place back and takes one again
at the end, so that a few slow senders cannot hold the service; what slow senders have sent so far is limited, too. All
of it runs on one event loop, so nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Self

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

_PATIENCE, _BYTES_A_SECOND = 0.25, 200_000
_SLOW_BODIES = 4


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


class ConcurrencyLimiter:
    """The places of those who are at work.

    Attributes:
        n: how many there are.
        taken: how many are taken; a request with several images may take more than are left.
        seconds_each: how long an image takes, for `Retry-After`.
        slow_bytes: what senders without a place have sent so far.
    """

    def __init__(self, n: int, seconds_each: float = 0.0) -> None:
        self.n, self.taken, self.seconds_each, self.slow_bytes = n, 0, seconds_each, 0

    @property
    def full(self) -> bool:
        """Whether all are taken."""
        return self.taken >= self.n

    @property
    def refusal(self) -> RequestRefusedError:
        """What is said to those who find no place: after how many seconds one should be free, at least one."""
        seconds = max(1, math.ceil(self.taken * self.seconds_each))
        return RequestRefusedError(503, "All places are taken; come again.", retry_after=seconds)


class Place:
    """A place, as a context: taken on entry, given back on exit; meanwhile it may be given back or grow."""

    def __init__(self, places: ConcurrencyLimiter) -> None:
        self.places, self._own = places, 0

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
            if self.places.full:
                raise self.places.refusal
            self.grow(1)

    def grow(self, n: int) -> None:
        """Hold `n` places more, for further images of one request."""
        self._own += n
        self.places.taken += n

    def give(self) -> None:
        """Give all back."""
        self.places.taken -= self._own
        self._own = 0


async def read_body(request: Request, place: Place, *, most: int, seconds: float) -> bytes:
    """Return the body of a request.

    Args:
        request: let in, with `place`.
        place: is given back as soon as the sender falls behind 200 kB a second, and taken again at the end.
        most: bytes.
        seconds: for all of it.

    Raises:
        RequestRefusedError: 408, it took too long; 413, it is too large (what it says of its length is believed);
            503, the place was given back and none was left, or slow senders hold too much already.
        ClientDisconnect: the sender left.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise _too_large(most)
    body = _Body(place, most)
    try:
        began = time.monotonic()
        while True:
            message = await _received(request, body, began, seconds)
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body.add(message.get("body", b""))
            if not message.get("more_body", False):
                place.take()
                return b"".join(body.parts)
    finally:
        body.forget()


class _Body:
    """What came so far."""

    def __init__(self, place: Place, most: int) -> None:
        self.place, self.most, self.size, self.parts = place, most, 0, list[bytes]()
        self._slow = False

    def add(self, part: bytes) -> None:
        self.parts.append(part)
        self.size += len(part)
        if self.size > self.most:
            raise _too_large(self.most)
        if self._slow:
            self._count(len(part))

    def falls_behind(self) -> None:
        """Give the place back."""
        if not self._slow:
            self._slow = True
            self.place.give()
            self._count(self.size)

    def forget(self) -> None:
        if self._slow:
            self.place.places.slow_bytes -= self.size

    def _count(self, n: int) -> None:
        places = self.place.places
        places.slow_bytes += n
        if places.slow_bytes > _SLOW_BODIES * self.most:
            raise places.refusal


async def _received(request: Request, body: _Body, began: float, seconds: float) -> Message:
    waiting = asyncio.ensure_future(request.receive())
    for due in (_PATIENCE + body.size / _BYTES_A_SECOND, seconds):
        done, _ = await asyncio.wait({waiting}, timeout=max(0.0, began + due - time.monotonic()))
        if done:
            return waiting.result()
        body.falls_behind()
    waiting.cancel()
    raise RequestRefusedError(408, f"The body did not come within {seconds:g} seconds.")


def _too_large(most: int) -> RequestRefusedError:
    return RequestRefusedError(413, f"A body may have up to {most / 1e6:g} MB.")
