"""What IPython adds to Python: lines for the shell, magics and questions, as Python with the same lines and columns."""

from __future__ import annotations

import ast
import contextlib
import re
import warnings
from dataclasses import dataclass

_SHELL = re.compile(r"^(\s*)(?:!|%)")
_TIMED = re.compile(r"^(\s*)(%(?:time|timeit|prun|memit)\b(?:\s+-\w+(?:\s+\d+)?)*\s*)(?=\S)")
_ASSIGNED = re.compile(r"^(\s*[\w, ]+=\s*)(?:!|%)(?!=)")
_QUESTION = re.compile(r"^(\s*)(?:\?{1,2}[\w.*]+|[\w.]+(?:\([^()]*\))?\?{1,2})\s*;?\s*$")
_AUTOMAGIC = re.compile(r"^(\s*)(?:pip3?|conda|mamba|apt|apt-get|cd|ls|mkdir|rm|cp|mv|pwd|cat|wget|git|kaggle|unzip)\b")
_CELL_MAGIC = re.compile(r"^\s*%%(\w+)")
_OF_PYTHON = {"time", "timeit", "capture", "prun", "memit", "snakeviz", "wandb"}
"""Cell magics whose cell is Python."""

_INSTALLS = re.compile(r"\b(?:pip3?|conda|mamba)\b[^&|;#]*\binstall\b[^&|;#]*")
_PACKAGE = re.compile(
    r"""(?<![\w/.-])["']?fast(?:ai2?|book|core|download|progress|transform)(?:\[\w+\])?"""
    r"""(?:[=<>~!]=?[\w.]+)*["']?(?![\w/-])"""
)


@dataclass(frozen=True, slots=True)
class PythonCell:
    """A cell as Python.

    Attributes:
        tree: its syntax; None where it is not Python.
        error: why not, or an empty text; a cell of another language has no error.
    """

    tree: ast.Module | None
    error: str


def parse_cell(source: str) -> PythonCell:
    """Return the syntax of a cell; positions in it are those of the cell.

    Args:
        source: as it stands in the notebook.
    """
    with contextlib.suppress(SyntaxError, ValueError):
        return _parsed(source)
    lines = source.split("\n")
    first = next((at for at, line in enumerate(lines) if line.strip()), 0)
    if match := _CELL_MAGIC.match(lines[first]):
        if match[1] not in _OF_PYTHON:
            return PythonCell(None, "")
        lines[first] = ""
    plain = _without_magics(lines)
    try:
        for _ in plain:
            if (mistake := _without_a_command(plain)) is not None:
                return PythonCell(None, mistake)
        return _parsed("\n".join(plain))
    except ValueError as error:  # of which SyntaxError is one
        return PythonCell(None, f"it is not Python: {error}")


def _parsed(source: str) -> PythonCell:
    """Return the syntax of Python; what is nested too deeply to be read has none, and no error."""
    try:
        return PythonCell(parse(source), "")
    except (RecursionError, MemoryError):
        return PythonCell(None, "")


def _without_a_command(plain: list[str]) -> str | None:
    """Take out the line that is not Python if it is a command such as `pip install x`.

    Returns:
        What is wrong with the line; None if it was a command, or there is no such line.
    """
    try:
        _parsed("\n".join(plain))
    except SyntaxError as error:
        at = (error.lineno or 1) - 1
        match = _AUTOMAGIC.match(plain[at]) if at < len(plain) else None
        if match is None:
            return f"line {at + 1} is not Python: {error.msg}"
        plain[at] = f"{match[1]}pass"
    return None


def parse(source: str) -> ast.Module:
    """Return the syntax of Python, without a word on escapes such as a backslash before a d."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return ast.parse(source)


def _without_magics(lines: list[str]) -> list[str]:
    """Return lines in which what is not Python does nothing; the columns of the rest stay."""
    plain = []
    continues = False
    for line in lines:
        if continues:
            plain.append("")
            continues = line.rstrip().endswith("\\")
            continue
        if match := _TIMED.match(line):
            plain.append(match[1] + "if 1:".ljust(len(match[2])) + line[match.end() :])
            continue
        if match := _SHELL.match(line):
            continues = line.rstrip().endswith("\\")
            plain.append(f"{match[1]}pass")
        elif match := _ASSIGNED.match(line):
            continues = line.rstrip().endswith("\\")
            plain.append(f"{match[1]}get_ipython()")
        elif match := _QUESTION.match(line):
            plain.append(f"{match[1]}pass")
        else:
            plain.append(line)
    return plain


def ported_installs(source: str) -> str:
    """Return a cell whose lines that install fastai install foveal."""
    lines = source.split("\n")
    for at, line in enumerate(lines):
        if not line.lstrip().startswith("#") and re.match(r"\s*(?:[!%]|pip3?\b|conda\b|mamba\b)", line):
            lines[at] = _INSTALLS.sub(_of_foveal, line)
    return "\n".join(lines)


def _of_foveal(match: re.Match[str]) -> str:
    """Return `pip install` of foveal in place of fastai and its libraries."""
    command, n = _PACKAGE.subn("foveal", match[0])
    if not n:
        return match[0]
    if re.match(r"(?:conda|mamba)\b", command):
        return "pip install foveal" + " " * command.endswith(" ")
    head, _, rest = command.partition("foveal")
    return head + "foveal" + re.sub(r"\s+foveal\b", "", rest)
