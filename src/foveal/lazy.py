"""Imports that wait: optional packages with their install line, and modules that load at first use."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from foveal.errors import MissingDependencyError


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


def module_on_use(name: str) -> ModuleType:
    """Return the module `name`, executed only when one of its attributes is first asked for."""
    if name in sys.modules:
        return sys.modules[name]
    parent, _, child = name.rpartition(".")
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    if parent:
        setattr(sys.modules[parent], child, module)
    return module
