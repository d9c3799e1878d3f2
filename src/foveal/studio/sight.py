"""What a studio has seen of its images: features, kept from one look to the next, in a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from foveal.core.errors import InputError
from foveal.evaluation.bank import extractor_at_hand, look
from foveal.studio.desk import Desk

_FEWEST_AT_ONCE, _MOST_AT_ONCE = 64, 8192  # images that are looked at between two chances to learn
_SECONDS = 2.0  # that this should take: features that are kept come by thousands, others one by one


class Sight:
    """Features of the images of a desk.

    Attributes:
        features: float16 [n, F], NaN where an image was not looked at yet; None before the first was.
    """

    def __init__(self, desk: Desk, arch: str) -> None:
        """Load the backbone that looks.

        Args:
            desk: has the images.
            arch: the backbone's name.

        Raises:
            ModelFileError: its weights cannot be had.
        """
        self._desk, self._predictor = desk, extractor_at_hand(arch)
        self._looked = torch.zeros(len(desk.collection.images), dtype=torch.bool)
        self.features: Tensor | None = None

    @property
    def n_looked(self) -> int:
        """How many images were looked at."""
        return int(self._looked.sum())

    @property
    def is_done(self) -> bool:
        """Whether all images were looked at, or refused."""
        return self.n_looked + len(self._desk.refused) >= len(self._looked)

    def looked_at(self) -> list[int]:
        """Return the positions of the images that were looked at."""
        found: list[int] = self._looked.nonzero()[:, 0].tolist()
        return found

    def has(self, at: int) -> bool:
        """Return whether an image was looked at."""
        return bool(self._looked[at])

    def look_at_all(self, is_ending: Callable[[], bool]) -> None:
        """Look at all images, those with a label first, the others spread over their order.

        Args:
            is_ending: whether to leave the rest.
        """
        images = self._desk.collection.images
        labelled = self._desk.positions_of_labels()
        order = [*labelled, *(at for at in self._desk.spread() if at not in labelled)]
        at_once, start = _FEWEST_AT_ONCE, 0
        while start < len(order) and not is_ending():
            part, began = order[start : start + at_once], time.perf_counter()
            start += at_once
            try:
                bank = look(self._predictor, [images[at].file for at in part])
            except InputError as error:  # none of them
                self._take(part, None, {str(images[at].file): str(error) for at in part})
                continue
            self._take(part, bank.features, {one.name: one.error.reason for one in bank.refused})
            took = time.perf_counter() - began
            at_once = min(2 * at_once, _MOST_AT_ONCE) if took < _SECONDS else max(at_once // 2, _FEWEST_AT_ONCE)

    def _take(self, part: Sequence[int], rows: Tensor | None, refused: dict[str, str]) -> None:
        images = self._desk.collection.images
        there = [at for at in part if str(images[at].file) not in refused]
        with self._desk.changed:
            if rows is not None:
                if self.features is None:
                    self.features = torch.full((len(images), rows.shape[1]), torch.nan, dtype=torch.float16)
                self.features[there] = rows.half()
                self._looked[there] = True
            named = {str(images[at].file): images[at].name for at in part}
            self._desk.refused |= {named[file]: reason for file, reason in refused.items()}
            self._desk.n_decided += 1
            self._desk.bump()

    def most_like(self, at: int, among: Iterable[int]) -> int | None:
        """Return which of some images is most like another; None where none was looked at.

        Args:
            at: the position of the other.
            among: positions of the some.
        """
        there = [other for other in among if other != at and self.has(other)]
        if self.features is None or not there or not self.has(at):
            return None
        rows = normalize(self.features[there].float(), dim=1)
        return there[int((rows @ normalize(self.features[at].float(), dim=0)).argmax())]
