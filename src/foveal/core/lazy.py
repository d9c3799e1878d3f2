"""Imports that wait: optional packages with their install line, and modules that load at first use."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from foveal.core.errors import MissingDependencyError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional `module`.

    Raises:
        MissingDependencyError: it is not installed; the message holds the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        message = f'{purpose} needs the package `{module}`. Install it with: pip install "foveal[{extra}]"'
        raise MissingDependencyError(message) from error


class _Waiting(ModuleType):
    """Stands for a module until one of its attributes is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(self.__name__))


def module_on_use(name: str) -> ModuleType:
    """Return the module `name`, imported only when one of its attributes is first asked for."""
    return sys.modules.get(name) or _Waiting(name)
