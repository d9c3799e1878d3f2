"""Imports on demand: optional packages with their install line, and modules that load at first use."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from foveal.core.errors import MissingDependencyError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional module.

    Args:
        module: its name.
        extra: foveal's extra that installs it.
        purpose: what needs it, as the subject of a sentence.

    Returns:
        The module.

    Raises:
        MissingDependencyError: it is not installed; the message holds the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        message = f'{purpose} needs the package `{module}`. Install it with: pip install "foveal[{extra}]"'
        raise MissingDependencyError(message) from error


class _Waiting(ModuleType):
    """Stands for a module until one of its attributes is first used."""

    def __getattr__(self, name: str) -> object:
        return getattr(importlib.import_module(self.__name__), name)

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(self.__name__))


def module_on_use(name: str) -> ModuleType:
    """Return the module `name`, which is imported when one of its attributes is first used.

    `matplotlib` and `plt` of `from foveal.vision.all import *` are such modules: a notebook that draws nothing does not
    wait for them.

    Examples:
        >>> from foveal.vision.all import *
        >>> (plt.__name__, matplotlib.__name__)
        ('matplotlib.pyplot', 'matplotlib')
        >>> matplotlib.colors.to_hex("red")
        '#ff0000'
    """
    return sys.modules.get(name) or _Waiting(name)
