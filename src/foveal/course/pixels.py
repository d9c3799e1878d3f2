"""The course's changes of pixels, in training: drawn for each image of a batch, float32 [B, 3, h, w] from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from foveal.core.arguments import check_number, check_probability
from foveal.core.errors import InputError
from foveal.data.samples import PixelOperation
from foveal.images.channels import RGB

_TRIES = 10  # of drawing a rectangle that lies inside the image


@dataclass(frozen=True)
class RandomErasing(PixelOperation):
    """Fill rectangles of training images with noise, for `batch_tfms`.

    From Zhong et al. 2020, "Random Erasing Data Augmentation" (arXiv 1708.04896).

    Attributes:
        p: the probability for each image.
        sl, sh: the least and the greatest share of the image's area, of all rectangles together.
        min_aspect: the least ratio of the sides of a rectangle; the greatest is its inverse.
        max_count: at most so many rectangles.

    Raises:
        InputError: a number is out of its bounds; or, when it is called, what it gets is no batch of images.

    Examples:
        >>> from foveal.vision.all import *
        >>> erase = RandomErasing(p=1.0, sl=0.25, sh=0.25, min_aspect=1.0)
        >>> grey = torch.full((1, 3, 8, 8), 0.5)
        >>> (erase(grey) != grey).any(dim=1).sum()
        tensor(16)
    """

    p: float = 0.5
    sl: float = 0.0
    sh: float = 0.3
    min_aspect: float = 0.3
    max_count: int = 1

    def __post_init__(self) -> None:
        check_probability("p", self.p)
        check_number("sl", self.sl, at_least=0, at_most=1)
        check_number("sh", self.sh, at_least=self.sl, at_most=1)
        check_number("min_aspect", self.min_aspect, above=0, at_most=1)
        check_number("max_count", self.max_count, at_least=1, whole=True)

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the changed batch, float32 [B, C, h, w] from 0 to 1."""
        _check_batch(self, batch)
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
    """Turn the colours of training images, for `batch_tfms`.

    Attributes:
        max_hue: by how much at most, either way, as a share of the colour circle; up to 0.5.
        p: the probability for each image.

    Raises:
        InputError: a number is out of its bounds; or, when it is called, what it gets is no batch of images of three
            channels.

    Examples:
        Red becomes another colour, as bright as it was.

        >>> from foveal.vision.all import *
        >>> red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
        >>> changed = Hue(max_hue=0.5, p=1.0)(red)
        >>> changed.amax().item(), changed.amin().item()
        (1.0, 0.0)
    """

    max_hue: float = 0.1
    p: float = 0.75
    n_channels: ClassVar[int | None] = RGB

    def __post_init__(self) -> None:
        check_number("max_hue", self.max_hue, at_least=0, at_most=0.5)
        check_probability("p", self.p)

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the changed batch, float32 [B, 3, h, w] from 0 to 1."""
        from torchvision.transforms.v2.functional import adjust_hue

        _check_colours(self, batch)
        return _each(batch, self.p, lambda image: adjust_hue(image, float(_between(-self.max_hue, self.max_hue))))


@dataclass(frozen=True)
class Saturation(PixelOperation):
    """Make the colours of training images stronger or weaker, for `batch_tfms`: mix each image with its grey one.

    Attributes:
        max_lighting: by how much at most: colours are multiplied by 1 - max_lighting to 1 / (1 - max_lighting).
        p: the probability for each image.

    Raises:
        InputError: a number is out of its bounds; or, when it is called, what it gets is no batch of images of three
            channels.

    Examples:
        Grey has no colour to change.

        >>> from foveal.vision.all import *
        >>> grey = torch.full((1, 3, 8, 8), 0.5)
        >>> torch.allclose(Saturation(p=1.0)(grey), grey, atol=1e-3)
        True
    """

    max_lighting: float = 0.2
    p: float = 0.75
    n_channels: ClassVar[int | None] = RGB

    def __post_init__(self) -> None:
        check_number("max_lighting", self.max_lighting, at_least=0, below=1)
        check_probability("p", self.p)

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


def _check_batch(operation: PixelOperation, batch: Tensor) -> None:
    """Refuse what is no batch of images.

    Raises:
        InputError: its shape or its type is another one.
    """
    if batch.ndim != 4 or not batch.is_floating_point():
        hint = " For one image: operation(image[None])[0]." if batch.ndim == 3 else ""
        raise InputError(
            f"{operation!r} takes a batch of images, float [B, C, h, w] from 0 to 1; got {list(batch.shape)} "
            f"{str(batch.dtype).removeprefix('torch.')}.{hint}"
        )


def _check_colours(operation: PixelOperation, batch: Tensor) -> None:
    _check_batch(operation, batch)
    if batch.shape[1] != 3:
        raise InputError(f"{operation!r} changes colours, and these images have {batch.shape[1]} channel(s), not 3.")
