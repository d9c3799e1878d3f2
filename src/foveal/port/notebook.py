"""`port`: a fastai notebook read without being run, a verdict for each cell, and the copy."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foveal.core.errors import InputError
from foveal.port.document import Cell, Document, read_document
from foveal.port.shell import PythonCell, parse_cell, ported_installs
from foveal.port.state import Finding, State
from foveal.port.statements import Statements, stored_names
from foveal.port.surface import Surface

Verdict = Literal["runs", "changed", "not in foveal", "needs"]
_MARK = "# foveal port: "


@dataclass(frozen=True, slots=True)
class CellVerdict:
    """What becomes of one cell.

    Attributes:
        number: see `Cell`.
        first_line: its first line of code.
        verdict: it runs, runs as it was changed in the copy, holds what foveal lacks, or needs a cell that does.
        needs: numbers of the cells that it needs and that do not run.
        reasons: what was changed, what is lacking and what to write instead, or what is needed.
        source: its text in the copy.
    """

    number: int
    first_line: str
    verdict: Verdict
    needs: tuple[int, ...]
    reasons: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Ported:
    """What became of a notebook.

    Attributes:
        path: the notebook.
        to: the copy.
        unit: what the numbers of cells count: `cell`, or in a script `line`.
        cells: the verdict for each.
    """

    path: Path
    to: Path
    unit: str
    cells: tuple[CellVerdict, ...]

    @property
    def runs(self) -> bool:
        """Whether nothing in it is known not to run."""
        return all(cell.verdict in {"runs", "changed"} for cell in self.cells)

    @property
    def counts(self) -> dict[str, int]:
        """Cells per verdict."""
        return dict(Counter(cell.verdict for cell in self.cells))


def port(path: str | os.PathLike[str], to: str | os.PathLike[str] | None = None) -> Ported:
    """Write a copy of a fastai notebook or script for foveal; nothing is run.

    Args:
        path: of the .ipynb or .py.
        to: the copy; `NAME-foveal.ipynb` beside it by default. An older copy is replaced.

    Returns:
        Both paths, and for each cell whether it runs.

    Raises:
        InputError: the file cannot be read, or is the copy itself.
    """
    document = read_document(Path(path))
    source = document.path
    target = Path(to) if to is not None else source.with_name(f"{source.stem}-foveal{source.suffix}")
    if target.exists() and target.samefile(source):
        raise InputError(f"{target} is the notebook itself: give the copy another name.")
    if target.suffix.lower() != source.suffix.lower():
        raise InputError(f"{target} must end in {source.suffix}, as {source} does.")
    verdicts = tuple(_verdicts(document))
    document.write(target, {cell.number: cell.source for cell in verdicts})
    return Ported(source, target, document.unit, verdicts)


def _verdicts(document: Document) -> Iterator[CellVerdict]:
    """Yield the verdict for each cell, in order."""
    parsed = [parse_cell(cell.source) for cell in document.cells]
    trees = [one.tree for one in parsed if one.tree is not None]
    defined = frozenset(name for tree in trees for name in stored_names(tree.body))
    state = State(Surface(), document.unit, defined)
    for cell, python in zip(document.cells, parsed, strict=True):
        if not cell.source.strip():
            continue
        yield _verdict(cell, python, state)


def _verdict(cell: Cell, python: PythonCell, state: State) -> CellVerdict:
    """Return what becomes of a cell, and add what it makes to what is known."""
    installs = ported_installs(cell.source)
    reader = Statements(state, cell.number, installs)
    if installs != cell.source:
        reader.note("changed", "foveal is installed")
    if python.tree is not None:
        with contextlib.suppress(RecursionError):  # what is nested so deeply is left as it is
            reader.read_cell(python.tree)
    elif python.error:
        reader.note("refused", python.error)
    findings = list(dict.fromkeys(one for one in reader.findings if one.kind != "needs" or one.cell != cell.number))
    lacking = [one for one in findings if one.kind == "refused"]
    needed = [one for one in findings if one.kind == "needs"]
    changed = [one for one in findings if one.kind == "changed"]
    for note in _notes(changed, lacking):
        reader.edits.insert_line(note)
    verdict: Verdict = "runs"
    if lacking:
        verdict = "not in foveal"
    elif needed:
        verdict = "needs"
    elif changed:
        verdict = "changed"
    reasons = tuple(one.text for one in (*lacking, *needed, *changed))
    numbers = tuple(sorted({one.cell for one in needed}))
    return CellVerdict(cell.number, _first_line(cell.source), verdict, numbers, reasons, reader.edits.text())


def _notes(changed: list[Finding], lacking: list[Finding]) -> Iterator[str]:
    """Yield the comments that stand in the copy: what was changed, and what foveal lacks."""
    texts = [one.text.rstrip(".") for one in changed if not one.text.startswith("`import ")]
    texts = [text for text in texts if not text.startswith("`from ")]
    if texts:
        yield f"{_MARK}changed: {'; '.join(texts)}"
    for finding in lacking:
        yield f"{_MARK}{finding.text}"


def _first_line(source: str) -> str:
    """Return the first line of a cell that is no comment, or its first line."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("#")), lines[0] if lines else "")
