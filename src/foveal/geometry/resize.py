"""Resize steps: how an image of any size is brought to a model's input size.

A step is called with the image's (height, width) and a generator, and returns the homography from image to input.
Without a generator it answers for validation: no randomness, the centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NotRequired, Protocol, TypedDict, get_args

import numpy as np

from foveal.core.arguments import are_numbers, checked_methods, is_whole
from foveal.core.errors import InputError, UnknownNameError
from foveal.geometry.homography import Homography
from foveal.geometry.pixels import PadMode

Size = int | tuple[int, int]
"""One number of pixels for a square, or (height, width)."""
MAX_INPUT_PIXELS = 2048 * 2048
"""Of an input: one of them takes EfficientNet-Lite0 4 s on two cores, and .5 GB; chosen by hand."""
ResizeMethod = Literal["crop", "pad", "squish", "cut"]
_TRIES = 10  # of drawing a part that lies inside the image, as in torchvision's RandomResizedCrop


class StoredResize(TypedDict):
    """A resize step as a bundle stores it."""

    size_hw: tuple[int, int]
    method: ResizeMethod
    pad_mode: NotRequired[PadMode]


class ResizeStep(Protocol):
    """Brings an image of any size to one size."""

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """The size that comes out, (height, width) in pixels."""

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator | None = None) -> Homography:
        """Return the map from an image to the input.

        Args:
            size_hw: the image's (height, width) in pixels.
            rng: draws what is random; None for validation.
        """


def as_size_hw(size: Size) -> tuple[int, int]:
    """Return (height, width) for one number or a pair.

    Raises:
        InputError: a side is below 1 or no whole number, or the area is above `MAX_INPUT_PIXELS`.
    """
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(is_whole(side) and side >= 1 for side in sides):
        raise InputError(f"A size is a whole number of pixels or (height, width), each at least 1; got {size!r}.")
    height, width = sides
    if height * width > MAX_INPUT_PIXELS:
        raise InputError(
            f"An input has at most {MAX_INPUT_PIXELS:,} pixels, such as 2048 x 2048; got {height} x {width}. Larger "
            "images are brought to that size, or cut into parts before."
        )
    return int(height), int(width)


@checked_methods
@dataclass(frozen=True, slots=True)
class Resize:
    """Bring an image to `size`: the usual first transform of `item_tfms`.

    `crop` fills the input and cuts what is over (a random part along the long side in training, the centre in
    validation); `pad` shows the whole image and fills the rest; `squish` changes the aspect; `cut` keeps the scale: it
    cuts a part, at random in training, and fills what a smaller image leaves.

    Attributes:
        size: one number of pixels for a square, or (height, width).
        method: `crop`, `pad`, `squish` or `cut`, see above; `ResizeMethod` has the first three as the book writes them.
        pad_mode: what stands beyond the image's border: `reflection`, `border` (its last pixels again) or `zeros`.

    Raises:
        InputError: the size is below 1 or no whole number, or above 2048 x 2048 pixels in all.
        UnknownNameError: there is no such method or pad mode.

    Examples:
        >>> from foveal.vision.all import *
        >>> Resize(224)((448, 896))([[448, 224]])  # where the centre of an image of 896 x 448 goes, (x, y) in pixels
        array([[112., 112.]])
        >>> Resize(224, ResizeMethod.Pad)((448, 896))([[0, 0]])  # its upper left corner
        array([[ 0., 56.]])
    """

    size: Size
    method: ResizeMethod = "crop"
    pad_mode: PadMode = "reflection"

    def __post_init__(self) -> None:
        as_size_hw(self.size)
        if self.method not in get_args(ResizeMethod):
            raise UnknownNameError.of("resize method", self.method, get_args(ResizeMethod))
        check_pad_mode(self.pad_mode)

    @property
    def name(self) -> str:
        """How the step prints, as the course calls it.

        Examples:
            >>> Resize(224).name
            "Resize(size=224, method='crop', pad_mode='reflection')"
        """
        return repr(self)

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """The size that comes out, (height, width) in pixels.

        Examples:
            >>> Resize(224).input_size_hw, Resize((240, 320)).input_size_hw
            ((224, 224), (240, 320))
        """
        return as_size_hw(self.size)

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator | None = None) -> Homography:
        """Return the map from an image of `size_hw` to the input; see `ResizeStep`."""
        (height, width), (input_h, input_w) = size_hw, self.input_size_hw
        scale_x, scale_y = input_w / width, input_h / height
        if self.method == "squish":
            return Homography.scaling(scale_x, scale_y)
        if self.method == "cut":
            return _cut(size_hw, self.input_size_hw, rng)
        scale = max(scale_x, scale_y) if self.method == "crop" else min(scale_x, scale_y)
        share_x, share_y = (0.5, 0.5) if rng is None else (rng.random(), rng.random())
        shift = Homography.translation(share_x * (input_w - width * scale), share_y * (input_h - height * scale))
        return Homography.scaling(scale, scale).then(shift)

    def to_dict(self) -> StoredResize:
        """Return what validation and serving need to know, as JSON values; the usual `pad_mode` is not written.

        Examples:
            >>> Resize(224, "pad").to_dict()
            {'size_hw': (224, 224), 'method': 'pad'}
        """
        stored: StoredResize = {"size_hw": self.input_size_hw, "method": self.method}
        if self.pad_mode != "reflection":
            stored["pad_mode"] = self.pad_mode
        return stored


def RandomCrop(size: Size, pad_mode: PadMode = "zeros") -> Resize:
    """Return a step that cuts a random part of this size, the centre in validation; the scale stays.

    Args:
        size: one number of pixels for a square, or (height, width).
        pad_mode: what stands beyond the border of a smaller image; see `Resize`.

    Raises:
        InputError, UnknownNameError: as of `Resize`.

    Examples:
        >>> from foveal.vision.all import *
        >>> RandomCrop(100)((448, 896))([[448, 224]])  # without chance, as in validation: where the centre goes, (x, y)
        array([[50., 50.]])
    """
    return Resize(size, "cut", pad_mode)


@dataclass(frozen=True, slots=True)
class CropPad(Resize):
    """Cut the centre of this size, in training too, or fill around a smaller image; the scale stays.

    Attributes:
        size: one number of pixels for a square, or (height, width).
        method: always `cut`.
        pad_mode: what stands beyond the border of a smaller image; see `Resize`.

    Raises:
        InputError, UnknownNameError: as of `Resize`.

    Examples:
        >>> from foveal.vision.all import *
        >>> CropPad(100)((60, 40))([[0, 0]])  # where the upper left corner of an image of 40 x 60 goes, (x, y)
        array([[30., 20.]])
    """

    method: ResizeMethod = "cut"
    pad_mode: PadMode = "zeros"

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator | None = None) -> Homography:
        """Return the map from an image of `size_hw` to the input; see `ResizeStep`."""
        del rng
        return _cut(size_hw, self.input_size_hw, None)


def _cut(size_hw: tuple[int, int], input_size_hw: tuple[int, int], rng: np.random.Generator | None) -> Homography:
    """Return a shift by whole pixels, so that none of them is interpolated; a smaller side is centred."""
    spare = [inside - whole for inside, whole in zip(input_size_hw, size_hw, strict=True)]
    shares = [0.5, 0.5] if rng is None else [0.5 if left > 0 else float(rng.random()) for left in spare]
    down, across = (round(left * share) for left, share in zip(spare, shares, strict=True))
    return Homography.translation(across, down)


def check_pad_mode(pad_mode: str) -> PadMode:
    """Return the name of what stands beyond an image's border.

    Raises:
        UnknownNameError: there is no such pad mode.
    """
    for known in get_args(PadMode):
        if pad_mode == known:
            found: PadMode = known
            return found
    raise UnknownNameError.of("pad mode", pad_mode, get_args(PadMode))


@checked_methods
@dataclass(frozen=True, slots=True)
class RandomResizedCrop:
    """Cut a random part of the image and bring it to `size` (Szegedy et al. 2014, "Going Deeper with Convolutions").

    The part's area is uniform in [`min_scale`, `max_scale`] of the image's, its aspect log-uniform in `ratio`
    (relative to the input's); after ten draws that do not lie inside the image, the largest centred part. In validation
    the short side is resized and the centre cut, so that the aspect stays true.

    Attributes:
        size: one number of pixels for a square, or (height, width).
        min_scale: the least share of the image's area, above 0.
        max_scale: the greatest share, at most 1.
        ratio: the least and the greatest aspect, width / height.

    Raises:
        InputError: the size is as `Resize` refuses it, or the shares or the aspects are not in order.

    Examples:
        >>> from foveal.vision.all import *
        >>> crop = RandomResizedCrop(224, min_scale=0.35)
        >>> crop((448, 896))([[448, 224]])  # without chance, as in validation: where the centre goes, (x, y) in pixels
        array([[112., 112.]])
    """

    size: Size
    min_scale: float = 0.08
    max_scale: float = 1.0
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        as_size_hw(self.size)
        scales = self.min_scale, self.max_scale
        if not (are_numbers(*scales) and 0 < self.min_scale <= self.max_scale <= 1):
            raise InputError(
                f"`min_scale` and `max_scale` are shares of the image's area with 0 < min_scale <= max_scale <= 1; "
                f"got {self.min_scale!r} and {self.max_scale!r}."
            )
        ratio: object = self.ratio
        pair = ratio if isinstance(ratio, tuple | list) else ()
        if not (len(pair) == 2 and are_numbers(*pair) and 0 < pair[0] <= pair[1]):
            raise InputError(
                "`ratio` is the least and the greatest width / height of a part, such as (0.75, 1.33), both above 0; "
                f"got {self.ratio!r}."
            )

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """The size that comes out, (height, width) in pixels.

        Examples:
            >>> RandomResizedCrop(224).input_size_hw
            (224, 224)
        """
        return as_size_hw(self.size)

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator | None = None) -> Homography:
        """Return the map from an image of `size_hw` to the input; see `ResizeStep`."""
        if rng is None:
            return Resize(self.size)(size_hw)
        (height, width), (input_h, input_w) = size_hw, self.input_size_hw
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(_TRIES):
            area = rng.uniform(self.min_scale, self.max_scale) * height * width
            aspect = math.exp(rng.uniform(low, high)) * input_w / input_h
            crop_w, crop_h = math.sqrt(area * aspect), math.sqrt(area / aspect)
            if crop_w <= width and crop_h <= height:
                left, top = rng.random() * (width - crop_w), rng.random() * (height - crop_h)
                scale_x, scale_y = input_w / crop_w, input_h / crop_h
                return Homography(
                    np.array([[scale_x, 0.0, -left * scale_x], [0.0, scale_y, -top * scale_y], [0.0, 0.0, 1.0]])
                )
        return Resize(self.size)(size_hw)

    def to_dict(self) -> StoredResize:
        """Return what validation and serving need to know, as JSON values: a `crop` to the size.

        Examples:
            >>> RandomResizedCrop(224).to_dict()
            {'size_hw': (224, 224), 'method': 'crop'}
        """
        return Resize(self.size).to_dict()
