"""Moves: random homographies of the model's input. A move never sees an image.

A move is called with the input's (height, width) and a generator, and returns a homography. A function of that
form can stand beside these. Each draws the same number of random values whatever it decides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from foveal.core.arguments import are_numbers, check_number, check_probability
from foveal.core.errors import InputError
from foveal.geometry.homography import IDENTITY, Homography, corners_of


class Move(ABC):
    """The base of moves: an object that draws a homography of the input onto itself."""

    __slots__ = ()

    @abstractmethod
    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Homography:
        """Return the map drawn for one image.

        Args:
            size_hw: the input's (height, width) in pixels.
            rng: the generator of this image and epoch. Numbers are drawn one by one: for arrays of them it gives up the
                interpreter's lock, and threads that load images wait for each other.
        """


@dataclass(frozen=True, slots=True)
class Flip(Move):
    """Mirror left and right (or top and bottom) with probability `p`.

    Like every move it belongs into `item_tfms` or `batch_tfms`, runs in training only, and draws anew for each image
    and epoch. Points move along, and those of a flip pair change places.

    Attributes:
        p: the probability, from 0 to 1.
        vertical: mirror top and bottom instead.

    Raises:
        InputError: `p` is no probability.

    Examples:
        >>> from foveal.vision.all import *
        >>> mirrored = Flip(p=1)((100, 200), np.random.default_rng(0))
        >>> mirrored([[10, 30]])  # (x, y) in pixels of an input of 200 x 100
        array([[190.,  30.]])
    """

    p: float = 0.5
    vertical: bool = False

    def __post_init__(self) -> None:
        check_probability("p", self.p)

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Homography:
        """Return the map drawn for one image."""
        if rng.random() >= self.p:
            return IDENTITY
        height, width = size_hw
        across, down = (1.0, -1.0) if self.vertical else (-1.0, 1.0)
        return Homography.scaling(across, down).around((width / 2, height / 2))


@dataclass(frozen=True, slots=True)
class Dihedral(Move):
    """Draw one of the eight symmetries of the square, with probability `p`; for images without an up and a down.

    An input that is not square keeps its height and width: it is turned and brought back to its shape.

    Attributes:
        p: the probability, from 0 to 1; the identity is one of the eight.

    Raises:
        InputError: `p` is no probability.

    Examples:
        >>> from foveal.vision.all import *
        >>> turned = Dihedral()((100, 100), np.random.default_rng(1))
        >>> turned([[0, 0], [100, 0]]).round()  # the corners at the top, (x, y) in pixels of the input
        array([[100.,   0.],
               [  0.,   0.]])
    """

    p: float = 1.0

    def __post_init__(self) -> None:
        check_probability("p", self.p)

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
    """Turn about the centre by up to `max_degrees` either way, with probability `p`.

    Attributes:
        max_degrees: the angle is drawn evenly from -`max_degrees` to `max_degrees`; at least 0.
        p: the probability, from 0 to 1.

    Raises:
        InputError: `p` is no probability, or the angle is below 0.

    Examples:
        >>> from foveal.vision.all import *
        >>> turned = Rotate(max_degrees=30, p=1)((100, 100), np.random.default_rng(0))
        >>> turned([[50, 50], [100, 50]]).round(1)  # the centre stays; (x, y) in pixels of the input
        array([[50. , 50. ],
               [98.6, 38.1]])
    """

    max_degrees: float = 10.0
    p: float = 0.75

    def __post_init__(self) -> None:
        check_number("max_degrees", self.max_degrees, at_least=0)
        check_probability("p", self.p)

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Homography:
        """Return the map drawn for one image."""
        chosen, degrees = rng.random(), rng.uniform(-self.max_degrees, self.max_degrees)
        height, width = size_hw
        return Homography.rotation(degrees).around((width / 2, height / 2)) if chosen < self.p else IDENTITY


@dataclass(frozen=True, slots=True)
class Zoom(Move):
    """Enlarge by `min_zoom` to `max_zoom` about a random centre, with probability `p`.

    Attributes:
        min_zoom: the least factor, above 0; below 1 the image shrinks, and what stands beyond its border is seen.
        max_zoom: the greatest factor.
        p: the probability, from 0 to 1.

    Raises:
        InputError: `p` is no probability, or the factors are not in order.

    Examples:
        >>> from foveal.vision.all import *
        >>> enlarged = Zoom(1.5, 1.5, p=1)((100, 100), np.random.default_rng(0))
        >>> first, second = enlarged([[20, 50], [30, 50]])
        >>> (second - first).round(1)  # ten pixels become fifteen
        array([15.,  0.])
    """

    min_zoom: float = 1.0
    max_zoom: float = 1.1
    p: float = 0.75

    def __post_init__(self) -> None:
        check_probability("p", self.p)
        if not (are_numbers(self.min_zoom, self.max_zoom) and 0 < self.min_zoom <= self.max_zoom):
            raise InputError(f"0 < min_zoom <= max_zoom is needed; got {self.min_zoom!r} and {self.max_zoom!r}.")

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Homography:
        """Return the map drawn for one image."""
        chosen, zoom = rng.random(), rng.uniform(self.min_zoom, self.max_zoom)
        at_x, at_y = rng.random(), rng.random()
        height, width = size_hw
        return Homography.scaling(zoom, zoom).around((at_x * width, at_y * height)) if chosen < self.p else IDENTITY


@dataclass(frozen=True, slots=True)
class Shift(Move):
    """Move by up to `max_share` of the input's sides either way, with probability `p`.

    Attributes:
        max_share: of the width and of the height, from 0 to 1.
        p: the probability, from 0 to 1.

    Raises:
        InputError: `p` is no probability, or the share is out of its range.

    Examples:
        >>> import numpy as np
        >>> shifted = Shift(max_share=0.1, p=1)((100, 100), np.random.default_rng(0))
        >>> bool(abs(shifted([[50, 50]]) - 50).max() <= 10)
        True
    """

    max_share: float = 0.1
    p: float = 0.75

    def __post_init__(self) -> None:
        check_number("max_share", self.max_share, at_least=0, at_most=1)
        check_probability("p", self.p)

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

    Attributes:
        magnitude: from 0 up, below 1.
        p: the probability, from 0 to 1.

    Raises:
        InputError: `p` is no probability, or the magnitude is out of its range.

    Examples:
        >>> from foveal.vision.all import *
        >>> tilted = Warp(magnitude=0.4, p=1)((100, 100), np.random.default_rng(0))
        >>> tilted([[0, 0], [100, 0], [100, 100], [0, 100]]).round()  # the corners, (x, y) in pixels of the input
        array([[ -9., -18.],
               [109.,  18.],
               [ 91.,  82.],
               [  9., 118.]])
    """

    magnitude: float = 0.2
    p: float = 0.75

    def __post_init__(self) -> None:
        check_probability("p", self.p)
        check_number("magnitude", self.magnitude, at_least=0, below=1)

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Homography:
        """Return the map drawn for one image."""
        chosen, most = rng.random(), self.magnitude
        x, y = rng.uniform(-most, most) / 2, rng.uniform(-most, most) / 2
        if chosen >= self.p:
            return IDENTITY
        height, width = size_hw
        tilted = ((x, y), (1 - x, -y), (1 + x, 1 + y), (-x, 1 - y))
        return Homography.of_rectangle(size_hw, [(width * u, height * v) for u, v in tilted])
