"""Predictions one after the other, in constant memory."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from foveal.core.tables import printable
from foveal.images.decode import ImageSource, name_of
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
    """Iterates over images with their predictions; images that cannot be used are printed, logged and counted.

    Attributes:
        n_refused: how many could not be used so far.
    """

    def __init__(
        self,
        predictor: Predictor,
        images: Iterable[ImageSource],
        batch_size: int,
        resume_log: ResumeLog | None = None,
        *,
        one_by_one: bool = False,
        advance: Callable[[], object] = lambda: None,
    ) -> None:
        """Begin; nothing is read before the iteration starts.

        Args:
            predictor: the model that answers.
            images: paths, or whatever `Predictor.predict` takes.
            batch_size: images per batch.
            resume_log: where images that cannot be used are written, if anywhere.
            one_by_one: answer for each image before the next one is read, as for a camera.
            advance: called after each image.
        """
        self.predictor, self.images, self.resume_log, self._advance = predictor, images, resume_log, advance
        self._batch_size = 1 if one_by_one else batch_size
        self._num_workers = 0 if one_by_one else None
        self.n_refused = 0

    def __iter__(self) -> Iterator[tuple[ImageSource, Prediction]]:
        each = predict_each(self.predictor, self.images, self._batch_size, num_workers=self._num_workers)
        for image, prediction in each:
            if isinstance(prediction, Refused):
                self._refuse(image, prediction)
            else:
                yield image, prediction
            self._advance()

    def _refuse(self, image: ImageSource, refused: Refused) -> None:
        self.n_refused += 1
        print(f"refused: {refused.error}", file=sys.stderr)  # noqa: T201 -- printing is what it is for
        if self.resume_log is not None:
            self.resume_log.refuse(printable(name_of(image)), refused.error.reason)
