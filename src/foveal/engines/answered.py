"""Answers one after the other, as they come."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from foveal.bundle.predictor import Prediction, Predictor, Refused
from foveal.results.journal import Journal
from foveal.tables import printable


class Answered:
    """Good answers of a predictor, each with its file; pictures that cannot be used are named and counted.

    Attributes:
        n_refused: how many could not be used so far.
    """

    def __init__(
        self, predictor: Predictor, files: Iterable[Path], batch_size: int, journal: Journal | None = None
    ) -> None:
        self.predictor, self.files, self.batch_size, self.journal = predictor, files, batch_size, journal
        self.n_refused = 0

    def __iter__(self) -> Iterator[tuple[Path, Prediction]]:
        waiting: deque[Path] = deque()  # no further ahead than the predictor reads

        def noted() -> Iterator[Path]:
            for file in self.files:
                waiting.append(file)
                yield file

        for answer in self.predictor.predict_batch(noted(), batch_size=self.batch_size):
            file = waiting.popleft()
            if isinstance(answer, Refused):
                self._refuse(file, answer)
            else:
                yield file, answer

    def _refuse(self, file: Path, answer: Refused) -> None:
        self.n_refused += 1
        print(f"refused: {answer.error}", file=sys.stderr)  # noqa: T201 -- printing is what it is for
        if self.journal is not None:
            self.journal.refuse(printable(file), answer.error.reason)
