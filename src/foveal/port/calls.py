"""Calls of foveal's functions: arguments are renamed, left out, or found wanting; files of learners are followed."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Protocol

from foveal.core.errors import near_match
from foveal.port import changes
from foveal.port.edits import Edits
from foveal.port.signatures import Arguments, Parameters, callable_of, mistakes, parameters_of, refusal
from foveal.port.state import Kind, State
from foveal.port.values import Bound, Known, Value

_PICKLES = (".pkl", ".pickle", ".pth")
_EXPORT = "export.pkl"
"""The file that fastai exports to by default."""


class Noting(Protocol):
    """What reads a cell, as far as calls are concerned."""

    state: State
    edits: Edits

    def note(self, kind: Kind, text: str, cell: int | None = None) -> None:
        """Note a finding."""


def check_call(reader: Noting, node: ast.Call, function: Value, given: Arguments) -> None:
    """Note what foveal takes otherwise in a call, and change what can be changed.

    Args:
        reader: reads the cell.
        node: the call.
        function: what is called.
        given: what it is given.
    """
    target = callable_of(function)
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name == "export" and not given.partial:
        _follow_export(reader, node, target[0] if target else None)
    if target is None:
        return
    called, is_method = target
    takes = parameters_of(called, is_method=is_method)
    if takes is None:
        return
    takes = replace(takes, title=_title(function, takes.title))
    if reason := refusal(called):
        reader.note("refused", reason)
    known = dict(given.named)
    is_complete = not given.partial
    for keyword in node.keywords:
        if keyword.arg is not None and takes.unknown(keyword.arg):
            value = known.pop(keyword.arg)
            new = _port_keyword(reader, keyword, takes, given)
            is_complete = is_complete and new is not None
            known |= {new: value} if new else {}
    for reason in mistakes(takes, replace(given, named=known, partial=not is_complete), called):
        reader.note("refused", reason)
    if getattr(called, "__name__", "") == "load_learner":
        _follow_load(reader, node)


def port_added_method(reader: Noting, node: ast.Call) -> bool:
    """Write `x.pca(3)` as `pca(x, 3)`, as tensors have no such method.

    Args:
        reader: reads the cell.
        node: the call.

    Returns:
        Whether the call was one of these.
    """
    called = node.func
    if not isinstance(called, ast.Attribute) or not reader.state.stars or called.attr in reader.state.added:
        return False
    module, end = changes.ADDED_METHODS.get(called.attr), (called.end_lineno or 0, called.end_col_offset or 0)
    dot = (end[0], end[1] - len(called.attr.encode()) - 1)
    if module is None or reader.edits.between(dot, (end[0], end[1] + 1)) != f".{called.attr}(":
        return False
    reader.edits.replace_between((node.lineno, node.col_offset), (node.lineno, node.col_offset), f"{called.attr}(")
    reader.edits.replace_between(dot, (end[0], end[1] + 1), ", " if node.args or node.keywords else "")
    reader.edits.insert_line(f"from {module} import {called.attr}")
    reader.note("changed", f"`x.{called.attr}(...)` is `{called.attr}(x, ...)`.")
    return True


def _title(function: Value, title: str) -> str:
    """Return how a function is named: a method by the class that it is called on, not by the one that defines it."""
    kind = function.owner.kind if isinstance(function, Bound) else None
    if isinstance(function, Known):
        kind = getattr(function.value, "__self__", None)
    return f"{kind.__name__}.{title.rpartition('.')[2]}" if isinstance(kind, type) else title


def _port_keyword(reader: Noting, keyword: ast.keyword, takes: Parameters, given: Arguments) -> str | None:
    """Rename or leave out a keyword that foveal does not take, or note that it does not.

    Args:
        reader: reads the cell.
        keyword: as it stands in the call.
        takes: what the function takes.
        given: what it is given.

    Returns:
        The new name, an empty text where it is left out, None where it is refused.
    """
    name = keyword.arg or ""
    free = {key for key in takes.keywords if key not in given.named} - set(takes.positional[: len(given.positional)])
    new = next((one for one in changes.KEYWORDS.get(name, ()) if one in free), None)
    if new is not None:
        start = (keyword.lineno, keyword.col_offset)
        reader.edits.replace_between(start, (start[0], start[1] + len(name.encode())), new)
        reader.note("changed", f"`{name}=` of `{takes.title}` is `{new}=`.")
        return new
    if name in changes.SPEED_ONLY:
        reader.edits.remove_argument(keyword)
        reader.note("changed", f"`{name}=` of `{takes.title}` is left out: {changes.SPEED_ONLY[name]}.")
        return ""
    near = near_match(name, takes.keywords)
    reader.note("refused", f"`{takes.title}` has no argument `{name}`.{near}")
    return None


def _follow_export(reader: Noting, node: ast.Call, called: object) -> None:
    """Note the name of a file that a learner is exported to."""
    if node.args or node.keywords:
        place = last_text(node.args[0] if node.args else node.keywords[0].value)
        reader.state.exported.add(file_name(str(place.value)) if place else "")
        return
    default = next((one for one in getattr(called, "__defaults__", None) or () if isinstance(one, str)), _EXPORT)
    reader.state.exported.add(default)
    reader.state.export = default


def _follow_load(reader: Noting, node: ast.Call) -> None:
    """Refuse a pickle that the notebook has not exported itself; follow the name that an export has by default."""
    place = last_text(node.args[0]) if node.args else None
    if place is None:
        return
    path, exported, default = str(place.value), reader.state.exported, reader.state.export
    name = file_name(path)
    if not name.lower().endswith(_PICKLES) or name in exported or "" in exported:
        return
    if name == _EXPORT and default:
        reader.edits.replace(place, repr(path.removesuffix(name) + default))
        reader.note("changed", f"`learn.export()` writes `{default}`.")
        return
    reader.note(
        "refused",
        f"`{name}` is a pickle that fastai wrote, which foveal never loads: train with foveal, and "
        f"`learn.export({name!r})`.",
    )


def last_text(node: ast.expr) -> ast.Constant | None:
    """Return the text that an expression of a path ends in; None where that is not known."""
    match node:
        case ast.Constant(str()):
            return node
        case ast.BinOp(_, ast.Div() | ast.Add(), right):
            return last_text(right)
        case ast.Call(args=[*_, argument]):
            return last_text(argument)
    return None


def file_name(path: str) -> str:
    """Return the last part of a path."""
    return path.replace("\\", "/").rpartition("/")[2]
