"""Samples: an image and its target in the model's input, drawn from a generator.

All resizes and moves of a sample multiply into one homography, `source_to_input`; pixels are resampled once through it
and the target is moved by the same matrix. Where the warp is left to the batch, a sample carries the window of the
source that it needs and the map `window_to_input`; the random draws are the same.

Coordinates: *source* is the image's own pixels, *input* the pixels that the model gets, [0, w] x [0, h], and *target*
the same area as [-1, 1] x [-1, 1].
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeGuard, TypeVar

import numpy as np
import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.geometry.homography import IDENTITY, Homography
from foveal.geometry.moves import Move
from foveal.geometry.pixels import PadMode, Values
from foveal.geometry.resize import RandomResizedCrop, Resize, ResizeStep
from foveal.geometry.warp import stack_windows, warp_batch
from foveal.images.augment import Normalize, Padding
from foveal.images.changes import ItemTransform, open_changed
from foveal.images.channels import RGB
from foveal.images.colours import Pixels
from foveal.images.decode import ImageSource, OpenedImage
from foveal.images.decoded import DecodedImages
from foveal.images.prepare import (
    UNCHANGED_OF,
    Preparation,
    Statistics,
    collate,
    normalising_table,
    render,
    render_into,
    render_window,
)
from foveal.images.tones import Lut, Tone, apply_lut, apply_luts, draw_lut
from foveal.tasks.base import Task

Label = TypeVar("Label")
MoveFunction = Callable[[tuple[int, int], np.random.Generator], Homography]
"""What a move does: (height, width) of the input and a generator to a homography of the input onto itself."""
PixelFunction = Callable[[Tensor], Tensor]
"""What a pixel operation does: a batch, float32 [B, C, h, w] from 0 to 1, to another of the same shape."""
Transform = ResizeStep | Tone | Normalize | Padding | ItemTransform | MoveFunction | PixelFunction
Transforms = Transform | Sequence[Transform] | None
"""One transform, several, or none."""


class PixelOperation(ABC):
    """A pixel operation as a class: subclass it where the number of arguments does not show what a callable is.

    Attributes:
        n_channels: the one number of channels that it can work on, such as 3 for colours; None for any.
    """

    n_channels: ClassVar[int | None] = None

    @abstractmethod
    def __call__(self, batch: Tensor) -> Tensor:
        """Return the changed batch, float32 [B, C, h, w] from 0 to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image and its target.

    Attributes:
        pixels: the input, uint8 [h, w, C], or the window that the batch warps onto it, uint8 [H, W, C].
        target: encoded, points in [-1, 1] on the input.
        source_to_target: from source pixels to [-1, 1] on the input.
        window_to_input: from `pixels` to pixels of the input; the identity where nothing is left to warp.
        lut: uint8 [256], new values for those of a pixel, still to be looked up; None for no change.
    """

    pixels: Pixels
    target: Tensor
    source_to_target: Homography
    window_to_input: Homography = IDENTITY
    lut: Lut | None = None

    def with_tones(self) -> Sample:
        """Return the sample with its values looked up."""
        return replace(self, pixels=apply_lut(self.pixels, self.lut), lut=None)


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """What is left of a sample whose input stands in its place of the batch.

    Attributes:
        target: encoded, points in [-1, 1] on the input.
        source_to_target: from source pixels to [-1, 1] on the input.
    """

    target: Tensor
    source_to_target: Homography


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """A sample before its pixels are decoded."""

    opened: OpenedImage
    source_to_input: Homography
    placed: Placed
    pad_mode: PadMode
    lut: Lut | None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything that is done to an image, sorted by kind.

    Attributes:
        resizes: bring an image to one size, one after the other; validation resizes once, without chance.
        moves: random homographies of the input, in training.
        tones: random changes of brightness and contrast, in training.
        operations: the user's functions of a batch, in training.
        statistics: what `Normalize` gave to normalise batches with; None leaves pixels on the scale from 0 to 1, and a
            model of `vision_learner` then normalises its input itself.
        n_channels: that images are read with, 1, 3 or 4.
        pad_mode: what stands beyond an image's border in training.
        changes: the user's `Transform`s of items: functions of an image, before all others.
        measures: whether `Normalize` leaves its statistics to be measured.
        decoded: where decoded images are kept; None decodes each time.
    """

    resizes: tuple[ResizeStep, ...]
    moves: tuple[MoveFunction, ...] = ()
    tones: tuple[Tone, ...] = ()
    operations: tuple[PixelFunction, ...] = ()
    statistics: Statistics | None = None
    n_channels: int = RGB
    pad_mode: PadMode = "reflection"
    changes: tuple[ItemTransform, ...] = ()
    measures: bool = False
    decoded: DecodedImages | None = None

    @classmethod
    def of(cls, item_tfms: Transforms = None, batch_tfms: Transforms = None, n_channels: int = RGB) -> Pipeline:
        """Return transforms sorted by what they are; their place in the lists does not matter.

        A `Move`, or a function of (size_hw, generator), is a move. A `PixelOperation`, or a function of a batch,
        float32 [B, C, h, w] from 0 to 1, such as a transform of torchvision, is a pixel operation: it belongs in
        `batch_tfms` and runs in training only.

        Args:
            item_tfms: one transform or several.
            batch_tfms: more of them.
            n_channels: of the images.

        Raises:
            InputError: one is of no known kind, or for images of other channels.
        """
        item_steps = [_made(step) for step in _as_list(item_tfms)]
        steps = [*item_steps, *_as_list(batch_tfms)]
        resizes = [step for step in steps if isinstance(step, Resize | RandomResizedCrop)]
        _refuse_cut_of_resized(resizes)
        tones = [step for step in steps if isinstance(step, Tone)]
        normalize = [step for step in steps if isinstance(step, Normalize)]
        changes = [step for step in steps if isinstance(step, ItemTransform) and not step.is_done_anyway]
        sorted_kinds = (Resize, RandomResizedCrop, Tone, Normalize, Padding, ItemTransform)
        functions = [_require_function(step) for step in steps if not isinstance(step, sorted_kinds)]
        moves = [function for function in functions if _is_move(function)]
        operations = [function for function in functions if _is_pixel_function(function)]
        for step in item_steps:
            if step in operations:
                raise InputError(
                    f"{step!r} works on pixels: put it into `batch_tfms`, where it gets a batch, float32 [B, C, h, w] "
                    "from 0 to 1. What moves pixels is a function of (size_hw, generator) that returns a Homography."
                )
        for step in changes:
            if step not in item_steps:
                raise InputError(
                    f"{step!r} is a `Transform`, and those change single images: put it into `item_tfms`. In "
                    "`batch_tfms` a function of a batch, float32 [B, C, h, w] from 0 to 1, runs in training."
                )
        if len(normalize) > 1:
            raise InputError(f"Normalize may be given once, got it {len(normalize)} times.")
        for step in steps:
            _check_channels_of(step, n_channels)
        return cls(
            tuple(resizes),
            tuple(moves),
            tuple(tones),
            tuple(operations),
            normalize[0].statistics if normalize else None,
            n_channels,
            _pad_mode(resizes, [step for step in steps if isinstance(step, Padding)]),
            tuple(sorted(changes, key=lambda step: step.order)),
            measures=bool(normalize) and normalize[0].statistics is None,
        )

    def changes_at(self, *, training: bool) -> tuple[ItemTransform, ...]:
        """Return the changes of a side: those for both sides, and those for this one."""
        return tuple(step for step in self.changes if step.split_idx in {None, 0 if training else 1})

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """(height, width) of the model's input in pixels; it is known once a loader has been built."""
        return self.resizes[-1].input_size_hw

    @property
    def resize(self) -> Resize:
        """How an image comes to size without chance: cropped, unless the first transform is a `Resize` by a method."""
        first = self.resizes[0]
        if not isinstance(first, Resize):
            return Resize(self.input_size_hw)
        return Resize(self.input_size_hw, first.method, first.pad_mode)

    @property
    def preparation(self) -> Preparation:
        """How images are prepared in validation and in service."""
        return Preparation(self.resize, self.normalisation, self.changes_at(training=False))

    @property
    def normalisation(self) -> Statistics:
        """What batches are normalised with."""
        return self.statistics or UNCHANGED_OF[self.n_channels]

    def with_statistics(self, statistics: Statistics | None) -> Pipeline:
        """Return the same pipeline with these statistics in place of its own."""
        return replace(self, statistics=statistics)

    def source_to_input(self, size_hw: tuple[int, int], rng: np.random.Generator | None) -> Homography:
        """Return the map from source pixels to pixels of the input, drawn for one image.

        Args:
            size_hw: (height, width) of the source in pixels.
            rng: None gives the map of validation.
        """
        if rng is None:
            return self.resize(size_hw)
        source_to_input = IDENTITY
        for resize in self.resizes:
            source_to_input = source_to_input.then(resize(size_hw, rng))
            size_hw = resize.input_size_hw
        return source_to_input.then(*(move(size_hw, rng) for move in self.moves))

    def sample(
        self,
        image: ImageSource,
        target: Tensor,
        task: Task[Label],
        rng: np.random.Generator | None,
        *,
        windowed: bool = False,
    ) -> Sample:
        """Return one sample: the image in the input and its target, drawn from a generator.

        Args:
            image: the source.
            target: encoded, points in source pixels.
            task: moves the target.
            rng: None prepares the image as in validation.
            windowed: leave the warp to the batch.

        Raises:
            ImageError: the image is refused.
        """
        drawn, quick = self._draw(image, target, task, rng), rng is not None
        what, placed = (drawn.opened, drawn.source_to_input, self.input_size_hw, drawn.pad_mode), drawn.placed
        pixels, to_input = render_window(*what, quick=quick) if windowed else (render(*what, quick=quick), IDENTITY)
        return Sample(pixels, placed.target, placed.source_to_target, to_input, drawn.lut)

    def sample_into(
        self, room: Values, image: ImageSource, target: Tensor, task: Task[Label], rng: np.random.Generator | None
    ) -> Placed:
        """Draw one sample and write its input, normalised, into a batch: the values of `sample`, in one pass.

        Args:
            room: float32 [h, w, C], contiguous.
            image: the source.
            target: encoded, points in source pixels.
            task: moves the target.
            rng: None prepares the image as in validation.

        Returns:
            What is left of the sample: its target and its map.

        Raises:
            ImageError: the image is refused.
        """
        drawn, quick = self._draw(image, target, task, rng), rng is not None
        table = normalising_table(self.normalisation, drawn.lut)
        render_into(room, drawn.opened, drawn.source_to_input, drawn.pad_mode, table, quick=quick)
        return drawn.placed

    def _draw(self, image: ImageSource, target: Tensor, task: Task[Label], rng: np.random.Generator | None) -> _Drawn:
        changes = self.changes_at(training=rng is not None)
        kept = None if changes else self.decoded
        opened = kept.open(image, self.n_channels) if kept else open_changed(image, self.n_channels, changes, rng)
        source_to_input = self.source_to_input(opened.size_hw, rng)
        source_to_target = source_to_input.then(Homography.unit_frame(self.input_size_hw))
        placed = Placed(task.move(target, source_to_target), source_to_target)
        pad_mode = self.resize.pad_mode if rng is None else self.pad_mode
        return _Drawn(opened, source_to_input, placed, pad_mode, None if rng is None else draw_lut(self.tones, rng))

    def pixels(self, samples: Sequence[Sample], device: torch.device) -> Tensor:
        """Return the inputs of samples side by side, uint8 [B, h, w, C], warped where that was left to the batch.

        Args:
            samples: of one batch.
            device: where the inputs are wanted; a warp runs there.
        """
        if all(sample.window_to_input is IDENTITY for sample in samples):
            inputs = collate([sample.pixels for sample in samples]).to(device, non_blocking=True)
        else:
            windows = stack_windows([sample.pixels for sample in samples]).to(device, non_blocking=True)
            window_to_input = Homography.stack([sample.window_to_input for sample in samples])
            inputs = warp_batch(windows, window_to_input, self.input_size_hw)
        return apply_luts(inputs, [sample.lut for sample in samples])


def _pad_mode(resizes: Sequence[ResizeStep], padding: Sequence[Padding]) -> PadMode:
    """Return what stands beyond the border of an image in training: one warp shows it, so there is one such.

    Raises:
        InputError: transforms say different things.
    """
    given = [step.pad_mode for step in resizes if isinstance(step, Resize)] + [step.mode for step in padding]
    named: list[PadMode] = [mode for mode in dict.fromkeys(given) if mode != "reflection"]
    if len(named) > 1:
        raise InputError(
            f"The transforms ask for {' and '.join(named)} beyond an image's border, and resize and moves are one step "
            "here: give one pad_mode."
        )
    return named[0] if named else "reflection"


def _refuse_cut_of_resized(resizes: Sequence[ResizeStep]) -> None:
    cuts = [isinstance(step, Resize) and step.method == "cut" for step in resizes]
    if any(cuts) and not all(cuts):
        raise InputError(
            "RandomCrop and CropPad keep the scale of the image's own pixels, and do not go together with a transform "
            "that changes it: write RandomResizedCrop(224, min_scale=0.35) for a random part of a resized image."
        )


def _as_list(transforms: Transforms) -> list[Transform]:
    if transforms is None:
        return []
    if isinstance(transforms, list | tuple):
        return list(transforms)
    assert not isinstance(transforms, Sequence)
    return [transforms]


def _made(step: Any) -> Transform:
    """Return a step; of a transform's class, an instance."""
    made: Transform = step() if isinstance(step, type) and isinstance(step, ItemTransform) else step
    return made


def _check_channels_of(step: Transform, n_channels: int) -> None:
    """Refuse a transform for images of another number of channels than there are.

    Raises:
        InputError: it is for another number; the message says what would fit.
    """
    statistics = step.statistics if isinstance(step, Normalize) else None
    made_for = getattr(step, "n_channels", None) if statistics is None else statistics.n_channels
    if made_for in {None, n_channels}:
        return
    hint = "."
    if statistics is not None:
        fitting = statistics.for_channels(n_channels) if made_for == RGB else None
        given = f"Normalize.from_stats({fitting.mean}, {fitting.std})" if fitting else "a number for each channel"
        hint = f": give {given}, or leave it out, for a model of `vision_learner` normalises by itself."
    raise InputError(f"{step!r} is for images of {made_for} channels, and these have {n_channels}{hint}")


def _require_function(step: object) -> MoveFunction | PixelFunction:
    if isinstance(step, type) or not callable(step):
        hint = f" Did you mean `{step.__name__}(...)`?" if isinstance(step, type) else ""
        raise InputError(
            f"A transform is a resize step, a move, a tone, Normalize or a function of a batch; got {step!r}.{hint}"
        )
    return step


def _is_move(function: MoveFunction | PixelFunction) -> TypeGuard[MoveFunction]:
    if isinstance(function, Move | PixelOperation):
        return isinstance(function, Move)
    return _n_required_arguments(function) == 2


def _is_pixel_function(function: MoveFunction | PixelFunction) -> TypeGuard[PixelFunction]:
    return not _is_move(function)


def _n_required_arguments(function: Callable[..., object]) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters: Iterable[inspect.Parameter] = inspect.signature(function).parameters.values()
    except ValueError:  # a function written in C may have no signature
        return 1
    return sum(parameter.kind in kinds and parameter.default is inspect.Parameter.empty for parameter in parameters)
