"""The desk of a studio: the images, what was decided about them, and a thread that learns from it.

All methods may be called from any thread. A decision is on disk before its method returns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from foveal.core.errors import InputError, UnknownNameError
from foveal.evaluation.bank import look
from foveal.inference.predictor import Predictor
from foveal.runs.folder import free_folder
from foveal.runs.image_settings import ImageRun
from foveal.studio.collection import (
    LABELLED,
    TABLE,
    Collection,
    Label,
    Purpose,
    Shown,
    journal_of,
    labels_by_name,
    open_collection,
    opened_again,
    sides_by_name,
)
from foveal.studio.copies import Found, search
from foveal.studio.journal import Entry, Journal
from foveal.studio.learning import Answers, Score, Taught, learn, next_images, score
from foveal.studio.marks import Marks
from foveal.studio.training import TrainingRun
from foveal.studio.writing import (
    Written,
    is_plain,
    read_own,
    training_options,
    write_for_training,
    write_marks,
)

_LOOK_AT_ONCE = 128  # images that are looked at between two chances to learn
_QUEUE = 20  # images that are chosen at once: 0.4 s at 5,000 images
_FEW_LEFT = 5  # in the queue, from which on more are chosen
_HELD_SECONDS = 600.0  # for which an image is kept for the session that got it; chosen by hand
_QUIET_SECONDS = 0.5  # without a decision, after which the score is worked out
_WRITE_SECONDS = 5.0  # between two writings of the table, which takes 0.3 s for 100,000 rows
_GROWN = 1.1  # times as many labels, after which what more would bring is worked out anew


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the looking at images is.

    Attributes:
        done: images that were looked at.
        refused: images that cannot be used, by name, and why.
    """

    done: int
    refused: dict[str, str]


class Desk:
    """What the pages of all sessions work on."""

    def __init__(self, collection: Collection, journal: Journal, predictor: Predictor) -> None:
        """Take what the journal says, and begin it where the collection says what is labelled.

        Args:
            collection: images and their labels.
            journal: of the collection.
            predictor: a backbone that looks at the images.

        Raises:
            InputError: the journal cannot be read, or the collection has labels of another kind than the journal.
        """
        self.collection, self._predictor = collection, predictor
        self._position = {one.name: at for at, one in enumerate(collection.images)}
        self._sides = [one.is_valid for one in collection.images]
        self._changed = threading.Condition(threading.RLock())
        self._journal = journal
        self.marks = Marks.of(self._journal)
        self.version, self._n_decided, self._decided_at = 1, 0, 0.0
        self._features: Tensor | None = None
        self._looked = torch.zeros(len(collection.images), dtype=torch.bool)
        self._refused = dict[str, str]()
        self.answers: Answers | None = None
        self.score: Score | None = None
        self.written: Written | None = None
        self._queue: list[int] = []
        self._held = dict[int, tuple[str, float]]()
        self.copies: Found | None = None
        self.copies_state, self.copies_done = "not looked for", 0.0
        self.training: TrainingRun | None = None
        self._is_ending, self._threads = False, list[threading.Thread]()
        self.failure = ""
        self._resume()

    def _resume(self) -> None:
        purpose = self.collection.purpose
        if self.marks.purpose is None:
            if purpose is not None and (purpose.names or labels_by_name(self.collection.images)):
                self.begin(purpose.kind, purpose.names)
            return
        if purpose is not None and purpose.kind != self.marks.purpose.kind:
            raise InputError(
                f"`{self.collection.journal}` was begun for {self.marks.purpose.kind}, and `{self.collection.given}` is "
                f"read as {purpose.kind}: leave --task out, or move the journal away to begin anew."
            )
        self._take_outside_edits()

    def _take_outside_edits(self) -> None:
        """Take labels that were changed in the table since; where it is older than the journal, the journal is right."""
        purpose, target = self._purpose(), self.collection.target
        if not target.is_file() or target.stat().st_mtime_ns <= self._journal.written_ns:
            return
        own = self.collection.is_known
        found = read_own(target, purpose) if own else labels_by_name(self.collection.images)
        known = self.collection.purpose.names if self.collection.purpose is not None else ()
        further = {str(one) for label in found.values() for one in _classes(label) if purpose.kind != "points"}
        if (wider := purpose.with_names([*known, *sorted(further)])) != purpose:
            self._decide("classes", (), list(wider.names), "table")
        for name, label in found.items():
            if name in self._position and self.marks.labels.get(name) != label and name not in self.marks.left_out:
                self._decide("label", (name,), label, "table")

    def start(self) -> None:
        """Begin to look at images, to learn and to write."""
        work = (self._look_at_all, self._learn_on, self._write_on)
        self._threads = [threading.Thread(target=self._guarded, args=(one,), daemon=True) for one in work]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Write the table, and end."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        if self.training is not None:
            self.training.stop()
        self._write()
        self._journal.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            with self._changed:
                self.failure = f"{type(error).__name__}: {error}"
                self._bump()
            raise

    # Decisions

    def begin(self, kind: str, names: Sequence[str]) -> None:
        """Say what is labelled.

        Args:
            kind: of the task, one of `LABELLED`.
            names: of the classes or points.

        Raises:
            InputError: it was said before, or there is no name.
            UnknownNameError: there is no such kind.
        """
        if kind not in LABELLED:
            raise UnknownNameError.of("task", kind, LABELLED)
        with self._changed:
            if self.marks.purpose is not None:
                raise InputError("It was said before what is labelled.")
            purpose = Purpose(kind, ()).with_names(names)
            purpose.task()
            labels = labels_by_name(self.collection.images)
            sides = sides_by_name(self.collection.images)
            value = {"kind": kind, "names": list(purpose.names), "labels": labels, "sides": sides}
            self._decide("begin", (), value, "")

    def add_names(self, names: Sequence[str], session: str) -> None:
        """Add classes.

        Raises:
            InputError: a name is none, or these are points, whose number is fixed.
        """
        with self._changed:
            purpose = self._purpose()
            if purpose.kind == "points":
                raise InputError("Points are named before the first is set: each image has all of them.")
            known = purpose.with_names(names)
            if known != purpose:
                self._decide("classes", (), list(known.names), session)

    def label(self, at: int, label: object, session: str) -> None:
        """Give an image a label, or none (None).

        Raises:
            InputError: it is no label.
        """
        with self._changed:
            checked = self._purpose().checked(label)
            self._decide("label", (self._shown(at).name,), checked, session)

    def leave_out(self, at: int, left_out: bool, session: str) -> None:
        """Leave an image out, or take it in again."""
        self._decide("left out", (self._shown(at).name,), left_out, session)

    def confirm(self, at: int, session: str) -> None:
        """Say that the label of an image was looked at and is right."""
        self._decide("right", (self._shown(at).name,), True, session)

    def keep_together(self, at: int, other: int, session: str) -> None:
        """Say that two images show the same and both are kept, on one side of the split."""
        pair = sorted((self._shown(at).name, self._shown(other).name))
        self._decide("together", (pair[0], pair[1]), True, session)

    def take_back(self, session: str) -> Entry | None:
        """Take back the last decision of a session; return it, None where there is none."""
        with self._changed:
            last = self._journal.last_of(session)
            if last is not None:
                self._journal.add("back", last.images, last.number, session)
                self.marks = Marks.of(self._journal)
                self._note_decision(last.images)
            return last

    def last_of(self, session: str) -> Entry | None:
        """Return the decision that `take_back` would take back."""
        with self._changed:
            return self._journal.last_of(session)

    def _decide(self, kind: Any, images: tuple[str, ...], value: Any, session: str) -> None:
        with self._changed:
            entry = self._journal.add(kind, images, value, session)
            self.marks.take(entry)
            self._note_decision(images)

    def _note_decision(self, images: Iterable[str]) -> None:
        for name in images:
            self._held.pop(self._position.get(name, -1), None)
        self._n_decided += 1
        self._decided_at = time.monotonic()
        self._bump()

    def _bump(self) -> None:
        self.version += 1
        self._changed.notify_all()

    def _purpose(self) -> Purpose:
        if self.marks.purpose is None:
            raise InputError("Say first what is labelled: one class, several classes or points, and their names.")
        return self.marks.purpose

    def _shown(self, at: int) -> Shown:
        if not 0 <= at < len(self.collection.images):
            raise InputError(f"There are {len(self.collection.images):,} images; got number {at}.")
        return self.collection.images[at]

    # What is asked

    def wait(self, version: int, seconds: float) -> None:
        """Wait until there is something newer than a version, or for a time."""
        with self._changed:
            self._changed.wait_for(lambda: self.version != version or self._is_ending, seconds)

    def looking(self) -> Progress:
        """Return how far the looking at images is."""
        with self._changed:
            return Progress(int(self._looked.sum()), dict(self._refused))

    def position(self, at: int) -> int:
        """Return a number that is one of an image.

        Raises:
            InputError: it is not.
        """
        self._shown(at)
        return at

    def snapshot(self) -> Marks:
        """Return what stands now, which later decisions do not change."""
        with self._changed:
            return Marks.of(self._journal)

    def example_of(self, at: int, suggested: str, given: str) -> dict[str, object] | None:
        """Return the labelled image most like another that has a class, or where none is suggested lacks the given one.

        Args:
            at: the other.
            suggested: the class; empty for none.
            given: the class that is in question.
        """
        with self._changed:
            labels, features = dict(self.marks.labels), self._features
        if features is None:
            return None
        own, named = self.collection.images[at].name, list[int]()
        for name, label in labels.items():
            there = [label] if isinstance(label, str) else [str(one) for one in label]
            fits = suggested in there if suggested else given not in there
            if fits and name != own and (other := self._position.get(name)) is not None and self._looked[other]:
                named.append(other)
        if not named:
            return None
        rows = normalize(features[named].float(), dim=1)
        best = named[int((rows @ normalize(features[at].float(), dim=0)).argmax())]
        return {
            "image": best,
            "name": self.collection.images[best].name,
            "label": labels[self.collection.images[best].name],
        }

    def points_of(self, at: int) -> list[tuple[float, float]] | None:
        """Return where the points of an image should be, in source pixels; None before that is learned."""
        return None

    def look_for_copies(self) -> None:
        """Begin to look for copies among the images that were looked at."""
        with self._changed:
            if self.copies_state == "looking":
                return
            self.copies_state, self.copies_done = "looking", 0.0
            self._changed.notify_all()
        thread = threading.Thread(target=self._guarded, args=(self._search,), daemon=True)
        thread.start()

    def _search(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_ending or self._n_seen() == len(self.collection.images))
            if self._is_ending:
                return
            features, looked = self._features, self._looked.nonzero()[:, 0].tolist()

        def advance(share: float) -> None:
            self.copies_done = share
            if self._is_ending:
                raise SystemExit

        if features is not None:
            found = search(self.collection.images, features, looked, advance)
            with self._changed:
                self.copies, self.copies_state = found, "found"
                self._bump()

    def _n_seen(self) -> int:
        return int(self._looked.sum()) + len(self._refused)

    def train(self) -> TrainingRun:
        """Begin to train fully on the labels so far; return the run, which may be one at work already.

        Raises:
            InputError: nothing is labelled.
        """
        with self._changed:
            if self.training is not None and self.training.is_at_work:
                return self.training
            marks = self.snapshot()
            if not marks.labels:
                raise InputError("Nothing is labelled yet.")
            table = write_for_training(self.collection, marks)
            options = training_options(self.collection, marks)
            folder = free_folder(None, self.collection.given.stem).absolute()
            self.training = TrainingRun.start(table, self.collection.root, options, folder)
            return self.training

    def label_of(self, at: int) -> Label | None:
        """Return the label of an image."""
        return self.marks.labels.get(self.collection.images[at].name)

    def positions(self, names: Iterable[str]) -> Iterator[int]:
        """Yield the positions of images that are there, by name."""
        return (self._position[name] for name in names if name in self._position)

    def next_for(self, session: str, k: int) -> list[int]:
        """Return the images that a session should label next, kept for it for ten minutes.

        Args:
            session: those that others are at are left out.
            k: how many.
        """
        with self._changed:
            now = time.monotonic()
            self._held = {at: held for at, held in self._held.items() if now - held[1] < _HELD_SECONDS}
            mine = [at for at, (holder, _) in self._held.items() if holder == session and self._is_free(at)]
            chosen = mine[:k]
            for at in (*self._queue, *self._spread()):
                if len(chosen) >= k:
                    break
                if at not in chosen and at not in self._held and self._is_free(at):
                    chosen.append(at)
                    self._held[at] = (session, now)
            if sum(self._is_free(at) and at not in self._held for at in self._queue) < _FEW_LEFT:
                self._changed.notify_all()
            return chosen

    def release(self, at: int, session: str) -> None:
        """Let others have an image, which the session does not want to label now; it comes last."""
        with self._changed:
            if self._held.get(at, ("", 0.0))[0] == session:
                self._held[at] = ("", time.monotonic())

    def _is_free(self, at: int) -> bool:
        name = self.collection.images[at].name
        return name not in self.marks.labels and name not in self.marks.left_out and name not in self._refused

    def _spread(self) -> Iterator[int]:
        """Yield all images, spread over their order, for before anything can be chosen."""
        n = len(self.collection.images)
        step = max(1, int(n * 0.618))
        while n > 1 and torch.gcd(torch.tensor(step), torch.tensor(n)) > 1:
            step += 1
        return ((number * step) % n for number in range(n))

    # Work in threads

    def _look_at_all(self) -> None:
        images = self.collection.images
        order = list(self._spread()) if not self.marks.labels else list(range(len(images)))
        for start in range(0, len(order), _LOOK_AT_ONCE):
            if self._is_ending:
                return
            part = order[start : start + _LOOK_AT_ONCE]
            try:
                bank = look(self._predictor, [images[at].file for at in part])
            except InputError as error:  # none of them
                with self._changed:
                    self._refused |= {images[at].name: str(error) for at in part}
                    self._bump()
                continue
            refused = {one.name: one.error.reason for one in bank.refused}
            there = [at for at in part if str(images[at].file) not in refused]
            with self._changed:
                if self._features is None:
                    self._features = torch.full((len(images), bank.features.shape[1]), torch.nan, dtype=torch.float16)
                self._features[there] = bank.features.half()
                self._looked[there] = True
                self._refused |= {
                    images[at].name: refused[str(images[at].file)] for at in part if str(images[at].file) in refused
                }
                self._n_decided += 1
                self._bump()

    def _learn_on(self) -> None:
        learned = scored = n_scored = 0
        gain_at = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_ending or self._n_decided != learned or scored != learned, 1.0)
                if self._is_ending:
                    return
                quiet = time.monotonic() - self._decided_at >= _QUIET_SECONDS
                now, features = self._n_decided, self._features
                taught = self._taught() if features is not None else None
            if features is None:
                learned = now
                continue
            if now != learned:
                answers = learn(features, taught) if taught is not None else None
                with self._changed:
                    self.answers, learned = answers, now
                    self._bump()
                self._choose(features, answers)
            elif scored != learned and not quiet:
                time.sleep(0.05)
            elif scored != learned:
                scored, answers = learned, self.answers
                if answers is not None:
                    n_scored = len(answers.taught.at)
                    anew = n_scored >= gain_at * _GROWN
                    gain_at = n_scored if anew else gain_at
                    before = self.score.gain if self.score is not None else None
                    found = score(features, answers, gain=before, with_gain=anew)
                    with self._changed:
                        self.score = found
                        self._bump()

    def _taught(self) -> Taught | None:
        purpose = self.marks.purpose
        if purpose is None or purpose.kind == "points" or not purpose.names:
            return None
        left_out = self.marks.left_out
        known = {
            self._position[name]: label
            for name, label in self.marks.labels.items()
            if name in self._position and name not in left_out
        }
        return Taught.of(purpose, {at: label for at, label in known.items() if self._looked[at]}, self._sides)

    def _choose(self, features: Tensor, answers: Answers | None) -> None:
        with self._changed:
            looked = self._looked.nonzero()[:, 0].tolist()
            free = [at for at in looked if self._is_free(at) and self._sides[at] is not True and at not in self._held]
            labelled = [at for at in looked if self.collection.images[at].name in self.marks.labels]
        if not free:
            return
        chosen = next_images(features, answers, free, labelled, _QUEUE)
        with self._changed:
            self._queue = chosen
            self._bump()

    def _write_on(self) -> None:
        written = self._n_decided
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_ending or self._n_decided != written, 60.0)
                if self._is_ending:
                    return
                now = self._n_decided
            if now != written:
                self._write()
                written = now
                with self._changed:
                    self._changed.wait_for(lambda: self._is_ending, _WRITE_SECONDS)

    def _write(self) -> None:
        with self._changed:
            if self.marks.purpose is None or not self._journal.entries[1:]:
                return
            marks = Marks.of(self._journal)
        self.written = write_marks(self.collection, marks)


def open_desk(settings: ImageRun, predictor: Predictor) -> Desk:
    """Open a studio on what the settings name.

    Args:
        settings: name a folder or a table.
        predictor: a backbone that looks at the images.

    Raises:
        InputError: it cannot be read, or another studio is open on it.
    """
    given = settings.data.table.absolute()
    journal = Journal(journal_of(given))
    if given.is_dir() and journal.entries and is_plain(given / TABLE, Marks.of(journal).purpose):
        return Desk(opened_again(given, journal.entries[0].value), journal, predictor)
    return Desk(open_collection(settings), journal, predictor)


def _classes(label: Label | None) -> Iterable[object]:
    return () if label is None else (label,) if isinstance(label, str) else label
