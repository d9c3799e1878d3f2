"""Fits: how an image of any size comes onto a canvas of one size.

A fit is called with the image's (height, width) and a generator, and returns the homography from image to
canvas. Without a generator it answers for validation: no randomness, the centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np

from foveal.core.errors import InputError, UnknownNameError
from foveal.geometry.homography import Homography

Size = int | tuple[int, int]
ResizeMethod = Literal["crop", "pad", "squish"]
_TRIES = 10


class Fit(Protocol):
    """Brings an image of any size onto a canvas of one size."""

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """The canvas, (height, width)."""

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator | None = None) -> Homography:
        """Return the map from an image of `size_hw` to the canvas."""


def as_size_hw(size: Size) -> tuple[int, int]:
    """Return (height, width) for one number or a pair."""
    height, width = (size, size) if isinstance(size, int) else size
    if not (height >= 1 and width >= 1):
        raise InputError(f"A size is one number of pixels or (height, width), each at least 1; got {size!r}.")
    return int(height), int(width)


@dataclass(frozen=True, slots=True)
class Resize:
    """Bring an image to `size`, a number or (height, width).

    `crop` fills the canvas and cuts what is over (a random part along the long side in training, the centre in
    validation); `pad` shows the whole image and fills the rest by reflection; `squish` changes the aspect.
    """

    size: Size
    method: ResizeMethod = "crop"

    def __post_init__(self) -> None:
        as_size_hw(self.size)
        if self.method not in get_args(ResizeMethod):
            raise UnknownNameError.of("resize method", self.method, get_args(ResizeMethod))

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """The canvas, (height, width)."""
        return as_size_hw(self.size)

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator | None = None) -> Homography:
        """Return the map from an image of `size_hw` to the canvas."""
        (height, width), (canvas_h, canvas_w) = size_hw, self.input_size_hw
        across, down = canvas_w / width, canvas_h / height
        if self.method == "squish":
            return Homography.scaling(across, down)
        scale = max(across, down) if self.method == "crop" else min(across, down)
        at_x, at_y = (0.5, 0.5) if rng is None else rng.random(2)
        shift = Homography.translation(at_x * (canvas_w - width * scale), at_y * (canvas_h - height * scale))
        return Homography.scaling(scale, scale).then(shift)

    def to_dict(self) -> dict[str, Any]:
        """Return what validation and serving need to know."""
        return {"size_hw": list(self.input_size_hw), "method": self.method}


@dataclass(frozen=True, slots=True)
class RandomResizedCrop:
    """Cut a random part of the image and bring it to `size`, a number or (height, width).

    The part's area is uniform in [`min_scale`, `max_scale`] of the image's, its aspect log-uniform in `ratio`
    (relative to the canvas'); after ten tries that do not fit, the largest centred part. In validation the short
    side is fitted and the centre cut, so that the aspect stays true.
    """

    size: Size
    min_scale: float = 0.08
    max_scale: float = 1.0
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        as_size_hw(self.size)
        if not 0 < self.min_scale <= self.max_scale <= 1:
            raise InputError(
                f"`min_scale` and `max_scale` are shares of the image's area with 0 < min_scale <= max_scale <= 1; "
                f"got {self.min_scale!r} and {self.max_scale!r}."
            )

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """The canvas, (height, width)."""
        return as_size_hw(self.size)

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator | None = None) -> Homography:
        """Return the map from an image of `size_hw` to the canvas."""
        if rng is None:
            return Resize(self.size)(size_hw)
        (height, width), (canvas_h, canvas_w) = size_hw, self.input_size_hw
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(_TRIES):
            area = rng.uniform(self.min_scale, self.max_scale) * height * width
            aspect = math.exp(rng.uniform(low, high)) * canvas_w / canvas_h
            part_w, part_h = math.sqrt(area * aspect), math.sqrt(area / aspect)
            if part_w <= width and part_h <= height:
                left, top = rng.random(2) * (width - part_w, height - part_h)
                shift = Homography.translation(-left, -top)
                return shift.then(Homography.scaling(canvas_w / part_w, canvas_h / part_h))
        return Resize(self.size)(size_hw)

    def to_dict(self) -> dict[str, Any]:
        """Return what validation and serving need to know."""
        return Resize(self.size).to_dict()
