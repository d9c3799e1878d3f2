"""Small helpers of the course: seeds, arrays, and names of kinds of tensors."""

from __future__ import annotations

import random
from collections.abc import Sized
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.core.seeds import check_seed
from foveal.data.batches import tensor


def set_seed(s: int, reproducible: bool = False) -> None:
    """Seed Python's, NumPy's and torch's global random numbers.

    foveal's own draws do not use them: loaders, splits and learners take `seed=`.

    Args:
        s: the seed.
        reproducible: also let cuDNN choose only algorithms that give the same numbers each time.
    """
    seed = check_seed(s)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 -- the global state is what the course seeds
    torch.manual_seed(seed)
    if reproducible:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def to_np(value: Any) -> Any:
    """Return a tensor as an array of NumPy, on the CPU; in tuples and lists each of them."""
    if isinstance(value, tuple | list):
        return type(value)(to_np(part) for part in value)
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def array(*values: Any) -> NDArray[Any]:
    """Return an array of NumPy of a number, list, tensor, or of several arguments."""
    value = values[0] if len(values) == 1 else values
    return np.asarray(to_np(value) if isinstance(value, Tensor) else list(value) if isinstance(value, range) else value)


def range_of(items: Sized) -> list[int]:
    """Return the positions of items, from 0."""
    return list(range(len(items)))


def noop(value: Any = None, *_: Any, **__: Any) -> Any:
    """Return the first argument.

    Args:
        value: is returned.
        _: not used.
        __: not used.
    """
    return value


class _Named(type):
    """Makes `isinstance(x, TensorImage)` true of the plain tensors that such a name stands for."""

    @staticmethod
    def _holds(value: Tensor) -> bool:
        raise NotImplementedError

    def __call__(cls, value: Any, *_: Any, **options: Any) -> Any:
        """Return a plain tensor."""
        return tensor(value)

    def __instancecheck__(cls, instance: object) -> bool:
        """Return whether a tensor has the form that the name stands for."""
        return isinstance(instance, Tensor) and cls._holds(instance)

    def create(cls, value: Any) -> Tensor:
        """Return a plain tensor."""
        return tensor(value)


class TensorBase(metaclass=_Named):
    """A name of the course that makes a plain tensor: any."""

    @staticmethod
    def _holds(value: Tensor) -> bool:
        return isinstance(value, Tensor)


class TensorImage(TensorBase):
    """A name of the course that makes a plain tensor: an image [C, h, w], or several [B, C, h, w]."""

    @staticmethod
    def _holds(value: Tensor) -> bool:
        return value.ndim in {3, 4}


class TensorImageBW(TensorImage):
    """A name of the course that makes a plain tensor: an image [1, h, w], or several."""


class TensorPoint(TensorBase):
    """A name of the course that makes a plain tensor: points [..., 2]."""

    @staticmethod
    def _holds(value: Tensor) -> bool:
        return value.ndim >= 1 and value.shape[-1] == 2 and value.is_floating_point()


class TensorCategory(TensorBase):
    """A name of the course that makes a plain tensor: the index of a class, or several [B]."""

    @staticmethod
    def _holds(value: Tensor) -> bool:
        return value.ndim <= 1 and not value.is_floating_point()


class TensorMultiCategory(TensorBase):
    """A name of the course that makes a plain tensor: 0 or 1 for each class, [C] or [B, C]."""

    @staticmethod
    def _holds(value: Tensor) -> bool:
        return value.ndim in {1, 2}
