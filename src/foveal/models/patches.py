"""Sizes of images that networks of patches take: whole multiples of a patch."""

from __future__ import annotations

from torch import nn

Patch = tuple[int, int]


def patch_size(network: nn.Module) -> Patch | None:
    """Return the (height, width) of a network's patches in pixels; None where it takes images of any size.

    Args:
        network: timm's, most often.
    """
    for name in ("patch_embed", "embeds", "stem"):
        size: object = getattr(getattr(network, name, None), "patch_size", None)
        if isinstance(size, int):
            return size, size
        if isinstance(size, tuple) and len(size) == 2 and all(isinstance(n, int) for n in size):
            return size
    return None


def fitted_size(size_hw: tuple[int, int], patch: Patch | None) -> tuple[int, int]:
    """Return the nearest size that is made of whole patches.

    Args:
        size_hw: (height, width) in pixels.
        patch: of `patch_size`.

    >>> fitted_size((128, 224), (14, 14))
    (126, 224)
    """
    if patch is None:
        return size_hw
    height, width = (max(1, round(side / one)) * one for side, one in zip(size_hw, patch, strict=True))
    return height, width
