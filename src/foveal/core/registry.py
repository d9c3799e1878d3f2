"""Registries: values by name, ours and those of other packages, each imported when it is first used.

Another package adds to a registry from a module that it names under the registry's entry-point group, here a task:

    [project.entry-points."foveal.tasks"]
    ordinal = "my_package.foveal_tasks"

The module is imported when a name is looked up that is not known yet, or when all names are listed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

from foveal.core.errors import InputError, UnknownNameError
from foveal.core.warn import warn

T = TypeVar("T")
_loaded: set[str] = set()
_loading = threading.RLock()  # of a process; a plug-in may look something up while it is loaded


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
        self._references: dict[str, str] = {}

    def add(self, name: str, value: T | str, *, replace: bool = False) -> None:
        """Register a value, or "module:attribute" for it.

        Args:
            name: what it is looked up by.
            value: the value, or where it is.
            replace: whether it takes the place of another one, as where a notebook's cell runs twice.

        Raises:
            InputError: another value has the name.
        """
        known = [self._values[name], self._references.get(name)] if name in self._values else [value]
        if value not in known and not replace:
            raise InputError(
                f"The {self.what} `{name}` is registered already. Give yours another name, or say replace=True."
            )
        if replace or name not in self._values:
            self._values[name] = value

    def __getitem__(self, name: str) -> T:
        value = self.find(name)
        if value is None:
            raise UnknownNameError.of(self.what, name, self, "A newer foveal or another package may know it.")
        return value

    def find(self, name: str) -> T | None:
        """Return a value, or None if no value has this name; one that another package fails to give is warned of.

        Raises:
            ImportError: a value of foveal's own cannot be imported: a bug.
            AttributeError: likewise, its module lacks it.
        """
        if name not in self._values:
            load_plugins(self.group)
        value = self._values.get(name)
        if not isinstance(value, str):
            return value
        try:
            found: T = resolve(value)
        except (ImportError, AttributeError) as error:
            if value.startswith("foveal."):
                raise
            del self._values[name]
            _warn_of(value, error)
            return None
        self._references[name], self._values[name] = value, found
        return found

    def __iter__(self) -> Iterator[str]:
        load_plugins(self.group)
        return iter(tuple(self._values))

    def items(self) -> Iterator[tuple[str, T]]:
        """Yield every name with its value; one that another package's fault keeps away is warned of and left out."""
        for name in self:
            if (value := self.find(name)) is not None:
                yield name, value

    def values(self) -> Iterator[T]:
        """Yield every value, as `items` does."""
        yield from (entry[1] for entry in self.items())

    def __contains__(self, name: object) -> bool:
        return name in tuple(self)


def resolve(reference: str) -> T:  # type: ignore[type-var]  # what it is, only the caller knows
    """Return the attribute that "module:attribute" names; the module is imported."""
    module, _, attribute = reference.partition(":")
    value: T = getattr(importlib.import_module(module), attribute)
    return value


def load_plugins(group: str) -> list[tuple[str, object]]:
    """Import what installed packages name under an entry-point group, each once.

    One that cannot be imported is named in a warning: what it would have added is missing.

    Returns:
        (name, value) of each that was imported in this call.
    """
    loaded: list[tuple[str, object]] = []
    with _loading:
        if group in _loaded:
            return loaded
        _loaded.add(group)
        for entry in importlib.metadata.entry_points(group=group):
            try:
                loaded.append((entry.name, entry.load()))
            except Exception as error:  # noqa: BLE001 -- another package's fault must not take ours down
                origin = entry.dist.name if entry.dist is not None else "a package"
                _warn_of(f"{origin}'s {entry.value}", error)
    return loaded


def _warn_of(what: str, error: Exception) -> None:
    warn(f"The plug-in `{what}` cannot be loaded ({error}); what it adds is missing.")
