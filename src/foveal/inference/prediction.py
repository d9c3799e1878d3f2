"""What a predictor gives for an image: an answer, or the reason for which it was refused."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from foveal.core.errors import ImageError, InputError
from foveal.images.decode import NamedPixels, StoredImage, name_of

_CHANNELS = (1, 3, 4)  # by which an array of three axes is one image, and not several in grey


class _Answer(NamedTuple):
    label: Any
    decoded: Tensor
    values: Tensor


class Prediction(_Answer):
    """An answer: the label a person reads, the same as an encoded target, and the activated outputs it comes from.

    Points stand in the label, and encoded, in pixels of the image given; in `values` in [-1, 1] of the input. It is a
    tuple of these three, `label`, `decoded` and `values`. What is known of its confidence stands beside them.

    Attributes:
        spread: how far off the model takes each point to be, float64 [N] in pixels of the image; None of other tasks.
        radius: around each point, in such pixels, within which the truth lies in 90 of 100 new images, float64 [N]; NaN
            for a point without; None of other tasks, and of models whose radii were not chosen.
        signals: what `foveal.inference.signals` watches of it, float32 [S].
        is_known: whether the image is like those that the model knows, as 95 of 100 of that kind are; None of models
            that cannot tell.
        prediction_set: names of the classes among which the truth is in 90 of 100 new images, the most probable first;
            None of models whose sets were not calibrated.

    Examples:
        >>> import torch
        >>> from foveal import Prediction
        >>> answer = Prediction("cat", torch.tensor(0), torch.tensor([0.75, 0.25]))
        >>> label, encoded, probabilities = answer
        >>> label, answer.values[encoded].item(), answer.is_known is None
        ('cat', 0.75, True)
    """

    is_known: bool | None
    prediction_set: tuple[str, ...] | None
    spread: NDArray[np.float64] | None
    radius: NDArray[np.float64] | None
    signals: NDArray[np.float32] | None

    def __new__(
        cls,
        label: object,
        decoded: Tensor,
        values: Tensor,
        *,
        spread: NDArray[np.float64] | None = None,
        radius: NDArray[np.float64] | None = None,
        signals: NDArray[np.float32] | None = None,
        is_known: bool | None = None,
        prediction_set: tuple[str, ...] | None = None,
    ) -> Self:
        """Make a tuple of three with what is known of its confidence.

        Args:
            label: what a person reads.
            decoded: the same as an encoded target, [...].
            values: activated outputs, [...].
            spread: see above.
            radius: see above.
            signals: see above.
            is_known: see above.
            prediction_set: see above.
        """
        answer = super().__new__(cls, label, decoded, values)
        answer.spread, answer.radius, answer.signals = spread, radius, signals
        answer.is_known, answer.prediction_set = is_known, prediction_set
        return answer

    def __repr__(self) -> str:
        text = super().__repr__()
        return text if self.radius is None else f"{text[:-1]}, radius={self.radius!r})"


class Embeddings(NamedTuple):
    """Names of images, and what the model makes of each before its last layer, float32 [n, F]."""

    names: tuple[str, ...]
    vectors: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.names):,} images, {self.vectors.shape[1]:,} numbers each)"


class Refused(NamedTuple):
    """An image that got no answer; it stands among predictions in its place.

    Attributes:
        name: of the image.
        error: the reason, as an error that can be raised.

    Examples:
        >>> from foveal.vision.all import *
        >>> path = untar_data(URLs.SAMPLE_PETS)
        >>> files = get_image_files(path)[::8]
        >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> predictor = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))).predictor()
        >>> next(predictor.predict_batch(["missing.jpg"]))
        Refused(name='missing.jpg', error=ImageError('missing.jpg: no such file.'))
    """

    name: str
    error: ImageError


def check_images(images: object) -> None:
    """Refuse what is not several images, such as the path of one.

    Raises:
        InputError: it is one image, or cannot be iterated over.
    """
    if _is_one(images) or not isinstance(images, Iterable):
        raise InputError(f"Images come as a list, [image] for one; got {name_of(images)}.")


def check_one_image(image: object) -> None:
    """Refuse several images where one is meant.

    Raises:
        InputError: there are several.
    """
    if isinstance(image, Iterable) and not _is_one(image):
        raise InputError(
            f"One image is expected, got {name_of(image)}. For several: `predict_batch(images)` of a predictor, which "
            "of a learner is `learn.predictor().predict_batch(images)`."
        )


def _is_one(image: object) -> bool:
    if isinstance(image, np.ndarray):
        return image.ndim < 3 or (image.ndim == 3 and image.shape[-1] in _CHANNELS)
    return isinstance(image, str | bytes | os.PathLike | Image.Image | Tensor | NamedPixels | StoredImage)
