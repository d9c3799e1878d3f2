"""The journal of a studio: every decision, a line each, on disk before it is answered for.

A line that a kill has cut short is the last one, was never answered for, and is dropped as the journal is opened.
Nothing in the file is ever changed: what is taken back is a further line that names the one it takes back.
"""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from foveal.core import storage
from foveal.core.errors import InputError

Kind = Literal["begin", "classes", "label", "left out", "right", "together", "back"]
VERSION = 1
_KEPT = frozenset({"begin", "classes", "back"})  # kinds that are not taken back


@dataclass(frozen=True, slots=True)
class Entry:
    """A decision.

    Attributes:
        number: of its line, from 0.
        kind: "begin": what is labelled, and the labels that were there; "classes": all classes from here on; "label":
            of one image, None for none; "left out": whether one is; "right": whether the label of one was looked at
            and found right; "together": that two images stay on one side of the split; "back": that the line of the
            number `value` is taken back.
        images: that it is about, by name.
        value: see `kind`.
        session: who decided.
        at: when, in UTC.
    """

    number: int
    kind: Kind
    images: tuple[str, ...]
    value: Any
    session: str
    at: str


class Journal:
    """An open journal, of which there is one at a time for a file."""

    def __init__(self, path: Path) -> None:
        """Open a journal, and drop a last line that was cut short; a file that is not there is begun with the first.

        Args:
            path: of the file.

        Raises:
            InputError: it is no journal, or of a later version; a line before the last cannot be read; another studio
                has it open.
        """
        self.path = path
        self.entries: list[Entry] = []
        self._taken_back = set[int]()
        self.written_ns = path.stat().st_mtime_ns if path.exists() else 0
        self._file = path.open("ab", buffering=0)
        try:
            self._n_bytes = self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> int:
        """Read all lines and drop what follows the last whole one.

        Returns:
            The number of bytes that are kept.

        Raises:
            InputError: another studio is open on the folder, or a line is not as a studio writes it.
        """
        if not storage.lock(self._file):
            raise InputError(f"Another studio is open on `{self.path.parent}`: use its page, or end it first.")
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines()):
            try:
                self._take(_entry_of(number, json.loads(line)))
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(
                    f"`{self.path}`, line {number + 1}, is not as a studio writes it ({error}). Put a copy in its "
                    "place, or move it away to begin anew; the labels that were written stay."
                ) from error
        if whole != len(content):
            self._file.truncate(whole)
        if not content:
            storage.sync(self.path.parent)  # a power cut could leave the file without its name
        return whole

    def add(self, kind: Kind, images: tuple[str, ...], value: Any, session: str) -> Entry:
        """Write a decision; it is on disk when this returns.

        Args:
            kind: see `Entry`.
            images: names of those that it is about.
            value: JSON, see `Entry`.
            session: who decided.

        Returns:
            The decision, with its number.

        Raises:
            OSError: it cannot be written; the journal is as before.
        """
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        stored = {"kind": kind, "images": images, "value": value, "session": session, "at": now}
        version = {"version": VERSION} if kind == "begin" else {}
        line = json.dumps(version | stored, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        entry = _entry_of(len(self.entries), json.loads(line))  # as it will be read again
        try:
            self._write(line)
        except OSError:
            self._file.truncate(self._n_bytes)
            raise
        self._n_bytes += len(line)
        self._take(entry)
        return entry

    def _take(self, entry: Entry) -> None:
        self.entries.append(entry)
        if entry.kind == "back":
            self._taken_back.add(entry.value)

    def _write(self, line: bytes) -> None:
        if self._file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        os.fsync(self._file.fileno())

    def standing(self) -> Iterator[Entry]:
        """Return an iterator over the decisions that were not taken back, in order."""
        return (one for one in self.entries if one.kind != "back" and one.number not in self._taken_back)

    def last_of(self, session: str) -> Entry | None:
        """Return the last decision of a session that can be taken back."""
        own = (one for one in reversed(self.entries) if one.session == session and one.number not in self._taken_back)
        return next((one for one in own if one.kind not in _KEPT), None)

    def close(self) -> None:
        """Close the file; one to which nothing was written is removed."""
        self._file.close()
        if not self.entries:
            self.path.unlink(missing_ok=True)


def _entry_of(number: int, stored: dict[str, Any]) -> Entry:
    if stored["kind"] not in get_args(Kind):
        raise ValueError(f"unknown kind {stored['kind']!r}")
    if stored.get("version", VERSION) != VERSION:
        raise ValueError(f"version {stored['version']}, and this foveal writes {VERSION}")
    images = tuple(map(str, stored["images"]))
    return Entry(number, stored["kind"], images, stored["value"], str(stored["session"]), str(stored["at"]))
