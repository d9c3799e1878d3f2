"""Samples: a picture and its target on the canvas, drawn from a generator.

All fits and moves of a sample multiply into one homography, its placement; pixels are resampled once through it and
the target is taken along by the same matrix.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from foveal.errors import InputError
from foveal.geometry.fit import Fit, RandomResizedCrop, Resize
from foveal.geometry.homography import IDENTITY, Homography
from foveal.geometry.moves import Move
from foveal.image.augment import Normalize
from foveal.image.decode import OpenedPicture, PictureSource, Pixels, open_picture
from foveal.image.pixels import Tone, apply_tones
from foveal.image.prepare import Preparation, Statistics, render
from foveal.tasks.base import Task


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture on the canvas: pixels uint8 [h, w, 3], its target, and the map from source to unit frame."""

    pixels: Pixels
    target: Tensor
    frame: Homography


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What happens to a picture in training, sorted by kind; validation uses the last canvas without chance."""

    fits: tuple[Fit, ...]
    moves: tuple[Move, ...] = ()
    tones: tuple[Tone, ...] = ()
    statistics: Statistics | None = None

    @classmethod
    def of(cls, item_tfms: Any = None, batch_tfms: Any = None) -> Pipeline:
        """Sort transforms, given one by one or in lists, by what they are; their place in the lists does not matter.

        Raises:
            InputError: one is of no known kind, or none says the size of the canvas.
        """
        steps = [*_flat(item_tfms), *_flat(batch_tfms)]
        fits = [step for step in steps if isinstance(step, Resize | RandomResizedCrop)]
        tones = [step for step in steps if isinstance(step, Tone)]
        given = [step.statistics for step in steps if isinstance(step, Normalize)]
        known = (Resize, RandomResizedCrop, Tone, Normalize)
        moves = [step for step in steps if not isinstance(step, known)]
        for move in moves:
            if isinstance(move, type) or not isinstance(move, Move):
                hint = f" Did you mean `{move.__name__}(...)`?" if isinstance(move, type) else ""
                raise InputError(f"A transform is a fit, a move, a tone or Normalize; got {move!r}.{hint}")
        if len(given) > 1:
            raise InputError(f"Normalize may be given once, got it {len(given)} times.")
        return cls(tuple(fits), tuple(moves), tuple(tones), given[0] if given else None)

    @property
    def canvas_hw(self) -> tuple[int, int]:
        """The last canvas, (height, width); there is one once a loader has been built."""
        return self.fits[-1].canvas_hw

    @property
    def fit(self) -> Resize:
        """How a picture comes onto the last canvas without chance: cropped, unless the first `Resize` says more."""
        first = self.fits[0]
        return Resize(self.canvas_hw, first.method if isinstance(first, Resize) else "crop")

    def preparation(self, statistics: Statistics) -> Preparation:
        """Return how pictures are prepared in validation and in service."""
        return Preparation(self.fit, self.statistics or statistics)

    def place(self, size_hw: tuple[int, int], rng: np.random.Generator | None) -> Homography:
        """Draw the map from a source of `size_hw` to the canvas; without a generator, validation's."""
        if rng is None:
            return self.fit(size_hw)
        placement = IDENTITY
        for fit in self.fits:
            placement = placement.then(fit(size_hw, rng))
            size_hw = fit.canvas_hw
        return placement.then(*(move(size_hw, rng) for move in self.moves))

    def sample(
        self, picture: PictureSource, target: Tensor, task: Task[Any], rng: np.random.Generator | None
    ) -> Sample:
        """Draw one sample; without a generator, as in validation.

        Raises:
            PictureError: the picture is refused.
        """
        opened: OpenedPicture = open_picture(picture)
        placement = self.place(opened.size_hw, rng)
        pixels = render(opened, placement, self.canvas_hw)
        if rng is not None:
            pixels = apply_tones(pixels, self.tones, rng)
        frame = placement.then(Homography.unit_frame(self.canvas_hw))
        return Sample(pixels, task.move(target, frame), frame)


def _flat(steps: Any) -> Iterable[Any]:
    if steps is None:
        return []
    return list(steps) if isinstance(steps, list | tuple) else [steps]
