"""The settings of a run: what the command line, Python and run.toml say, one and the same.

Settings stand in four panels: `data`, `task`, `training` and `output`. Every setting has one name in all panels of all
kinds of run, so that it can be given flat, as `size=128` or `--size 128`; run.toml has a table per panel. A setting
that a run does not use is refused by name.
"""

from __future__ import annotations

import re
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_args

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from foveal.core.errors import InputError, UnknownNameError, near_match
from foveal.core.registry import Registry, resolve
from foveal.core.spelling import Arguments

if TYPE_CHECKING:
    from foveal.audit.checks import Audit

Value = Any
"""What a setting may be: it is checked by the field of its name."""
Values = dict[str, Value]
PANELS = ("data", "task", "training", "output")
_TAKEN = frozenset({"source", "out", "resume", "together", "split", "given", "model"})
_OF_FUNCTIONS = ("out", "resume", "split", "on_shared", "by_features", "embed_images")
"""Arguments of functions of the door that are no settings, and options of their commands."""
IMAGES = "images"
"""The kind of run for whatever task has none of its own."""
_FORMER = {"pictures": "embed_images"}
"""Settings by the names that version 0.1 gave them, which its run.toml holds."""
_FORMER_DEFAULTS = {"empty": "error", "size": (224, 224), "factors": 50, "batch_size": 64}
"""Defaults that version 0.1 had, where they are others now."""
_PATHS = ("table", "images", "weights", "split_file")


def setting(
    description: str, default: Value = None, *, used_by: str = "", shown: str = "", takes: str = "", **bounds: Value
) -> Value:
    """Return the description of a setting, as a field of pydantic's.

    Args:
        description: one sentence, for help and reference.
        default: its value where none is given.
        used_by: what a kind of task must have to use it: a label form ("points_xy", "numbers", "names", "classes"), or
            a capability of `TaskKind`; by default every kind uses it.
        shown: the default in words, where it depends on something.
        takes: what the command line calls its value, in a word of capitals, where its type does not tell.
        bounds: of pydantic's `Field`, such as ge=1.
    """
    return Field(
        default,
        description=description,
        json_schema_extra={"used_by": used_by, "shown": shown, "takes": takes},
        **bounds,
    )


class Panel(BaseModel):
    """Settings that stand together."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RunSettings(BaseModel):
    """Everything that decides a run; a class per kind of run, with panels of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]

    @classmethod
    def fields(cls) -> dict[str, tuple[str, FieldInfo]]:
        """Return (panel, field) of each setting by its name."""
        panels = ((name, _panel(info)) for name, info in cls.model_fields.items())
        return {name: (panel, field) for panel, model in panels for name, field in model.model_fields.items()}

    @classmethod
    def of(cls, /, **values: Value) -> Self:
        """Return settings made of flat values.

        Args:
            values: settings by name.

        Raises:
            UnknownNameError: there is no such setting.
            InputError: a setting is not used by this kind of run, or a value is out of range; all are named.
        """
        fields = cls.fields()
        panels: dict[str, Values] = {name: {} for name in cls.model_fields}
        for name, value in values.items():
            if name not in fields:
                raise _no_setting(name, cls, values.get("task"))
            panels[fields[name][0]][name] = value
        try:
            settings = cls.model_validate(panels)
        except pydantic.ValidationError as error:
            raise InputError("; ".join(_problems(error, fields))) from error
        settings.check()
        return settings

    @staticmethod
    def checked(**values: Value) -> RunSettings:
        """Return `make_settings(...)`, under the name of version 0.1."""
        warnings.warn("`RunSettings.checked` is now `make_settings`.", DeprecationWarning, stacklevel=2)
        return make_settings(**values)

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: the message names both.
        """

    def get(self, name: str) -> Value:
        """Return a setting by its name."""
        return getattr(getattr(self, self.fields()[name][0]), name)

    def with_values(self, /, **values: Value) -> Self:
        """Return the same settings with other values, which are not checked anew.

        Args:
            values: settings by name.
        """
        fields, panels = self.fields(), dict[str, Values]()
        for name, value in values.items():
            panels.setdefault(fields[name][0], {})[name] = value
        changed = {panel: getattr(self, panel).model_copy(update=some) for panel, some in panels.items()}
        return self.model_copy(update=changed)

    def given(self) -> Values:
        """Return the settings that differ from their defaults."""
        return {
            name: value
            for name, (_, field) in self.fields().items()
            if (value := self.get(name)) != field.get_default(call_default_factory=True)
        }

    @property
    def table(self) -> Path:
        """What is read."""
        path: Path = self.get("table")
        return path

    @property
    def repeats(self) -> bool:
        """Whether these are settings of several runs."""
        return False

    def save(self, path: Path) -> None:
        """Write a run.toml, a table per panel, that repeats the run from anywhere."""
        from foveal.core import storage  # which loads torch; `foveal --help` does without

        stored = self.model_dump(mode="json", exclude_none=True)
        for panel in stored.values():
            for name in _PATHS:
                if name in panel:
                    panel[name] = str(Path(panel[name]).absolute())
            if "measured" in panel:
                panel["measured"] = {str(n_frozen): precision for n_frozen, precision in panel["measured"].items()}
        storage.write_text(path, tomli_w.dumps({name: panel for name, panel in stored.items() if panel}))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKind:
    """A kind of run; where something is heavy to import it is a reference, "module:function".

    Attributes:
        settings: the class of its settings.
        train: of (settings, folder, resume); trains, writes the folder and returns the summary.
        check: of (settings, by_features); returns an `Audit` of what training would refuse; with the second, of what a
            backbone's features of images tell as well.
        takes: of a path; returns whether it surely holds what this kind trains on, where no task is named. It looks
            quickly and never raises. A kind without it is only taken where its task is named.
        parallel: whether several processes may train one model.
        rewrites_report: whether a report can be written anew from the folder.
    """

    settings: type[RunSettings]
    train: str
    check: str
    takes: str = ""
    parallel: bool = False
    rewrites_report: bool = False

    def __post_init__(self) -> None:
        if odd := set(self.settings.model_fields) - set(PANELS):
            raise InputError(f"The panels of {self.settings.__name__} may be {', '.join(PANELS)}; got {min(odd)}.")
        if taken := set(self.settings.fields()) & _TAKEN:
            raise InputError(f"A setting cannot be called `{min(taken)}`: `foveal.train` has an argument of this name.")


RUNS: Registry[RunKind] = Registry("kind of run", group="foveal.tasks")
RUNS.add(IMAGES, "foveal.runs.image_settings:KIND")

Train = Callable[[Any, Path, bool], Values]
Check = Callable[[Any, bool], "Audit"]
Takes = Callable[[Path], bool]


def kind_of_run(task: object) -> RunKind:
    """Return the kind of run that trains a task: one of its own, or that of images."""
    return (RUNS.find(task) if isinstance(task, str) else None) or RUNS[IMAGES]


def make_settings(**values: Value) -> RunSettings:
    """Return the settings of a run, of the kind that `task` says.

    Args:
        values: settings by name, flat.

    Raises:
        UnknownNameError: there is no such setting, task or word.
        InputError: a setting is not used by this kind of run, or a value is out of range; all are named.
    """
    renamed = {_FORMER.get(name, name): value for name, value in values.items()}
    if "task" not in renamed and (task := _task_of(renamed)) is not None:
        renamed["task"] = task
    return kind_of_run(renamed.get("task", "auto")).settings.of(**renamed)


def _task_of(values: Values) -> str | None:
    """Return the task of the kind of run that takes a source by itself; None where that is not sure.

    A setting that belongs to other kinds alone says that another one is meant.
    """
    if "table" not in values:
        return None
    for name, kind in RUNS.items():
        others = {one for other in RUNS.values() if other is not kind for one in other.settings.fields()}
        if kind.takes and not set(values) & (others - set(kind.settings.fields())):
            takes: Takes = resolve(kind.takes)
            if takes(Path(values["table"])):
                return name
    return None


def load_settings(path: Path) -> RunSettings:
    """Return the settings in a run.toml, with a table per panel, or flat as version 0.1 wrote it.

    Raises:
        InputError: it cannot be read, or holds what no run has.
    """
    try:
        stored = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"`{path}` cannot be read as the settings of a run: {error}") from error
    try:
        if "table" in stored:
            return make_settings(**_without_former_defaults(stored))
        return make_settings(**_flattened(stored))
    except InputError as error:
        raise type(error)(f"`{path}`: {error}") from error


def _flattened(stored: Values) -> Values:
    """Return the settings of all panels as one; each stands in its own panel, and once.

    Raises:
        InputError: there is no such panel, or a setting stands in another panel than its own.
    """
    flat: Values = {}
    for panel, values in stored.items():
        if panel not in PANELS or not isinstance(values, dict):
            raise InputError(
                f"`{panel}` is no table of a run.toml.{near_match(panel, PANELS)} Its tables: {', '.join(PANELS)}."
            )
        for name, value in values.items():
            homes = [kind.settings.fields()[name][0] for kind in RUNS.values() if name in kind.settings.fields()]
            if homes and panel not in homes:
                raise InputError(f"`{name}` stands in the table [{panel}]; it belongs into [{homes[0]}].")
            flat[name] = value
    return flat


def _without_former_defaults(flat: Values) -> Values:
    """Return settings without what version 0.1 wrote for every kind of run, though that kind does not use it.

    It is left out only where it is the default; anything else is refused by name as in any other file.
    """
    used = kind_of_run(flat.get("task", "auto")).settings.fields()
    known = all_settings()

    def is_default(name: str, value: object) -> bool:
        default = _FORMER_DEFAULTS.get(name, known[name][1].get_default(call_default_factory=True))
        return value == (list(default) if isinstance(default, tuple) else default)

    names = {name: _FORMER.get(name, name) for name in flat}
    return {
        name: value
        for name, value in flat.items()
        if names[name] not in known
        or (names[name] in used and used[names[name]][1].default is not None)
        or not is_default(names[name], value)
    }


def option(name: str) -> str:
    """Return how the command line spells a setting."""
    return f"--{name.replace('_', '-')}"


def arguments_of_python() -> Arguments:
    """Return the arguments of `foveal.train`, `check`, `evaluate`, `compare` and `Run`, each with words it takes."""
    from foveal.sources.formats import FORMATS
    from foveal.tasks.kinds import TASKS

    found = {name: frozenset(_words(field.annotation)) for name, (_, field) in all_settings().items()}
    return found | {"task": frozenset(TASKS), "format": frozenset(FORMATS)} | dict.fromkeys(_OF_FUNCTIONS, frozenset())


def _words(annotation: object) -> Iterator[str]:
    """Yield the texts among the values that a type allows."""
    for part in get_args(annotation):
        if isinstance(part, str):
            yield part
        else:
            yield from _words(part)


def all_settings() -> dict[str, tuple[str, FieldInfo]]:
    """Return (panel, field) of each setting of all kinds of run; one that several share is the first kind's."""
    fields: dict[str, tuple[str, FieldInfo]] = {}
    for kind in RUNS.values():
        for name, about in kind.settings.fields().items():
            fields.setdefault(name, about)
    return fields


def _panel(info: FieldInfo) -> type[Panel]:
    assert isinstance(info.annotation, type)
    assert issubclass(info.annotation, Panel)
    return info.annotation


def _no_setting(name: str, settings: type[RunSettings], task: object) -> InputError:
    """Return the error for a name that a kind of run does not know: that of another kind, or a misspelt one."""
    owners = [known for known, kind in RUNS.items() if name in kind.settings.fields()]
    if owners:
        where = " and ".join("tasks of images" if kind == IMAGES else f"--task {kind}" for kind in owners)
        what = "with tasks of images" if settings.kind == IMAGES else f"with --task {task}"
        return InputError(f"{option(name)} is not used {what}; it belongs to {where}.")
    return UnknownNameError.of("setting", name, all_settings())


def _problems(error: pydantic.ValidationError, fields: Mapping[str, tuple[str, FieldInfo]]) -> Iterator[str]:
    seen = set()
    for one in error.errors():
        name = str(one["loc"][1]) if len(one["loc"]) > 1 else str(one["loc"][0])
        if name in seen:  # a setting that may be two things has a problem with each
            continue
        seen.add(name)
        hint = ""
        if one["type"] == "value_error":  # our own words, from parsing.py
            yield str(one["ctx"]["error"]).rstrip(".")
            continue
        if one["type"] == "literal_error":
            hint = near_match(str(one["input"]), re.findall(r"'(.*?)'", str(one["ctx"]["expected"])))
        if one["type"] == "missing":
            yield f"{option(name)} is missing: {str(fields[name][1].description).rstrip('.')}"
        else:
            yield f"{option(name)} {one['input']}: {one['msg']}.{hint}".rstrip(".")
