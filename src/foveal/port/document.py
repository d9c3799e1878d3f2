"""Notebooks and scripts as cells of code, and copies of them with other code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foveal.core.errors import InputError
from foveal.port.shell import parse

_MAX_BYTES = 200 << 20
"""A larger file is no notebook that people wrote, but one with films in its outputs."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Code that runs together: a cell of a notebook, or a statement of a script with the lines before it.

    Attributes:
        number: of the cell among all cells, from 1; in a script, the line at which the statement begins.
        source: its text.
    """

    number: int
    source: str


@dataclass(frozen=True, slots=True)
class Document:
    """What is ported.

    Attributes:
        path: where it lies.
        cells: its code, in order.
        content: a notebook's whole content; None of a script.
    """

    path: Path
    cells: tuple[Cell, ...]
    content: dict[str, object] | None

    @property
    def unit(self) -> str:
        """What the numbers count: `cell` or `line`."""
        return "line" if self.content is None else "cell"

    def write(self, to: Path, sources: Mapping[int, str]) -> None:
        """Write a copy, whole or not at all; outputs are left out, as they are those of another library.

        Args:
            to: where.
            sources: the text of each cell of code, by number.
        """
        from foveal.core import storage  # it loads torch

        if self.content is None:
            storage.write_text(to, "".join(sources[cell.number] for cell in self.cells))
            return
        cells = []
        stored = self.content["cells"]
        assert isinstance(stored, list)
        for number, cell in enumerate(stored, 1):
            if number not in sources:
                cells.append(cell)
                continue
            text = sources[number]
            source = text if isinstance(cell.get("source"), str) else text.splitlines(keepends=True)
            cells.append({**cell, "source": source, "outputs": [], "execution_count": None})
        copy = {**self.content, "cells": cells}
        storage.write_text(to, json.dumps(copy, ensure_ascii=False, indent=1) + "\n")


def read_document(path: Path) -> Document:
    """Return a notebook (.ipynb) or a script (.py) in its cells or statements; nothing in it is run.

    Args:
        path: of the file.

    Raises:
        InputError: it does not exist, or is neither.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    if path.suffix.lower() not in {".ipynb", ".py"}:
        raise InputError(f"{path} is neither a notebook (.ipynb) nor a script (.py).")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path} is larger than {_MAX_BYTES >> 20} MiB: clear its outputs first.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    if path.suffix.lower() == ".py":
        return Document(path, _statements(path, text), None)
    return _notebook(path, text)


def _notebook(path: Path, text: str) -> Document:
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} is no notebook: it is not JSON ({error}).") from error
    if isinstance(content, dict) and "worksheets" in content:
        raise InputError(
            f"{path} is a notebook of format {content.get('nbformat')}. Write it in format 4 first: "
            f"jupyter nbconvert --to notebook --nbformat 4 {path.name}"
        )
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise InputError(f"{path} is no notebook: it has no list `cells`.")
    cells = []
    for number, cell in enumerate(content["cells"], 1):
        if not isinstance(cell, dict):
            raise InputError(f"{path} is no notebook: its cell {number} is not an object.")
        if cell.get("cell_type") == "code":
            cells.append(Cell(number, _joined(path, number, cell.get("source", ""))))
    return Document(path, tuple(cells), content)


def _joined(path: Path, number: int, source: object) -> str:
    """Return the text of a cell, which is stored as one text or as its lines.

    Raises:
        InputError: it is neither.
    """
    lines = [source] if isinstance(source, str) else source
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise InputError(f"{path} is no notebook: the source of its cell {number} is not text.")
    return "".join(lines)


def _statements(path: Path, text: str) -> tuple[Cell, ...]:
    """Return the statements of a script, each with the comments and blank lines before it.

    Raises:
        InputError: the script is not valid Python.
    """
    try:
        body = parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path} is not Python that can be read: {error}.") from error
    lines = text.splitlines(keepends=True)
    starts, last = list[int](), 0
    for statement in body:
        decorators = getattr(statement, "decorator_list", [])
        first = min([statement.lineno, *(one.lineno for one in decorators)])
        if first > last:  # `a; b` is one
            starts.append(first)
        last = max(last, statement.end_lineno or first)
    ends = [start - 1 for start in starts[1:]] + [len(lines)]
    begins = [0, *ends[:-1]]
    pieces = zip(starts, begins, ends, strict=True)
    return tuple(Cell(start, "".join(lines[begin:end])) for start, begin, end in pieces)
