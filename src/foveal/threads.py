"""A map over threads that keeps the order and never runs far ahead of its reader."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def default_workers() -> int:
    """Return how many threads load pictures unless told otherwise: one a usable core, at most 16."""
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def ordered_map(
    function: Callable[[In], Out], items: Iterable[In], *, workers: int, ahead: int | None = None
) -> Iterator[Out]:
    """Yield `function(item)` for every item, in order.

    At most `workers + ahead` results exist at once (`ahead` defaults to `workers`). With `workers=0` the calling
    thread does the work. An exception of `function` is raised where its result would have been, and what had not
    begun is dropped.
    """
    if workers <= 0:
        yield from map(function, items)
        return
    limit = workers + (workers if ahead is None else ahead)
    pending: deque[Future[Out]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="foveal")
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= limit:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
