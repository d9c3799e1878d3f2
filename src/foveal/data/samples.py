"""Samples: an image and its target on the canvas, drawn from a generator.

All fits and moves of a sample multiply into one homography, its placement; pixels are resampled once through it and
the target is taken along by the same matrix. Where the warp is left to the batch, a sample carries the window that it
needs and the map from there to the canvas; nothing is drawn differently.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.core.errors import InputError
from foveal.geometry.homography import IDENTITY, Homography
from foveal.geometry.moves import Move
from foveal.geometry.resize import RandomResizedCrop, Resize, ResizeStep
from foveal.geometry.warp import stack_windows, warp_batch
from foveal.images.augment import Normalize
from foveal.images.decode import ImageSource, OpenedImage, Pixels, open_image
from foveal.images.prepare import UNCHANGED, Preparation, Statistics, collate, render, render_window
from foveal.images.tones import Tone, apply_lut, apply_luts, draw_lut
from foveal.tasks.base import Task

PixelOperation = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image and its target.

    Attributes:
        pixels: the canvas, uint8 [h, w, 3], or the window that the batch warps onto it.
        target: on the canvas.
        frame: from source pixels to the unit frame of the canvas.
        rest: from `pixels` to the canvas.
        table: new values for the 256 values of a pixel, where that is left to the batch.
    """

    pixels: Pixels
    target: Tensor
    frame: Homography
    rest: Homography = IDENTITY
    table: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What happens to an image in training, sorted by kind; validation uses the last canvas without chance."""

    fits: tuple[ResizeStep, ...]
    moves: tuple[Move, ...] = ()
    tones: tuple[Tone, ...] = ()
    operations: tuple[PixelOperation, ...] = ()
    statistics: Statistics | None = None

    @classmethod
    def of(cls, item_tfms: Any = None, batch_tfms: Any = None) -> Pipeline:
        """Sort transforms, given one by one or in lists, by what they are; their place in the lists does not matter.

        A function of (size_hw, generator) is a move. A function of a batch, float32 [B, 3, h, w] from 0 to 1, or a
        transform of torchvision's, is a pixel operation: it belongs in `batch_tfms` and runs in training only.

        Raises:
            InputError: one is of no known kind.
        """
        steps = [*_flat(item_tfms), *_flat(batch_tfms)]
        fits = [step for step in steps if isinstance(step, Resize | RandomResizedCrop)]
        tones = [step for step in steps if isinstance(step, Tone)]
        given = [step.statistics for step in steps if isinstance(step, Normalize)]
        known = (Resize, RandomResizedCrop, Tone, Normalize)
        others = [_function(step) for step in steps if not isinstance(step, known)]
        moves = [step for step in others if _n_arguments(step) == 2]
        operations = [step for step in others if step not in moves]
        for step in _flat(item_tfms):
            if step in operations:
                raise InputError(
                    f"{step!r} works on pixels: put it into `batch_tfms`, where it gets a batch, float32 [B, 3, h, w] "
                    "from 0 to 1. What moves pixels is a function of (size_hw, generator) that returns a Homography."
                )
        if len(given) > 1:
            raise InputError(f"Normalize may be given once, got it {len(given)} times.")
        return cls(tuple(fits), tuple(moves), tuple(tones), tuple(operations), given[0] if given else None)

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """The last canvas, (height, width); there is one once a loader has been built."""
        return self.fits[-1].input_size_hw

    @property
    def fit(self) -> Resize:
        """How an image comes onto the last canvas without chance: cropped, unless the first `Resize` says more."""
        first = self.fits[0]
        return Resize(self.input_size_hw, first.method if isinstance(first, Resize) else "crop")

    @property
    def preparation(self) -> Preparation:
        """How images are prepared in validation and in service."""
        return Preparation(self.fit, self.statistics or UNCHANGED)

    def normalised(self, statistics: Statistics) -> Pipeline:
        """Return the same pipeline with statistics, unless it has its own."""
        return self if self.statistics else replace(self, statistics=statistics)

    def place(self, size_hw: tuple[int, int], rng: np.random.Generator | None) -> Homography:
        """Draw the map from a source of `size_hw` to the canvas; without a generator, validation's."""
        if rng is None:
            return self.fit(size_hw)
        placement = IDENTITY
        for fit in self.fits:
            placement = placement.then(fit(size_hw, rng))
            size_hw = fit.input_size_hw
        return placement.then(*(move(size_hw, rng) for move in self.moves))

    def sample(
        self,
        image: ImageSource,
        target: Tensor,
        task: Task[Any],
        rng: np.random.Generator | None,
        *,
        windowed: bool = False,
    ) -> Sample:
        """Draw one sample; without a generator, as in validation. With `windowed` the batch will warp it.

        Raises:
            ImageError: the image is refused.
        """
        opened: OpenedImage = open_image(image)
        placement = self.place(opened.size_hw, rng)
        frame = placement.then(Homography.unit_frame(self.input_size_hw))
        target = task.move(target, frame)
        if windowed:
            pixels, rest = render_window(opened, placement, self.input_size_hw)
            return Sample(pixels, target, frame, rest, None if rng is None else draw_lut(self.tones, rng))
        pixels = render(opened, placement, self.input_size_hw)
        if rng is not None:
            pixels = apply_lut(pixels, draw_lut(self.tones, rng))
        return Sample(pixels, target, frame)

    def pixels(self, samples: Sequence[Sample], device: torch.device) -> Tensor:
        """Bring the canvases of samples to a device, uint8 [B, h, w, 3], warped there where that was left to do."""
        if all(sample.rest is IDENTITY for sample in samples):
            stacked = collate([sample.pixels for sample in samples]).to(device, non_blocking=True)
        else:
            windows = stack_windows([sample.pixels for sample in samples]).to(device, non_blocking=True)
            stacked = warp_batch(windows, Homography.stack([sample.rest for sample in samples]), self.input_size_hw)
        return apply_luts(stacked, [sample.table for sample in samples])


def _flat(steps: Any) -> list[Any]:
    if steps is None:
        return []
    return list(steps) if isinstance(steps, list | tuple) else [steps]


def _function(step: Any) -> Any:
    if isinstance(step, type) or not callable(step):
        hint = f" Did you mean `{step.__name__}(...)`?" if isinstance(step, type) else ""
        raise InputError(
            f"A transform is a fit, a move, a tone, Normalize or a function of a batch; got {step!r}.{hint}"
        )
    return step


def _n_arguments(function: Any) -> int:
    """Return how many arguments must be given."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        arguments: Iterable[inspect.Parameter] = inspect.signature(function).parameters.values()
    except ValueError:  # a function written in C may tell nothing
        return 1
    return sum(one.kind in kinds and one.default is inspect.Parameter.empty for one in arguments)
