"""What a person sees while work goes on: a table that grows and a bar, plain lines where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

_MIN_WIDTH = 9


def clock(seconds: float) -> str:
    """Return mm:ss.

    >>> clock(75.4)
    '01:15'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@dataclass(slots=True)
class Table:
    """Lines of aligned columns, printed as they come."""

    columns: Sequence[str]
    stream: TextIO | None = None

    def header(self) -> None:
        """Print the names."""
        self._line(self.columns)

    def row(self, cells: Sequence[str]) -> None:
        """Print one line."""
        self._line(cells)

    def _line(self, cells: Sequence[str]) -> None:
        widths = [max(len(name), _MIN_WIDTH) for name in self.columns]
        widths[0], widths[-1] = len(self.columns[0]), 5
        text = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        print(text, file=self.stream or sys.stdout, flush=True)


@dataclass(slots=True)
class Bar:
    """A bar that clears when done; shown on a terminal only."""

    label: str
    total: int
    _progress: Progress | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console()
        if console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, console=console, transient=True)
            self._progress.start()
            self._progress.add_task(self.label, total=self.total)
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self, n: int = 1) -> None:
        """Move on by `n`."""
        if self._progress is not None:
            self._progress.advance(self._progress.task_ids[0], n)
