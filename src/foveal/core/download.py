"""Files over the network, whole and with a known hash, or not at all."""

from __future__ import annotations

import hashlib
import http
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from foveal.core.errors import FetchError

_CHUNK = 1 << 18
_TIMEOUT_SECONDS = 20
_NETWORK = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)


def cache_folder() -> Path:
    """Return the folder that foveal keeps downloads in: `FOVEAL_HOME`, by default ~/.foveal."""
    return Path(os.environ.get("FOVEAL_HOME") or Path.home() / ".foveal")


def fetch(
    address: str, target: Path, *, sha256: str, advance: Callable[[int, int], None] = lambda _done, _of: None
) -> Path:
    """Download `address` to `target`, unless it is there already.

    Args:
        address: an http or https address.
        target: the file; it appears only when it is whole and its hash is right.
        sha256: the expected SHA-256, or its beginning (at least 8 hexadecimal digits).
        advance: told bytes done and bytes in all (0 if unknown) as they come.

    Raises:
        FetchError: the network, or a file of another content.
    """
    if target.is_file():
        return target
    _check_address(address)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.part")
    digest, done = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as response, beside.open("wb") as file:
            in_all = int(response.headers.get("Content-Length") or 0)
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                advance(done, in_all)
            file.flush()
            os.fsync(file.fileno())
        if in_all and done != in_all:
            raise FetchError(f"{address} ended after {done} of {in_all} bytes. Try again.")
        if not digest.hexdigest().startswith(sha256.lower()):
            raise FetchError(f"{address} has the SHA-256 {digest.hexdigest()}, expected {sha256}. It was not kept.")
        beside.replace(target)
    except _NETWORK as error:
        raise FetchError(f"{address} could not be fetched ({getattr(error, 'reason', error)}).") from error
    finally:
        beside.unlink(missing_ok=True)
    return target


def download(address: str, target: Path, *, n_bytes: int, advance: Callable[[int], None] = lambda _n: None) -> Path:
    """Download a large file of known size; what broke off goes on where it stopped.

    Args:
        address: an http or https address.
        target: the file; it appears only when it is whole.
        n_bytes: its size.
        advance: told how many bytes came.

    Raises:
        FetchError: the network, or a file of another size; what came so far is kept for the next try.
    """
    if target.is_file() and target.stat().st_size == n_bytes:
        return target
    _check_address(address)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    have = part.stat().st_size if part.is_file() else 0
    if have > n_bytes:
        part.unlink()
        have = 0
    advance(have)
    try:
        if have < n_bytes:
            have = _append(address, part, have, n_bytes, advance)
    except _NETWORK as error:
        raise FetchError(f"{address} could not be fetched ({getattr(error, 'reason', error)}).") from error
    if have != n_bytes:
        raise FetchError(f"{address} ended after {have:,} of {n_bytes:,} bytes. The next try goes on from there.")
    part.replace(target)
    return target


def _check_address(address: str) -> None:
    if not address.startswith(("http://", "https://")):
        raise FetchError(f"Only http and https addresses are fetched; got {address}.")


def _append(address: str, part: Path, have: int, n_bytes: int, advance: Callable[[int], None]) -> int:
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
        resumed = have > 0 and response.status == http.HTTPStatus.PARTIAL_CONTENT
        have = have if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            while have <= n_bytes and (chunk := response.read(_CHUNK)):
                file.write(chunk)
                have += len(chunk)
                advance(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    if have > n_bytes:
        part.unlink()
        raise FetchError(f"{address} sends more than the {n_bytes:,} bytes expected; it was not kept.")
    return have
