"""Answers one after the other, as they come."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from foveal.bundle.predictor import Prediction, Predictor, Refused
from foveal.image.decode import PictureSource
from foveal.results.journal import Journal
from foveal.tables import printable

P = TypeVar("P", bound=PictureSource)


def paired(
    predictor: Predictor, pictures: Iterable[P], batch_size: int, *, num_workers: int | None = None
) -> Iterator[tuple[P, Prediction | Refused]]:
    """Yield each picture with what the predictor makes of it, in order and in constant memory."""
    waiting: deque[P] = deque()  # no further ahead than the predictor reads

    def noted() -> Iterator[P]:
        for picture in pictures:
            waiting.append(picture)
            yield picture

    for answer in predictor.predict_batch(noted(), batch_size=batch_size, num_workers=num_workers):
        yield waiting.popleft(), answer


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
        for file, answer in paired(self.predictor, self.files, self.batch_size):
            if isinstance(answer, Refused):
                self._refuse(file, answer)
            else:
                yield file, answer

    def _refuse(self, file: Path, answer: Refused) -> None:
        self.n_refused += 1
        print(f"refused: {answer.error}", file=sys.stderr)  # noqa: T201 -- printing is what it is for
        if self.journal is not None:
            self.journal.refuse(printable(file), answer.error.reason)
