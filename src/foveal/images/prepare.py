"""Preparation: how an upright image is resized and normalised for a model, in training and in service alike."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from foveal._moved import attribute
from foveal.core import timing
from foveal.core.errors import InputError
from foveal.geometry.homography import IDENTITY, Homography
from foveal.geometry.pixels import PadMode, Values
from foveal.geometry.resize import Resize, ResizeMethod, StoredResize
from foveal.geometry.warp import warp, warp_into, window
from foveal.images.changes import ImageChange, open_changed
from foveal.images.channels import CHANNELS, RGB
from foveal.images.colours import Pixels
from foveal.images.decode import ImageSource, OpenedImage
from foveal.images.tones import Lut


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and standard deviation of each channel, on the scale where white is 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) not in CHANNELS.values() or len(self.std) != len(self.mean) or min(self.std) <= 0:
            raise InputError(
                "A mean and a positive standard deviation of each channel are needed: three of each for RGB, one for "
                f"grey, four for four channels; got {self!r}."
            )

    @property
    def n_channels(self) -> int:
        """The number of channels."""
        return len(self.mean)

    def for_channels(self, n_channels: int) -> Statistics:
        """Return statistics of RGB for images of other channels: grey has the mean of the three, a fourth its own.

        The fourth channel has mean 0.5 and standard deviation 0.25, whatever it holds: fixed numbers, so that one set
        gives one model however it is split.

        Args:
            n_channels: 1, 3 or 4.
        """
        if n_channels == 1:
            return Statistics((sum(self.mean) / RGB,), (sum(self.std) / RGB,))
        if n_channels == RGB:
            return self
        return Statistics((*self.mean, _FOURTH[0]), (*self.std, _FOURTH[1]))


_FOURTH = (0.5, 0.25)
"""Mean and standard deviation of a fourth channel; chosen by hand, about those of values spread evenly from 0 to 1."""
UNCHANGED_OF = {n: Statistics((0.0,) * n, (1.0,) * n) for n in CHANNELS.values()}
"""Statistics that leave pixels on the scale from 0 to 1, by the number of channels."""
UNCHANGED = UNCHANGED_OF[RGB]
IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class StoredPreparation(TypedDict):
    """A preparation as a bundle stores it."""

    fit: StoredResize
    mean: tuple[float, ...]
    std: tuple[float, ...]
    n_channels: int


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An image as a model takes it, before normalisation.

    Attributes:
        pixels: uint8 [h, w, C].
        source_to_input: the map from the source's pixels to these.
        size_hw: the source's (height, width) in pixels.
    """

    pixels: Pixels
    source_to_input: Homography
    size_hw: tuple[int, int]
    placement = attribute("placement", "source_to_input")


@dataclass(frozen=True, slots=True)
class Preparation:
    """Resize step and statistics: the one object that training, validation and serving share.

    Attributes:
        fit: how images are brought to the input size; bundles store it under this name.
        statistics: what pixels are normalised with, channel by channel: as many as they are, the images have.
        changes: functions of a user's that change every image first; a bundle cannot hold them.
    """

    fit: Resize
    statistics: Statistics
    changes: tuple[ImageChange, ...] = ()

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """The model's input size, (height, width) in pixels."""
        return self.fit.input_size_hw

    @property
    def n_channels(self) -> int:
        """The number of channels that images are read with."""
        return self.statistics.n_channels

    def image(self, source: ImageSource) -> Prepared:
        """Return an image decoded and brought to the input size.

        Raises:
            ImageError: the image is refused.
        """
        opened = open_changed(source, self.n_channels, self.changes)
        to_input = self.fit(opened.size_hw)
        pixels = render(opened, to_input, self.input_size_hw, self.fit.pad_mode)
        return Prepared(pixels, to_input, opened.size_hw)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return pixels, uint8 [B, h, w, C], as a model's input, float32 [B, C, h, w] with channels last in memory."""
        return normalise(pixels, self.statistics)

    def to_dict(self) -> StoredPreparation:
        """Return what a bundle stores of it.

        Raises:
            InputError: functions of a user's belong to it.
        """
        if self.changes:
            raise InputError(
                f"A file holds no code, and {self.changes[0]!r} changes every image, also where the model answers. If "
                "it is for training only, give it `split_idx = 0`; if not, change the files once, before training."
            )
        mean, std = self.statistics.mean, self.statistics.std
        return {"fit": self.fit.to_dict(), "mean": mean, "std": std, "n_channels": self.n_channels}

    @classmethod
    def of(
        cls, size_hw: Sequence[int], method: ResizeMethod, statistics: Statistics, pad_mode: PadMode = "reflection"
    ) -> Preparation:
        """Return the preparation that a bundle stores.

        Args:
            size_hw: the input size, (height, width) in pixels.
            method: of `Resize`.
            statistics: what pixels are normalised with.
            pad_mode: of `Resize`.
        """
        height, width = size_hw
        return cls(Resize((height, width), method, pad_mode), statistics)


def scale_of(source_to_input: Homography, size_hw: tuple[int, int]) -> float:
    """Return the scale at which a map shows an image; it need not be decoded any larger.

    Args:
        source_to_input: the map.
        size_hw: the image's (height, width) in pixels.
    """
    if source_to_input.matrix[2, 0] or source_to_input.matrix[2, 1]:
        return 1.0  # in perspective the scale is not the same everywhere
    return max(source_to_input.scales_at((size_hw[1] / 2, size_hw[0] / 2)))


def render(
    opened: OpenedImage,
    source_to_input: Homography,
    input_size_hw: tuple[int, int],
    pad_mode: PadMode = "reflection",
    *,
    quick: bool = False,
) -> Pixels:
    """Return what the input shows of an image, uint8 [h, w, C], decoded as small as the map allows and warped once.

    Args:
        opened: the image.
        source_to_input: the map from its pixels, upright and at full size, to the input's.
        input_size_hw: (h, w).
        pad_mode: what stands beyond the image's border.
        quick: see `OpenedImage.decode`; for draws of training.
    """
    decoded = _decode_for(opened, source_to_input, quick=quick)
    with timing.in_threads("resampling"):
        return warp(*decoded, input_size_hw, pad_mode)


def render_into(
    out: Values,
    opened: OpenedImage,
    source_to_input: Homography,
    pad_mode: PadMode,
    table: Values,
    *,
    quick: bool = False,
) -> None:
    """Decode as small as the map allows, warp once, and write what the values become: `render` and a table in one.

    Args:
        out: float32 [h, w, C], contiguous.
        opened: the image.
        source_to_input: the map from its pixels, upright and at full size, to the input's.
        pad_mode: what stands beyond the image's border.
        table: float32 [C, 256]; see `normalising_table`.
        quick: as of `render`.
    """
    decoded = _decode_for(opened, source_to_input, quick=quick)
    with timing.in_threads("resampling"):
        warp_into(out, *decoded, pad_mode, table)


def render_window(
    opened: OpenedImage,
    source_to_input: Homography,
    input_size_hw: tuple[int, int],
    pad_mode: PadMode = "reflection",
    *,
    quick: bool = False,
) -> tuple[Pixels, Homography]:
    """Return the window that a batch warps, and its map; the image is decoded as small as the map allows; see `window`.

    Args:
        opened: the image.
        source_to_input: the map from its pixels, upright and at full size, to the input's.
        input_size_hw: (h, w).
        pad_mode: what stands beyond the image's border.
        quick: as of `render`.
    """
    return window(*_decode_for(opened, source_to_input, quick=quick), input_size_hw, pad_mode)


def _decode_for(opened: OpenedImage, source_to_input: Homography, *, quick: bool) -> tuple[Pixels, Homography]:
    with timing.in_threads("decoding"):
        decoded = opened.decode(scale_of(source_to_input, opened.size_hw), quick=quick)
    if decoded.source_to_decoded is IDENTITY:
        return decoded.pixels, source_to_input
    return decoded.pixels, _undone(decoded.source_to_decoded).then(source_to_input)


@functools.lru_cache(maxsize=64)
def _undone(source_to_decoded: Homography) -> Homography:
    """Return the inverse; most images of a set are reduced alike, and inverting takes a tenth of what is left to do."""
    return source_to_decoded.inverse


def normalise(pixels: Tensor, statistics: Statistics) -> Tensor:
    """Return (value / 255 - mean) / std, float32 [B, C, h, w] with channels last in memory.

    Args:
        pixels: uint8 [B, h, w, C].
        statistics: mean and standard deviation of each channel.
    """
    std = torch.tensor(statistics.std, device=pixels.device)
    mean = torch.tensor(statistics.mean, device=pixels.device)
    n_across = pixels.shape[2]
    rows = pixels.flatten(2).to(torch.float32)
    # A row at a time: five times as fast as a pixel of its channels at a time, and bit-identical.
    torch.addcmul((-mean / std).repeat(n_across), rows, (1 / (255 * std)).repeat(n_across), out=rows)
    return rows.reshape(*pixels.shape).permute(0, 3, 1, 2)


@functools.cache
def _normalised_values(statistics: Statistics) -> Values:
    """Return what `normalise` makes of the 256 values of a pixel, float32 [C, 256]."""
    values = torch.arange(256, dtype=torch.uint8)[None, None, :, None].expand(1, 1, 256, statistics.n_channels)
    return np.ascontiguousarray(normalise(values, statistics)[0, :, 0].numpy())


def normalising_table(statistics: Statistics, lut: Lut | None) -> Values:
    """Return what the 256 values of a pixel become, float32 [C, 256]: looked up, then as `normalise` has it.

    Args:
        statistics: mean and standard deviation of each channel.
        lut: uint8 [256], new values for those of a pixel; None for no change.
    """
    values = _normalised_values(statistics)
    return values if lut is None else values.take(lut, axis=1)


def standardise(images: Tensor, statistics: Statistics) -> Tensor:
    """Return (value - mean) / std, in the dtype and memory format given.

    Args:
        images: float [B, C, h, w], from 0 to 1.
        statistics: mean and standard deviation of each channel.
    """
    mean, std = (torch.tensor(one, device=images.device)[:, None, None] for one in (statistics.mean, statistics.std))
    return torch.addcmul(-mean / std, images, 1 / std)


def denormalise(inputs: Tensor, statistics: Statistics) -> Tensor:
    """Return a model's input as pixels, uint8 [B, h, w, C].

    Args:
        inputs: float32 [B, C, h, w].
        statistics: what they were normalised with.
    """
    std = torch.tensor(statistics.std, device=inputs.device)
    mean = torch.tensor(statistics.mean, device=inputs.device)
    values = inputs.permute(0, 2, 3, 1) * std + mean
    return (values * 255).round().clamp(0, 255).to(torch.uint8)


def collate(images: Sequence[Pixels]) -> Tensor:
    """Return images, uint8 [h, w, C] each, as one tensor uint8 [B, h, w, C]."""
    return torch.from_numpy(np.stack(images))
