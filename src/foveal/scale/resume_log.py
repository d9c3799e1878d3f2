"""The resume log: one JSON line per predicted image, so that an interrupted command can continue.

The log lies beside the target. Its first line says which model answers. At the end the target is written from the other
lines, in order, and the images that could not be used are listed beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, Self, TypedDict

from foveal.core.errors import InputError
from foveal.core.tables import Row, write_table


class Counts(NamedTuple):
    """How many images were answered, and how many could not be used."""

    answered: int
    refused: int


class _Line(TypedDict):
    """A line of the log: an answer, or [name, reason] of an image that cannot be used."""

    row: NotRequired[Row]
    refused: NotRequired[tuple[str, str]]


_REFUSED = ("fname", "refused")


def log_of(target: Path) -> Path:
    """Return where the log of a target lies."""
    return target.with_name(f"{target.name}.partial")


class ResumeLog:
    """Rows on their way into a .csv, .jsonl or .parquet.

    Attributes:
        target: the file that is written at the end.
        path: of the log.
        refused_path: the table of the images that could not be used.
        done: how many images are in the log already.
    """

    def __init__(self, target: Path, by: str, *, resume: bool) -> None:
        """Begin a log, or open the one of an interrupted run.

        Args:
            target: the file that is written at the end.
            by: the hash of the model that answers; another one cannot continue.
            resume: continue where an earlier run stopped.

        Raises:
            InputError: there is nothing to resume, another model has begun it, it is damaged, or where refused images
                are listed lies something else.
        """
        self.target, self.path, self.done = target, log_of(target), 0
        self.refused_path = target.with_name(f"{target.stem}.refused.csv")
        _require_ours(self.refused_path)
        if resume:
            self.done = self._whole_lines(by) - 1
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps({"by": by}) + "\n", encoding="utf-8")
        self._file = self.path.open("a", encoding="utf-8", buffering=1)  # a line outlives the process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def names(self) -> Iterator[str]:
        """Return an iterator over the names of the images in the log, in order."""
        return (line["refused"][0] if "refused" in line else str(line["row"]["fname"]) for line in self._lines())

    def add(self, row: Row) -> None:
        """Append an answer."""
        self._file.write(json.dumps({"row": dict(row)}) + "\n")

    def refuse(self, name: str, reason: str) -> None:
        """Append an image that cannot be used.

        Args:
            name: of the image.
            reason: in words.
        """
        self._file.write(json.dumps({"refused": [name, reason]}) + "\n")

    def finish(self) -> Counts:
        """Write the target, and the table of images that could not be used; delete the log.

        Returns:
            How many images were answered, and how many refused.
        """
        self._file.close()
        n = write_table(self.target, (line["row"] for line in self._lines() if "row" in line))
        refused = (dict(zip(_REFUSED, line["refused"], strict=True)) for line in self._lines() if "refused" in line)
        n_refused = write_table(self.refused_path, refused)
        if not n_refused:
            self.refused_path.unlink()
        self.path.unlink()
        return Counts(n, n_refused)

    def _lines(self) -> Iterator[_Line]:
        with self.path.open(encoding="utf-8") as file:
            next(file)
            for number, line in enumerate(file, 2):
                yield _parsed(line, self.path, number)

    def _whole_lines(self, by: str) -> int:
        """Return the number of lines; one that was not written to its end is cut off.

        Raises:
            InputError: there is no log, it is empty, or it was begun with another model.
        """
        if not self.path.is_file():
            raise InputError(f"There is nothing to resume: no `{self.path}`. Leave out --resume.")
        n, end = 0, 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                if n == 0 and _parsed(line, self.path, 1) != {"by": by}:
                    raise InputError(f"`{self.path}` was begun with another model. Leave out --resume to begin anew.")
                n, end = n + 1, end + len(line)
        if n == 0:
            raise InputError(f"`{self.path}` holds nothing to resume. Leave out --resume.")
        with self.path.open("r+b") as file:
            file.truncate(end)
        return n


def _parsed(line: str | bytes, path: Path, number: int) -> Any:
    """Return a line of a log.

    Raises:
        InputError: it is damaged.
    """
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(f"`{path}` is damaged in line {number}. Leave out --resume to begin anew.") from error


def _require_ours(refused: Path) -> None:
    """Refuse to write over a file that is no list of refused images.

    Raises:
        InputError: it is something else.
    """
    try:
        with refused.open(encoding="utf-8", errors="replace") as file:
            head = file.readline().strip()
    except OSError:
        return
    if head != ",".join(_REFUSED):
        raise InputError(f"`{refused}` is in the way: images that cannot be used would be listed there. Move it.")
