"""The one way in which files come over the network: over http(s), up to a known size, with a known hash, or not at all.

A download is written beside its target under `NAME.part`, and takes the target's name when it is whole and its hash is
right. One that broke off stays there, and the next try continues from where it stopped, if the server can do that.
A caller that looks at the content itself, as at images from anywhere, may do without a hash.
"""

from __future__ import annotations

import hashlib
import http
import http.client
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from foveal.core.errors import FetchError

MAX_BYTES = 1 << 30
"""Bytes of a download of unknown size: four times the largest file that is fetched so, the weights of a ResNet-152."""
_CHUNK = 1 << 18  # bytes read at a time; chosen by hand: some progress steps per second on a slow line
_TIMEOUT_SECONDS = 20.0  # without a byte; chosen by hand
_HEADERS = {"User-Agent": "Mozilla/5.0 (compatible; foveal)"}  # many hosts of images refuse what names no browser
_RESERVED = "%/:=&?~#+!$,;'@()*[]"  # stay as they are in an address
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError)


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a file must hash to.

    Attributes:
        digest: hexadecimal, or the first digits of it, at least 8.
        algorithm: MD5 only where the publisher gives nothing better: it finds a wrong file, not a forged one.
        head_bytes: how many of the first bytes are hashed; all by default.
    """

    digest: str
    algorithm: Literal["sha256", "md5"] = "sha256"
    head_bytes: int | None = None

    def of(self, file: Path) -> str:
        """Return the digest of a file."""
        with file.open("rb") as opened:
            if self.head_bytes is None:
                return hashlib.file_digest(opened, self.algorithm).hexdigest()
            return hashlib.new(self.algorithm, opened.read(self.head_bytes), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is accepted, and how long it may take.

    Attributes:
        n_bytes: of a file whose size is not known; `MAX_BYTES` by default.
        silence: seconds without a byte.
        seconds: for all of it; without an end by default.
    """

    n_bytes: int | None = None
    silence: float = _TIMEOUT_SECONDS
    seconds: float = float("inf")


def download(
    address: str,
    target: Path,
    checksum: Checksum | None,
    *,
    n_bytes: int | None = None,
    limits: Limits = Limits(),
    advance: Callable[[int], None] = lambda _: None,
) -> Path:
    """Download a file, unless it is there already.

    Args:
        address: an http or https address; it may redirect to another one.
        target: the file; it appears only when it is whole and its hash is right.
        checksum: what it must hash to; None only where the caller looks at the content itself.
        n_bytes: its size; without it, as many as the limits say are accepted.
        limits: of size and time.
        advance: called with the number of bytes of each step, first of those that an earlier try left.

    Returns:
        `target`.

    Raises:
        FetchError: the network failed, and the part that has arrived is kept for the next try; or it is
            another file than expected, and is not kept; or it cannot be written.
    """
    if target.is_file() and n_bytes in {None, target.stat().st_size}:
        return target
    _check_address(address)
    part = target.with_name(f"{target.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _complete(address, part, n_bytes, limits, advance)
    except FetchError:
        raise
    except _NETWORK_ERRORS as error:
        raise FetchError(f"{address} could not be fetched ({getattr(error, 'reason', error)}).") from error
    except OSError as error:
        raise FetchError(f"{address} cannot be kept as `{part}` ({error.strerror or error}).") from error
    if checksum is not None and not (digest := checksum.of(part)).startswith(checksum.digest.lower()):
        part.unlink()
        where = "" if checksum.head_bytes is None else f" over its first {checksum.head_bytes:,} bytes"
        raise FetchError(
            f"{address} has the {checksum.algorithm} {digest}{where}, expected {checksum.digest}; it was not kept."
        )
    part.replace(target)
    return target


class _HttpRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http(s) only; urllib's own handler would follow one to ftp as well."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(address: str) -> None:
    if not address.startswith(("http://", "https://")):
        raise FetchError(f"Only http and https addresses are fetched; got {address}.")


def _complete(address: str, part: Path, n_bytes: int | None, limits: Limits, advance: Callable[[int], None]) -> None:
    """Bring a partial file to its end.

    Raises:
        FetchError: it ended early, or there is more of it than expected.
    """
    end = time.monotonic() + limits.seconds
    limit = n_bytes if n_bytes is not None else MAX_BYTES if limits.n_bytes is None else limits.n_bytes
    have = part.stat().st_size if part.is_file() else 0
    if have == n_bytes:
        advance(have)
        return
    with _open(address, part, have if have < limit else 0, limits.silence) as response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        advance(have)
        length = response.headers.get("Content-Length") or ""
        expected = n_bytes if n_bytes is not None or not length.isdigit() else have + int(length)
        size = have if expected is not None and expected > limit else _append(response, part, have, limit, end, advance)
    if size > limit or (expected or 0) > limit:
        part.unlink(missing_ok=True)
        raise FetchError(f"{address} sends more than the {limit:,} bytes expected; it was not kept.")
    if expected is not None and size != expected:
        raise FetchError(f"{address} ended after {size:,} of {expected:,} bytes. The next try continues from there.")


def _open(address: str, part: Path, start: int, silence: float) -> http.client.HTTPResponse:
    """Return the response with the bytes of a file from `start` on, or all of them if the server cannot do that.

    Raises:
        HTTPError: the server answered with an error.
    """
    headers = _HEADERS | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(urllib.parse.quote(address, safe=_RESERVED), headers=headers)
    try:
        response = urllib.request.build_opener(_HttpRedirects).open(request, timeout=silence)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()  # the server's file is shorter than what is here, so it is another one
        raise
    assert isinstance(response, http.client.HTTPResponse)
    return response


def _append(
    response: http.client.HTTPResponse, part: Path, have: int, limit: int, end: float, advance: Callable[[int], None]
) -> int:
    """Write a response after the first `have` bytes of a file, no more than a chunk over `limit`.

    Returns:
        The size of the file in bytes.

    Raises:
        TimeoutError: it is not whole at `end`, on the monotonic clock.
    """
    with part.open("ab" if have else "wb") as file:
        while have <= limit and (chunk := response.read1(_CHUNK)):
            if time.monotonic() > end:
                raise TimeoutError("it takes too long")
            file.write(chunk)
            have += len(chunk)
            advance(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    return have
