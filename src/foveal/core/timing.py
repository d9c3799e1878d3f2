"""Timings: the seconds of a run by name, by the clock and of the processor.

`spent` opens an account, and `measure` books a block of code on the open account; a block within another is booked
under its own name only, so that all entries add up to the time that passed in such blocks. What happens in the threads
that load images runs beside all that: `in_threads` counts it inside `counting_threads`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Seconds:
    """Seconds by the clock, and those that processors worked for this process meanwhile."""

    clock: float = 0.0
    processor: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.clock + other.clock, self.processor + other.processor)

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.clock - other.clock, self.processor - other.processor)

    @classmethod
    def now(cls) -> Seconds:
        """Return where the clocks stand."""
        return cls(time.perf_counter(), time.process_time())


Account = dict[str, Seconds]
_account: ContextVar[Account | None] = ContextVar("account", default=None)
_counted: list[Account] = []  # of the blocks that count at the moment; the last one gets what is counted
_adding = threading.Lock()


@contextlib.contextmanager
def spent() -> Iterator[Account]:
    """Open an account for the block; within another one, it is booked there, too.

    Yields:
        The account: seconds by name, which grows while the block runs.
    """
    account: Account = {}
    outer = _account.get()
    before = _account.set(account)
    try:
        yield account
    finally:
        _account.reset(before)
        if outer is not None:
            for name, seconds in account.items():
                outer[name] = outer.get(name, Seconds()) + seconds


def rounded_seconds() -> dict[str, float]:
    """Return the seconds by the clock of the open account so far, to hundredths; empty without one."""
    return {name: round(seconds.clock, 2) for name, seconds in (_account.get() or {}).items()}


@contextlib.contextmanager
def measure(name: str) -> Iterator[None]:
    """Book the seconds of the block under `name`, less those that blocks within it book."""
    account = _account.get()
    if account is None:
        yield
        return
    started, booked = Seconds.now(), sum(account.values(), Seconds())
    try:
        yield
    finally:
        within = sum(account.values(), Seconds()) - booked
        account[name] = account.get(name, Seconds()) + (Seconds.now() - started - within)


@contextlib.contextmanager
def counting_threads() -> Iterator[Account]:
    """Count in the block what `in_threads` names, for the whole process.

    Yields:
        The account: seconds by name, which grows while the block runs.
    """
    _counted.append({})
    try:
        yield _counted[-1]
    finally:
        _counted.pop()


@contextlib.contextmanager
def in_threads(name: str) -> Iterator[None]:
    """Count the seconds of the block, which other threads run beside, under `name`, inside `counting_threads`."""
    if not _counted:
        yield
        return
    counted = _counted[-1]
    clock, processor = time.perf_counter(), time.thread_time()
    try:
        yield
    finally:
        taken = Seconds(time.perf_counter() - clock, time.thread_time() - processor)
        with _adding:
            counted[name] = counted.get(name, Seconds()) + taken


def since_start() -> Seconds:
    """Return the seconds of this process so far, the start of Python included where the system tells (Linux)."""
    processor = time.process_time()
    try:
        begun = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        return Seconds(uptime - begun / os.sysconf("SC_CLK_TCK"), processor)
    except (OSError, ValueError, IndexError):
        return Seconds(time.perf_counter() - _LOADED, processor)


_LOADED = time.perf_counter()
