"""Predictions one after the other, in constant memory."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from foveal.core.tables import printable
from foveal.images.decode import ImageSource
from foveal.inference.prediction import Prediction, Refused
from foveal.inference.predictor import Predictor
from foveal.scale.resume_log import ResumeLog

P = TypeVar("P", bound=ImageSource)


def predict_each(
    predictor: Predictor, images: Iterable[P], batch_size: int, *, num_workers: int | None = None
) -> Iterator[tuple[P, Prediction | Refused]]:
    """Yield each image with its prediction, in order and in constant memory.

    Args:
        predictor: the model that answers.
        images: paths, bytes or whatever `Predictor.predict` takes; read as they are needed.
        batch_size: images per batch.
        num_workers: threads that decode images; see `threads.default_workers`.
    """
    pending: deque[P] = deque()  # grows no further than the predictor reads ahead

    def remember() -> Iterator[P]:
        for image in images:
            pending.append(image)
            yield image

    for prediction in predictor.predict_batch(remember(), batch_size=batch_size, num_workers=num_workers):
        yield pending.popleft(), prediction


class PredictionStream:
    """Iterates over files with their predictions; images that cannot be used are printed, logged and counted.

    Attributes:
        n_refused: how many could not be used so far.
    """

    def __init__(
        self, predictor: Predictor, files: Iterable[Path], batch_size: int, resume_log: ResumeLog | None = None
    ) -> None:
        """Begin; nothing is read before the iteration starts.

        Args:
            predictor: the model that answers.
            files: the images.
            batch_size: images per batch.
            resume_log: where images that cannot be used are written, if anywhere.
        """
        self.predictor, self.files, self.batch_size, self.resume_log = predictor, files, batch_size, resume_log
        self.n_refused = 0

    def __iter__(self) -> Iterator[tuple[Path, Prediction]]:
        for file, prediction in predict_each(self.predictor, self.files, self.batch_size):
            if isinstance(prediction, Refused):
                self._refuse(file, prediction)
            else:
                yield file, prediction

    def _refuse(self, file: Path, refused: Refused) -> None:
        self.n_refused += 1
        print(f"refused: {refused.error}", file=sys.stderr)  # noqa: T201 -- printing is what it is for
        if self.resume_log is not None:
            self.resume_log.refuse(printable(file), refused.error.reason)
