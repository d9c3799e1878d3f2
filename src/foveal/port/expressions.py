"""Expressions of a cell, read for what is known of their values; what foveal lacks is found on the way."""

from __future__ import annotations

import ast
import builtins
import functools
from collections.abc import Sequence
from dataclasses import replace

from foveal.core.listing import L, Path
from foveal.course.refused import library_imports
from foveal.port import changes
from foveal.port.calls import check_call, port_added_method
from foveal.port.edits import Edits
from foveal.port.imports import library_member
from foveal.port.signatures import Arguments, callable_of
from foveal.port.state import Finding, Kind, State
from foveal.port.values import (
    UNKNOWN,
    Absent,
    Bound,
    Instance,
    Known,
    Library,
    Lost,
    Own,
    Partial,
    Several,
    Value,
    attribute,
    returned,
    same,
)

_OF_IPYTHON = {"get_ipython", "display", "In", "Out", "exit", "quit", "__file__"}
_MOST_CHARACTERS = 220
_BUILTIN = frozenset(dir(builtins)) | _OF_IPYTHON


class Expressions:
    """Reads expressions of one cell.

    Attributes:
        state: what earlier cells have made.
        cell: the number of this one.
        edits: changes of its text.
        findings: what was found so far.
        scopes: local names, the innermost last.
        deferred: how many functions deep the place is: their bodies do not run where they stand.
    """

    def __init__(self, state: State, cell: int, source: str) -> None:
        self.state, self.cell = state, cell
        self.edits = Edits(source)
        self.findings = list[Finding]()
        self.scopes = list[dict[str, Value]]()
        self.deferred = 0

    def note(self, kind: Kind, text: str, cell: int | None = None) -> None:
        """Note a finding; the same one may be noted several times.

        Args:
            kind: see `Finding`.
            text: see `Finding`.
            cell: see `Finding`; this one by default.
        """
        number = self.cell if cell is None else cell
        self.findings.append(Finding(kind, shortened(text), number, is_deferred=self.deferred > 0))

    def evaluate(self, node: ast.expr) -> Value:
        """Return what is known of an expression's value."""
        read = getattr(self, f"_read_{type(node).__name__.lower()}", self._children)
        value: Value = read(node)
        return value

    def _read_constant(self, node: ast.Constant) -> Value:
        return Known(node.value)

    def _read_subscript(self, node: ast.Subscript) -> Value:
        value = self.evaluate(node.value)
        self.evaluate(node.slice)
        return item(value, node.slice)

    def _read_binop(self, node: ast.BinOp) -> Value:
        first, _ = self.evaluate(node.left), self.evaluate(node.right)
        is_path = isinstance(node.op, ast.Div) and isinstance(first, Instance) and issubclass(first.kind, Path)
        return first if is_path else UNKNOWN

    def _read_tuple(self, node: ast.Tuple) -> Value:
        values = tuple(map(self.evaluate, node.elts))
        return UNKNOWN if any(isinstance(one, ast.Starred) for one in node.elts) else Several(values)

    def _read_lambda(self, node: ast.Lambda) -> Value:
        self._function(node.args, [ast.Expr(node.body)])
        return UNKNOWN

    def _read_namedexpr(self, node: ast.NamedExpr) -> Value:
        value = self.evaluate(node.value)
        self.bind_name(node.target.id, value)
        return value

    def _read_ifexp(self, node: ast.IfExp) -> Value:
        self.evaluate(node.test)
        first, second = self.evaluate(node.body), self.evaluate(node.orelse)
        return first if same(first, second) else UNKNOWN

    def _children(self, node: ast.AST) -> Value:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.evaluate(child)
            else:
                self._children(child)
        return UNKNOWN

    def bind_name(self, name: str, value: Value) -> None:
        """Let a name mean a value from here on.

        Args:
            name: the name.
            value: what it means.
        """
        (self.scopes[-1] if self.scopes else self.state.names)[name] = value

    def _function(self, arguments: ast.arguments, body: Sequence[ast.stmt]) -> None:
        """Read a function; its defaults are read where it stands, its body as what runs later."""
        raise NotImplementedError

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Value:
        self.scopes.append({})
        for part in node.generators:
            self.bind(part.target, element(self.evaluate(part.iter)))
            for condition in part.ifs:
                self.evaluate(condition)
        for inner in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
            self.evaluate(inner)
        self.scopes.pop()
        return UNKNOWN

    _read_listcomp = _read_setcomp = _read_generatorexp = _read_dictcomp = _comprehension

    def bind(self, target: ast.expr, value: Value) -> None:
        """Assign a value to a target."""
        raise NotImplementedError

    def _read_name(self, node: ast.Name) -> Value:
        for scope in (*reversed(self.scopes), self.state.names):
            if node.id in scope:
                return self._read_value(node, scope[node.id])
        if node.id in _BUILTIN or (self.deferred and node.id in self.state.defined) or not self.state.stars:
            return UNKNOWN
        return self._absent_name(node)

    def _read_value(self, node: ast.Name, value: Value) -> Value:
        if isinstance(value, Lost):
            self.note("needs", f"`{node.id}` is of {self.state.unit} {value.cell}.", value.cell)
            return UNKNOWN
        new = changes.RENAMED.get(node.id)
        star = self.state.surface.where(new) if new and isinstance(value, Known) else None
        if new and star and same(value, Known(getattr(self.state.surface.module(star), node.id, None))):
            self.edits.replace(node, new)
            self.note("changed", f"`{node.id}` is `{new}` now.")
            return Known(self.state.surface.get(new, star))
        if isinstance(value, Library):
            self.edits.replace(node, "foveal")
        return value

    def _absent_name(self, node: ast.Name) -> Value:
        """Return what a name means that nothing has defined: an import is added, or it is not in foveal."""
        name, surface = node.id, self.state.surface
        new = changes.RENAMED.get(name, name)
        star = surface.where(new)
        if star is not None:
            value = Known(surface.get(new, star))
            if new != name:
                self.edits.replace(node, new)
                self.note("changed", f"`{name}` is `{new}` now.")
            else:
                self._add_import(f"from {star} import {name}")
                self.state.names[name] = value
            return value
        if line := library_imports().get(name):
            self._add_import(line)
            self.state.names[name] = library_value(line)
            return self.state.names[name]
        if reason := surface.refusal(name):
            self.note("refused", reason)
        return UNKNOWN

    def _add_import(self, line: str) -> None:
        self.edits.insert_line(line)
        self.note("changed", f"`{line}` is written out: the star import does not bring it.")

    def _read_attribute(self, node: ast.Attribute) -> Value:
        path = library_path(node.value, self.state)
        if path is not None:
            return self._library_member(node, path)
        owner = self.evaluate(node.value)
        found = attribute(owner, node.attr)
        if not isinstance(found, Absent):
            return found
        if node.attr in self.state.added or isinstance(node.ctx, ast.Store):
            return UNKNOWN
        reason = found.reason
        if isinstance(owner, Known) and getattr(owner.value, "__all__", None):
            reason = self.state.surface.refusal(node.attr) or reason
        self.note("refused", reason)
        return UNKNOWN

    def _library_member(self, node: ast.Attribute, path: str) -> Value:
        """Return `fastai.x.name`, which is written as foveal's."""
        member = library_member(path, node.attr, self.state)
        if member is None:
            reason = self.state.surface.refusal(node.attr) or f"`{path}.{node.attr}` is not in foveal."
            self.note("refused", reason)
            return UNKNOWN
        written, value = member
        if written:
            self.edits.replace(node, written)
            self.note("changed", f"`{path}.{node.attr}` is `{written}`.")
        return value

    def _read_call(self, node: ast.Call) -> Value:
        if port_added_method(self, node):
            self._children(node.func)
            for argument in (*node.args, *(key.value for key in node.keywords)):
                self.evaluate(argument)
            return UNKNOWN
        function = self.evaluate(node.func)
        positional = [self.evaluate(one) for one in node.args]
        named = {key.arg or "": self.evaluate(key.value) for key in node.keywords}
        is_open = any(isinstance(one, ast.Starred) for one in node.args) or "" in named
        given = Arguments(tuple(positional), {k: v for k, v in named.items() if k}, open=is_open)
        if isinstance(function, Known) and function.value is functools.partial and positional:
            inner = Arguments(given.positional[1:], given.named, open=is_open, partial=True)
            check_call(self, node, positional[0], inner)
            first = positional[0]
            return Partial(first, inner.positional, inner.named) if isinstance(first, Known | Bound) else UNKNOWN
        if isinstance(function, Partial):
            given = replace(
                given, positional=(*function.positional, *given.positional), named={**function.named, **given.named}
            )
            function = function.function
        if isinstance(function, Own):
            self._call_own(function, set())
            return UNKNOWN
        check_call(self, node, function, given)
        if (target := callable_of(function)) is not None:
            return returned(target[0], function.owner if isinstance(function, Bound) else UNKNOWN)
        return of_pillow(function)

    def _call_own(self, function: Own, seen: set[str]) -> None:
        """Note what a function of the notebook needs, itself or by others of the notebook, that is lost by now."""
        for name in sorted(function.names - seen):
            seen.add(name)
            value = self.state.names.get(name)
            if isinstance(value, Lost):
                self.note("needs", f"`{name}` is of {self.state.unit} {value.cell}.", value.cell)
            elif isinstance(value, Own):
                self._call_own(value, seen)


def shortened(text: str) -> str:
    """Return the first sentences of a text, as many as a table and a comment have room for."""
    if len(text) <= _MOST_CHARACTERS:
        return text
    end = text.rfind(". ", 0, _MOST_CHARACTERS)
    return text[: end + 1] if end > 0 else f"{text[:_MOST_CHARACTERS]} …"


def item(value: Value, index: ast.expr) -> Value:
    """Return what is known of one item of a value, or of a part of it.

    Args:
        value: a list or a tuple.
        index: what stands in the brackets.
    """
    if isinstance(value, Instance) and issubclass(value.kind, L):
        if isinstance(index, ast.Slice):
            return value
        return element(value) if _is_number(index) else UNKNOWN
    if isinstance(value, Several) and isinstance(index, ast.Constant) and isinstance(index.value, int):
        return value.values[index.value] if -len(value.values) <= index.value < len(value.values) else UNKNOWN
    return UNKNOWN


def element(value: Value) -> Value:
    """Return what is known of the elements of a value."""
    if isinstance(value, Instance) and issubclass(value.kind, L) and value.of:
        return value.of[0]
    return UNKNOWN


def of_pillow(function: Value) -> Value:
    """Return what a function of Pillow returns; its annotation of `open` names a module that it imports late."""
    from PIL import Image

    if not isinstance(function, Known) or not str(getattr(function.value, "__module__", "")).startswith("PIL."):
        return UNKNOWN
    return Instance(Image.Image) if function.value is Image.open else returned(function.value)


def library_value(line: str) -> Value:
    """Return what an added import brings, where that is followed."""
    if line == "from PIL import Image":
        from PIL import Image

        return Known(Image)
    return UNKNOWN


def library_path(node: ast.expr, state: State) -> str | None:
    """Return the dotted name of the module of fastai that an expression names; None where it names none."""
    match node:
        case ast.Name(name):
            value = state.names.get(name)
            return value.name if isinstance(value, Library) else None
        case ast.Attribute(inner, name):
            path = library_path(inner, state)
            member = None if path is None else library_member(path, name, state)
            return member[1].name if member is not None and isinstance(member[1], Library) else None
    return None


def _is_number(node: ast.expr) -> bool:
    match node:
        case ast.Constant(int()) | ast.UnaryOp(ast.USub(), ast.Constant(int())):
            return True
    return False
