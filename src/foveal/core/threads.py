"""Threads: a map that keeps the order and never runs far ahead of its reader, and how many threads there are."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from foveal.core import processors

In = TypeVar("In")
Out = TypeVar("Out")


_MAX_WORKERS = 16  # threads that load images unless told otherwise; chosen by hand


def default_workers() -> int:
    """Return how many threads load images unless told otherwise: one per usable processor, at most 16."""
    return min(_MAX_WORKERS, processors.usable())


@functools.cache
def limit_opencv_threads() -> None:
    """Let OpenCV work on the calling thread alone; called before the first image of a process is resampled.

    Images are loaded side by side, and threads within one image would compete with those of the others. It is set once,
    not at import: a program that only imports foveal keeps its setting, and one that sets another later keeps that.
    """
    import cv2

    cv2.setNumThreads(1)


def ordered_map(
    function: Callable[[In], Out], items: Iterable[In], *, num_workers: int | None = None, ahead: int | None = None
) -> Iterator[Out]:
    """Yield `function(item)` for every item, in order.

    An exception of `function` is raised where its result would have been, and calls that have not begun are dropped.

    Args:
        function: is called in threads.
        items: are read in the calling thread, no further ahead than results may exist.
        num_workers: threads; `default_workers()` unless given. With 0 the calling thread does the work.
        ahead: at most `num_workers + ahead` results exist at once; `num_workers` unless given.
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
