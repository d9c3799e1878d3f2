"""Small helpers of the course: seeds, arrays, and names of kinds of tensors."""

from __future__ import annotations

import pydoc
import random
from collections.abc import Callable, Iterable, Mapping, Sized
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.core import threads
from foveal.core.listing import L
from foveal.core.seeds import check_seed
from foveal.data.batches import tensor
from foveal.images.show import show_image
from foveal.tasks.display import ShownTensor


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


def doc(value: Any) -> None:
    """Print what a function, a class or a module is for, and its arguments."""
    print(pydoc.plain(pydoc.render_doc(value, title="%s")))  # noqa: T201 -- printing is what it is for


def parallel(
    f: Callable[..., Any], items: Iterable[Any], *args: Any, n_workers: int | None = None, **options: Any
) -> L[Any]:
    """Return `f` of each item, in order, from threads.

    Args:
        f: is called with an item and what else is given.
        items: the items.
        args: further arguments of `f`.
        n_workers: threads; one per processor by default.
        options: keywords of `f`.
    """
    return L(threads.ordered_map(partial(_called, f, args, options), items, num_workers=n_workers))


def _called(f: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any], item: Any) -> Any:
    return f(item, *args, **options)


def noop(value: Any = None, *_: Any, **__: Any) -> Any:
    """Return the first argument.

    Args:
        value: is returned.
        _: not used.
        __: not used.
    """
    return value


class TensorImageShown(ShownTensor):
    """An image [C, h, w] that shows itself."""

    def show(self, ctx: Any = None, **options: Any) -> Any:
        """Draw it with matplotlib; return the axes.

        Args:
            ctx: axes to draw on; new ones by default.
            options: of `show_image`.
        """
        return show_image(self.as_subclass(Tensor), ctx, **options)


class TensorPointShown(ShownTensor):
    """Points [..., 2], x before y, that show themselves."""

    def show(self, ctx: Any = None, **options: Any) -> Any:
        """Draw them with matplotlib; return the axes.

        Args:
            ctx: axes to draw on; new ones by default.
            options: of `matplotlib.axes.Axes.scatter`.
        """
        from matplotlib import pyplot as plt

        axes = ctx or plt.subplots(layout="constrained")[1]
        points = self.as_subclass(Tensor).reshape(-1, 2)
        drawn: dict[str, Any] = {"s": 10, "c": "r", "marker": "."} | options
        axes.scatter(points[:, 0], points[:, 1], **drawn)
        return axes


class _Named(type):
    """Makes `isinstance(x, TensorImage)` true of the plain tensors that such a name stands for."""

    @staticmethod
    def _holds(value: Tensor) -> bool:
        raise NotImplementedError

    @staticmethod
    def _made(value: Any) -> Tensor:
        return tensor(value)

    def __call__(cls, value: Any, **_: Any) -> Any:
        """Return a tensor; the first operation on it returns a plain one."""
        return cls._made(value)

    def __instancecheck__(cls, instance: object) -> bool:
        """Return whether a tensor has the form that the name stands for."""
        return isinstance(instance, Tensor) and cls._holds(instance)

    def create(cls, value: Any, **_: Any) -> Any:
        """Return a tensor, as calling the name does.

        Args:
            value: a tensor, array or list.
            _: `img_size`, which a plain tensor has no place for.
        """
        return cls._made(value)


class TensorBase(metaclass=_Named):
    """A name of the course that makes a plain tensor: any."""

    @staticmethod
    def _holds(value: Tensor) -> bool:
        return isinstance(value, Tensor)


class TensorImage(TensorBase):
    """A name of the course that makes a tensor: an image [C, h, w], or several [B, C, h, w]; of Pillow's too."""

    @staticmethod
    def _holds(value: Tensor) -> bool:
        return value.ndim in {3, 4}

    @staticmethod
    def _made(value: Any) -> Tensor:
        return image2tensor(value).as_subclass(TensorImageShown)


class TensorImageBW(TensorImage):
    """A name of the course that makes a tensor: an image [1, h, w], or several."""


class TensorPoint(TensorBase):
    """A name of the course that makes a tensor: points [..., 2]."""

    @staticmethod
    def _holds(value: Tensor) -> bool:
        return value.ndim >= 1 and value.shape[-1] == 2 and value.is_floating_point()

    @staticmethod
    def _made(value: Any) -> Tensor:
        return tensor(value).float().reshape(-1, 2).as_subclass(TensorPointShown)


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


def image2tensor(image: Any) -> Tensor:
    """Return an image as a tensor, channels first; a tensor as it is."""
    if isinstance(image, Tensor):
        return image
    values = torch.from_numpy(np.array(image))
    return values[None] if values.ndim == 2 else values.permute(2, 0, 1).contiguous()
