"""Imports of fastai as imports of foveal."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from foveal.core.errors import FovealError
from foveal.course.refused import fastai_names, library_imports
from foveal.port.state import Finding, State
from foveal.port.surface import LIBRARIES, VISION, star_for
from foveal.port.values import UNKNOWN, Known, Library, Lost, Value

_FOLLOWED = {"PIL", "numpy", "pandas"}
"""Libraries whose modules are imported to know what they have; foveal needs them anyway."""


@dataclass(slots=True)
class PortedImport:
    """An import statement as foveal's.

    Attributes:
        lines: what to write; None to leave it as it is.
        names: what each name means from here on.
        findings: what of it foveal lacks.
    """

    lines: list[str] | None = None
    names: dict[str, Value] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def port_import(node: ast.Import | ast.ImportFrom, state: State, cell: int) -> PortedImport:
    """Return an import statement as foveal's.

    Args:
        node: the statement.
        state: what earlier cells have made; star imports are noted in it.
        cell: the number of the cell.
    """
    if isinstance(node, ast.Import):
        return _port_modules(node, state)
    module = node.module or ""
    top = module.partition(".")[0]
    if node.level == 0 and top == "foveal":
        return _of_foveal(node, module, state, cell)
    if node.level or top not in LIBRARIES:
        return _of_others(node, module)
    if node.names[0].name == "*":
        star = star_for(module)
        return PortedImport([f"from {star} import *"], star_names(state, star))
    return _port_names(node, module, state, cell)


def star_names(state: State, star: str) -> dict[str, Value]:
    """Return what a star import of foveal brings, and note it.

    Args:
        state: where it is noted.
        star: the module.
    """
    if star not in state.stars:
        state.stars.append(star)
    return {name: Known(state.surface.get(name, star)) for name in state.surface.names(star)}


def _port_modules(node: ast.Import, state: State) -> PortedImport:
    """Return `import fastai.x as y` as foveal's."""
    ported, lines, is_changed = PortedImport(), list[str](), False
    for alias in node.names:
        top = alias.name.partition(".")[0]
        name = alias.asname or top
        if top not in LIBRARIES:
            lines.append(f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else ""))
            ported.names[name] = _module_of_others(alias.name if alias.asname else top)
            continue
        is_changed = True
        if top != "fastai" and not alias.asname:
            ported.names[name] = Library(alias.name)  # `import fastbook` says nothing yet
            continue
        target = "foveal" if "." not in alias.name else star_for(alias.name)
        lines.append(f"import {target}" + (f" as {alias.asname}" if alias.asname else ""))
        if alias.asname:
            ported.names[name] = Known(state.surface.module(target))
        else:
            ported.names[name] = Library(top)
            ported.names["foveal"] = Known(state.surface.module("foveal"))
    if is_changed:
        ported.lines = lines
    return ported


def _port_names(node: ast.ImportFrom, module: str, state: State, cell: int) -> PortedImport:
    """Return `from fastai.x import a, b` as imports from wherever each name is."""
    ported, of, kept = PortedImport([]), dict[str, list[str]](), list[str]()
    lines = ported.lines or []
    for alias in node.names:
        name, own = alias.name, alias.asname or alias.name
        written = name + (f" as {alias.asname}" if alias.asname else "")
        star = state.surface.where(name, star_for(module))
        if star is not None:
            of.setdefault(star, []).append(written)
            ported.names[own] = Known(state.surface.get(name, star))
        elif is_module(f"{module}.{name}"):
            target = star_for(f"{module}.{name}")
            lines.append(f"import {target} as {own}")
            ported.names[own] = Known(state.surface.module(target))
        elif name in library_imports():
            line = library_imports()[name]
            lines.append(line if own == name else f"{line.partition(' as ')[0]} as {own}")
            ported.names[own] = UNKNOWN
        else:
            if not module.startswith(("fastai", "fastbook")):
                kept.append(written)
            reason = state.surface.refusal(name) or f"`{module}.{name}` is not in foveal."
            ported.findings.append(Finding("refused", reason, cell))
            ported.names[own] = Lost(cell)
    lines = [f"from {star} import {', '.join(names)}" for star, names in of.items()] + lines
    ported.lines = lines + [f"from {module} import {', '.join(kept)}"] * bool(kept)
    return ported


def _of_foveal(node: ast.ImportFrom, module: str, state: State, cell: int) -> PortedImport:
    """Return what becomes of an import of foveal's own."""
    ported = PortedImport()
    try:
        source = state.surface.module(module)
    except ImportError:
        ported.findings.append(Finding("refused", f"There is no module `{module}`.", cell))
        return ported
    for alias in node.names:
        if alias.name == "*":
            ported.names |= star_names(state, module)
            continue
        own = alias.asname or alias.name
        try:
            ported.names[own] = Known(getattr(source, alias.name))
        except (AttributeError, ImportError, FovealError):
            reason = state.surface.refusal(alias.name) or f"`{module}` has no `{alias.name}`."
            ported.findings.append(Finding("refused", reason, cell))
            ported.names[own] = Lost(cell)
    return ported


def _of_others(node: ast.ImportFrom, module: str) -> PortedImport:
    """Return what an import of another library brings; it stays as it is."""
    names = dict[str, Value]()
    for alias in node.names:
        if alias.name == "*":
            continue
        found = _module_of_others(f"{module}.{alias.name}") if node.level == 0 else UNKNOWN
        names[alias.asname or alias.name] = found
    return PortedImport(None, names)


def _module_of_others(name: str) -> Value:
    if name.partition(".")[0] not in _FOLLOWED:
        return UNKNOWN
    try:
        return Known(importlib.import_module(name))
    except ImportError:
        return UNKNOWN


def is_module(name: str) -> bool:
    """Return whether fastai has a module of this dotted name."""
    return name in _modules()


def _modules() -> set[str]:
    """Return the modules of fastai that hold names, and those that they lie in."""
    return {part for module in set(fastai_names().values()) for part in _prefixes(module)} | _EMPTY


_EMPTY = {"fastai.vision.all", "fastai.basics", "fastai.imports", "fastai.torch_basics", "fastai.callback.all"}
_EMPTY |= {"fastai.data.all", "fastai.vision.models", "fastai.text.all", "fastai.tabular.all", "fastcore.all"}
"""Modules that only gather names of others."""


def _prefixes(module: str) -> Iterator[str]:
    parts = module.split(".")
    for n in range(1, len(parts) + 1):
        yield ".".join(parts[:n])


def library_member(path: str, name: str, state: State) -> tuple[str, Value] | None:
    """Return what `fastai.x.name` is in foveal: how it is written, and its value.

    Args:
        path: the dotted name of the module of fastai.
        name: what is taken from it.
        state: what earlier cells have made.

    Returns:
        None where foveal lacks it.
    """
    if is_module(f"{path}.{name}"):
        return "", Library(f"{path}.{name}")
    if name == "__version__":
        return "foveal.__version__", UNKNOWN
    star = state.surface.where(name, star_for(path) if "." in path else VISION)
    return None if star is None else (f"{star}.{name}", Known(state.surface.get(name, star)))
