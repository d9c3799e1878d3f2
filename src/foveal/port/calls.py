"""Calls of foveal's functions: arguments are renamed, left out, or found wanting; files of learners are followed."""

from __future__ import annotations

import ast
from typing import Any, Protocol

from foveal.core.errors import near_match
from foveal.port import changes
from foveal.port.edits import Edits
from foveal.port.signatures import Arguments, Parameters, callable_of, mistakes, parameters_of, refusal
from foveal.port.state import Kind, State
from foveal.port.values import Value

_PICKLES = (".pkl", ".pickle", ".pth")


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
    if reason := refusal(called):
        reader.note("refused", reason)
    for keyword in node.keywords:
        if keyword.arg is not None and takes.unknown(keyword.arg):
            _port_keyword(reader, keyword, takes, given)
    for reason in mistakes(takes, given, called):
        reader.note("refused", reason)
    if getattr(called, "__name__", "") == "load_learner":
        _follow_load(reader, node)


def _port_keyword(reader: Noting, keyword: ast.keyword, takes: Parameters, given: Arguments) -> None:
    """Rename or leave out a keyword that foveal does not take, or note that it does not."""
    name = keyword.arg or ""
    free = {key for key in takes.keywords if key not in given.named} - set(takes.positional[: len(given.positional)])
    new = next((one for one in changes.KEYWORDS.get(name, ()) if one in free), None)
    if new is not None:
        start = (keyword.lineno, keyword.col_offset)
        reader.edits.replace_between(start, (start[0], start[1] + len(name.encode())), new)
        reader.note("changed", f"`{name}=` of `{takes.title}` is `{new}=`.")
    elif name in changes.SPEED_ONLY:
        reader.edits.remove_argument(keyword)
        reader.note("changed", f"`{name}=` of `{takes.title}` is left out: {changes.SPEED_ONLY[name]}.")
    else:
        near = near_match(name, takes.keywords)
        reader.note("refused", f"`{takes.title}` has no argument `{name}`.{near}")


def _follow_export(reader: Noting, node: ast.Call, called: Any) -> None:
    """Note the name of a file that a learner is exported to."""
    if node.args or node.keywords:
        ending = last_text(node.args[0] if node.args else node.keywords[0].value)
        reader.state.exported.add(file_name(ending) if ending else "")
        return
    default = getattr(called, "__defaults__", None) or ("export.pkl",)
    reader.state.exported |= {file_name(str(default[0])), "export.pkl"}


def _follow_load(reader: Noting, node: ast.Call) -> None:
    """Refuse a pickle that the notebook has not exported itself."""
    if not node.args:
        return
    ending = last_text(node.args[0])
    exported = reader.state.exported
    if ending is None or not ending.lower().endswith(_PICKLES) or file_name(ending) in exported or "" in exported:
        return
    reader.note(
        "refused",
        f"`{file_name(ending)}` is a pickle that fastai wrote, which foveal never loads: train with foveal, and "
        f"`learn.export({file_name(ending)!r})`.",
    )


def last_text(node: ast.expr) -> str | None:
    """Return the text that an expression of a path ends in; None where that is not known."""
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.BinOp(_, ast.Div() | ast.Add(), right):
            return last_text(right)
        case ast.JoinedStr([*_, ast.Constant(str(text))]):
            return text
        case ast.Call(args=[*_, argument]):
            return last_text(argument)
    return None


def file_name(path: str) -> str:
    """Return the last part of a path."""
    return path.replace("\\", "/").rpartition("/")[2]
