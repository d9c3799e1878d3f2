"""Threads: a map that keeps the order and never runs far ahead of its reader, and how many threads there are."""

from __future__ import annotations

import atexit
import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

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
    n = default_workers() if num_workers is None else num_workers
    groups = ([item] for item in items)
    for (result,) in grouped_map(function, groups, num_workers=n, ahead=n - 1 + (n if ahead is None else ahead)):
        yield result


def grouped_map(
    function: Callable[[In], Out], groups: Iterable[Sequence[In]], *, num_workers: int | None = None, ahead: int = 2
) -> Iterator[list[Out]]:
    """Yield the results of each group, in order; the calling thread is woken once a group.

    That is what it is for: waking the calling thread for every image costs a fifth of the time of loading it, for all
    threads take turns at the interpreter (`benchmarks/notes.md`).

    An exception of `function` is raised where the results of its group would have been, the first of several, and calls
    that have not begun are dropped.

    Args:
        function: is called in threads.
        groups: are read in the calling thread, no further ahead than results may exist; none is empty.
        num_workers: threads; `default_workers()` unless given. With 0 the calling thread does the work.
        ahead: how many groups beyond the one that is waited for may be worked on.
    """
    if num_workers is None:
        num_workers = default_workers()
    if num_workers <= 0:
        for group in groups:
            yield list(map(function, group))
        return
    workers, pending = _Workers(function, num_workers), deque[_Group[Out]]()
    try:
        for group in groups:
            pending.append(workers.begin(group))
            if len(pending) > ahead:
                yield pending.popleft().wait()
        while pending:
            yield pending.popleft().wait()
    finally:
        workers.stop()


class _Group(Generic[Out]):
    """The results of a group that is worked on."""

    __slots__ = ("errors", "finished", "left", "results")

    def __init__(self, n: int) -> None:
        self.results: dict[int, Out] = {}
        self.errors: dict[int, BaseException] = {}
        self.left = [None] * n
        self.finished = SimpleQueue[None]()

    def wait(self) -> list[Out]:
        self.finished.get()
        if self.errors:
            raise self.errors[min(self.errors)]
        return [self.results[at] for at in range(len(self.results))]


class _Workers(Generic[In, Out]):
    """Threads that work on groups, item by item."""

    def __init__(self, function: Callable[[In], Out], n: int) -> None:
        self._function, self._jobs = function, SimpleQueue[tuple[_Group[Out], int, In] | None]()
        # Daemons, for a reader that is never read to its end must not keep the process from ending; `stop` lets them
        # finish what they are at before the interpreter is taken down.
        self._threads = [Thread(target=self._work, name=f"foveal-{at}", daemon=True) for at in range(n)]
        atexit.register(self.stop)
        for thread in self._threads:
            thread.start()

    def begin(self, items: Sequence[In]) -> _Group[Out]:
        group = _Group[Out](len(items))
        for at, item in enumerate(items):
            self._jobs.put((group, at, item))
        return group

    def stop(self) -> None:
        atexit.unregister(self.stop)
        with contextlib.suppress(Empty):
            while True:
                self._jobs.get_nowait()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            group, at, item = job
            try:
                group.results[at] = self._function(item)
            except BaseException as error:  # noqa: BLE001 -- it is raised in the reader's thread
                group.errors[at] = error
            group.left.pop()
            if not group.left:  # two threads may both see this: the second message is never read
                group.finished.put(None)
            del job, group, item
