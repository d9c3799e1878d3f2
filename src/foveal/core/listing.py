"""Small types that notebooks show: `L`, a list that prints its length, and `Path` with `ls`."""

from __future__ import annotations

import functools
import itertools
import mimetypes
import operator
import pathlib
import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, MutableSequence
from typing import Any, ClassVar, Generic, Self, SupportsIndex, TypeVar, cast, overload

from foveal.core.errors import InputError, UnknownNameError
from foveal.core.seeds import check_seed

T = TypeVar("T")
Entry = Any
"""What a list holds, or what a function makes of it: of whatever type the user's is."""
U = TypeVar("U")

_SHOWN = 10
_NOT_GIVEN = object()
_IMAGES = (".avif", ".avifs", ".dib", ".heic", ".heif", ".jfif", ".mpo", ".webp")
"""Endings of images that Python's table of types does not know in all versions."""


class L(MutableSequence[T], Generic[T]):
    """A list that prints its length, and takes several indices, a mask or a slice as well as one index.

    `L(items)` has the items of a list, tuple, range, set, dictionary (its keys) or generator. A text, an array, a
    tensor and a table are one item, as is anything that is not iterable; `use_list=True` takes them apart. `L(1, 2)`
    has two items, `L()` and `L(None)` have none. Methods return new lists. Further arguments of `map` come before the
    item, as those of `functools.partial` do.

    Args:
        items: what the list holds, see above; None for nothing.
        rest: further items, where `items` is the first one.
        use_list: whether to take a text, an array, a tensor or a table apart.

    Examples:
        >>> L(["a", "b", "c"])[[0, 2]]
        (#2) ['a','c']
        >>> L(3, 1, 2).sorted()
        (#3) [1,2,3]
        >>> L("abc"), L("abc", use_list=True)
        ((#1) ['abc'], (#3) ['a','b','c'])
    """

    @overload
    def __init__(self, items: None = None) -> None: ...
    @overload
    def __init__(self, items: Iterable[T], *, use_list: bool = False) -> None: ...
    @overload
    def __init__(self, items: T, *rest: T) -> None: ...
    def __init__(self, items: Entry = None, *rest: Entry, use_list: bool = False) -> None:
        if rest:
            self._items: list[T] = [items, *rest]
        else:
            self._items = list(items) if use_list and items is not None else _listed(items)

    @property
    def items(self) -> list[T]:
        """The items as Python's own list: the list itself, not a copy.

        Examples:
            >>> L(1, 2).items
            [1, 2]
        """
        return self._items

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, index: slice | Iterable[int]) -> L[T]: ...
    def __getitem__(self, index: SupportsIndex | slice | Iterable[int]) -> T | L[T]:
        if isinstance(index, slice):
            return L(self._items[index])
        indices = self._indices(index)
        return self._items[indices] if isinstance(indices, int) else L([self._items[i] for i in indices])

    def __setitem__(self, index: Entry, value: Entry) -> None:
        if isinstance(index, slice):
            self._items[index] = value
            return
        indices = self._indices(index)
        if isinstance(indices, int):
            self._items[indices] = value
            return
        values = _listed(value)
        if len(values) not in {1, len(indices)}:
            raise InputError(f"{len(indices)} items take one value, or one each; got {len(values)}.")
        for i, one in zip(indices, values if len(values) > 1 else itertools.cycle(values), strict=False):
            self._items[i] = one

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        del self._items[index]

    def insert(self, index: SupportsIndex, value: T) -> None:
        """Put a value before an item.

        Args:
            index: position of the item; the length of the list appends, negative numbers count from the end.
            value: becomes an item.

        Examples:
            >>> names = L("ant", "cat")
            >>> names.insert(1, "bee")
            >>> names
            (#3) ['ant','bee','cat']
        """
        self._items.insert(operator.index(index), value)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, L):
            return bool(self._items == other._items)
        if isinstance(other, list | tuple):
            return self._items == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment] # equal to a list, so as little hashable as one

    def __add__(self, other: Iterable[T] | T) -> L[T]:
        return L([*self._items, *_listed(other)])

    def __radd__(self, other: Iterable[T] | T) -> L[T]:
        return L([*_listed(other), *self._items])

    def __iadd__(self, other: Iterable[T] | T) -> Self:
        self._items += _listed(other)
        return self

    def __mul__(self, n: int) -> L[T]:
        return L(self._items * n)

    def __repr__(self) -> str:
        shown = ",".join(repr(item) for item in self._items[:_SHOWN])
        return f"(#{len(self)}) [{shown}{'...' if len(self) > _SHOWN else ''}]"

    def _indices(self, index: object) -> int | list[int]:
        """Return one index, or several for a list, a mask, an array or a tensor of them.

        Raises:
            InputError: a mask has not one entry per item.
        """
        given: object = index.tolist() if hasattr(index, "tolist") else index
        if not isinstance(given, Iterable) or isinstance(given, str):
            return operator.index(cast("SupportsIndex", given))
        indices = list(given)
        if indices and all(isinstance(i, bool) for i in indices):
            if len(indices) != len(self):
                raise InputError(f"A mask has one entry per item, {len(self)}; got {len(indices)}.")
            return [i for i, is_chosen in enumerate(indices) if is_chosen]
        return [operator.index(i) for i in indices]

    @classmethod
    def range(cls, start: Entry, stop: int | None = None, step: int | None = None) -> L[int]:
        """Return whole numbers as `range` does; of something that has a length, all its indices.

        Args:
            start: the first number, or with nothing else how many from 0, or what has a length.
            stop: the end, which is left out.
            step: between two numbers; 1 by default.

        Examples:
            >>> L.range(2, 8, 3), L.range(["a", "b", "c"])
            ((#2) [2,5], (#3) [0,1,2])
        """
        start = len(start) if hasattr(start, "__len__") else start
        return L(range(start) if stop is None else range(start, stop, 1 if step is None else step))

    @classmethod
    def split(cls, text: str, sep: str | None = None, maxsplit: int = -1) -> L[str]:
        """Return the parts of a text, as `str.split` does.

        Args:
            text: what is split.
            sep: what stands between the parts; white space by default.
            maxsplit: split at most so many times; by default at every separator.

        Examples:
            >>> L.split("cat dog  horse")
            (#3) ['cat','dog','horse']
        """
        return L(text.split(sep, maxsplit))

    def copy(self) -> L[T]:
        """Return another list of the same items.

        Examples:
            >>> old = L(1, 2)
            >>> new = old.copy()
            >>> new[0] = 9
            >>> old
            (#2) [1,2]
        """
        return L(list(self._items))

    def map(self, function: Callable[..., U] | str | Mapping[Entry, U], *args: object, **options: object) -> L[U]:
        """Return what `function` makes of each item.

        Args:
            function: a function; a text is a format for the item, and a mapping is looked up.
            args: come before the item.
            options: come by name.

        Raises:
            InputError: arguments are given for a mapping, which takes none.

        Examples:
            >>> L("cat", "dog").map(str.upper)
            (#2) ['CAT','DOG']
            >>> L(1, 2).map("image_{}.jpg"), L("a", "b").map({"a": 0, "b": 1})
            ((#2) ['image_1.jpg','image_2.jpg'], (#2) [0,1])
        """
        call = _bound(function, args, options)
        return L([call(item) for item in self._items])

    def starmap(self, function: Callable[..., U], *args: object, **options: object) -> L[U]:
        """Return what `function` makes of each item, whose own items are its arguments.

        Args:
            function: a function of as many arguments as an item has items.
            args: come before those of the item.
            options: come by name.

        Examples:
            >>> L((2, 3), (10, 2)).starmap(pow)
            (#2) [8,100]
        """
        return L([function(*args, *cast("Iterable[object]", item), **options) for item in self._items])

    def map_dict(self, function: Callable[..., U], *args: object, **options: object) -> dict[T, U]:
        """Return a dictionary from each item to what `function` makes of it.

        Args:
            function: a function of an item, as `map` takes it.
            args: come before the item.
            options: come by name.

        Examples:
            >>> L("cat", "horse").map_dict(len)
            {'cat': 3, 'horse': 5}
        """
        return dict(zip(self._items, self.map(function, *args, **options), strict=True))

    def filter(self, function: Callable[..., object] | None = None, *, negate: bool = False, **options: object) -> L[T]:
        """Return the items for which `function` is true.

        Args:
            function: a function of an item; by default an item itself is true or not.
            negate: return those for which it is not true.
            options: for the function, by name.

        Examples:
            >>> L(1, 2, 3, 4).filter(lambda number: number > 2)
            (#2) [3,4]
            >>> L("cat", "", None).filter()
            (#1) ['cat']
        """
        return self[self.argwhere(function, negate=negate, **options)]

    def argwhere(
        self, function: Callable[..., object] | None = None, *, negate: bool = False, **options: object
    ) -> L[int]:
        """Return the indices of the items for which `function` is true.

        Args:
            function: a function of an item; by default an item itself is true or not.
            negate: return those for which it is not true.
            options: for the function, by name.

        Examples:
            >>> L(5, 1, 7).argwhere(lambda number: number > 2)
            (#2) [0,2]
        """
        call = functools.partial(function, **options) if function is not None else bool
        return L([i for i, item in enumerate(self._items) if bool(call(item)) is not negate])

    def attrgot(self, name: str, default: Entry = _NOT_GIVEN) -> L[Entry]:
        """Return an attribute of each item, or the entry of this name where items are dictionaries.

        Args:
            name: the attribute; with dots, the attribute of an attribute.
            default: for items without it.

        Raises:
            UnknownNameError: an item has none, and no default is given.

        Examples:
            >>> L(Path("a/cat.jpg"), Path("b/dog.jpg")).attrgot("name")
            (#2) ['cat.jpg','dog.jpg']
            >>> L({"label": "cat"}, {}).attrgot("label", None)
            (#2) ['cat',None]
        """
        return L([_attribute(item, name, default) for item in self._items])

    def itemgot(self, *indices: Entry) -> L[Entry]:
        """Return one item of each item; with several indices, one item of that, and so on.

        Args:
            indices: an index or a key for each level.

        Examples:
            >>> L(("cat", 3), ("dog", 1)).itemgot(1), L(("cat", 3), ("dog", 1)).itemgot(0, 0)
            ((#2) [3,1], (#2) ['c','d'])
        """
        return L([functools.reduce(operator.getitem, indices, cast("Entry", item)) for item in self._items])

    def unique(self, sort: bool = False, bidir: bool = False) -> Entry:
        """Return each different item once, in the order of their first appearance.

        Args:
            sort: whether to sort them.
            bidir: whether to return (items, dictionary from item to index).

        Examples:
            >>> L("dog", "cat", "dog").unique(), L("dog", "cat", "dog").unique(sort=True)
            ((#2) ['dog','cat'], (#2) ['cat','dog'])
        """
        different = dict.fromkeys(cast("list[Hashable]", self._items))
        items = L(sorted(cast("Entry", different)) if sort else list(different))
        return (items, items.val2idx()) if bidir else items

    def val2idx(self) -> dict[T, int]:
        """Return a dictionary from item to index, of equal items the last one.

        Examples:
            >>> L("cat", "dog").val2idx()
            {'cat': 0, 'dog': 1}
        """
        return {item: i for i, item in enumerate(self._items)}

    def shuffle(self, seed: SupportsIndex | None = None) -> L[T]:
        """Return the items in a random order.

        Args:
            seed: the same one gives the same order. By default the order comes from Python's `random`, and is another
                one each time unless `random.seed` was called before.

        Raises:
            InputError: the seed is no whole number of 64 bits.

        Examples:
            >>> shuffled = L.range(100).shuffle(seed=1)
            >>> shuffled == L.range(100).shuffle(seed=1), shuffled.sorted() == L.range(100)
            (True, True)
        """
        rng = random if seed is None else random.Random(check_seed(seed))
        return L(rng.sample(self._items, len(self)))

    def sorted(self, key: Callable[[T], Entry] | str | int | None = None, reverse: bool = False) -> L[T]:
        """Return a sorted copy.

        Args:
            key: what items are compared by: a function, the name of an attribute, or an index; themselves by default.
            reverse: largest first.

        Examples:
            >>> L("horse", "cat").sorted(key=len), L(("a", 2), ("b", 1)).sorted(key=1)
            ((#2) ['cat','horse'], (#2) [('b', 1),('a', 2)])
        """
        own: Entry = key
        if isinstance(key, str | int):
            own = operator.attrgetter(key) if isinstance(key, str) else operator.itemgetter(key)
        return L(sorted(cast("list[Entry]", self._items), key=own, reverse=reverse))

    def concat(self) -> L[Entry]:
        """Return the items of all items, one list after the other.

        Examples:
            >>> L([1, 2], [3]).concat()
            (#3) [1,2,3]
        """
        return L([one for item in self._items for one in _listed(item)])

    def zip(self, cycled: bool = False) -> L[tuple[Entry, ...]]:
        """Return the first items of all items, then the second ones, and so on.

        Args:
            cycled: whether shorter items begin again until the longest ends; else the shortest ends them all.

        Examples:
            >>> L(["a", "b"], [1, 2]).zip()
            (#2) [('a', 1),('b', 2)]
            >>> L(["a", "b", "c"], [1]).zip(cycled=True)
            (#3) [('a', 1),('b', 1),('c', 1)]
        """
        rows = [_listed(item) for item in self._items]
        n = (max if cycled else min)(map(len, rows), default=0)
        return L([tuple(row[i % len(row)] for row in rows) for i in range(n)])

    def zipwith(self, *rest: Iterable[Entry]) -> L[tuple[Entry, ...]]:
        """Return this list's items with those of other lists, as tuples.

        Args:
            rest: the other lists; the shortest ends them all.

        Examples:
            >>> L("cat", "dog").zipwith([3, 1])
            (#2) [('cat', 3),('dog', 1)]
        """
        return L([self, *rest]).zip()

    def enumerate(self) -> L[tuple[int, T]]:
        """Return (index, item) for each item.

        Examples:
            >>> L("cat", "dog").enumerate()
            (#2) [(0, 'cat'),(1, 'dog')]
        """
        return L(list(enumerate(self._items)))

    def cycle(self) -> Iterator[T]:
        """Return an iterator over all items, again and again.

        Examples:
            >>> batches = L("a", "b").cycle()
            >>> [next(batches) for _ in range(3)]
            ['a', 'b', 'a']
        """
        return itertools.cycle(self._items)

    def reduce(self, function: Callable[[Entry, T], Entry], initial: object = _NOT_GIVEN) -> Entry:
        """Return what `function` of two makes of all items, from the left.

        Args:
            function: of what has been made so far, and the next item.
            initial: what to begin with; the first item by default.

        Examples:
            >>> L(1, 5, 3).reduce(max)
            5
        """
        return functools.reduce(function, self._items, *(() if initial is _NOT_GIVEN else (initial,)))

    def sum(self) -> Entry:
        """Return the sum; 0 for no items.

        Examples:
            >>> L(1, 2, 3).sum()
            6
        """
        return self.reduce(operator.add) if self._items else 0

    def product(self) -> Entry:
        """Return the product; 1 for no items.

        Examples:
            >>> L(2, 3, 4).product()
            24
        """
        return self.reduce(operator.mul) if self._items else 1


def _listed(items: Entry) -> list[Entry]:
    """Return what `L(items)` has."""
    if items is None:
        return []
    is_one = isinstance(items, str | bytes) or hasattr(items, "__array__") or hasattr(items, "iloc")
    return [items] if is_one or not isinstance(items, Iterable) else list(items)


def _bound(function: Entry, args: tuple[object, ...], options: dict[str, object]) -> Callable[[Entry], Entry]:
    if callable(function):
        return functools.partial(function, *args, **options)
    if isinstance(function, str):
        return functools.partial(function.format, *args, **options)
    if args or options:
        raise InputError("Arguments are for a function or a format; a mapping takes none.")
    return cast("Callable[[Entry], Entry]", function.__getitem__)


def _attribute(item: Entry, name: str, default: Entry) -> Entry:
    if isinstance(item, Mapping):
        if name in item or default is not _NOT_GIVEN:
            return item.get(name, default)
        raise UnknownNameError.of("entry", name, item, "Give a default for items without it: attrgot(name, None).")
    try:
        return operator.attrgetter(name)(item)
    except AttributeError:
        if default is not _NOT_GIVEN:
            return default
        known = [attribute for attribute in dir(item) if not attribute.startswith("_")]
        hint = f"Looked for in {item!r}. Give a default for items without it: attrgot(name, None)."
        raise UnknownNameError.of("attribute", name, known, hint) from None


def first(items: Iterable[T]) -> T:
    """Return the first of several items.

    Args:
        items: anything that can be iterated over.

    Raises:
        StopIteration: there are no items.

    Examples:
        >>> first([5, 6])
        5
    """
    return next(iter(items))


class Path(type(pathlib.Path())):  # type: ignore[misc] # on Python 3.11 only the concrete class can be subclassed
    """A `pathlib.Path` that lists its folder, and prints relative to `Path.BASE_PATH` when that is set.

    `get_image_files`, `untar_data` and `ls` return such paths.

    Attributes:
        BASE_PATH: the folder that paths below it are printed relative to; None prints them in full.

    Examples:
        >>> from foveal.vision.all import *
        >>> Path("pets/images") / "cat_1.jpg"
        Path('pets/images/cat_1.jpg')
        >>> Path.BASE_PATH = Path("pets")
        >>> Path("pets/images")
        Path('images')
        >>> Path.BASE_PATH = None
    """

    BASE_PATH: ClassVar[pathlib.Path | None] = None

    def ls(
        self, n_max: int | None = None, file_type: str | None = None, file_exts: str | Iterable[str] | None = None
    ) -> L[Path]:
        """Return what the folder holds, sorted by name.

        Args:
            n_max: at most so many.
            file_type: only files of this kind by their endings: "image", "text", "video", "audio".
            file_exts: only files with these endings, such as ".jpg"; small letters and capitals are the same.

        Raises:
            UnknownNameError: `file_type` is not known.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> (path / "images").ls(2, file_type="image").attrgot("name")
            (#2) ['Boat_1.jpg','Boat_10.jpg']
        """
        endings = {f".{ending.lower().lstrip('.')}" for ending in _listed(file_exts)}
        endings |= _endings_of(file_type) if file_type is not None else set()
        entries = sorted(entry for entry in self.iterdir() if not endings or entry.suffix.lower() in endings)
        return L(entries[:n_max])

    def __repr__(self) -> str:
        return f"Path({under_base(self)!r})"


def _endings_of(file_type: str) -> set[str]:
    known = mimetypes.MimeTypes().types_map[True]
    kinds = sorted({kind.partition("/")[0] for kind in known.values()})
    if file_type not in kinds:
        raise UnknownNameError.of("file_type", file_type, kinds)
    endings = {ending for ending, kind in known.items() if kind.startswith(f"{file_type}/")}
    return endings | set(_IMAGES) if file_type == "image" else endings


def under_base(path: pathlib.Path) -> str:
    """Return a path as it is shown: relative to `Path.BASE_PATH` where it lies below it."""
    base = Path.BASE_PATH
    return (path.relative_to(base) if base is not None and path.is_relative_to(base) else path).as_posix()
