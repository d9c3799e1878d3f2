"""Help that reads alike at 80 columns, in a wider terminal and in a pipe: options in groups, examples, a page.

The docstring of a verb holds all of it but the options: what it does, `Examples:`, and `More:` with the page of the
documentation that says more.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from typer.core import TyperCommand, TyperGroup

_WIDEST = 110  # columns; longer lines are hard to read
_NAMES_WIDE = 28  # columns of the names of options; text beside a longer one begins on the next line
_OTHER = "Other"


class Section(NamedTuple):
    """Some options of a verb.

    Attributes:
        title: of the group.
        rows: (names and what they take, what it does with its default).
    """

    title: str
    rows: list[tuple[str, str]]


class About(NamedTuple):
    """What a verb says of itself.

    Attributes:
        text: what it does.
        examples: lines of a shell.
        page: of the documentation, such as `docs/training.md`, or an empty text.
    """

    text: str
    examples: tuple[str, ...]
    page: str

    @classmethod
    def of(cls, docstring: str | None) -> About:
        """Return what a docstring holds.

        Args:
            docstring: with the sections `Examples:` and `More:`, or without.
        """
        text, _, rest = inspect.cleandoc(docstring or "").partition("\n\nExamples:\n")
        examples, _, page = rest.partition("\nMore:")
        lines = tuple(line.strip() for line in examples.splitlines() if line.strip())
        return cls(" ".join(text.split()), lines, page.strip())


class HelpfulCommand(TyperCommand):
    """A verb whose help is plain text."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help.

        Args:
            ctx: of the command.
            formatter: what it is written to.
        """
        _write_help(self, ctx, formatter, usage_of(self), ())


class HelpfulGroup(TyperGroup):
    """The program, whose help lists its verbs in groups."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help.

        Args:
            ctx: of the program.
            formatter: what it is written to.
        """
        verbs = (
            Section(title, [(name, About.of(self.commands[name].help).text) for name in names])
            for title, names in groups_of(self).items()
        )
        _write_help(self, ctx, formatter, "[OPTIONS] COMMAND ...", verbs)


def groups_of(program: Any) -> dict[str, list[str]]:
    """Return the names of a program's verbs by the title of their group.

    Args:
        program: with commands.
    """
    groups: dict[str, list[str]] = {}
    for name, command in program.commands.items():
        groups.setdefault(str(command.rich_help_panel or "Commands"), []).append(name)
    return groups


def sections_of(command: Any, ctx: Any) -> Iterator[Section]:
    """Yield what a verb takes, in groups: its arguments first, and last what every verb has.

    Args:
        command: the verb.
        ctx: of it.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    parameters = [one for one in command.get_params(ctx) if not getattr(one, "hidden", False)]
    is_plain = not any(getattr(one, "rich_help_panel", None) for one in parameters)
    for one in parameters:
        if one.param_type_name == "argument":
            title, words = "Arguments", _argument(one)
        else:
            usual = "Options" if is_plain or one.name != "help" else _OTHER
            title, words = str(getattr(one, "rich_help_panel", None) or usual), _option(one)
        found.setdefault(title, []).append((words, _text(one)))
    for title in sorted(found, key=lambda title: (title != "Arguments", title == _OTHER, title.startswith("With "))):
        yield Section(title, found[title])


def _write_help(command: Any, ctx: Any, formatter: Any, usage: str, listed: Iterable[Section]) -> None:
    """Write usage, text, what is listed, options, examples and the page."""
    about = About.of(command.help)
    formatter.width = min(_WIDEST, shutil.get_terminal_size().columns)
    formatter.write_usage(ctx.command_path, usage)
    formatter.write("\n")
    formatter.write_text(about.text)
    for section in (*listed, *sections_of(command, ctx)):
        with formatter.section(section.title):
            formatter.write_dl(section.rows, col_max=_NAMES_WIDE)
    if about.examples:
        with formatter.section("Examples"):
            for line in about.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
    if about.page:
        formatter.write(f"\nMore: {about.page}\n")


def usage_of(command: Any) -> str:
    """Return what stands behind the name of a verb: [OPTIONS] and its arguments.

    Args:
        command: the verb.
    """
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    words = (_argument(one) if one.required else f"[{_argument(one)}]" for one in arguments)
    return " ".join(("[OPTIONS]", *words))


def _argument(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper()).strip("[]{}").removesuffix("...")
    return f"{name} ..." if argument.nargs == -1 else name


def _option(option: Any) -> str:
    names = ", ".join(sorted(option.opts, key=len))
    if option.secondary_opts:
        return f"{names}, {', '.join(option.secondary_opts)}"
    return names if option.is_flag or option.count else f"{names} {option.metavar}"


def _text(parameter: Any) -> str:
    text, default = str(parameter.help or ""), parameter.default
    if parameter.param_type_name == "argument":
        return text
    if parameter.required:
        return f"{text} (required)"
    if parameter.secondary_opts and isinstance(default, bool):
        return f"{text} (default: {'yes' if default else 'no'})"
    has_default = default not in (None, "", (), [], False, ...) and not callable(default) and "(default:" not in text
    return f"{text} (default: {getattr(default, 'value', default)})" if has_default else text
