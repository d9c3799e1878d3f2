"""A map over threads that keeps the order and never runs far ahead of its reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from foveal.core import processors

In = TypeVar("In")
Out = TypeVar("Out")


def default_workers() -> int:
    """Return how many threads load images unless told otherwise: one per usable processor, at most 16."""
    return min(16, processors.usable())


def ordered_map(
    function: Callable[[In], Out], items: Iterable[In], *, num_workers: int | None = None, ahead: int | None = None
) -> Iterator[Out]:
    """Yield `function(item)` for every item, in order.

    There are `default_workers()` threads unless told otherwise; with `num_workers=0` the calling thread does the work.
    At most `num_workers + ahead` results exist at once (`ahead` defaults to `num_workers`). An exception of `function`
    is raised where its result would have been, and what had not begun is dropped.
    """
    if num_workers is None:
        num_workers = default_workers()
    if num_workers <= 0:
        yield from map(function, items)
        return
    limit = num_workers + (num_workers if ahead is None else ahead)
    pending: deque[Future[Out]] = deque()
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="foveal")
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= limit:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
