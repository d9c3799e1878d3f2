"""Changes of whole images by functions of a user's, before anything else is done to them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from foveal.core.errors import InputError
from foveal.images.decode import ImageSource, OpenedImage, open_image
from foveal.images.pil import pil_image

ImageChange = Callable[[Any], Any]
"""A function of a `PILImage` that returns an image: Pillow's, or an array uint8 [H, W, C]."""
_DRAWING = threading.Lock()


@runtime_checkable
class ItemTransform(Protocol):
    """A user's change of single images, by the course's class `Transform`.

    Attributes:
        order: those with a smaller number come first.
        split_idx: 0 for training only, 1 for validation only, None for both.
        is_done_anyway: whether foveal does it itself, so that it may be left out.
    """

    order: float
    split_idx: int | None
    is_done_anyway: bool

    def __call__(self, item: Any) -> Any:
        """Return the changed image."""


def open_changed(
    source: ImageSource, n_channels: int, changes: Sequence[ImageChange], rng: np.random.Generator | None = None
) -> OpenedImage:
    """Return an image opened, after functions of a user's changed it.

    Args:
        source: the image.
        n_channels: that it is read with.
        changes: the functions, in order.
        rng: decides what they draw; without one, it is the same each time.

    Raises:
        ImageError: the image is refused.
        InputError: a function returns no image.
    """
    if not changes:
        return open_image(source, n_channels)
    image: Any = pil_image(source, n_channels)
    with _drawing(0 if rng is None else int(rng.integers(2**32))):
        for change in changes:
            image = change(image)
            if not isinstance(image, Image.Image | np.ndarray):
                form = f"{list(image.shape)}" if isinstance(image, Tensor) else ""
                raise InputError(
                    f"{change!r} gets a Pillow image and returns one, or an array uint8 [H, W, C]; it returned "
                    f"{type(image).__name__}{form}. What works on tensors belongs in `batch_tfms`."
                )
    return open_image(image, n_channels)


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Seed the global random numbers of Python, NumPy and torch within the block, for one thread at a time."""
    with _DRAWING:
        states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002 -- see above
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 -- users' functions draw from it
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002 -- as above
            torch.random.set_rng_state(states[2])
