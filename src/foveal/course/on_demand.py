"""Names of the course that the star import leaves out, brought into a notebook by the first cell that reads them."""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from collections.abc import Iterator, MutableMapping
from typing import Protocol

from foveal.core import progress
from foveal.course.refused import elsewhere


class Cell(Protocol):
    """What IPython tells of a cell that is about to run."""

    raw_cell: str


def bring_names_on_demand() -> bool:
    """Let a notebook's cells have names of the course that they read and nothing defines.

    One line says what was brought, and from where. Does nothing outside IPython.

    Returns:
        Whether they will.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    if shell is None:
        return False

    def before_cell(info: Cell) -> None:
        try:
            source = shell.transform_cell(info.raw_cell)
        except SyntaxError:
            return
        for name, module in bring(source, shell.user_ns):
            progress.say(f"`{name}` was brought from {module}.")

    if not any(getattr(one, "__module__", "") == __name__ for one in shell.events.callbacks["pre_run_cell"]):
        shell.events.register("pre_run_cell", before_cell)
    return True


def bring(source: str, namespace: MutableMapping[str, object]) -> Iterator[tuple[str, str]]:
    """Put names of the course that code reads, and that nothing defines, into its namespace.

    Args:
        source: of the code.
        namespace: its global names.

    Yields:
        Each name, and the module that it is from.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    own = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    own |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    own |= {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    read = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    for name in dict.fromkeys(read):
        known = name in namespace or name in own or hasattr(builtins, name) or name.startswith("_")
        if not known and (place := elsewhere(name)) is not None:
            namespace[name] = getattr(importlib.import_module(place), name)
            yield name, place
