"""Statements of a cell, read in their order: what each name means after it, and what of it foveal lacks."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from foveal.port.expressions import Expressions, element, library_path
from foveal.port.imports import port_import
from foveal.port.state import State
from foveal.port.values import UNKNOWN, Instance, Known, Lost, Own, Several, Value, is_read_only

_SETUP = {"setup_book", "setup_colab"}
"""Functions of fastbook that prepare a machine; nothing takes their place."""


class Statements(Expressions):
    """Reads statements of one cell.

    Attributes:
        stars: star imports that stand in the copy's cell already.
        tries: how many `try` with handlers the place is in.
    """

    def __init__(self, state: State, cell: int, source: str) -> None:
        super().__init__(state, cell, source)
        self.stars = set[str]()
        self.tries = 0

    def read_cell(self, tree: ast.Module) -> None:
        """Read a whole cell; what it makes after a place that does not run is lost.

        Args:
            tree: its syntax.
        """
        lost: int | None = None
        names = set[str]()
        for statement in tree.body:
            n = len(self.findings)
            self.read(statement, n_siblings=len(tree.body), at_top=True)
            stops = [one.cell for one in self.findings[n:] if one.kind != "changed" and not one.is_deferred]
            if lost is None and stops and not isinstance(statement, ast.Import | ast.ImportFrom):
                lost = stops[0]
            if lost is not None:
                names |= set(stored_names([statement]))
        self.state.names |= {name: Lost(lost) for name in names if lost is not None}

    def read_all(self, statements: Sequence[ast.stmt]) -> None:
        """Read statements one after the other."""
        for statement in statements:
            self.read(statement, n_siblings=len(statements))

    def read(self, node: ast.stmt, *, n_siblings: int = 1, at_top: bool = False) -> None:
        """Read one statement.

        Args:
            node: the statement.
            n_siblings: how many statements its block has.
            at_top: whether it stands in no block.
        """
        alone = n_siblings == 1 and not at_top
        match node:
            case ast.Import() | ast.ImportFrom():
                self._import(node, is_alone=alone)
            case ast.Expr(ast.Call(ast.Attribute(owner, name))) if name in _SETUP and library_path(owner, self.state):
                self.edits.replace(node, "pass" if alone or self.edits.shares_its_line(node) else "")
                self.note("changed", f"`{name}()` is left out: foveal needs no preparation.")
            case _:
                getattr(self, f"_do_{type(node).__name__.lower()}", self._children)(node)

    def _do_assign(self, node: ast.Assign) -> None:
        value = self.evaluate(node.value)
        for target in node.targets:
            self.bind(target, value)

    def _do_annassign(self, node: ast.AnnAssign) -> None:
        self.evaluate(node.annotation)
        self.bind(node.target, self.evaluate(node.value) if node.value is not None else UNKNOWN)

    def _do_augassign(self, node: ast.AugAssign) -> None:
        self.evaluate(node.value)
        if isinstance(node.target, ast.Name):
            self._read_name(node.target)
        else:
            self._children(node.target)

    def _do_for(self, node: ast.For | ast.AsyncFor) -> None:
        self.bind(node.target, element(self.evaluate(node.iter)))
        self.read_all(node.body)
        self.read_all(node.orelse)

    def _do_if(self, node: ast.If | ast.While) -> None:
        self.evaluate(node.test)
        self.read_all(node.body)
        self.read_all(node.orelse)

    def _do_with(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.evaluate(item.context_expr)
            if item.optional_vars is not None:
                self.bind(item.optional_vars, UNKNOWN)
        self.read_all(node.body)

    def _do_try(self, node: ast.Try | ast.TryStar) -> None:
        for handler in node.handlers:
            if handler.type is not None:
                self.evaluate(handler.type)
            if handler.name:
                self.bind_name(handler.name, UNKNOWN)
        self.tries += bool(node.handlers)
        self.read_all(node.body)
        self.tries -= bool(node.handlers)
        for part in (*(one.body for one in node.handlers), node.orelse, node.finalbody):
            self.read_all(part)

    def _do_delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.state.names.pop(target.id, None)

    def _do_match(self, node: ast.Match) -> None:
        self.evaluate(node.subject)
        for name in stored_names([node]):
            self.bind_name(name, UNKNOWN)
        for case in node.cases:
            if case.guard is not None:
                self.evaluate(case.guard)
            self.read_all(case.body)

    _do_asyncfor, _do_while, _do_asyncwith, _do_trystar = _do_for, _do_if, _do_with, _do_try

    def _import(self, node: ast.Import | ast.ImportFrom, *, is_alone: bool) -> None:
        ported = port_import(node, self.state, self.cell)
        if ported.findings and self.tries:  # it is left as it is, and the handlers see what they are written for
            for name in ported.names:
                self.bind_name(name, UNKNOWN)
            return
        for finding in ported.findings:
            self.note(finding.kind, finding.text, finding.cell)
        for name, value in ported.names.items():
            self.bind_name(name, value)
        if ported.lines is None:
            return
        indent = " " * node.col_offset
        lines = [line for line in ported.lines if line not in self.stars] or ["pass"] * is_alone
        if node.col_offset == 0:
            self.stars |= {line for line in lines if line.endswith(" import *")}
        one_line = self.edits.shares_its_line(node)
        self.edits.replace(node, "; ".join(lines or ["pass"]) if one_line else f"\n{indent}".join(lines))
        self.note("changed", "imports")

    def bind(self, target: ast.expr, value: Value) -> None:
        """Assign a value to a target: a name, several of them, an attribute or an item."""
        match target:
            case ast.Name(name):
                self.bind_name(name, value)
            case ast.Tuple(elements) | ast.List(elements):
                self._unpack(elements, value)
            case ast.Starred(inner):
                self.bind(inner, UNKNOWN)
            case ast.Attribute(inner, name):
                owner = self.evaluate(inner)
                if isinstance(owner, Instance) and is_read_only(owner, name):
                    self.note("refused", f"`{name}` of `{owner.kind.__name__}` cannot be assigned.")
                elif isinstance(owner, Instance) or (isinstance(owner, Known) and isinstance(owner.value, type)):
                    self.state.added.add(name)
            case _:
                self._children(target)

    def _unpack(self, targets: Sequence[ast.expr], value: Value) -> None:
        n = len(targets)
        if any(isinstance(one, ast.Starred) for one in targets) or not isinstance(value, Several):
            for target in targets:
                self.bind(target, element(value))
            return
        if len(value.values) != n:
            self.note("refused", f"There are {len(value.values)} values here in foveal, not {n}.")
        padded = (*value.values, *(UNKNOWN,) * n)[:n]
        for target, one in zip(targets, padded, strict=True):
            self.bind(target, one)

    def _do_functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self.evaluate(decorator)
        if node.returns is not None:
            self.evaluate(node.returns)
        n = len(self.findings)
        self.bind_name(node.name, UNKNOWN)
        self._function(node.args, node.body)
        self._bind_defined(node, n)

    _do_asyncfunctiondef = _do_functiondef

    def _bind_defined(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, n: int) -> None:
        """Bind a function or class, which is lost where what was found since the n-th finding does not run."""
        stops = [one.cell for one in self.findings[n:] if one.kind != "changed"]
        read, own = set[str](), set[str]()
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name):
                (read if isinstance(inner.ctx, ast.Load) else own).add(inner.id)
            elif isinstance(inner, ast.arg):
                own.add(inner.arg)
        self.bind_name(node.name, Lost(stops[0]) if stops and not self.scopes else Own(frozenset(read - own)))

    def _do_classdef(self, node: ast.ClassDef) -> None:
        n = len(self.findings)
        for decorator in node.decorator_list:
            self.evaluate(decorator)
        for inner in (*node.bases, *(key.value for key in node.keywords)):
            self.evaluate(inner)
        self.scopes.append({})
        self.read_all(node.body)
        self.scopes.pop()
        self._bind_defined(node, n)

    def _function(self, arguments: ast.arguments, body: Sequence[ast.stmt]) -> None:
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
        for inner in (*(one.annotation for one in every), *arguments.defaults, *arguments.kw_defaults):
            if inner is not None:
                self.evaluate(inner)
        names = [*(one.arg for one in every), *stored_names(body)]
        self.scopes.append(dict.fromkeys(names, UNKNOWN))
        self.deferred += 1
        self.read_all(body)
        self.deferred -= 1
        self.scopes.pop()


def stored_names(statements: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements define, but not those inside functions and classes."""
    stack: list[ast.AST] = list(statements)
    while stack:
        node = stack.pop()
        match node:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                yield name
                continue
            case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                continue
            case ast.Name(name, ast.Store()) | ast.MatchAs(name=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name
            case ast.Import(aliases) | ast.ImportFrom(names=aliases):
                yield from ((one.asname or one.name).partition(".")[0] for one in aliases if one.name != "*")
        stack += ast.iter_child_nodes(node)
