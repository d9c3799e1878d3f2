"""Timings: the seconds of a run by name.

`spent` opens an account, and `measure` books a block of code on the open account; a block within another is booked
under its own name only, so that all entries add up to the time that passed in such blocks.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar

_account: ContextVar[dict[str, float] | None] = ContextVar("account", default=None)


@contextlib.contextmanager
def spent() -> Iterator[dict[str, float]]:
    """Open an account for the block, also within another one; yield its seconds by name, which `measure` fills in."""
    account: dict[str, float] = {}
    before = _account.set(account)
    try:
        yield account
    finally:
        _account.reset(before)


def rounded_seconds() -> dict[str, float]:
    """Return the seconds by name of the open account so far, to hundredths; empty without one."""
    return {name: round(seconds, 2) for name, seconds in (_account.get() or {}).items()}


@contextlib.contextmanager
def measure(name: str) -> Iterator[None]:
    """Book the seconds of the block under `name`, less those that blocks within it book."""
    account = _account.get()
    if account is None:
        yield
        return
    started, booked = time.perf_counter(), sum(account.values())
    try:
        yield
    finally:
        within = sum(account.values()) - booked
        account[name] = account.get(name, 0.0) + time.perf_counter() - started - within
