"""Showing single images in a notebook: of Pillow, arrays and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from foveal.core.errors import InputError
from foveal.images.channels import RGB

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4  # of `show_images` unless told otherwise; chosen by hand, as wide as a notebook at 3 inches each
_INCHES = 3.0
_CHANNELS = (1, 3, 4)


def show_image(
    im: Image.Image | NDArray[Any] | Tensor,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    *,
    ctx: Axes | None = None,
    cmap: str | None = None,
) -> Axes:
    """Draw an image with matplotlib and return the axes.

    Args:
        im: a Pillow image, an array [H, W] or [H, W, C], or a tensor [h, w], [C, h, w] or [h, w, C], of which the first
            three channels are shown; whole numbers go to 255, others to 1.
        ax: is drawn on; new axes by default.
        figsize: (width, height) in inches of new axes.
        title: above the image.
        ctx: another name for `ax`.
        cmap: matplotlib's name of a map of colours, for an image of one channel; grey by default.

    Returns:
        The axes, `ax` where it is given.

    Raises:
        InputError: what is given has not the form of an image.

    Examples:
        >>> from foveal.vision.all import *
        >>> axes = show_image(torch.rand(3, 40, 60), title="noise")
        >>> axes.get_title(), axes.images[0].get_size()
        ('noise', (40, 60))
        >>> plt.close()
    """
    from matplotlib import pyplot as plt

    values = _values(im)
    axes = ax or ctx or plt.subplots(figsize=figsize, layout="constrained")[1]
    grey = values.ndim == 2
    span = (0, 255) if grey and values.dtype == np.uint8 else (None, None)
    axes.imshow(values, cmap=cmap or "gray" if grey else None, vmin=span[0], vmax=span[1])
    axes.set_axis_off()
    if title is not None:
        axes.set_title(str(title))
    return axes


def show_images(
    ims: Sequence[Image.Image | NDArray[Any] | Tensor],
    nrows: int | None = None,
    ncols: int | None = None,
    titles: Sequence[object] | None = None,
    *,
    figsize: tuple[float, float] | None = None,
    imsize: float = _INCHES,
    suptitle: str | None = None,
) -> Figure:
    """Draw several images side by side.

    Args:
        ims: as `show_image` takes them.
        nrows: rows; as many as the images need by default.
        ncols: columns; four by default, all in one row where `nrows` is 1.
        titles: one above each.
        figsize: (width, height) in inches.
        imsize: inches per image, where `figsize` is not given.
        suptitle: above all.

    Returns:
        The figure.

    Raises:
        InputError: one has not the form of an image.
    """
    across = ncols or (-(-len(ims) // nrows) if nrows else min(_COLUMNS, len(ims)))
    figure, axes = subplots(nrows or -(-len(ims) // across), across, figsize=figsize, imsize=imsize, suptitle=suptitle)
    for at, cell in enumerate(np.ravel(axes)):
        cell.set_axis_off()
        if at < len(ims):
            show_image(ims[at], cell, title=None if titles is None else str(titles[at]))
    return figure


def subplots(
    nrows: int = 1,
    ncols: int = 1,
    figsize: tuple[float, float] | None = None,
    imsize: float = _INCHES,
    suptitle: str | None = None,
) -> tuple[Figure, Any]:
    """Return a figure and its axes, of a size that suits images: as many inches per image as `imsize`.

    Args:
        nrows: rows.
        ncols: columns.
        figsize: (width, height) in inches.
        imsize: inches per image, where `figsize` is not given.
        suptitle: above all.

    Returns:
        The figure, and the axes in an array [nrows, ncols], of one row or column [n].

    Examples:
        >>> from foveal.vision.all import *
        >>> figure, axes = subplots(2, 3, imsize=2)
        >>> axes.shape, figure.get_size_inches().tolist()
        ((2, 3), [6.0, 4.0])
        >>> plt.close()
    """
    from matplotlib import pyplot as plt

    size = figsize or (ncols * imsize, nrows * imsize + (0.6 if suptitle else 0))
    figure, axes = plt.subplots(nrows, ncols, figsize=size, layout="constrained")
    axes = np.array([axes]) if nrows * ncols == 1 else axes
    if suptitle is not None:
        figure.suptitle(suptitle)
    return figure, axes


def _values(im: object) -> NDArray[Any]:
    """Return an image's values [H, W] or [H, W, C], as matplotlib takes them.

    Raises:
        InputError: it has not the form of an image.
    """
    values = im.detach().cpu().numpy() if isinstance(im, Tensor) else np.asarray(im)
    if isinstance(im, Tensor) and values.ndim == 3 and values.shape[0] in _CHANNELS:
        values = values.transpose(1, 2, 0)
        values = values[..., :RGB] if values.shape[2] == RGB + 1 else values
    if values.ndim not in {2, 3} or (values.ndim == 3 and values.shape[2] not in _CHANNELS):
        raise InputError(f"An image is [H, W], [H, W, C], or as a tensor [C, h, w]; got {list(values.shape)}.")
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    if values.dtype.kind == "f":
        return np.clip(values, 0, 1) if values.ndim == 3 else values
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    return np.clip(values, 0, 255).astype(np.uint8) if values.ndim == 3 else values
