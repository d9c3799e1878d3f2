"""Answers as they come, a JSON line an image, in a file beside the one asked for: an interrupted prediction goes on.

The first line says what answers. At the end the file asked for is written from the others, in order, and the images
that could not be used are listed beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from foveal.core.errors import InputError
from foveal.core.tables import write_table


class Counts(NamedTuple):
    """How many images were answered, and how many could not be used."""

    answered: int
    refused: int


class ResumeLog:
    """Rows on their way into a .csv, .jsonl or .parquet.

    Attributes:
        done: how many images stand in it already.
    """

    def __init__(self, target: Path, by: str, *, resume: bool) -> None:
        """Begin, or go on.

        Args:
            target: the file asked for.
            by: what answers; another one cannot go on.
            resume: go on where an earlier one stopped.

        Raises:
            InputError: there is nothing to go on with, or something else answered.
        """
        self.target, self.path, self.done = target, target.with_name(f"{target.name}.partial"), 0
        self.refused_path = target.with_name(f"{target.stem}.refused.csv")
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
        """Yield the images that stand in it, in order."""
        return (line["refused"][0] if "refused" in line else line["row"]["fname"] for line in self._lines())

    def add(self, row: Mapping[str, Any]) -> None:
        """Append an answer."""
        self._file.write(json.dumps({"row": dict(row)}) + "\n")

    def refuse(self, name: str, reason: str) -> None:
        """Append an image that cannot be used."""
        self._file.write(json.dumps({"refused": [name, reason]}) + "\n")

    def finish(self) -> Counts:
        """Write the file asked for, and the list of images that could not be used; the journal is gone then."""
        self._file.close()
        n = write_table(self.target, (line["row"] for line in self._lines() if "row" in line))
        bad = (
            dict(zip(("fname", "refused"), line["refused"], strict=True)) for line in self._lines() if "refused" in line
        )
        n_refused = write_table(self.refused_path, bad)
        if not n_refused:
            self.refused_path.unlink()
        self.path.unlink()
        return Counts(n, n_refused)

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                yield json.loads(line)

    def _whole_lines(self, by: str) -> int:
        """Count the lines, cutting off one that was not written to its end."""
        if not self.path.is_file():
            raise InputError(f"There is nothing to go on with: no `{self.path}`. Leave out --resume.")
        n, end = 0, 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                if n == 0 and json.loads(line) != {"by": by}:
                    raise InputError(f"`{self.path}` was begun with another model. Leave out --resume to begin anew.")
                n, end = n + 1, end + len(line)
        if n == 0:
            raise InputError(f"`{self.path}` holds nothing to go on with. Leave out --resume.")
        with self.path.open("r+b") as file:
            file.truncate(end)
        return n
