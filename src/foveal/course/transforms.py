"""Transforms of the course: classes with `encodes` and `decodes`, chosen by the type of what they get."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Union

import torch
from PIL import Image
from torch import Tensor

from foveal.core.arguments import check_probability
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.listing import L
from foveal.course.basics import image2tensor
from foveal.data.batches import Item
from foveal.tasks.vocab import Classes, Vocab, check_vocab, plain

Function = Callable[..., Item]
_COLLECTED = ("encodes", "decodes", "setups")


class _Body(dict[str, Item]):
    """The body of a class in which `encodes` and `decodes` may be written several times, for several types."""

    def __setitem__(self, name: str, value: Item) -> None:
        if name in _COLLECTED and inspect.isfunction(value):
            self.setdefault(f"_{name}_by_type", []).append(value)
        super().__setitem__(name, value)


class _TransformType(type):
    """Keeps every `encodes` and `decodes` of a class."""

    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], /, **options: Item) -> _Body:
        del name, bases, options
        return _Body()


class Transform(metaclass=_TransformType):
    """A function of an item that may be undone: subclass it with `encodes`, and `decodes` where there is a way back.

    Either may be written several times with an annotation of its argument; the one whose type suits is called, and what
    suits none passes unchanged. A tuple is transformed part by part. `Transform(function)` makes one of a function.

    Attributes:
        order: transforms with a smaller number come first.
        split_idx: 0 for training only, 1 for validation only, None for both.
        is_done_anyway: whether loaders of images do it themselves.

    Examples:
        >>> from foveal.vision.all import *
        >>> class Halve(Transform):
        ...     def encodes(self, number: float): return number / 2
        ...     def decodes(self, number: float): return number * 2
        >>> Halve()((3.0, "three")), Halve().decode(1.5)
        ((1.5, 'three'), 3.0)
    """

    order: float = 0
    split_idx: int | None = None
    is_done_anyway: bool = False

    def __init__(
        self,
        enc: Function | None = None,
        dec: Function | None = None,
        split_idx: int | None = None,
        order: float | None = None,
    ) -> None:
        """Take functions in place of methods.

        Args:
            enc: what `encodes` does.
            dec: what `decodes` does.
            split_idx: 0 for training only, 1 for validation only; the class's own by default.
            order: transforms with a smaller number come first; the class's own by default.
        """
        if split_idx is not None:
            self.split_idx = split_idx
        if order is not None:
            self.order = order
        self._given = {"encodes": enc, "decodes": dec}

    def __call__(self, item: Item, **options: Item) -> Item:
        """Return the item encoded; a tuple part by part."""
        return self._each("encodes", item, **options)

    def decode(self, item: Item, **options: Item) -> Item:
        """Return the item decoded; a tuple part by part.

        Args:
            item: the item.
            options: of `decodes`.
        """
        return self._each("decodes", item, **options)

    def setup(self, items: Item = None, train_setup: bool = False) -> None:
        """Learn from the training items what `setups` learns.

        Args:
            items: of the training side.
            train_setup: not used.
        """
        del train_setup
        for setups in _functions_of(type(self), "setups"):
            setups(self, items)

    @property
    def learns(self) -> bool:
        """Whether it learns something from the training items."""
        return bool(_functions_of(type(self), "setups"))

    @property
    def name(self) -> str:
        """The class's name, or the function's."""
        given = getattr(self, "_given", {}).get("encodes")
        return getattr(given, "__name__", type(self).__name__)

    def __repr__(self) -> str:
        return self.name

    def _each(self, kind: str, item: Item, **options: Item) -> Item:
        if isinstance(item, tuple) and type(item) is tuple:
            return tuple(self._one(kind, part, **options) for part in item)
        return self._one(kind, item, **options)

    def _one(self, kind: str, item: Item, **options: Item) -> Item:
        given = getattr(self, "_given", {}).get(kind)
        if given is not None:
            return given(item, **options) if _suits(_annotation(given, 0), item) else item
        for function in _functions_of(type(self), kind):
            if _suits(_annotation(function, 1), item):
                return function(self, item, **options)
        return item


class ItemTransform(Transform):
    """A `Transform` that gets a tuple as a whole."""

    def _each(self, kind: str, item: Item, **options: Item) -> Item:
        return self._one(kind, item, **options)


DisplayedTransform = Transform


class RandTransform(Transform):
    """A `Transform` that is done with probability `p`, in training."""

    split_idx: int | None = 0

    def __init__(self, p: float = 1.0, **options: Item) -> None:
        """Say how often.

        Args:
            p: the probability.
            options: of `Transform`.

        Raises:
            InputError: it is no probability.
        """
        check_probability("p", p)
        super().__init__(**options)
        self.p, self.do = p, True

    def before_call(self, b: Item, split_idx: int | None) -> None:
        """Draw whether it is done; override it to draw more.

        Args:
            b: the item.
            split_idx: 0 in training.
        """
        del b, split_idx
        self.do = float(torch.rand(())) < self.p

    def __call__(self, item: Item, split_idx: int | None = 0, **options: Item) -> Item:
        """Return the item encoded, if it is done.

        Args:
            item: the item.
            split_idx: 0 in training.
            options: of `encodes`.
        """
        self.before_call(item, split_idx)
        return super().__call__(item, **options) if self.do else item


class Pipeline:
    """Functions of an item, one after the other; transforms among them by their `order`.

    Examples:
        >>> from foveal.vision.all import *
        >>> pipeline = Pipeline([str.strip, Categorize(["cat", "dog"])])
        >>> pipeline(" dog "), pipeline.decode(torch.tensor(1))
        (tensor(1), 'dog')
    """

    def __init__(self, funcs: Function | Iterable[Function] | None = None, split_idx: int | None = None) -> None:
        """Take functions.

        Args:
            funcs: one or several; a class is called to make one.
            split_idx: leave transforms of the other side out: 0 is training, 1 validation.

        Raises:
            InputError: one of them is no function.
        """
        given: list[Item] = [] if funcs is None else list(funcs) if isinstance(funcs, Iterable) else [funcs]
        made = [one() if isinstance(one, type) and issubclass(one, Transform) else one for one in given]
        if odd := [one for one in made if not callable(one)]:
            raise InputError(f"A pipeline takes functions of an item; got {odd[0]!r}.")
        self.split_idx = split_idx
        self.fs: L[Function] = L(sorted(made, key=lambda one: getattr(one, "order", 0)))

    def __call__(self, item: Item) -> Item:
        """Return the item after all functions."""
        for function in self.fs:
            if self.split_idx is None or getattr(function, "split_idx", None) in {None, self.split_idx}:
                item = function(item)
        return item

    def decode(self, item: Item) -> Item:
        """Return the item before the functions that have a way back."""
        for function in reversed(list(self.fs)):
            item = function.decode(item) if isinstance(function, Transform) else item
        return item

    def setup(self, items: Sequence[Item]) -> None:
        """Let each transform learn from the items as the ones before it leave them."""
        for function in self.fs:
            if isinstance(function, Transform):
                function.setup(items)
            items = [function(item) for item in items]

    def __len__(self) -> int:
        return len(self.fs)

    def __getitem__(self, index: Item) -> Item:
        return self.fs[index]

    def __repr__(self) -> str:
        return f"Pipeline: {' -> '.join(getattr(one, '__name__', repr(one)) for one in self.fs)}"


class ToTensor(Transform):
    """Turn an image into a tensor, uint8 [C, h, w]; in `item_tfms` it may be left out.

    Examples:
        >>> from foveal.vision.all import *
        >>> ToTensor()(Image.new("RGB", (6, 4))).shape
        torch.Size([3, 4, 6])
    """

    order = 5
    is_done_anyway = True

    def encodes(self, item: Image.Image) -> Tensor:
        """Return the image's values, channels first."""
        return image2tensor(item)


class IntToFloatTensor(Transform):
    """Bring values from 0 to 255 to 0 to 1, float32; in `batch_tfms` it may be left out.

    Tensors of less than three dimensions are no images, and stay as they are.

    Examples:
        >>> from foveal.vision.all import *
        >>> IntToFloatTensor()(torch.full((1, 3, 2, 2), 51, dtype=torch.uint8)).unique()
        tensor([0.2000])
    """

    order = 10
    is_done_anyway = True

    def __init__(self, div: float = 255.0) -> None:
        """Set what to divide by.

        Args:
            div: the value that becomes 1.
        """
        super().__init__()
        self.div = div

    def encodes(self, item: Tensor) -> Tensor:
        """Return the values, float32."""
        return item.float() / self.div if item.ndim >= 3 else item

    def decodes(self, item: Tensor) -> Tensor:
        """Return them clipped to 0 to 1."""
        return item.clamp(0, 1) if item.ndim >= 3 and item.is_floating_point() else item


class Categorize(Transform):
    """Turn a label into the index of its class, and back.

    Attributes:
        vocab: the classes, in order; learned by `setup` where they are not given.

    Examples:
        >>> from foveal.vision.all import *
        >>> categorize = Categorize()
        >>> categorize.setup(["dog", "cat", "dog"])
        >>> categorize("dog"), categorize.decode(torch.tensor(0))
        (tensor(1), 'cat')
    """

    order = 1

    def __init__(self, vocab: Iterable[Item] | None = None, sort: bool = True) -> None:
        """Set which classes there are.

        Args:
            vocab: the classes; those that `setup` finds by default.
            sort: whether classes that are given are sorted; those that are learned always are.
        """
        super().__init__()
        check_vocab(vocab)
        given = None if vocab is None else [plain(one) for one in vocab]
        self.vocab: Item = None if given is None else Classes(Vocab.of(given).values if sort else given)

    def setups(self, items: Iterable[Item]) -> None:
        """Learn the classes from labels."""
        if self.vocab is None:
            self.vocab = Classes(Vocab.of(plain(item) for item in items).values)

    def encodes(self, label: Item) -> Tensor:
        """Return the index of a class.

        Raises:
            UnknownNameError: there is no such class.
            InputError: the classes are not known yet.
        """
        if plain(label) not in self._known.o2i:
            raise UnknownNameError.of("class", label, self.vocab)
        return torch.tensor(self.vocab.o2i[plain(label)])

    def decodes(self, index: Item) -> Item:
        """Return the class of an index.

        Raises:
            InputError: it is no index of a class, or the classes are not known yet.
        """
        try:
            number = int(index)
        except (TypeError, ValueError):
            number = -1
        if not 0 <= number < len(self._known):
            raise InputError(f"The {len(self.vocab)} classes have indices from 0; got {index!r}.")
        return self.vocab[number]

    @property
    def _known(self) -> Classes:
        """The classes.

        Raises:
            InputError: they are not known yet.
        """
        if self.vocab is None:
            raise InputError("`Categorize` does not know its classes: give `vocab`, or put it into `Datasets`.")
        known: Classes = self.vocab
        return known


class MultiCategorize(Transform):
    """Turn a list of labels into the indices of their classes, and back.

    Attributes:
        vocab: the classes, in order; learned by `setup` where they are not given.
    """

    order = 1

    def __init__(self, vocab: Iterable[Item] | None = None) -> None:
        """Set which classes there are.

        Args:
            vocab: the classes, in order.
        """
        super().__init__()
        self.one = Categorize(vocab, sort=False)

    @property
    def vocab(self) -> Item:
        """The classes, in order."""
        return self.one.vocab

    def setups(self, items: Iterable[Iterable[Item]]) -> None:
        """Learn the classes from lists of labels."""
        self.one.setup([label for labels in items for label in labels])

    def encodes(self, labels: list) -> Tensor:  # type: ignore[type-arg]
        """Return the indices of classes."""
        return torch.tensor([int(self.one(label)) for label in labels])

    def decodes(self, indices: Tensor) -> L[Item]:
        """Return the classes of indices."""
        return L(self.one.decode(index) for index in indices.tolist())


class RegressionSetup(Transform):
    """Turn a number, or several, into a float tensor."""

    order = 1

    def __init__(self, c: int | None = None) -> None:
        """Say how many.

        Args:
            c: how many numbers; as many as there are by default.
        """
        super().__init__()
        self.c = c

    def encodes(self, numbers: Item) -> Tensor:
        """Return the numbers, float32."""
        return torch.as_tensor(numbers, dtype=torch.float32)


def _functions_of(made: type, kind: str) -> list[Function]:
    """Return the functions of a kind that a class and those it derives from have, those that name a type first."""
    found = [one for base in made.__mro__ for one in vars(base).get(f"_{kind}_by_type", ())]
    return sorted(found, key=lambda one: _annotation(one, 1) is None)


def _annotation(function: Function, position: int) -> Item:
    """Return what a function says of an argument's type; None where it says nothing, or what is not known here."""
    try:
        hints = typing.get_type_hints(function)
        names = list(inspect.signature(function).parameters)
    except (NameError, TypeError, ValueError):
        return None
    return hints.get(names[position]) if position < len(names) else None


def _suits(annotation: Item, item: object) -> bool:
    if annotation is None or annotation is typing.Any:
        return True
    if typing.get_origin(annotation) in {Union, types.UnionType}:
        return any(_suits(one, item) for one in typing.get_args(annotation))
    origin: object = typing.get_origin(annotation)
    kind = annotation if origin is None else origin
    return isinstance(item, kind) if isinstance(kind, type) else True
