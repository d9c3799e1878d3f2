"""Options of the command line that are made of settings: each is described once, in the settings of its kind of run."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from foveal.cli.help import HelpfulCommand
from foveal.runs.door import is_checked, is_reading
from foveal.runs.settings import IMAGES, RUNS, all_settings, option

NOT_OPTIONS = frozenset({"table", "fold", "split_seed", "measured"})
"""The source is an argument; the others are written by runs."""
_FORMER = {"embed_images": "--pictures/--no-pictures"}
_PANELS = {"data": "Data", "task": "Task", "training": "Training", "output": "Output"}

OPTIONS: dict[str, Callable[[str, str], bool]] = {
    "train": lambda _, __: True,
    "check": is_checked,
    "studio": lambda name, panel: is_reading(name, panel) or name in {"valid_column", "point_names"},
    "evaluate": lambda name, panel: is_reading(name, panel) and name != "task",  # the model's
    "report": lambda _, panel: panel == "output",
}
"""Which settings, by name and panel, are options of a verb."""


def run_verb(verb: Callable[..., None], context: typer.Context) -> int:
    """Return the exit code of a verb that takes settings as options, once it has run.

    Args:
        verb: takes the settings that were given as `given`, and arguments of its own.
        context: of the command that was called, with all of its words.

    Raises:
        Exception: click's usage errors, which the root prints.
    """
    command = command_of(verb, context.find_root().command.context_settings)
    return int(command.main(context.args, prog_name=f"foveal {verb.__name__}", standalone_mode=False) or 0)


def command_of(verb: Callable[..., None], settings: Mapping[str, Any]) -> Any:
    """Return the command of a verb that takes settings as options, with all of them.

    Args:
        verb: takes the settings that were given as `given`, and arguments of its own.
        settings: of click, for its context.
    """
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(verb.__name__, cls=HelpfulCommand, context_settings=dict(settings))(
        with_settings(verb, OPTIONS[verb.__name__])
    )
    return typer.main.get_command(alone)


def with_settings(verb: Callable[..., None], choose: Callable[[str, str], bool]) -> Callable[..., None]:
    """Return a function that takes settings as options, in panels, and hands them to a verb as `given`.

    Args:
        verb: called with `given`, the settings that were given by name, and its own arguments.
        choose: of (setting, panel); whether the function has it.
    """
    chosen = {name: about for name, about in _fields().items() if choose(name, about[0])}
    signature = inspect.signature(verb, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "given"]
    made = [_parameter(name, panel, field) for name, (panel, field) in chosen.items()]
    former = [_former(name, declaration) for name, declaration in _FORMER.items() if name in chosen]
    arguments = [one for one in own if one.kind is not inspect.Parameter.KEYWORD_ONLY]
    options = [one for one in own if one.kind is inspect.Parameter.KEYWORD_ONLY]

    @functools.wraps(verb)
    def command(**values: Any) -> None:
        given = {name: value for name in chosen if (value := values.pop(name)) is not None}
        for name, declaration in _FORMER.items():
            if (value := values.pop(f"former_{name}", None)) is not None:
                warnings.warn(f"{declaration} is now {option(name)}.", DeprecationWarning, stacklevel=1)
                given.setdefault(name, value)
        verb(given=given, **values)

    parameters = [*arguments, *made, *former, *options]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _fields() -> Mapping[str, tuple[str, FieldInfo]]:
    """Return the settings that are options in the order of the panels."""
    order = list(_PANELS)
    fields = ((name, about) for name, about in all_settings().items() if name not in NOT_OPTIONS)
    return dict(sorted(fields, key=lambda entry: order.index(entry[1][0])))


def _parameter(name: str, panel: str, field: FieldInfo) -> inspect.Parameter:
    is_flag = field.annotation is bool
    kind = bool if is_flag else Path if Path in (field.annotation, *get_args(field.annotation)) else str
    words = option(name)
    if is_flag:
        words = f"{words}/--no-{name.replace('_', '-')}"
    about = typer.Option(
        words,
        help=_help(field),
        rich_help_panel=_title(name, panel),
        metavar=None if is_flag else _metavar(name, field),
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, about]
    )


def _title(name: str, panel: str) -> str:
    """Return the group of a setting; one that images do not have is under the task that has it."""
    if name in RUNS[IMAGES].settings.fields():
        return _PANELS[panel]
    return f"With --task {next(kind for kind, run in RUNS.items() if name in run.settings.fields())}"


def _former(name: str, declaration: str) -> inspect.Parameter:
    annotation = Annotated[bool | None, typer.Option(declaration, hidden=True)]
    return inspect.Parameter(f"former_{name}", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _help(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    shown = str(extra.get("shown", "")) if isinstance(extra, dict) else ""
    default = field.get_default(call_default_factory=True)
    if not shown and default not in (None, ()):
        shown = {True: "yes", False: "no"}.get(default, str(default)) if isinstance(default, bool) else str(default)
    return f"{field.description} (default: {shown})" if shown else str(field.description)


def _metavar(name: str, field: FieldInfo) -> str:
    """Return what a setting takes, in a word of capitals or as the choice that there is."""
    extra, annotation = field.json_schema_extra, field.annotation
    if isinstance(extra, dict) and extra.get("takes"):
        return str(extra["takes"])
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    if name.endswith("_column"):
        return "COLUMN"
    kinds = (annotation, *get_args(annotation))
    return next((word for kind, word in ((Path, "PATH"), (int, "N"), (float, "NUMBER")) if kind in kinds), "NAME")
