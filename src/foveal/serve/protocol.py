"""HTTP/1.1 as uvicorn speaks it, with bounds that it lacks: how much a request's head may be, and how long it may take.

Without them a sender without an end takes all the memory: 370 MB of short headers became 6 GB.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 65_536
"""Of a request line and headers together; others allow 8 to 64 kB."""
_HEAD_SECONDS = 10.0  # from the first byte, or from the connection; chosen by hand, as for bodies
_LINGER_SECONDS = 1.0  # for a sender to read why it is refused; chosen by hand
_TOO_LARGE = b"431 Request Header Fields Too Large", b"The headers of a request have at most 64 kB."
_TOO_SLOW = b"408 Request Timeout", b"The headers of the request did not arrive in time."


class BoundedHttp(HttpToolsProtocol):
    """Refuses heads that are too large or too slow, and answers a sender who has ended sending."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_head, self._n_bytes, self._is_refused = True, 0, False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin.

        Args:
            transport: of the connection.
        """
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End.

        Args:
            exc: why, if not as intended.
        """
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes.

        Args:
            data: the bytes.
        """
        if self._is_refused:
            return
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._n_bytes += len(data)
            if self._n_bytes > MAX_HEAD_BYTES:
                self._refuse(*_TOO_LARGE)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio's protocols may answer
        """Keep the connection for the answer, where a whole request came before the sender's end.

        Returns:
            True, which keeps the connection, or None.
        """
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body:
            return None
        cycle.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head, self._n_bytes = True, 0
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def _wait_for_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(_HEAD_SECONDS, self._refuse, *_TOO_SLOW)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: bytes, reason: bytes) -> None:
        self._stop_waiting()
        body = b'{"error": "' + reason + b'"}'
        head = b"HTTP/1.1 " + status + b"\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        # What arrives meanwhile is read and dropped: closed with bytes unread, a connection is reset, answer and all.
        self._is_refused = True
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)
