"""What the structure promises, counted and printed: `pytest -s tests/test_structure.py`."""

import ast
import inspect
import re
from pathlib import Path

import foveal
import foveal.collab.all as ratings_star
import foveal.vision.all as star
from foveal.collab.settings import RatingRun
from foveal.tasks.kinds import TASKS

SRC = Path(foveal.__file__).parent
TREES = {path.relative_to(SRC): ast.parse(path.read_text()) for path in sorted(SRC.rglob("*.py"))}
KINDS = set(TASKS)
CLASSES = {TASKS[kind].task.__name__ for kind in KINDS}
MOST_ANY = 8  # per 1,000 lines


def asks_for_a_kind(node):
    """Whether a line decides by the kind of a task: by its class, or by its name."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"isinstance", "issubclass"}:
        return bool({name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)} & CLASSES)
    if isinstance(node, ast.Compare):
        texts = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
        named = any(isinstance(part, ast.Attribute) and part.attr == "kind" for part in node.comparators)
        return bool(texts & KINDS) or (
            named and bool({n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & CLASSES)
        )
    return isinstance(node, ast.match_case) and any(
        isinstance(part, ast.Constant) and part.value in KINDS for part in ast.walk(node.pattern)
    )


def test_nothing_outside_the_tasks_asks_for_their_kind():
    places = [
        f"{path}:{node.lineno}"
        for path, tree in TREES.items()
        if path.parts[0] not in {"tasks", "collab"}
        for node in ast.walk(tree)
        if hasattr(node, "lineno") and asks_for_a_kind(node)
    ]
    print(f"branches on the kind of a task outside tasks/ and collab/: {len(places)}")
    assert not places


def test_ratings_are_named_in_their_package_alone():
    words = re.compile(rf"\b(?:ratings?|{RatingRun.__name__}|recommend(?:ed|er)?)\b", re.IGNORECASE)
    places = [
        str(path)
        for path in TREES
        if path.parts[0] not in {"collab", "_moved.py"} and words.search((SRC / path).read_text())
    ]
    print(f"modules that name ratings outside collab/: {len(places)}")
    assert not places


def test_types_are_rarely_left_open():
    texts = [(SRC / path).read_text() for path in TREES]
    n_lines, n_any = sum(text.count("\n") for text in texts), sum(len(re.findall(r"\bAny\b", text)) for text in texts)
    print(f"`Any` per 1,000 lines: {1000 * n_any / n_lines:.1f} (at most {MOST_ANY})")
    assert 1000 * n_any <= MOST_ANY * n_lines


def parameters(function):
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []
    return [name for name in names if name not in {"self", "cls"}]


def public_functions():
    """Yield (name, function) of every function of both star imports and of the root, and of their classes' methods."""
    for module in (star, ratings_star, foveal):
        for name in module.__all__:
            value = getattr(module, name)
            if not str(getattr(value, "__module__", "")).startswith("foveal"):
                continue
            if inspect.isclass(value):
                for method, function in vars(value).items():
                    if not method.startswith("_") and inspect.isroutine(function):
                        yield f"{name}.{method}", getattr(value, method)
            elif inspect.isfunction(value):
                yield name, value


def raised(function):
    """Return the names of the errors that a function raises itself, also as `raise SomeError.of(...)`."""
    found, waiting = set(), list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            names = [
                part.attr if isinstance(part, ast.Attribute) else part.id
                for part in ast.walk(error)
                if hasattr(part, "attr") or hasattr(part, "id")
            ]
            found |= {name for name in names if name[0].isupper()}
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return found - {"NotImplementedError"}


def test_public_functions_name_the_errors_that_they_raise():
    functions = [
        (path, node)
        for path, tree in TREES.items()
        if path.parts[0] != "cli" and path.name != "verb.py"  # their docstrings are the help of the command line
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and ast.get_docstring(node)
    ]
    assert len(functions) > 1000
    silent = [
        f"{path}:{node.name}: {name}"
        for path, node in functions
        for name in raised(node)
        if name not in ast.get_docstring(node).partition("Raises:")[2]
    ]
    assert not silent


def test_public_functions_say_what_their_arguments_are():
    several = {name: value for name, value in public_functions() if len(parameters(value)) >= 2}
    without = sorted(name for name, value in several.items() if "Args:" not in (inspect.getdoc(value) or ""))
    print(f"public functions with two or more arguments: {len(several)}, without `Args:`: {len(without)}")
    assert not without
