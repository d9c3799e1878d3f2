"""What a service was asked, beside what its model was validated on."""

from __future__ import annotations

import datetime as dt
import logging
import time

from foveal.inference.prediction import Prediction
from foveal.inference.reference import Drift, Tally, count_answer, drift_of
from foveal.inference.watching import CountingFolder
from foveal.tasks.base import AnyTask

_LOG = logging.getLogger("foveal.serve")
_HOURS = 24  # that `drift` looks at; chosen by hand: a day, with its night
_SECONDS = 60.0  # between two times that the counts are written; chosen by hand: what a killed process loses


class Watcher:
    """Counts the answers of one model, for use by one event loop.

    Attributes:
        reference: what the model answered on its validation images; None where its bundle does not say.
    """

    def __init__(self, task: AnyTask, reference: Tally | None, folder: CountingFolder | None) -> None:
        self.reference, self._task, self._folder = reference, task, folder
        self._hours = dict[dt.datetime, Tally]()
        self._waiting = dict[dt.datetime, str]()
        self._written = time.monotonic()
        self._known: Drift | None = None

    def count(self, prediction: Prediction) -> bool:
        """Count an answer.

        Returns:
            Whether it is time to `write`, in a thread that may wait for a disk.
        """
        if self.reference is None:
            return False
        hour = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
        if hour not in self._hours:
            self._keep_for_writing()
            self._hours = {old: one for old, one in self._hours.items() if hour - old < dt.timedelta(hours=_HOURS)}
            self._hours[hour] = self.reference.emptied()
        count_answer(self._hours[hour], self._task, prediction)
        if self._folder is None or time.monotonic() - self._written < _SECONDS:
            return False
        self._written = time.monotonic()
        self._keep_for_writing()
        return True

    def last_day(self) -> Tally:
        """Return the counts of the last 24 hours."""
        total = Tally() if self.reference is None else self.reference.emptied()
        for tally in self._hours.values():
            total.add_all(tally)
        return total

    def drift(self, asked: Tally) -> Drift | None:
        """Return how far answers differ from those on validation; None where the bundle does not say of these.

        Args:
            asked: counts of the answers, as `last_day` returns them.
        """
        if self.reference is not None and (self._known is None or self._known.n != asked.n):
            self._known = drift_of(self.reference, asked)
        return self._known

    def finish(self) -> None:
        """Write all that was counted, once nothing is counted any more."""
        self._keep_for_writing()
        self.write()

    def _keep_for_writing(self) -> None:
        if self._folder is not None and self._hours:
            hour = max(self._hours)
            self._waiting[hour] = self._hours[hour].model_dump_json()

    def write(self) -> None:
        """Write what waits; where that fails, the log says so and the next time tries again."""
        while self._folder is not None and self._waiting:
            hour, counts = self._waiting.popitem()
            try:
                self._folder.write(hour, counts)
            except OSError as error:
                _LOG.warning("Counts of answers are not written for now: %s", error)
                self._waiting.setdefault(hour, counts)
                return
