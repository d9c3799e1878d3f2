"""Admission: slots of the images in work (503), and how admitted bodies are read: their size (413), time (408).

A request takes a slot before a byte of its body is read. A sender that falls behind gives its slot back and takes one
again at the end, so that a few slow senders cannot block the service; the bytes that slow senders have sent so far are
limited as well. Everything here runs on one event loop, so nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import math
import time
import zlib
from typing import Self

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

_PATIENCE_SECONDS = 0.25  # before a sender can fall behind; chosen by hand: a few round trips
_BYTES_PER_SECOND = 200_000  # below which a sender is slow; chosen by hand: a phone on a poor connection
_GZIP = 16 + zlib.MAX_WBITS  # what zlib calls a stream with the header of gzip
_SLOW_BODIES = 4  # how many bodies of the largest size slow senders may hold together; chosen by hand


class RequestRefusedError(Exception):
    """A request that is not answered.

    Attributes:
        status: HTTP status code.
        reason: in words.
        retry_after: seconds after which to try again.
    """

    def __init__(self, status: int, reason: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after


class ConcurrencyLimiter:
    """Counts the slots of the images in work.

    Attributes:
        n_slots: how many there are.
        n_taken: how many are taken; a request with several images may take more than are free.
        seconds_per_image: how long an image takes, for `Retry-After`.
        slow_bytes: what senders without a slot have sent so far.
    """

    def __init__(self, n_slots: int, seconds_per_image: float = 0.0) -> None:
        self.n_slots, self.n_taken, self.seconds_per_image, self.slow_bytes = n_slots, 0, seconds_per_image, 0

    @property
    def is_full(self) -> bool:
        """Whether all slots are taken."""
        return self.n_taken >= self.n_slots

    @property
    def refusal(self) -> RequestRefusedError:
        """The error for requests that find no free slot; one should be free after its `retry_after` seconds."""
        seconds = max(1, math.ceil(self.n_taken * self.seconds_per_image))
        return RequestRefusedError(503, "All places are taken; try again.", retry_after=seconds)


class Slot:
    """The slots of one request, as a context: one is taken on entry, all are given back on exit."""

    def __init__(self, limiter: ConcurrencyLimiter) -> None:
        self.limiter, self._n_held = limiter, 0

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self) -> None:
        """Take a slot, unless one is held.

        Raises:
            RequestRefusedError: 503, all are taken.
        """
        if self._n_held == 0:
            if self.limiter.is_full:
                raise self.limiter.refusal
            self.grow(1)

    def grow(self, n: int) -> None:
        """Hold `n` more slots, for further images of the same request."""
        self._n_held += n
        self.limiter.n_taken += n

    def release(self) -> None:
        """Give all held slots back."""
        self.limiter.n_taken -= self._n_held
        self._n_held = 0


async def read_body(request: Request, slot: Slot, *, max_bytes: int, seconds: float) -> bytes:
    """Return the body of a request.

    Args:
        request: admitted, with `slot`.
        slot: is released as soon as the sender falls behind 200 kB per second, and taken again at the end.
        max_bytes: the largest body that is read.
        seconds: the time for the whole body.

    Raises:
        RequestRefusedError: 408, it took too long; 413, it is too large (its Content-Length is believed); 503, the slot
            was released and none was free at the end, or slow senders hold too much already.
        ClientDisconnect: the sender closed the connection.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise _too_large_error(max_bytes)
    body = _Body(slot, max_bytes)
    try:
        started = time.monotonic()
        while True:
            message = await _receive(request, body, started, seconds)
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body.add(message.get("body", b""))
            if not message.get("more_body", False):
                slot.take()
                return b"".join(body.chunks)
    finally:
        body.forget()


class _Body:
    """What has arrived so far."""

    def __init__(self, slot: Slot, max_bytes: int) -> None:
        self.slot, self.max_bytes, self.size, self.chunks = slot, max_bytes, 0, list[bytes]()
        self._is_slow = False

    def add(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self.size += len(chunk)
        if self.size > self.max_bytes:
            raise _too_large_error(self.max_bytes)
        if self._is_slow:
            self._count(len(chunk))

    def fall_behind(self) -> None:
        """Release the slot; from now on the body counts among those of slow senders."""
        if not self._is_slow:
            self._is_slow = True
            self.slot.release()
            self._count(self.size)

    def forget(self) -> None:
        if self._is_slow:
            self.slot.limiter.slow_bytes -= self.size

    def _count(self, n: int) -> None:
        limiter = self.slot.limiter
        limiter.slow_bytes += n
        if limiter.slow_bytes > _SLOW_BODIES * self.max_bytes:
            raise limiter.refusal


async def _receive(request: Request, body: _Body, started: float, seconds: float) -> Message:
    """Return the next message of a request; a sender that has not sent it in time falls behind, then is refused.

    Raises:
        RequestRefusedError: 408, it did not come within the time for the whole body.
    """
    pending = asyncio.ensure_future(request.receive())
    for due in (_PATIENCE_SECONDS + body.size / _BYTES_PER_SECOND, seconds):
        done, _ = await asyncio.wait({pending}, timeout=max(0.0, started + due - time.monotonic()))
        if done:
            return pending.result()
        body.fall_behind()
    pending.cancel()
    raise RequestRefusedError(408, f"The body did not come within {seconds:g} seconds.")


def decoded_body(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return a body as it was before it was compressed.

    Args:
        body: as it came.
        encoding: its Content-Encoding.
        max_bytes: the most that is unpacked.

    Raises:
        RequestRefusedError: 413, it is larger; 415, it is neither plain nor gzip; 422, it is damaged.
    """
    kind = encoding.strip().lower()
    if kind in {"", "identity"}:
        return body
    if kind not in {"gzip", "x-gzip"}:
        raise RequestRefusedError(415, f"A body may be plain or gzip; got Content-Encoding {kind}.")
    unpacking = zlib.decompressobj(_GZIP)
    try:
        found = unpacking.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise RequestRefusedError(422, f"The gzip of the body is damaged: {error}.") from error
    if len(found) > max_bytes:
        raise _too_large_error(max_bytes)
    if not unpacking.eof:
        raise RequestRefusedError(422, "The gzip of the body does not come to its end.")
    return found


def _too_large_error(max_bytes: int) -> RequestRefusedError:
    return RequestRefusedError(413, f"A body may have up to {max_bytes / 1e6:g} MB.")
