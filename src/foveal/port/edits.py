"""Changes of a cell's text at places that its syntax names."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

_Place = tuple[int, int]


@dataclass(slots=True)
class Edits:
    """Replacements in one cell, made together at the end; of two that overlap, the first one counts.

    Attributes:
        source: the cell's text.
    """

    source: str
    _made: list[tuple[_Place, _Place, str]] = field(default_factory=list)
    _lines_before: list[str] = field(default_factory=list)

    def replace(self, node: ast.expr | ast.stmt | ast.keyword, text: str) -> None:
        """Write `text` in place of a node."""
        end = (node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)
        self.replace_between((node.lineno, node.col_offset), end, text)

    def replace_between(self, start: _Place, end: _Place, text: str) -> None:
        """Write `text` between two places.

        Args:
            start: (line from 1, column in UTF-8 bytes from 0).
            end: where what is replaced ends.
            text: the new text.
        """
        if not any(start < there and here < end for here, there, _ in self._made):
            self._made.append((start, end, text))

    def between(self, start: _Place, end: _Place) -> str:
        """Return what stands between two places of a line.

        Args:
            start: see `replace_between`.
            end: see `replace_between`.
        """
        return self.source.split("\n")[start[0] - 1].encode()[start[1] : end[1]].decode(errors="replace")

    def remove_argument(self, node: ast.keyword) -> None:
        """Take an argument out of a call, with the comma before or after it."""
        lines = [line.encode() for line in self.source.split("\n")]
        row, column = node.lineno, node.col_offset
        last, end = node.end_lineno or row, node.end_col_offset or column
        before = lines[row - 1][:column]
        while row > 1 and not before.strip():
            row -= 1
            before = lines[row - 1]
        before = before.rstrip()
        if before.endswith(b","):
            self.replace_between((row, len(before) - 1), (last, end), "")
            return
        after = lines[last - 1][end:]
        comma = len(after) - len(after.lstrip().removeprefix(b",").lstrip()) if after.lstrip().startswith(b",") else 0
        self.replace_between((node.lineno, node.col_offset), (last, end + comma), "")

    def insert_line(self, line: str) -> None:
        """Write a line before the cell's code and after its first comments, once."""
        if line not in self._lines_before:
            self._lines_before.append(line)

    def text(self) -> str:
        """Return the cell with its changes."""
        lines = [line.encode() for line in self.source.split("\n")]
        for (row, column), (last, end), new in sorted(self._made, reverse=True):
            tail = lines[last - 1][end:]
            whole = lines[row - 1][:column] + new.encode() + tail
            lines[row - 1 : last] = [whole] if new or whole.strip() else []
        changed = [line.decode() for line in lines]
        if self._lines_before:
            first = (n for n, line in enumerate(changed) if line.strip() and not line.lstrip().startswith(("%%", "#")))
            at = next(first, len(changed))
            changed[at:at] = self._lines_before
        return "\n".join(changed)

    def shares_its_line(self, node: ast.stmt) -> bool:
        """Return whether another statement stands on a line of this one."""
        lines = self.source.split("\n")
        before = lines[node.lineno - 1].encode()[: node.col_offset].strip()
        after = lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset :].strip()
        return bool(before) or after.startswith(b";")
