"""What is known of a value without running anything: an object, an instance of a class, several values, or nothing."""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from foveal.core.errors import FovealError, near_match


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing is known."""


@dataclass(frozen=True, slots=True)
class Known:
    """An object itself: a function, a class, a module, a constant."""

    value: Any


@dataclass(frozen=True, slots=True)
class Instance:
    """Some instance of a class.

    Attributes:
        kind: the class.
        of: what it holds, as in `L[Path]`.
    """

    kind: type
    of: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Bound:
    """A method of an instance."""

    function: Callable[..., object]
    owner: Instance


@dataclass(frozen=True, slots=True)
class Partial:
    """A function of which some arguments are given.

    Attributes:
        function: it.
        positional: arguments given by position.
        named: arguments given by name.
    """

    function: Known | Bound
    positional: tuple[Value, ...]
    named: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Own:
    """A function or class of the notebook.

    Attributes:
        names: what it reads from outside itself when it is called.
    """

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Several:
    """A tuple of values."""

    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Library:
    """fastai, or a module in it, by its dotted name."""

    name: str


@dataclass(frozen=True, slots=True)
class Lost:
    """What a cell would have made that does not run in foveal.

    Attributes:
        cell: its number.
    """

    cell: int


def same(first: Value, second: Value) -> bool:
    """Return whether two values are known to be one; objects are compared by identity, as arrays have no `==`."""
    if isinstance(first, Known) and isinstance(second, Known):
        return first.value is second.value
    return isinstance(first, Instance) and isinstance(second, Instance) and first.kind is second.kind


Value = Unknown | Known | Instance | Bound | Partial | Own | Several | Library | Lost
UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True)
class Absent:
    """An attribute that does not exist; `reason` says so."""

    reason: str


def is_of_foveal(thing: object) -> bool:
    """Return whether a class, a function or a module is foveal's own."""
    name = thing.__name__ if isinstance(thing, types.ModuleType) else getattr(thing, "__module__", None)
    return isinstance(name, str) and name.partition(".")[0] == "foveal"


def attribute(value: Value, name: str) -> Value | Absent:
    """Return what is known of `value.name`.

    Args:
        value: what it is asked of.
        name: of the attribute.
    """
    match value:
        case Known(thing) if isinstance(thing, types.ModuleType):
            return _of_module(thing, name)
        case Known(thing) if isinstance(thing, type) and is_of_foveal(thing):
            return _of_object(thing, name, thing.__name__)
        case Known(thing) if is_of_foveal(type(thing)) and not callable(thing):
            return _of_object(thing, name, type(thing).__name__)
        case Known(thing) if isinstance(thing, type) and thing.__module__.partition(".")[0] in _TYPED:
            return Known(getattr(thing, name)) if hasattr(thing, name) else UNKNOWN
        case Instance(kind):
            return _of_instance(value, kind, name)
    return UNKNOWN


_TYPED = {"PIL"}
"""Libraries whose annotations are followed."""

_PATCHED = {
    "PIL": {"to_thumb", "resize_max", "shape", "aspect", "n_px", "reshape", "to_bytes_format"},
    "pathlib": {"ls", "readlines", "read_json", "mk_write", "relpath"},
    "torch": {"show", "pca", "interp_1d"},
}
"""Attributes that fastai gives to the classes of other libraries."""


def _of_module(module: types.ModuleType, name: str) -> Value | Absent:
    if is_of_foveal(module):
        return _of_object(module, name, module.__name__)
    top = module.__name__.partition(".")[0]
    try:
        return Known(getattr(module, name)) if top in _TYPED | {"torch", "numpy", "pandas"} else UNKNOWN
    except AttributeError as error:
        is_removed = top in {"numpy", "pandas"} and importlib.util.find_spec(f"{module.__name__}.{name}") is None
        return Absent(f"{error}") if is_removed else UNKNOWN


def _of_object(thing: object, name: str, title: str) -> Value | Absent:
    """Return an attribute of foveal's own object, which is read: that runs none of the notebook's code."""
    try:
        return Known(getattr(thing, name))
    except (FovealError, AttributeError, ImportError) as error:
        if isinstance(thing, type) and hasattr(thing, "__annotations__"):
            own = _annotated(thing, name, Instance(thing))
            if own is not None:
                return own
        if isinstance(error, FovealError):
            return Absent(str(error))
        return Absent(f"`{title}` has no attribute `{name}`.{near_match(name, _public(thing))}")


def _of_instance(value: Instance, kind: type, name: str) -> Value | Absent:
    static = inspect.getattr_static(kind, name, _NOTHING)
    if static is not _NOTHING:
        return _of_static(value, static)
    annotated = _annotated(kind, name, value)
    if annotated is not None:
        return annotated
    if not is_of_foveal(kind):
        is_addition = name in _PATCHED.get(kind.__module__.partition(".")[0], ())
        return Absent(f"`{kind.__name__}` has no attribute `{name}`: fastai adds it.") if is_addition else UNKNOWN
    answers_all = name.startswith("__") or inspect.getattr_static(kind, "__getattr__", None) is not None
    if answers_all or name in _assigned(kind):
        return _assigned(kind).get(name, UNKNOWN)
    own = [one for one in _assigned(kind) if not one.startswith("_")]
    return Absent(f"`{kind.__name__}` has no attribute `{name}`.{near_match(name, [*_public(kind), *own])}")


_NOTHING = object()


def _of_static(value: Instance, static: object) -> Value:
    """Return what an attribute of the class is for an instance."""
    match static:
        case property(fget=getter) if getter is not None:
            return returned(getter, value)
        case functools.cached_property():
            return returned(static.func, value)
        case types.FunctionType():
            return Bound(static, value)
        case classmethod() | staticmethod():
            return Known(static.__get__(None, value.kind))
    return UNKNOWN


def _public(thing: object) -> list[str]:
    names = getattr(thing, "__all__", None) or dir(thing)
    return [name for name in names if not name.startswith("_")]


def is_read_only(value: Instance, name: str) -> bool:
    """Return whether an attribute of foveal's own object cannot be assigned.

    Args:
        value: the object.
        name: of the attribute.
    """
    if not is_of_foveal(value.kind):
        return False
    static = inspect.getattr_static(value.kind, name, None)
    parameters = getattr(value.kind, "__dataclass_params__", None)
    return (isinstance(static, property) and static.fset is None) or getattr(parameters, "frozen", False)


def returned(function: Callable[..., object], owner: Value = UNKNOWN) -> Value:
    """Return what a function returns, by its annotation.

    Args:
        function: or a class, of which it is an instance.
        owner: what it is a method of.
    """
    if isinstance(function, type):
        return _made_by(function)
    bound_to = getattr(function, "__self__", None)
    if isinstance(bound_to, type):
        owner = Instance(bound_to)
    function = inspect.unwrap(getattr(function, "__func__", function))
    annotation = getattr(function, "__annotations__", {}).get("return")
    return described(annotation, getattr(function, "__globals__", {}), owner)


def _made_by(kind: type) -> Value:
    """Return what calling a class makes: an instance, or what its own `__new__` says."""
    calls = [vars(base).get("__new__") for base in kind.__mro__ if is_of_foveal(base)]
    calls += [vars(base).get("__call__") for base in inspect.getmro(type(kind)) if is_of_foveal(base)]
    own = next((one for one in calls if one is not None), None)
    if own is None:
        return Instance(kind)
    maker = inspect.unwrap(getattr(own, "__func__", own))
    return described(maker.__annotations__.get("return"), maker.__globals__, Instance(kind))


def described(annotation: object, names: Mapping[str, object], owner: Value = UNKNOWN) -> Value:
    """Return what an annotation says of a value.

    Args:
        annotation: as a text or an object.
        names: what its names mean.
        owner: what `Self` means.
    """
    if isinstance(annotation, str):
        try:
            return _of_syntax(ast.parse(annotation, mode="eval").body, names, owner)
        except SyntaxError:
            return UNKNOWN
    return _of_type(annotation)


def _of_type(annotation: object) -> Value:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and annotation is not object and origin is None:
        return Instance(annotation)
    if origin is tuple and Ellipsis not in arguments:
        return Several(tuple(map(_of_type, arguments)))
    if isinstance(origin, type) and is_of_foveal(origin):
        return Instance(origin, tuple(map(_of_type, arguments)))
    return UNKNOWN


def _of_syntax(node: ast.expr, names: Mapping[str, object], owner: Value) -> Value:
    """Return what an annotation that is still a text says of a value."""
    match node:
        case ast.Name("Self"):
            return owner
        case ast.Name(name):
            return _of_type(names.get(name))
        case ast.Attribute(ast.Name(module), name):
            return _of_type(getattr(names.get(module), name, None))
        case ast.BinOp(left, ast.BitOr(), right):
            sides = [side for side in (left, right) if not (isinstance(side, ast.Constant) and side.value is None)]
            return _of_syntax(sides[0], names, owner) if len(sides) == 1 else UNKNOWN
        case ast.Subscript(base, inner):
            return _of_parts(base, inner.elts if isinstance(inner, ast.Tuple) else [inner], names, owner)
        case _:
            return UNKNOWN


def _of_parts(base: ast.expr, parts: list[ast.expr], names: Mapping[str, object], owner: Value) -> Value:
    """Return what `base[parts]` says of a value: a tuple, or a list of foveal's."""
    values = tuple(_of_syntax(part, names, owner) for part in parts)
    if isinstance(base, ast.Name) and base.id == "tuple":
        has_end = not any(isinstance(part, ast.Constant) and part.value is Ellipsis for part in parts)
        return Several(values) if has_end else UNKNOWN
    whole = _of_syntax(base, names, owner)
    is_list = isinstance(whole, Instance) and is_of_foveal(whole.kind)
    return Instance(whole.kind, values) if is_list and isinstance(whole, Instance) else UNKNOWN


def _annotated(kind: type, name: str, owner: Value) -> Value | None:
    """Return what a class's annotation says of an attribute; None where it has none."""
    for base in kind.__mro__:
        annotations = vars(base).get("__annotations__", {})
        if name in annotations:
            module = sys.modules.get(base.__module__)
            return described(annotations[name], vars(module) if module else {}, owner)
    return None


@functools.cache
def _assigned(kind: type) -> Mapping[str, Value]:
    """Return what methods of a class, or of a class it extends, assign as `self.name`, as far as that is known."""
    values = dict[str, Value]()
    for base in reversed(kind.__mro__):
        if is_of_foveal(base):
            for function in (node for node in _syntax(base) if isinstance(node, ast.FunctionDef)):
                values |= _assigned_in(function, vars(sys.modules[base.__module__]))
    return values


def _syntax(kind: type) -> list[ast.stmt]:
    """Return the statements of a class's body."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return []
    return tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []


def _assigned_in(function: ast.FunctionDef, names: Mapping[str, object]) -> Iterator[tuple[str, Value]]:
    """Yield (name, value) for each `self.name = value` of a method; one that is unknown is yielded as such."""
    parameters = [*function.args.args, *function.args.kwonlyargs]
    given = {one.arg: _of_syntax(one.annotation, names, UNKNOWN) for one in parameters if one.annotation is not None}
    for node in ast.walk(function):
        if isinstance(node, ast.AnnAssign) and (name := _own_name(node.target)):
            yield name, _of_syntax(node.annotation, names, UNKNOWN)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = zip(_parts(target), _parts(node.value), strict=False)
                for place, value in pairs if _are_pairs(target, node.value) else ((p, None) for p in _parts(target)):
                    if name := _own_name(place):
                        yield name, _of_assigned(value, given, names)


def _parts(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _are_pairs(target: ast.expr, value: ast.expr) -> bool:
    return len(_parts(target)) == len(_parts(value))


def _own_name(node: ast.expr) -> str:
    """Return `x` of `self.x`, or an empty text."""
    is_own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    return node.attr if is_own and isinstance(node, ast.Attribute) else ""


def _of_assigned(node: ast.expr | None, given: Mapping[str, Value], names: Mapping[str, object]) -> Value:
    match node:
        case ast.Name(name):
            return given.get(name, UNKNOWN)
        case ast.Call(ast.Name(name)):
            kind = names.get(name)
            return Instance(kind) if isinstance(kind, type) else UNKNOWN
    return UNKNOWN
