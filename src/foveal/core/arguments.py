"""Keywords that a function does not take are answered by the near match, and by who takes them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from foveal.core.errors import UnknownNameError, near_match

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


def _hint(name: str, names: list[str]) -> str:
    """Return what else a message says of a keyword: its name here, or who takes it."""
    if _OLD_NAMES.get(name) in names:
        return f" It is `{_OLD_NAMES[name]}` here."
    takers = list(_TAKEN_BY.get(name, ()))[:_MOST_SHOWN]
    return f" `{name}` is an argument of {', '.join(f'`{taker}`' for taker in takers)}." if takers else ""
