"""The engine: threads decode the images, and everything that waits when the model is free is answered as one batch."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from foveal.core import runtime
from foveal.core.errors import ImageError
from foveal.images.decode import open_image
from foveal.images.prepare import Prepared
from foveal.inference.prediction import Prediction
from foveal.inference.predictor import AnyPredictor, Predictor
from foveal.serve.admission import ConcurrencyLimiter, RequestRefusedError

Out = TypeVar("Out")
_MAX_BATCH = 16  # images; chosen by hand: the first of a batch waits for all of it
_BATCH_PIXELS = 16 * 512 * 512  # of the inputs of a batch; chosen by hand: EfficientNet-Lite0 takes 1 GB for them
_LATENCIES = 4  # times the latency of one image that an admitted request may wait; chosen by hand
_MIN_SLOTS = 4  # whatever was measured; chosen by hand
_MAX_SLOTS = 256  # whatever was measured; the length of the socket's backlog
_N_TIMED = 5  # runs whose median is the latency
_IDLE_SECONDS = 1.0  # without work after which memory goes back to the system; chosen by hand
# All threads answer for a single image only where they are so much faster than one: they leave none for decoding. On
# two cores they take 2.8 ms instead of 2.4 (EfficientNet-Lite0, 64 px), or 8 instead of 13 (224 px); beside one busy
# process 6.7 and 22 ms, where one thread is as fast as ever.
_MIN_SPEEDUP = 1.3


MAX_PIXELS = 25_000_000
"""Of an image that a service takes, unless it is told otherwise: the largest photographs of usual phones."""
# Large images are decoded apart from the others, so that these do not wait for them; chosen by hand: a photograph of
# 12 megapixels takes 0.1 s to decode, one of 4 as long as a usual model takes to answer.
_LARGE = 4_000_000  # pixels, times the scans of a progressive JPEG over ten
_MOST_LARGE = 100_000_000  # pixels of large images at work and waiting; more are told to try again
_USUAL_SCANS = 10
_BEHIND = 10  # by how much threads that decode large images are nicer to others, where the system can do that


class Answer(NamedTuple):
    """The answer for an image, and the image's (height, width) in source pixels."""

    prediction: Prediction
    size_hw: tuple[int, int]


class _Job(NamedTuple):
    prepared: Prepared
    prediction: asyncio.Future[Prediction]


class Engine:
    """Answers for images, or for pairs of a user and an item, on behalf of an event loop.

    Attributes:
        limiter: how many images may be in work; measured at the start unless given, so that an admitted request waits
            about four times as long as without others.
    """

    def __init__(
        self,
        predictor: AnyPredictor,
        *,
        max_queue: int | None = None,
        max_pixels: int = MAX_PIXELS,
        num_workers: int = 1,
        on_batch: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Prepare; nothing runs before `start`.

        Args:
            predictor: the model that answers.
            max_queue: images in work at once; measured by default.
            max_pixels: of an image.
            num_workers: threads that decode images.
            on_batch: called with the number of images of each batch.
        """
        self.predictor, self._on_batch, self._max_queue, self._max_pixels = predictor, on_batch, max_queue, max_pixels
        self.limiter = ConcurrencyLimiter(0)
        self._n_threads_for_one: int | None = 1
        self._max_batch = _max_batch(predictor)
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="foveal-decode")
        self._large = ThreadPoolExecutor(max(1, num_workers - 1), "foveal-large", initializer=_step_back)
        self._n_large = 0
        self._thread = threading.Thread(target=self._work, name="foveal-model", daemon=True)

    def start(self) -> None:
        """Warm the model up, measure it, and begin to answer."""
        latency, seconds_per_image = self._measure()
        n_slots = round(_LATENCIES * latency / seconds_per_image) if seconds_per_image else _MAX_SLOTS
        n_slots = self._max_queue or min(_MAX_SLOTS, max(_MIN_SLOTS, n_slots))
        self.limiter = ConcurrencyLimiter(n_slots, seconds_per_image)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the model's thread is running."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Answer for everything that waits, then end all threads."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown()
        self._large.shutdown()

    async def answer(self, image: bytes) -> Answer:
        """Return the answer for the bytes of an image.

        Raises:
            ImageError: the image is refused, or has more pixels than the service takes.
            RequestRefusedError: too many large images are at work.
        """
        loop = asyncio.get_running_loop()
        prepared = await self.run_for(image, lambda: self._image_predictor.preparation.image(image))
        prediction: asyncio.Future[Prediction] = loop.create_future()
        self._queue.put(_Job(prepared, prediction))
        return Answer(await prediction, prepared.size_hw)

    async def run_for(self, image: bytes, work: Callable[[], Out]) -> Out:
        """Return the result of a function that decodes an image, once its header has been looked at.

        Args:
            image: the bytes of its file.
            work: the function.

        Raises:
            ImageError: the image is refused, or has more pixels than the service takes.
            RequestRefusedError: too many large images are at work.
        """
        n_channels = self._image_predictor.preparation.n_channels
        opened = await self.run(lambda: open_image(image, n_channels))
        n_pixels = opened.size_hw[0] * opened.size_hw[1]
        if n_pixels > self._max_pixels:
            size = f"{opened.size_hw[1]} x {opened.size_hw[0]} pixels"
            raise ImageError(opened.name, f"{size} are more than the {self._max_pixels:,} that this service takes.")
        cost = n_pixels * max(1, opened.n_scans // _USUAL_SCANS)
        if cost <= _LARGE:
            return await self.run(work)
        if self._n_large and self._n_large + cost > _MOST_LARGE:
            raise RequestRefusedError(503, "Too many large images are at work; try again.", retry_after=1)
        self._n_large += cost
        try:
            return await asyncio.get_running_loop().run_in_executor(self._large, work)
        finally:
            self._n_large -= cost

    async def run(self, work: Callable[[], Out]) -> Out:
        """Return the result of a function that runs in a thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    @property
    def _image_predictor(self) -> Predictor:
        assert isinstance(self.predictor, Predictor)
        return self.predictor

    def _work(self) -> None:
        while jobs := self._next_jobs(None):
            with runtime.computing():  # while there is work; when idle, its memory goes back to the system
                while jobs:
                    self._answer_jobs(jobs)
                    jobs = self._next_jobs(_IDLE_SECONDS)

    def _next_jobs(self, seconds: float | None) -> list[_Job]:
        """Return everything that waits, once something does; nothing after so many seconds without, or at the end."""
        jobs: list[_Job] = []
        try:
            while len(jobs) < self._max_batch:
                job = self._queue.get(timeout=seconds) if not jobs else self._queue.get_nowait()
                if job is None:
                    self._queue.put(None)  # the next call must find the end as well
                    break
                jobs.append(job)
        except queue.Empty:
            pass
        return jobs

    def _answer_jobs(self, jobs: Sequence[_Job]) -> None:
        try:
            self._on_batch(len(jobs))
            with runtime.on_threads(self._n_threads_for_one if len(jobs) == 1 else None):
                predictions = self._image_predictor.answers([job.prepared for job in jobs])
            for job, prediction in zip(jobs, predictions, strict=True):
                _resolve(job.prediction, prediction)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the requests that wait must hear of it
            if len(jobs) == 1:
                _resolve(jobs[0].prediction, error)
                return
            for job in jobs:  # one by one, so that only the image at fault fails
                self._answer_jobs([job])

    def _measure(self) -> tuple[float, float]:
        """Choose the number of threads for a single image.

        Returns:
            The seconds of a single image, and those of one image among eight.
        """
        if not isinstance(self.predictor, Predictor):  # nothing is decoded, and there are no batches
            return 1.0, 0.0
        preparation = self.predictor.preparation
        pixels = np.full((*preparation.input_size_hw, preparation.n_channels), 127, dtype=np.uint8)
        prepared = preparation.image(pixels)
        with runtime.on_threads(1):
            latency = _median_seconds(self.predictor, [prepared])
        with_all_threads = _median_seconds(self.predictor, [prepared])
        if with_all_threads * _MIN_SPEEDUP < latency:
            self._n_threads_for_one, latency = None, with_all_threads
        n = min(8, self._max_batch)
        return latency, _median_seconds(self.predictor, [prepared] * n) / n


def _max_batch(predictor: AnyPredictor) -> int:
    """Return how many images are answered at once, fewer where their inputs are large."""
    if not isinstance(predictor, Predictor):
        return _MAX_BATCH
    height, width = predictor.preparation.input_size_hw
    return max(1, min(_MAX_BATCH, _BATCH_PIXELS // (height * width)))


def _step_back() -> None:
    """Let others go before this thread."""
    if hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _BEHIND)


def _median_seconds(predictor: Predictor, batch: Sequence[Prepared]) -> float:
    """Return the seconds that the answers for a batch take, the median of several runs."""
    times = []
    for _ in range(_N_TIMED):
        started = time.perf_counter()
        predictor.answers(batch)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _resolve(future: asyncio.Future[Prediction], outcome: Prediction | Exception) -> None:
    """Give a future its result or its error, from the model's thread."""

    def resolve() -> None:
        if not future.done():  # a request that was given up has cancelled it
            future.set_exception(outcome) if isinstance(outcome, Exception) else future.set_result(outcome)

    future.get_loop().call_soon_threadsafe(resolve)
