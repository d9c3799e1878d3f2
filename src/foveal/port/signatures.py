"""Whether a call suits what is called, by its signature: arguments too many, unknown, missing, or of unknown value."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from foveal.core.errors import near_match
from foveal.port.values import Bound, Known, Value, is_of_foveal

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a call gives.

    Attributes:
        positional: values by position.
        named: values by name.
        open: whether `*args` or `**kwargs` may add to them.
        partial: whether others may come later.
    """

    positional: tuple[Value, ...]
    named: Mapping[str, Value]
    open: bool = False
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a function takes.

    Attributes:
        title: its name, as it is shown.
        positional: names that may be given by position.
        keywords: names that may be given by name, with their annotation.
        required: names that must be given.
        any_positional, any_keyword: whether it takes further ones that cannot be known.
    """

    title: str
    positional: tuple[str, ...]
    keywords: Mapping[str, object]
    required: tuple[str, ...]
    any_positional: bool
    any_keyword: bool

    def unknown(self, name: str) -> bool:
        """Return whether an argument of this name is refused."""
        return name not in self.keywords and not self.any_keyword


def parameters_of(function: Callable[..., object], *, is_method: bool = False) -> Parameters | None:
    """Return what one of foveal's functions takes, following `**options` to where they are passed on.

    Args:
        function: or a class.
        is_method: whether its first parameter is given by the instance.
    """
    target = inspect.unwrap(function)
    try:
        signature = inspect.signature(function)  # of a method it leaves out the first parameter
    except (TypeError, ValueError):
        return None
    values = list(signature.parameters.values())[is_method:]
    positional = tuple(one.name for one in values if one.kind in _POSITIONAL)
    own = {one.name: one.annotation for one in values if one.kind in (_POSITIONAL[1], inspect.Parameter.KEYWORD_ONLY)}
    required = tuple(
        one.name
        for one in values
        if one.default is inspect.Parameter.empty
        and one.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    )
    rest = next((one.name for one in values if one.kind is inspect.Parameter.VAR_KEYWORD), None)
    passed = None if rest is None else _named_options(signature.parameters[rest], target) or _passed_on(target, rest)
    title = getattr(function, "__qualname__", repr(function)).removesuffix(".__init__")
    return Parameters(
        title=title,
        positional=positional,
        keywords={**(passed.keywords if passed else {}), **own},
        required=required,
        any_positional=any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in values),
        any_keyword=rest is not None and (passed is None or passed.any_keyword),
    )


def _named_options(rest: inspect.Parameter, function: Callable[..., object]) -> Parameters | None:
    """Return the keywords that `**options: Unpack[Options]` names; None where it names none."""
    annotation = rest.annotation
    if isinstance(annotation, str) and (match := re.fullmatch(r"(?:typing\.)?Unpack\[(\w+)\]", annotation)):
        annotation = _scope_of(function).get(match[1])
    elif typing.get_origin(annotation) is typing.Unpack:
        (annotation,) = typing.get_args(annotation)
    if not typing.is_typeddict(annotation):
        return None
    keywords = dict[str, object](annotation.__annotations__)
    required = tuple(sorted(annotation.__required_keys__))
    return Parameters(function.__qualname__, (), keywords, required, any_positional=False, any_keyword=False)


@functools.cache
def _passed_on(function: Callable[..., object], rest: str) -> Parameters | None:
    """Return what takes the keyword arguments that a function passes on; None where that is not one function."""
    implementation, names = _implementation(function), _scope_of(function)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(implementation)))
    except (OSError, TypeError, SyntaxError):
        return None
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and any(key.arg is None and isinstance(key.value, ast.Name) and key.value.id == rest for key in node.keywords)
    ]
    if len(calls) != 1:
        return None
    target = _named(calls[0].func, names, function)
    if target is None or not callable(target) or not is_of_foveal(target) or target is function:
        return None
    return parameters_of(target)


def _named(node: ast.expr, names: Mapping[str, object], function: Callable[..., object]) -> object:
    """Return the object that a name or a dotted name in a function means."""
    match node:
        case ast.Name("cls"):
            return getattr(function, "__self__", None)
        case ast.Name(name):
            return names.get(name)
        case ast.Attribute(inner, name):
            return getattr(_named(inner, names, function), name, None)
    return None


def refusal(function: Callable[..., object]) -> str:
    """Return the message of a function that only raises, or an empty text."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError, IndentationError):
        return ""
    body = tree.body[0].body if len(tree.body) == 1 and isinstance(tree.body[0], ast.FunctionDef) else []
    match body:
        case [ast.Raise(ast.Call(args=[ast.Constant(str(text)), *_]))]:
            return text
        case [ast.Expr(ast.Constant()), ast.Raise(ast.Call(args=[ast.Constant(str(text)), *_]))]:
            return text
    return ""


def mistakes(takes: Parameters, given: Arguments, function: Callable[..., object]) -> Iterator[str]:
    """Yield a sentence for all that the function would refuse in a call, unknown keywords aside.

    Args:
        takes: what it takes.
        given: what the call gives.
        function: it, whose annotations name the values that some arguments may have.
    """
    n, most = len(given.positional), len(takes.positional)
    if n > most and not takes.any_positional:
        named = [name for name in takes.keywords if name not in takes.positional]
        rest = f" Write the others by name: {', '.join(f'{name}=' for name in named[:6])}." if named else ""
        yield f"`{takes.title}` takes {most} argument{'s' * (most != 1)} by position, not {n}.{rest}"
    if not given.open and not given.partial:
        have = {*takes.positional[:n], *given.named}
        missing = [f"`{name}`" for name in takes.required if name not in have]
        if missing:
            yield f"`{takes.title}` needs {' and '.join(missing)}."
    values = {**dict(zip(takes.positional, given.positional, strict=False)), **given.named}
    for name, value in values.items():
        allowed = _literals(takes.keywords.get(name), _scope_of(function))
        if isinstance(value, Known) and isinstance(value.value, str) and allowed and value.value not in allowed:
            known = ", ".join(repr(one) for one in allowed)
            near = near_match(value.value, [one for one in allowed if isinstance(one, str)])
            yield f"`{name}` of `{takes.title}` is one of {known}, not {value.value!r}.{near}"


def _implementation(function: Callable[..., object]) -> Callable[..., object]:
    """Return the plain function behind a class, a method or a wrapper."""
    made_by = vars(function).get("__init__", function) if isinstance(function, type) else function
    return made_by if isinstance(made_by, type) else inspect.unwrap(getattr(made_by, "__func__", made_by))


def _scope_of(function: Callable[..., object]) -> Mapping[str, object]:
    """Return what the names in a function's annotations mean."""
    names: Mapping[str, object] = getattr(_implementation(function), "__globals__", {})
    return names


def _literals(annotation: object, names: Mapping[str, object]) -> tuple[object, ...]:
    """Return the values that an annotation allows, where it is nothing but a list of them."""
    if isinstance(annotation, str):
        annotation = names.get(annotation)
    return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()


def callable_of(value: Value) -> tuple[Callable[..., object], bool] | None:
    """Return one of foveal's functions or classes, and whether an instance gives its first argument."""
    match value:
        case Bound(function, owner) if is_of_foveal(function) and is_of_foveal(owner.kind):
            return function, True
        case Known(function) if callable(function) and is_of_foveal(function):
            return function, False
    return None
