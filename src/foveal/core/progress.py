"""What a person sees during a run: a table that grows, and a bar.

In a notebook both are one display that is updated in place; on a terminal the bar clears when done; elsewhere (a log)
there are plain lines only.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from foveal.core import distributed

if TYPE_CHECKING:
    from rich.progress import Progress

_MIN_WIDTH = 9  # characters of a column, for numbers of six decimals
_SECONDS = 0.2  # between two drawings of a notebook's table; chosen by hand


def clock(seconds: float) -> str:
    """Return mm:ss.

    >>> clock(75.4)
    '01:15'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"


def say(line: str) -> None:
    """Print a line."""
    if distributed.is_first():
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def in_notebook() -> bool:
    """Return whether the process is the kernel of a notebook."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and hasattr(shell, "kernel")


@dataclass(slots=True)
class Table:
    """Lines of aligned columns, printed one by one, and a bar below them."""

    columns: Sequence[str]
    stream: TextIO | None = None
    _bar: Bar | None = field(default=None, init=False)

    def header(self) -> None:
        """Print the names."""
        self._line(self.columns)

    def row(self, cells: Sequence[str]) -> None:
        """Print one line."""
        self._line(cells)

    def begin(self, label: str, total: int) -> None:
        """Show a bar.

        Args:
            label: before the bar.
            total: how many steps it has.
        """
        self._bar = Bar(label, total).__enter__()

    def advance(self) -> None:
        """Move the bar on."""
        if self._bar is not None:
            self._bar.advance()

    def end(self) -> None:
        """Clear the bar."""
        if self._bar is not None:
            self._bar.__exit__()
            self._bar = None

    def _line(self, cells: Sequence[str]) -> None:
        widths = [max(len(name), _MIN_WIDTH) for name in self.columns]
        widths[0], widths[-1] = len(self.columns[0]), 5
        text = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        if distributed.is_first():
            print(text, file=self.stream or sys.stdout, flush=True)


class _Display(Protocol):
    """What IPython returns for something that it shows."""

    def update(self, obj: object) -> None:
        """Show something else in its place."""


class NotebookTable(Table):
    """The same in a notebook: one display of HTML, redrawn in place at most five times per second."""

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(columns)
        self._rows: list[Sequence[str]] = []
        self._label, self._done, self._total, self._drawn, self._began = "", 0, 0, 0.0, 0.0
        self._display: _Display | None = None

    def header(self) -> None:
        """Show an empty table."""
        self._draw()

    def row(self, cells: Sequence[str]) -> None:
        """Show one line more."""
        self._rows.append(cells)
        self._draw()

    def begin(self, label: str, total: int) -> None:
        """Show a bar below the table.

        Args:
            label: before the bar.
            total: how many steps it has.
        """
        self._label, self._done, self._total, self._began = label, 0, total, time.monotonic()
        self._draw()

    def advance(self) -> None:
        """Move the bar on."""
        self._done += 1
        if time.monotonic() - self._drawn >= _SECONDS:
            self._draw()

    def end(self) -> None:
        """Clear the bar."""
        self._total = 0
        self._draw()

    def _line(self, cells: Sequence[str]) -> None:
        del cells

    def _draw(self) -> None:
        ipython = importlib.import_module("IPython.display")
        if not self.columns and not self._total:
            self._show(ipython.HTML(""))
            return
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self._rows)
        bar = ""
        if self._total:
            bar = (
                f'<div>{escape(self._label)} <progress value="{self._done}" max="{self._total}"></progress> '
                f"{self._done}/{self._total}{self._left()}</div>"
            )
        rows = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if self.columns else ""
        self._show(ipython.HTML(rows + bar))

    def _show(self, html: object) -> None:
        """Show HTML in place of what was shown before."""
        self._drawn = time.monotonic()
        if self._display is None:
            self._display = importlib.import_module("IPython.display").display(html, display_id=True)
        else:
            self._display.update(html)

    def _left(self) -> str:
        """Return how long the steps that are left will take; nothing before the first one is done."""
        if not self._done:
            return ""
        each = (time.monotonic() - self._began) / self._done
        return f", {clock(each * (self._total - self._done))} left"


def table(columns: Sequence[str]) -> Table:
    """Return the table that suits where the process runs."""
    return NotebookTable(columns) if in_notebook() else Table(columns)


def display(value: object) -> None:
    """Show a value as a notebook does; print it elsewhere."""
    if in_notebook():
        ipython = importlib.import_module("IPython.display")
        ipython.display(value)
    else:
        print(value)  # noqa: T201 -- printing is what it is for


@dataclass(slots=True)
class Bar:
    """A bar that clears when done; shown on a terminal only. Where `total` is None, it only counts."""

    label: str
    total: int | None
    _progress: Progress | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        console = Console()
        if console.is_terminal and distributed.is_first():
            times = (TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn(compact=True))
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times)
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


@contextlib.contextmanager
def busy(doing: str) -> Iterator[None]:
    """Show in the block what is being done, in a line that clears when done; on a terminal only."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal or not distributed.is_first():
        yield
        return
    with console.status(doing, spinner="line"):
        yield
