"""Moves: random homographies of the model's input. A move never sees an image.

A move is called with the input's (height, width) and a generator, and returns a homography. A function of that
form can stand beside these. Each draws the same number of random values whatever it decides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from foveal.core.errors import InputError
from foveal.geometry.homography import IDENTITY, Homography, corners_of


class Move(ABC):
    """Draws a homography of the input onto itself."""

    __slots__ = ()

    @abstractmethod
    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Homography:
        """Return the map drawn for one image.

        Args:
            size_hw: the input's (height, width) in pixels.
            rng: the generator of this image and epoch. Numbers are drawn one by one: for arrays of them it gives up the
                interpreter's lock, and threads that load images wait for each other.
        """


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise InputError(f"`p` is a probability between 0 and 1; got {p!r}.")


@dataclass(frozen=True, slots=True)
class Flip(Move):
    """Mirror left and right (or top and bottom) with probability `p`."""

    p: float = 0.5
    vertical: bool = False

    def __post_init__(self) -> None:
        _check_probability(self.p)

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Homography:
        """Return the map drawn for one image."""
        if rng.random() >= self.p:
            return IDENTITY
        height, width = size_hw
        across, down = (1.0, -1.0) if self.vertical else (-1.0, 1.0)
        return Homography.scaling(across, down).around((width / 2, height / 2))


@dataclass(frozen=True, slots=True)
class Dihedral(Move):
    """One of the eight symmetries of the square, with probability `p`; an input that is no square keeps its sides."""

    p: float = 1.0

    def __post_init__(self) -> None:
        _check_probability(self.p)

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Homography:
        """Return the map drawn for one image."""
        chosen, which = rng.random(), int(rng.integers(8))
        if chosen >= self.p:
            return IDENTITY
        corners = corners_of(size_hw)
        turned = np.roll(corners, which % 4, axis=0)
        return Homography.quadrilateral(corners, turned[::-1] if which >= 4 else turned)


@dataclass(frozen=True, slots=True)
class Rotate(Move):
    """Turn about the centre by up to `max_degrees` either way, with probability `p`."""

    max_degrees: float = 10.0
    p: float = 0.75

    def __post_init__(self) -> None:
        _check_probability(self.p)

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Homography:
        """Return the map drawn for one image."""
        chosen, degrees = rng.random(), rng.uniform(-self.max_degrees, self.max_degrees)
        height, width = size_hw
        return Homography.rotation(degrees).around((width / 2, height / 2)) if chosen < self.p else IDENTITY


@dataclass(frozen=True, slots=True)
class Zoom(Move):
    """Enlarge by `min_zoom` to `max_zoom` about a random centre, with probability `p`."""

    min_zoom: float = 1.0
    max_zoom: float = 1.1
    p: float = 0.75

    def __post_init__(self) -> None:
        _check_probability(self.p)
        if not 0 < self.min_zoom <= self.max_zoom:
            raise InputError(f"0 < min_zoom <= max_zoom is needed; got {self.min_zoom!r} and {self.max_zoom!r}.")

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Homography:
        """Return the map drawn for one image."""
        chosen, zoom = rng.random(), rng.uniform(self.min_zoom, self.max_zoom)
        at_x, at_y = rng.random(), rng.random()
        height, width = size_hw
        return Homography.scaling(zoom, zoom).around((at_x * width, at_y * height)) if chosen < self.p else IDENTITY


@dataclass(frozen=True, slots=True)
class Shift(Move):
    """Move by up to `max_share` of the input's sides either way, with probability `p`."""

    max_share: float = 0.1
    p: float = 0.75

    def __post_init__(self) -> None:
        _check_probability(self.p)

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Homography:
        """Return the map drawn for one image."""
        chosen, most = rng.random(), self.max_share
        by_x, by_y = rng.uniform(-most, most), rng.uniform(-most, most)
        height, width = size_hw
        return Homography.translation(by_x * width, by_y * height) if chosen < self.p else IDENTITY


@dataclass(frozen=True, slots=True)
class Warp(Move):
    """Tilt in perspective by up to `magnitude` along each axis, with probability `p`.

    At magnitude m one side shrinks towards its middle by m / 2 at either end while the opposite side grows alike.
    """

    magnitude: float = 0.2
    p: float = 0.75

    def __post_init__(self) -> None:
        _check_probability(self.p)
        if not 0 <= self.magnitude < 1:
            raise InputError(f"`magnitude` must be at least 0 and below 1; got {self.magnitude!r}.")

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Homography:
        """Return the map drawn for one image."""
        chosen, most = rng.random(), self.magnitude
        x, y = rng.uniform(-most, most) / 2, rng.uniform(-most, most) / 2
        if chosen >= self.p:
            return IDENTITY
        height, width = size_hw
        tilted = ((x, y), (1 - x, -y), (1 + x, 1 + y), (-x, 1 - y))
        return Homography.of_rectangle(size_hw, [(width * u, height * v) for u, v in tilted])
