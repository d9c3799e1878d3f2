"""Checks of arguments: a keyword that a function does not take is answered by the near match, and by who takes it.

A number out of its bounds, and a text where a list is meant, are refused where they are given.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar, cast

from foveal.core.errors import InputError, UnknownNameError, near_match

Function = TypeVar("Function", bound=Callable[..., Any])
Class = TypeVar("Class", bound=type)
_TAKEN_BY: dict[str, dict[str, None]] = {}
"""Who takes a keyword, of all that are checked, in the order in which they were made."""
_MOST_SHOWN = 3
_OLD_NAMES: Mapping[str, str] = {"max_lr": "lr_max", "cyc_len": "n_epoch", "ds_tfms": "item_tfms", "size": "item_tfms"}
"""Names that earlier libraries had for an argument."""


def checked_keywords(function: Function) -> Function:
    """Return the function; a keyword that it does not take raises `UnknownNameError`, which says who takes it."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return function
    names = [name for name, one in parameters.items() if name != "self" and one.kind is not one.VAR_POSITIONAL]
    qualified = function.__qualname__.removesuffix(".__init__")
    called = qualified.rpartition(".")[2]
    for name in names:
        _TAKEN_BY.setdefault(name, {})[qualified] = None

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        for name in options:
            if name not in parameters:
                known = f"It takes {', '.join(names)}." if names else "It takes none."
                hints = f"{near_match(name, names)}{_hint(name, names)}"
                raise UnknownNameError(f"`{called}` has no argument `{name}`.{hints} {known}")
        return function(*args, **options)

    return cast("Function", call)


def checked_methods(made: Class) -> Class:
    """Return the class; its public methods and its making check their keywords, see `checked_keywords`."""
    for name, member in list(vars(made).items()):
        if name == "__init__" or not name.startswith("_"):
            if inspect.isfunction(member):
                setattr(made, name, checked_keywords(member))
            elif isinstance(member, classmethod):
                setattr(made, name, classmethod(checked_keywords(member.__func__)))
    return made


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number, and neither True nor False."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def are_numbers(*values: object) -> bool:
    """Return whether all values are numbers, none of them infinite or NaN."""
    return all(isinstance(value, Real) and math.isfinite(value) for value in values)


def check_number(
    name: str,
    value: object,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    whole: bool = False,
    hint: str = "",
) -> None:
    """Refuse an argument that is no number, or not within its bounds.

    Args:
        name: of the argument.
        value: as the user gave it.
        at_least: the least number that is allowed.
        above: what it must be greater than.
        at_most: the greatest number that is allowed.
        below: what it must be less than.
        whole: whether it must be a whole number.
        hint: a sentence that is added.

    Raises:
        InputError: it is something else.

    Examples:
        >>> from foveal import InputError
        >>> try:
        ...     check_number("p", 5, at_least=0, at_most=1)
        ... except InputError as error:
        ...     print(error)
        `p` must be a number, at least 0 and at most 1; got 5.
    """
    bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    given = {word: bound for word, bound in bounds.items() if bound is not None}
    is_kind = is_whole(value) if whole else are_numbers(value)
    if is_kind and all(_COMPARISONS[word](cast("float", value), bound) for word, bound in given.items()):
        return
    kind = "a whole number" if whole else "a number"
    words = " and ".join(f"{word} {bound:g}" for word, bound in given.items())
    raise InputError(f"`{name}` must be {kind}{', ' * bool(words)}{words}; got {value!r}. {hint}".rstrip())


def check_probability(name: str, value: object) -> None:
    """Refuse an argument that is no probability.

    Args:
        name: of the argument.
        value: as the user gave it.

    Raises:
        InputError: it is no number from 0 to 1.
    """
    if not (are_numbers(value) and 0 <= cast("float", value) <= 1):
        raise InputError(f"`{name}` is a probability between 0 and 1; got {value!r}.")


_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}


def check_list(name: str, value: object, holds: str) -> None:
    """Refuse an argument that is no list; a text is refused though it could be taken apart.

    Args:
        name: of the argument.
        value: as the user gave it.
        holds: what is in the list, in words.

    Raises:
        InputError: it is a text, or cannot be iterated over.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InputError(f"`{name}` is a list of {holds}; got {value!r}.")


def _hint(name: str, names: list[str]) -> str:
    """Return what else a message says of a keyword: its name here, or who takes it."""
    if _OLD_NAMES.get(name) in names:
        return f" It is `{_OLD_NAMES[name]}` here."
    takers = list(_TAKEN_BY.get(name, ()))[:_MOST_SHOWN]
    return f" `{name}` is an argument of {', '.join(f'`{taker}`' for taker in takers)}." if takers else ""
