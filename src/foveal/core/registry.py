"""Registries: values by name, ours and those of other packages, each imported when it is first used.

Another package adds to a registry from a module that it names under the registry's entry-point group, here a task:

    [project.entry-points."foveal.tasks"]
    ordinal = "my_package.foveal_tasks"

The module is imported when a name is looked up that is not known yet, or when all names are listed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Iterator
from typing import Generic, TypeVar

from foveal.core.errors import InputError, UnknownNameError

T = TypeVar("T")
_loaded: set[str] = set()


class Registry(Generic[T]):
    """Values by name; a value may be given as "module:attribute", which is imported when it is first used."""

    def __init__(self, what: str, *, group: str) -> None:
        """Begin without values.

        Args:
            what: what a value is called in messages.
            group: the entry-point group whose modules add values.
        """
        self.what, self.group = what, group
        self._values: dict[str, T | str] = {}

    def add(self, name: str, value: T | str) -> None:
        """Register a value, or "module:attribute" for it.

        Args:
            name: of the value, in options and files.
            value: the value, or where it is defined.

        Raises:
            InputError: another value has the name.
        """
        if self._values.setdefault(name, value) != value:
            raise InputError(f"The {self.what} `{name}` is registered already; give yours another name.")

    def __getitem__(self, name: str) -> T:
        value = self.find(name)
        if value is None:
            raise UnknownNameError.of(self.what, name, self, "A newer foveal or another package may know it.")
        return value

    def find(self, name: str) -> T | None:
        """Return a value, or None if no value has this name."""
        if name not in self._values:
            load_plugins(self.group)
        value = self._values.get(name)
        if isinstance(value, str):
            value = self._values[name] = resolve(value)
        return value

    def __iter__(self) -> Iterator[str]:
        load_plugins(self.group)
        return iter(tuple(self._values))

    def __contains__(self, name: object) -> bool:
        return name in tuple(self)


def resolve(reference: str) -> T:  # type: ignore[type-var]  # what it is, only the caller knows
    """Import "module:attribute" and return the attribute."""
    module, _, attribute = reference.partition(":")
    value: T = getattr(importlib.import_module(module), attribute)
    return value


def load_plugins(group: str) -> None:
    """Import the modules that installed packages name under an entry-point group, each once.

    One that cannot be imported is named in a warning: what it would have added is missing.
    """
    if group in _loaded:
        return
    _loaded.add(group)
    for entry in importlib.metadata.entry_points(group=group):
        try:
            entry.load()
        except Exception as error:  # noqa: BLE001 -- another package's fault must not take ours down
            origin = entry.dist.name if entry.dist is not None else "a package"
            warnings.warn(f"{origin}'s plug-in `{entry.value}` cannot be loaded ({error}).", stacklevel=3)
