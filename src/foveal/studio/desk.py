"""The desk of a studio: the images, what was decided about them, and which of them are labelled next.

All methods may be called from any thread. A decision is on disk before its method returns.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from foveal.core.errors import InputError, UnknownNameError
from foveal.studio.collection import (
    Collection,
    Label,
    Purpose,
    Shown,
    kinds,
    labels_by_name,
    sides_by_name,
)
from foveal.studio.journal import Entry, Journal
from foveal.studio.marks import Marks
from foveal.studio.writing import read_own

_HELD_SECONDS = 600.0  # for which an image is kept for the session that got it; chosen by hand


class Desk:
    """What all sessions decide on.

    Attributes:
        collection: images and their labels as they were opened.
        marks: what stands of all decisions.
        changed: is notified of every change; whoever reads several things that belong together holds it.
        version: raised by every change that a page may show.
        n_decided: raised by every change that may be learned from or written.
        decided_at: when the last decision was made, by `time.monotonic`.
        queue: positions of images to label next, the one that helps most first.
        refused: names of images that cannot be used, and why.
    """

    def __init__(self, collection: Collection, journal: Journal) -> None:
        """Take what the journal says, and begin it where the collection says what is labelled.

        Args:
            collection: images and their labels.
            journal: of the collection.

        Raises:
            InputError: the collection has labels of another kind than the journal.
        """
        self.collection, self._journal = collection, journal
        self._position = {one.name: at for at, one in enumerate(collection.images)}
        self.changed = threading.Condition(threading.RLock())
        self.marks = Marks.of(journal)
        self.version, self.n_decided, self.decided_at = 1, 0, 0.0
        self.queue: list[int] = []
        self.refused = dict[str, str]()
        self._held = dict[int, tuple[str, float]]()
        self._put_off = dict[int, None]()  # in the order in which they were put off
        self._resume()

    def _resume(self) -> None:
        purpose = self.collection.purpose
        if self.marks.purpose is None:
            if purpose is not None and (purpose.names or labels_by_name(self.collection.images)):
                self.begin(purpose.kind, purpose.names)
            return
        if purpose is not None and purpose.kind != self.marks.purpose.kind:
            raise InputError(
                f"`{self.collection.journal}` was begun for {self.marks.purpose.kind}, and `{self.collection.given}` "
                f"is read as {purpose.kind}: leave --task out, or move the journal away to begin anew."
            )
        self._take_outside_edits()

    def _take_outside_edits(self) -> None:
        """Take labels that were changed in the table since; where it is older than the journal, that is right."""
        purpose, target = self._purpose(), self.collection.target
        if not target.is_file() or target.stat().st_mtime_ns <= self._journal.written_ns:
            return
        own = self.collection.is_known
        found = read_own(target, purpose) if own else labels_by_name(self.collection.images)
        known = self.collection.purpose.names if self.collection.purpose is not None else ()
        further = {str(one) for label in found.values() for one in _classes(label) if not purpose.has_points}
        if (wider := purpose.with_names([*known, *sorted(further)])) != purpose:
            self._decide("classes", (), list(wider.names), "table")
        for name, label in found.items():
            is_back = own and name in self.marks.left_out  # its row was removed, and is there again
            differs = self.marks.labels.get(name) != label and name not in self.marks.left_out
            if name in self._position and (is_back or differs):
                self._decide("label", (name,), label, "table")
        for name in [*self.marks.labels] if own else ():
            if name in self._position and name not in found and name not in self.marks.left_out:
                self._decide("label", (name,), None, "table")  # its row was removed

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def begin(self, kind: str, names: Sequence[str]) -> None:
        """Say what is labelled.

        Args:
            kind: of the task, one of `kinds()`.
            names: of the classes or points.

        Raises:
            InputError: it was chosen before and something was decided since, or no name was given.
            UnknownNameError: there is no such kind.
        """
        if kind not in (known := kinds()):
            raise UnknownNameError.of("task", kind, known)
        with self.changed:
            if self.marks.purpose is not None and (self.has_decisions or self.marks.labels):
                raise InputError("What is labelled was chosen before, and images were labelled; a class can be added.")
            purpose = Purpose(kind, ()).with_names(names)
            purpose.task()
            labels = labels_by_name(self.collection.images)
            sides = sides_by_name(self.collection.images)
            value = {"kind": kind, "names": list(purpose.names), "labels": labels, "sides": sides}
            value["test"] = list(self.collection.test)
            self._decide("begin", (), value, "")

    def add_names(self, names: Sequence[str], session: str) -> None:
        """Add classes.

        Args:
            names: of the classes; those that are there are left as they are.
            session: who adds them.

        Raises:
            InputError: a name cannot be one, or these are points, whose number is fixed.
        """
        with self.changed:
            purpose = self._purpose()
            if purpose.has_points:
                raise InputError("Points are named before the first is set: each image has all of them.")
            known = purpose.with_names(names)
            if known != purpose:
                self._decide("classes", (), list(known.names), session)

    def remove_name(self, name: str, session: str) -> None:
        """Remove a class that no image has.

        Args:
            name: of the class.
            session: who removes it.

        Raises:
            InputError: an image has it, it is the only one, or these are points.
        """
        with self.changed:
            purpose = self._purpose()
            left = [one for one in purpose.names if one != name]
            has = (name in ([label] if isinstance(label, str) else label) for label in self.marks.labels.values())
            if purpose.has_points or not left or any(has):
                raise InputError(f"{name!r} stays: images have it, or it is the only class. Change their labels first.")
            if len(left) < len(purpose.names):
                self._decide("classes", (), left, session)

    def label(self, at: int, label: object, session: str) -> None:
        """Give an image a label, or none; one that was left out is taken in.

        Args:
            at: the image's position.
            label: from JSON; None takes the label away.
            session: who decides.

        Raises:
            InputError: it is no label.
        """
        with self.changed:
            checked = self._purpose().checked(label)
            self._decide("label", (self._shown(at).name,), checked, session)

    def leave_out(self, at: int, left_out: bool, session: str) -> None:
        """Leave an image out, or take it in again.

        Args:
            at: the image's position.
            left_out: whether it is left out.
            session: who decides.
        """
        self._decide("left out", (self._shown(at).name,), left_out, session)

    def confirm(self, at: int, session: str) -> None:
        """Say that the label of an image was looked at and is right.

        Args:
            at: the image's position.
            session: who decides.
        """
        self._decide("right", (self._shown(at).name,), True, session)

    def keep_together(self, at: int, other: int, session: str) -> None:
        """Say that two images show the same and both are kept, on one side of the split.

        Args:
            at: the position of one.
            other: the position of the other.
            session: who decides.
        """
        pair = sorted((self._shown(at).name, self._shown(other).name))
        self._decide("together", (pair[0], pair[1]), True, session)

    def take_back(self, session: str) -> Entry | None:
        """Take back the last decision of a session.

        Returns:
            The decision; None where the session has made none.
        """
        with self.changed:
            last = self._journal.last_of(session)
            if last is not None:
                self._journal.add("back", last.images, last.number, session)
                self.marks = Marks.of(self._journal)
                self._note_decision(last.images)
            return last

    def last_of(self, session: str) -> Entry | None:
        """Return the decision that `take_back` would take back."""
        with self.changed:
            return self._journal.last_of(session)

    def _decide(self, kind: Any, images: tuple[str, ...], value: Any, session: str) -> None:
        with self.changed:
            entry = self._journal.add(kind, images, value, session)
            self.marks.take(entry)
            self._note_decision(images)

    def _note_decision(self, images: Iterable[str]) -> None:
        for name in images:
            self._held.pop(self._position.get(name, -1), None)
        self.n_decided += 1
        self.decided_at = time.monotonic()
        self.bump()

    def bump(self) -> None:
        """Say that there is something new to show."""
        self.version += 1
        self.changed.notify_all()

    def _purpose(self) -> Purpose:
        if self.marks.purpose is None:
            raise InputError("Say first what is labelled: one class, several classes or points, and their names.")
        return self.marks.purpose

    def _shown(self, at: int) -> Shown:
        if not 0 <= at < len(self.collection.images):
            raise InputError(f"There are {len(self.collection.images):,} images; got number {at}.")
        return self.collection.images[at]

    def wait(self, version: int, seconds: float) -> None:
        """Wait until there is something newer than a version, or for a time.

        Args:
            version: that is known.
            seconds: at most.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.version != version, seconds)

    def position(self, at: int) -> int:
        """Return a number that is one of an image.

        Raises:
            InputError: it is not.
        """
        self._shown(at)
        return at

    def snapshot(self) -> Marks:
        """Return what stands now, which later decisions do not change."""
        with self.changed:
            return Marks.of(self._journal)

    @property
    def has_decisions(self) -> bool:
        """Whether anything was decided that the table does not say from before."""
        return any(entry.kind not in {"begin", "classes"} for entry in self._journal.entries)

    def label_of(self, at: int) -> Label | None:
        """Return the label of an image."""
        return self.marks.labels.get(self.collection.images[at].name)

    def positions(self, names: Iterable[str]) -> Iterator[int]:
        """Return an iterator over the positions of images that are there, by name."""
        return (self._position[name] for name in names if name in self._position)

    def next_for(self, session: str, k: int) -> list[int]:
        """Return the images that a session should label next, kept for it for ten minutes.

        Args:
            session: those that others are at are left out.
            k: how many.
        """
        with self.changed:
            now = time.monotonic()
            self._held = {at: held for at, held in self._held.items() if now - held[1] < _HELD_SECONDS}
            mine = [at for at, (holder, _) in self._held.items() if holder == session and self.is_free(at)]
            chosen = mine[:k]
            others = (at for at in chain(self.queue, self.spread()) if at not in self._put_off)
            for at in chain(others, self._put_off):
                if len(chosen) >= k:
                    break
                if at not in chosen and at not in self._held and self.is_free(at):
                    chosen.append(at)
                    self._held[at] = (session, now)
            return chosen

    def n_queued(self) -> int:
        """Return how many images of the queue no session has."""
        with self.changed:
            return sum(self.is_free(at) and at not in self._held for at in self.queue)

    def release(self, at: int, session: str) -> None:
        """Let others have an image, which the session does not want to label now; it comes last.

        Args:
            at: the image's position.
            session: that has it.
        """
        with self.changed:
            if self._held.get(at, ("", 0.0))[0] == session:
                del self._held[at]
                self._put_off[at] = None

    def is_free(self, at: int) -> bool:
        """Return whether an image can be labelled and is not yet."""
        name = self.collection.images[at].name
        return name not in self.marks.labels and name not in self.marks.left_out and name not in self.refused

    def spread(self) -> Iterator[int]:
        """Return an iterator over all images, spread over their order, for before anything can be chosen."""
        n = len(self.collection.images)
        step = max(1, int(n * 0.618))  # the golden section, so that any beginning is spread evenly
        while math.gcd(step, n) > 1:
            step += 1
        return ((number * step) % n for number in range(n))

    def positions_of_labels(self) -> dict[int, Label]:
        """Return the labels that are learned from, by position."""
        with self.changed:
            left_out = self.marks.left_out
            stands = ((name, label) for name, label in self.marks.labels.items() if name not in left_out)
            return {self._position[name]: label for name, label in stands if name in self._position}

    def is_held(self, at: int) -> bool:
        """Return whether a session is at an image."""
        return at in self._held


def _classes(label: Label | None) -> Iterable[object]:
    return () if label is None else (label,) if isinstance(label, str) else label
