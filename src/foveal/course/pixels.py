"""The course's changes of pixels, in training: drawn for each image of a batch, float32 [B, 3, h, w] from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.data.samples import PixelOperation
from foveal.images.channels import RGB

_TRIES = 10  # of drawing a rectangle that lies inside the image


@dataclass(frozen=True)
class RandomErasing(PixelOperation):
    """Fill rectangles with noise.

    Attributes:
        p: the probability for each image.
        sl, sh: the least and the greatest share of the image's area, of all rectangles together.
        min_aspect: the least ratio of the sides of a rectangle; the greatest is its inverse.
        max_count: at most so many rectangles.

    Source: Zhong et al. 2020, "Random Erasing Data Augmentation".
    """

    p: float = 0.5
    sl: float = 0.0
    sh: float = 0.3
    min_aspect: float = 0.3
    max_count: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.p <= 1 and 0 <= self.sl <= self.sh <= 1 and 0 < self.min_aspect <= 1 and self.max_count >= 1):
            raise InputError(
                "RandomErasing takes 0 <= p <= 1, 0 <= sl <= sh <= 1, 0 < min_aspect <= 1 and max_count >= 1; got "
                f"{self!r}."
            )

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the changed batch, float32 [B, C, h, w] from 0 to 1."""
        erased = batch.clone()
        for image in erased:
            if float(torch.rand(())) < self.p:
                n = int(torch.randint(1, self.max_count + 1, ()))
                for _ in range(n):
                    self._erase(image, n)
        return erased

    def _erase(self, image: Tensor, n: int) -> None:
        """Fill one rectangle of an image [C, h, w], the share of whose area is that of n."""
        _, height, width = image.shape
        least, most = math.log(self.min_aspect), -math.log(self.min_aspect)
        for _ in range(_TRIES):
            area = float(torch.empty(()).uniform_(self.sl, self.sh)) * height * width / n
            aspect = math.exp(float(torch.empty(()).uniform_(least, most)))
            down, across = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < down <= height and 0 < across <= width:
                top = int(torch.randint(height - down + 1, ()))
                left = int(torch.randint(width - across + 1, ()))
                part = image[:, top : top + down, left : left + across]
                part.copy_((0.5 + 0.25 * torch.randn_like(part)).clamp(0, 1))
                return


@dataclass(frozen=True)
class Hue(PixelOperation):
    """Turn colours by up to `max_hue` of the circle, either way, with probability `p`."""

    max_hue: float = 0.1
    p: float = 0.75
    n_channels: ClassVar[int | None] = RGB

    def __post_init__(self) -> None:
        if not (0 <= self.max_hue <= 0.5 and 0 <= self.p <= 1):
            raise InputError(f"Hue takes 0 <= max_hue <= 0.5 and 0 <= p <= 1; got {self!r}.")

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the changed batch, float32 [B, 3, h, w] from 0 to 1."""
        from torchvision.transforms.v2.functional import adjust_hue

        _check_colours(self, batch)
        return _each(batch, self.p, lambda image: adjust_hue(image, float(_between(-self.max_hue, self.max_hue))))


@dataclass(frozen=True)
class Saturation(PixelOperation):
    """Mix an image with its grey one: colours by 1 - max_lighting to 1 / (1 - max_lighting), with probability `p`."""

    max_lighting: float = 0.2
    p: float = 0.75
    n_channels: ClassVar[int | None] = RGB

    def __post_init__(self) -> None:
        if not (0 <= self.max_lighting < 1 and 0 <= self.p <= 1):
            raise InputError(f"Saturation takes 0 <= max_lighting < 1 and 0 <= p <= 1; got {self!r}.")

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the changed batch, float32 [B, 3, h, w] from 0 to 1."""
        from torchvision.transforms.v2.functional import adjust_saturation

        _check_colours(self, batch)
        most = -math.log(1 - self.max_lighting)
        return _each(batch, self.p, lambda image: adjust_saturation(image, math.exp(float(_between(-most, most)))))


def _each(batch: Tensor, p: float, change: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.stack([change(image) if float(torch.rand(())) < p else image for image in batch])


def _between(low: float, high: float) -> Tensor:
    return torch.empty(()).uniform_(low, high)


def _check_colours(operation: PixelOperation, batch: Tensor) -> None:
    if batch.shape[1] != 3:
        raise InputError(f"{operation!r} changes colours, and these images have {batch.shape[1]} channel(s), not 3.")
