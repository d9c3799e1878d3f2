"""One message for two callers: what is an option of a command is an argument of Python, and each reads its own.

Messages are written with options, as a command has them. Within `as_options` they stay so; everybody else reads
`epochs` for --epochs, and `empty='none'` for --empty none. Whole commands stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from foveal.core.errors import FovealError

Arguments = Mapping[str, frozenset[str]]
"""The words that are values of an argument, by its name."""
_PARTS = re.compile(
    r"(?P<command>`foveal [^`]*`|\bfoveal [a-z]+ .*$)"
    r"|`--(?P<quoted>[a-z][a-z-]*)(?: (?P<value>[^`]+))?`"
    r"|--(?P<name>[a-z][a-z-]*)(?P<rest> (?P<word>'[^']*'|(?!--)[^\s,;:()]+))?",
    re.MULTILINE,
)
_IS_VALUE = re.compile(r"-?\d+(?:\.\d+)?|[A-Z]+(?:\.\.[A-Z]+)?|'[^']*'")  # a number, a place holder, a text
_ALWAYS = frozenset({"auto", "none"})  # are values of whatever option they follow
_commands = [False]


@contextmanager
def as_options() -> Iterator[None]:
    """Within the block, messages are for somebody who gave options to a command."""
    _commands.append(True)
    try:
        yield
    finally:
        _commands.pop()


def in_command() -> bool:
    """Return whether the caller gave options to a command."""
    return _commands[-1]


def spelled(text: str, arguments: Arguments) -> str:
    """Return a message in the words of the caller: with options, or with the arguments of these names.

    Examples:
        >>> known = {"epochs": frozenset(), "empty": frozenset({"none"})}
        >>> spelled("--epochs is not used by `foveal check`; say --empty none, or `--empty skip`.", known)
        "`epochs` is not used by `foveal check`; say `empty='none'`, or `empty='skip'`."
        >>> with as_options():
        ...     spelled("--epochs is not used.", known)
        '--epochs is not used.'
    """
    if in_command():
        return text

    def replaced(match: re.Match[str]) -> str:
        option = match["quoted"] or match["name"]
        name = (option or "").replace("-", "_")
        if match["command"] or name not in arguments:
            return match[0]
        if match["quoted"]:
            return f"`{name}`" if match["value"] is None else f"`{name}={_value(match['value'])}`"
        word = (match["word"] or "").rstrip(".")
        ending = (match["word"] or "")[len(word) :]
        is_given = match.string[match.end() :].startswith(": ")  # of a value that is refused
        if word and (is_given or word in _ALWAYS | arguments[name] or _IS_VALUE.fullmatch(word)):
            return f"`{name}={_value(word)}`{ending}"
        return f"`{name}`{match['rest'] or ''}"

    return _PARTS.sub(replaced, text)


def _value(word: str) -> str:
    """Return a value as Python has it: a number or a place holder as it is, all else as text."""
    return word if _IS_VALUE.fullmatch(word) else repr(word)


@contextmanager
def errors_spelled(arguments: Callable[[], Arguments]) -> Iterator[None]:
    """Let foveal's own errors leave the block in the words of the caller.

    Args:
        arguments: called where there is an error.

    Raises:
        FovealError: as it was raised, with another message.
    """
    try:
        yield
    except FovealError as error:
        error.args = (spelled(str(error), arguments()), *error.args[1:])
        raise
