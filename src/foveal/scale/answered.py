"""Answers one after the other, as they come."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from foveal.core.tables import printable
from foveal.images.decode import ImageSource
from foveal.inference.predictor import Prediction, Predictor, Refused
from foveal.scale.resume_log import ResumeLog

P = TypeVar("P", bound=ImageSource)


def paired(
    predictor: Predictor, images: Iterable[P], batch_size: int, *, num_workers: int | None = None
) -> Iterator[tuple[P, Prediction | Refused]]:
    """Yield each image with what the predictor makes of it, in order and in constant memory."""
    waiting: deque[P] = deque()  # no further ahead than the predictor reads

    def noted() -> Iterator[P]:
        for image in images:
            waiting.append(image)
            yield image

    for answer in predictor.predict_batch(noted(), batch_size=batch_size, num_workers=num_workers):
        yield waiting.popleft(), answer


class Answered:
    """Good answers of a predictor, each with its file; images that cannot be used are named and counted.

    Attributes:
        n_refused: how many could not be used so far.
    """

    def __init__(
        self, predictor: Predictor, files: Iterable[Path], batch_size: int, resume_log: ResumeLog | None = None
    ) -> None:
        self.predictor, self.files, self.batch_size, self.resume_log = predictor, files, batch_size, resume_log
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
        if self.resume_log is not None:
            self.resume_log.refuse(printable(file), answer.error.reason)
