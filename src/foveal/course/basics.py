"""Small helpers of the course: seeds, arrays, and names of kinds of tensors."""

from __future__ import annotations

import pydoc
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sized
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.core import threads
from foveal.core.errors import InputError
from foveal.core.listing import L
from foveal.core.seeds import check_seed
from foveal.data.batches import Item, tensor
from foveal.images.show import show_image
from foveal.tasks.display import ShownTensor


def set_seed(s: int, reproducible: bool = False) -> None:
    """Seed Python's, NumPy's and torch's global random numbers.

    foveal's own draws do not use them: loaders, splits and learners take `seed=`.

    Args:
        s: the seed, a whole number of 64 bits.
        reproducible: also let cuDNN choose only algorithms that give the same numbers each time, which may be slower.

    Raises:
        InputError: the seed is not a whole number of 64 bits.

    Examples:
        >>> from foveal.vision.all import *
        >>> set_seed(42)
        >>> first_draw = torch.rand(3)
        >>> set_seed(42)
        >>> torch.equal(torch.rand(3), first_draw)
        True
    """
    seed = check_seed(s)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 -- the global state is what the course seeds
    torch.manual_seed(seed)
    if reproducible:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def to_np(value: Item) -> Item:
    """Return a tensor as an array of NumPy, on the CPU and without gradients; in tuples and lists each of them.

    Examples:
        >>> from foveal.vision.all import *
        >>> to_np(torch.tensor([0.5, 2.0], requires_grad=True))
        array([0.5, 2. ], dtype=float32)
    """
    if isinstance(value, tuple | list):
        return type(value)(to_np(part) for part in value)
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def array(*values: Item) -> NDArray[Item]:
    """Return an array of NumPy of a number, list, tensor or range; several arguments become items of one array.

    Examples:
        >>> from foveal.vision.all import *
        >>> array(1, 2.5)
        array([1. , 2.5])
        >>> array(range(3))
        array([0, 1, 2])
    """
    value = values[0] if len(values) == 1 else values
    return np.asarray(to_np(value) if isinstance(value, Tensor) else list(value) if isinstance(value, range) else value)


def range_of(items: Sized) -> list[int]:
    """Return the positions of items, from 0.

    Examples:
        >>> from foveal.vision.all import *
        >>> range_of(["cat", "dog", "horse"])
        [0, 1, 2]
    """
    return list(range(len(items)))


def doc(value: Item) -> None:
    """Print what a function, a class or a module is for, and its arguments.

    Examples:
        >>> from foveal.vision.all import *
        >>> doc(range_of)
        function range_of in module foveal.course.basics
        <BLANKLINE>
        range_of(items: Sized) -> list[int]
            Return the positions of items, from 0.
        ...
    """
    text = pydoc.plain(pydoc.render_doc(value, title="%s"))
    # Annotations are texts in modules that postpone them, and stand in quotes.
    print(_DECLARATION.sub(lambda line: _QUOTED.sub(r"\1\3", line[0]), text))  # noqa: T201 -- printing is what it is for


_DECLARATION = re.compile(r"^[ |]*(?:\w+ = )?[\w.]+\(.*$", re.MULTILINE)
_QUOTED = re.compile(r"(: |-> )(['\"])(.*?)\2(?=[,)=]| =|$)")


def parallel(
    f: Callable[..., Item], items: Iterable[Item], *args: Item, n_workers: int | None = None, **options: Item
) -> L[Item]:
    """Return `f` of each item, in order, from threads.

    Args:
        f: is called with an item and what else is given. Threads help where it waits for files or a network, or
            releases Python's lock, as NumPy, torch and Pillow do.
        items: the items.
        args: further arguments of `f`.
        n_workers: threads; one per processor by default.
        options: keywords of `f`.

    Examples:
        >>> from foveal.vision.all import *
        >>> parallel(lambda number, power: number**power, [1, 2, 3], power=2)
        (#3) [1,4,9]
    """
    return L(threads.ordered_map(partial(_called, f, args, options), items, num_workers=n_workers))


def _called(f: Callable[..., Item], args: tuple[Item, ...], options: Mapping[str, Item], item: Item) -> Item:
    return f(item, *args, **options)


def noop(value: Item = None, *_: Item, **__: Item) -> Item:
    """Return the first argument, for places that want a function where there is nothing to do.

    Args:
        value: is returned.
        _: not used.
        __: not used.

    Examples:
        >>> from foveal.vision.all import *
        >>> noop("cat", "dog")
        'cat'
    """
    return value


class TensorImageShown(ShownTensor):
    """An image [C, h, w] that shows itself."""

    def show(self, ctx: Item = None, **options: Item) -> Item:
        """Return the axes on which the image is drawn with matplotlib.

        Args:
            ctx: axes to draw on; new ones by default.
            options: of `show_image`.
        """
        return show_image(self.as_subclass(Tensor), ctx, **options)


class TensorPointShown(ShownTensor):
    """Points [..., 2], x before y, that show themselves."""

    def show(self, ctx: Item = None, **options: Item) -> Item:
        """Return the axes on which the points are drawn with matplotlib.

        Args:
            ctx: axes to draw on; new ones by default.
            options: of `matplotlib.axes.Axes.scatter`.
        """
        from matplotlib import pyplot as plt

        axes = ctx or plt.subplots(layout="constrained")[1]
        points = self.as_subclass(Tensor).reshape(-1, 2)
        drawn: dict[str, Item] = {"s": 10, "c": "r", "marker": "."} | options
        axes.scatter(points[:, 0], points[:, 1], **drawn)
        return axes


class _Named(type):
    """Makes `isinstance(x, TensorImage)` true of the plain tensors that such a name stands for."""

    @staticmethod
    def _holds(value: Tensor) -> bool:
        """Return whether a tensor has the form that the name stands for.

        Raises:
            NotImplementedError: the name does not say which form.
        """
        raise NotImplementedError

    @staticmethod
    def _made(value: Item) -> Tensor:
        return tensor(value)

    def __call__(cls, value: Item, **_: Item) -> Item:
        """Return a tensor; the first operation on it returns a plain one."""
        return cls._made(value)

    def __instancecheck__(cls, instance: object) -> bool:
        """Return whether a tensor has the form that the name stands for."""
        return isinstance(instance, Tensor) and cls._holds(instance)

    def create(cls, value: Item, **_: Item) -> Item:
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
    """A name of the course that makes a tensor of an image, [C, h, w], or of several, [B, C, h, w].

    It takes tensors, arrays [h, w, C] and images of Pillow. The tensor shows itself with `show()`; the first operation
    on it returns a plain one. `isinstance(x, TensorImage)` is true of every tensor of three or four dimensions.

    Examples:
        >>> from foveal.vision.all import *
        >>> TensorImage(Image.new("RGB", (6, 4))).shape
        torch.Size([3, 4, 6])
        >>> isinstance(torch.zeros(3, 4, 6), TensorImage)
        True
    """

    @staticmethod
    def _holds(value: Tensor) -> bool:
        return value.ndim in {3, 4}

    @staticmethod
    def _made(value: Item) -> Tensor:
        return image2tensor(value).as_subclass(TensorImageShown)


class TensorImageBW(TensorImage):
    """A name of the course that makes a tensor: an image [1, h, w], or several."""


class TensorPoint(TensorBase):
    """A name of the course that makes a tensor of points, float32 [n, 2], x before y, in the coordinates it is given.

    The tensor shows itself with `show()`; the first operation on it returns a plain one. `isinstance(x, TensorPoint)`
    is true of every tensor of floats whose last dimension is 2.

    Examples:
        >>> from foveal.vision.all import *
        >>> TensorPoint([30, 40])
        TensorPoint([[30., 40.]])
        >>> TensorPoint([30, 40]) + 1
        tensor([[31., 41.]])
    """

    @staticmethod
    def _holds(value: Tensor) -> bool:
        return value.ndim >= 1 and value.shape[-1] == 2 and value.is_floating_point()

    @staticmethod
    def _made(value: Item) -> Tensor:
        points = tensor(value).float()
        if points.numel() % 2:
            raise InputError(f"Points are (x, y) each, two numbers; got {points.numel()} numbers.")
        return points.reshape(-1, 2).as_subclass(TensorPointShown)


class TensorCategory(TensorBase):
    """A name of the course that makes a plain tensor: the index of a class, or several [B].

    `isinstance(x, TensorCategory)` is true of every tensor of whole numbers of at most one dimension.

    Examples:
        >>> from foveal.vision.all import *
        >>> TensorCategory(1)
        tensor(1)
        >>> isinstance(torch.tensor([0, 2]), TensorCategory)
        True
    """

    @staticmethod
    def _holds(value: Tensor) -> bool:
        return value.ndim <= 1 and not value.is_floating_point()


class TensorMultiCategory(TensorBase):
    """A name of the course that makes a plain tensor: 0 or 1 for each class, [C] or [B, C]."""

    @staticmethod
    def _holds(value: Tensor) -> bool:
        return value.ndim in {1, 2}


def image2tensor(image: Item) -> Tensor:
    """Return an image as a tensor [C, h, w] of its own values, uint8 of a photograph; a tensor as it is.

    Raises:
        InputError: it is no image.

    Examples:
        >>> from foveal.vision.all import *
        >>> image2tensor(Image.new("RGB", (6, 4), "white")).amax(dim=(1, 2))
        tensor([255, 255, 255], dtype=torch.uint8)
    """
    if isinstance(image, Tensor):
        return image
    pixels = np.array(image)
    if pixels.ndim not in {2, 3} or pixels.dtype.kind not in "buif":
        raise InputError(f"An image is one of Pillow's, an array [h, w] or [h, w, C], or a tensor; got {image!r}.")
    values = torch.from_numpy(pixels)
    return values[None] if values.ndim == 2 else values.permute(2, 0, 1).contiguous()
