"""Small types that notebooks show: `L`, a list that prints its length, and `Path` with `ls`."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, SupportsIndex, TypeVar, cast, overload

if TYPE_CHECKING:
    from _typeshed import SupportsRichComparison

T = TypeVar("T")
U = TypeVar("U")

_SHOWN = 10


class L(Sequence[T], Generic[T]):
    """A list that prints its length, and takes a list or a mask of indices as well as one index.

    >>> L(["a", "b", "c"])[[0, 2]]
    (#2) ['a','c']
    >>> L([3, 1, 2]).sorted()
    (#3) [1,2,3]
    """

    def __init__(self, items: Iterable[T] | None = None) -> None:
        self._items: list[T] = [] if items is None else list(items)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, index: slice | Iterable[int]) -> L[T]: ...
    def __getitem__(self, index: SupportsIndex | slice | Iterable[int]) -> T | L[T]:
        if isinstance(index, slice):
            return L(self._items[index])
        chosen: object = index.tolist() if hasattr(index, "tolist") else index  # an array or a tensor
        if isinstance(chosen, Iterable):
            indices = list(chosen)
            if indices and all(isinstance(i, bool) for i in indices):
                indices = [i for i, is_chosen in enumerate(indices) if is_chosen]
            return L(self._items[i] for i in indices)
        return self._items[cast("SupportsIndex", chosen)]

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, L):
            return bool(self._items == other._items)
        if isinstance(other, list | tuple):
            return self._items == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment] # equal to a list, so as little hashable as one

    def __add__(self, other: Iterable[T]) -> L[T]:
        return L([*self._items, *other])

    def __repr__(self) -> str:
        shown = ",".join(repr(item) for item in self._items[:_SHOWN])
        return f"(#{len(self)}) [{shown}{'...' if len(self) > _SHOWN else ''}]"

    def sorted(self, key: Callable[[T], SupportsRichComparison] | None = None, *, reverse: bool = False) -> L[T]:
        """Return a sorted copy.

        Args:
            key: what items are compared by; themselves by default.
            reverse: largest first.
        """
        own = key or (lambda item: cast("SupportsRichComparison", item))
        return L(sorted(self._items, key=own, reverse=reverse))

    def map(self, function: Callable[[T], U]) -> L[U]:
        """Return `function` of each item."""
        return L(function(item) for item in self._items)


def first(items: Iterable[T]) -> T:
    """Return the first of several items.

    >>> first([5, 6])
    5
    """
    return next(iter(items))


class Path(type(pathlib.Path())):  # type: ignore[misc] # on Python 3.11 only the concrete class can be subclassed
    """A `pathlib.Path` that lists its folder, and prints relative to `Path.BASE_PATH` when that is set."""

    BASE_PATH: ClassVar[pathlib.Path | None] = None

    def ls(self) -> L[Path]:
        """Return what the folder holds, sorted by name."""
        return L(sorted(self.iterdir()))

    def __repr__(self) -> str:
        return f"Path({under_base(self)!r})"


def under_base(path: pathlib.Path) -> str:
    """Return a path as it is shown: relative to `Path.BASE_PATH` where it lies below it."""
    base = Path.BASE_PATH
    return (path.relative_to(base) if base is not None and path.is_relative_to(base) else path).as_posix()
