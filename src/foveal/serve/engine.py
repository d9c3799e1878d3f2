"""The engine: images are decoded by threads, and whatever waits when the model is free is answered as one batch."""

from __future__ import annotations

import asyncio
import queue
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from foveal.core import runtime
from foveal.images.prepare import Prepared
from foveal.inference.predictor import AnyPredictor, Prediction, Predictor
from foveal.serve.admission import ConcurrencyLimiter

Out = TypeVar("Out")
_LARGEST_BATCH, _LATENCIES, _TRIED = 16, 4, 5
_FEWEST, _MOST = 4, 256
_IDLE_SECONDS = 1.0
# All threads answer for a single image only where they are so much quicker than one: they leave none for decoding. On
# two cores they take 2.8 ms instead of 2.4 (EfficientNet-Lite0, 64 px), or 8 instead of 13 (224 px); beside one busy
# process 6.7 and 22 ms, where one thread is as quick as ever.
_WORTH_ALL_THREADS = 1.3


class Answer(NamedTuple):
    """What was answered for an image, and the image's (height, width)."""

    prediction: Prediction
    size_hw: tuple[int, int]


class _Waiting(NamedTuple):
    prepared: Prepared
    answered: asyncio.Future[Prediction]


class Engine:
    """Answers for images, or for pairs, on behalf of an event loop.

    Attributes:
        places: how many may be at work; measured at the start unless given, so that whoever is let in waits about four
            times as long as without others.
    """

    def __init__(
        self,
        predictor: AnyPredictor,
        *,
        max_queue: int | None = None,
        num_workers: int = 1,
        note_batch: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Prepare; nothing runs before `start`."""
        self.predictor, self._note_batch, self._max_queue = predictor, note_batch, max_queue
        self.places = ConcurrencyLimiter(0)
        self._threads_alone: int | None = 1
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="foveal-decode")
        self._thread = threading.Thread(target=self._work, name="foveal-model", daemon=True)

    def start(self) -> None:
        """Warm the model up, measure it, and begin to answer."""
        alone, each = self._measured()
        fitting = round(_LATENCIES * alone / each) if each else _MOST
        self.places = ConcurrencyLimiter(self._max_queue or min(_MOST, max(_FEWEST, fitting)), each)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the model's thread is at work."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Answer for what waits, then end all threads."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown()

    async def answer(self, image: bytes) -> Answer:
        """Answer for the bytes of an image.

        Raises:
            ImageError: the image is refused.
        """
        loop = asyncio.get_running_loop()
        prepared = await self.run(lambda: self._images.preparation.image(image))
        answered: asyncio.Future[Prediction] = loop.create_future()
        self._queue.put(_Waiting(prepared, answered))
        return Answer(await answered, prepared.size_hw)

    async def run(self, work: Callable[[], Out]) -> Out:
        """Do something in a thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    @property
    def _images(self) -> Predictor:
        assert isinstance(self.predictor, Predictor)
        return self.predictor

    def _work(self) -> None:
        while group := self._group(None):
            with runtime.computing():  # while there is work; what is left idle goes back to the system
                while group:
                    self._answer(group)
                    group = self._group(_IDLE_SECONDS)

    def _group(self, seconds: float | None) -> list[_Waiting]:
        """Return whatever waits, once something does; nothing after so many seconds without, or at the end."""
        found: list[_Waiting] = []
        try:
            while len(found) < _LARGEST_BATCH:
                one = self._queue.get(timeout=seconds) if not found else self._queue.get_nowait()
                if one is None:
                    self._queue.put(None)  # for whoever asks next
                    break
                found.append(one)
        except queue.Empty:
            pass
        return found

    def _answer(self, group: Sequence[_Waiting]) -> None:
        try:
            self._note_batch(len(group))
            with runtime.on_threads(self._threads_alone if len(group) == 1 else None):
                answers = self._images.answers([one.prepared for one in group])
            for one, answer in zip(group, answers, strict=True):
                _tell(one.answered, answer)
        except Exception as error:  # noqa: BLE001 -- whatever it is, whoever waits must hear of it
            if len(group) == 1:
                _tell(group[0].answered, error)
                return
            for one in group:  # whose fault it is
                self._answer([one])

    def _measured(self) -> tuple[float, float]:
        """Choose the threads for an image alone; return its seconds, and those of one among eight."""
        if not isinstance(self.predictor, Predictor):  # nothing is decoded, and there are no batches
            return 1.0, 0.0
        pixels = np.full((*self.predictor.preparation.input_size_hw, 3), 127, dtype=np.uint8)
        one = self.predictor.preparation.image(pixels)
        with runtime.on_threads(1):
            alone = _seconds(self.predictor, [one])
        with_all = _seconds(self.predictor, [one])
        if with_all * _WORTH_ALL_THREADS < alone:
            self._threads_alone, alone = None, with_all
        return alone, _seconds(self.predictor, [one] * 8) / 8


def _seconds(predictor: Predictor, group: Sequence[Prepared]) -> float:
    """Return the seconds that answers for a group take, the median of several."""
    times = []
    for _ in range(_TRIED):
        began = time.perf_counter()
        predictor.answers(group)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _tell(answered: asyncio.Future[Prediction], what: Prediction | Exception) -> None:
    def tell() -> None:
        if not answered.done():
            answered.set_exception(what) if isinstance(what, Exception) else answered.set_result(what)

    answered.get_loop().call_soon_threadsafe(tell)
