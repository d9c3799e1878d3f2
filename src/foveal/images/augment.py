"""The augmentation recipe: a list of resize steps, moves and tones, which a data block sorts by kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from foveal.core.arguments import check_number, check_probability, checked_keywords
from foveal.core.errors import InputError
from foveal.core.listing import L
from foveal.geometry.moves import Dihedral, Flip, Move, Rotate, Warp, Zoom
from foveal.geometry.pixels import PadMode
from foveal.geometry.resize import RandomResizedCrop, Resize, ResizeStep, Size, check_pad_mode
from foveal.images.prepare import IMAGENET, Statistics, standardise
from foveal.images.tones import Brightness, Contrast, Tone


@dataclass(frozen=True, slots=True)
class Padding:
    """What stands beyond an image's border in training.

    Attributes:
        mode: `reflection`, `border` or `zeros`.
    """

    mode: PadMode


Step = ResizeStep | Move | Tone | Padding
imagenet_stats = (IMAGENET.mean, IMAGENET.std)
"""Mean and standard deviation of red, green and blue over ImageNet, for `Normalize.from_stats(*imagenet_stats)`."""


@dataclass(frozen=True, slots=True)
class Normalize:
    """Normalise images with these statistics instead of the backbone's own: one transform of `batch_tfms`.

    It is seldom needed: without it a model of `vision_learner` normalises its input itself, with the statistics that
    its backbone was trained with.

    Attributes:
        statistics: what to normalise with; those of the training images by default, measured when loaders are made.

    Examples:
        >>> from foveal.vision.all import *
        >>> normalize = Normalize.from_stats(mean=(0.5,), std=(0.25,))
        >>> normalize(torch.ones(1, 2, 2))
        tensor([[[2., 2.],
                 [2., 2.]]])
    """

    statistics: Statistics | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Return images, float [B, C, h, w] or [C, h, w] from 0 to 1, normalised: (image - mean) / std per channel.

        Raises:
            InputError: it has no statistics of its own.

        Examples:
            >>> from foveal.vision.all import *
            >>> Normalize.from_stats((0.5,), (0.5,))(torch.tensor([[[0.0, 1.0]]]))
            tensor([[[-1.,  1.]]])
        """
        if self.statistics is None:
            raise InputError("This Normalize() measures the training images when loaders are made: give it statistics.")
        return standardise(images, self.statistics)

    @classmethod
    def from_stats(cls, mean: tuple[float, ...], std: tuple[float, ...]) -> Normalize:
        """Return a transform with these statistics, on the scale where white is 1.

        Args:
            mean: of red, green and blue; of images in grey one number, of four channels four.
            std: standard deviation of each of them.

        Examples:
            >>> from foveal.vision.all import *
            >>> Normalize.from_stats(*imagenet_stats).statistics.mean
            (0.485, 0.456, 0.406)
        """
        return cls(Statistics(tuple(mean), tuple(std)))


@checked_keywords
def aug_transforms(
    *,
    mult: float = 1.0,
    do_flip: bool = True,
    flip_vert: bool = False,
    max_rotate: float = 10.0,
    min_zoom: float = 1.0,
    max_zoom: float = 1.1,
    max_lighting: float = 0.2,
    max_warp: float = 0.2,
    p_affine: float = 0.75,
    p_lighting: float = 0.75,
    size: Size | None = None,
    min_scale: float = 1.0,
    pad_mode: PadMode = "reflection",
    xtra_tfms: Step | Iterable[Step] | None = None,
    mode: str = "bilinear",
    batch: bool = False,
) -> list[Step]:
    """Return the book's augmentations: flip, perspective, rotation, zoom, brightness and contrast, drawn per image.

    They are for `batch_tfms` and run in training only. All that move pixels become one map per image, so that pixels
    are interpolated once.

    Args:
        mult: multiplies `max_rotate`, `max_warp` and `max_lighting`.
        do_flip: mirror left and right half of the time; with `flip_vert`, all eight symmetries.
        flip_vert: see `do_flip`.
        max_rotate: degrees either way.
        min_zoom: the least enlargement.
        max_zoom: the greatest enlargement.
        max_lighting: how far brightness and contrast go; at most 0.9 after `mult`.
        max_warp: how far perspective goes; at most 0.9 after `mult`.
        p_affine: the probability of each of perspective, rotation and zoom.
        p_lighting: the probability of each of brightness and contrast.
        size: the input size, a number of pixels or (height, width).
        min_scale: below 1, the input shows a random part of at least this share of the image's area.
        pad_mode: what stands beyond the image's border: `reflection`, `border` (its last pixels again) or `zeros`.
        xtra_tfms: a further transform, or several.
        mode: how pixels are interpolated; only `bilinear`.
        batch: only False: each image has draws of its own.

    Raises:
        InputError: arguments do not go together, are out of their range, or are not supported.
        UnknownNameError: there is no such argument or pad mode; the message offers the nearest one.

    Examples:
        >>> from foveal.vision.all import *
        >>> aug_transforms(max_rotate=0, max_warp=0, max_lighting=0)
        [Flip(p=0.5, vertical=False), Zoom(min_zoom=1.0, max_zoom=1.1, p=0.75)]
        >>> aug_transforms(size=224, min_scale=0.75)[0].min_scale
        0.75
    """
    if mode != "bilinear" or batch:
        raise InputError("Images are warped bilinearly, each by draws of its own: leave `mode` and `batch` out.")
    _check_extents(mult=mult, max_rotate=max_rotate, max_lighting=max_lighting, max_warp=max_warp)
    check_probability("p_affine", p_affine)
    check_probability("p_lighting", p_lighting)
    check_number("min_scale", min_scale, above=0, at_most=1)
    if size is None and min_scale < 1:
        raise InputError("`min_scale` needs a `size`: aug_transforms(size=224, min_scale=0.75).")
    steps: list[Step] = []
    if size is not None:
        steps.append(RandomResizedCrop(size, min_scale=min_scale) if min_scale < 1 else Resize(size))
    if do_flip:
        steps.append(Dihedral() if flip_vert else Flip())
    if max_warp and p_affine:
        steps.append(Warp(min(max_warp * mult, 0.9), p_affine))
    if max_rotate and p_affine:
        steps.append(Rotate(max_rotate * mult, p_affine))
    zoom = Zoom(min_zoom, max_zoom, p_affine)
    if p_affine and (min_zoom, max_zoom) != (1, 1):
        steps.append(zoom)
    if max_lighting and p_lighting:
        lighting = min(max_lighting * mult, 0.9)
        steps += [Brightness(lighting, p_lighting), Contrast(lighting, p_lighting)]
    if check_pad_mode(pad_mode) != "reflection":
        steps.append(Padding(pad_mode))
    return [*steps, *L(xtra_tfms)]


def _check_extents(**extents: float) -> None:
    for name, value in extents.items():
        check_number(name, value, at_least=0)
