"""A studio at work: its desk, and threads that look at the images, learn from the labels and write them down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from torch import Tensor

from foveal.core import runtime
from foveal.core.errors import FovealError, ImageError, InputError
from foveal.core.tables import write_rows
from foveal.core.warn import warn
from foveal.evaluation.bank import usual_backbone
from foveal.runs.folder import free_folder
from foveal.runs.image_settings import ImageRun
from foveal.studio.collection import TABLE, Label, journal_of, open_collection, opened_again
from foveal.studio.copies import Found, search
from foveal.studio.desk import Desk
from foveal.studio.journal import Journal
from foveal.studio.learning import Answers, Score, Taught, learn, next_images, score
from foveal.studio.marks import Marks
from foveal.studio.points import PointAnswers, PointTeacher
from foveal.studio.sight import Sight
from foveal.studio.training import TrainingRun
from foveal.studio.writing import (
    Written,
    is_plain,
    rows_of,
    training_options,
    write_marks,
)

_FEW_QUEUED = 5  # images to label next, from which on more are chosen, whatever else there is to do
_QUEUE = 20  # images that are chosen at once: 0.4 s at 5,000 images
_QUIET_SECONDS = 1.5  # without a decision, after which the score is worked out
_SCORE_SECONDS = 6.0  # between two scores while somebody decides all the time
_WRITE_SECONDS = 5.0  # between two writings of the table, which takes 0.3 s for 100,000 rows
_PAUSE_SECONDS = 0.2
_GROWN = 1.1  # times as many labels, after which what more would bring is worked out anew


class _EndingError(Exception):
    """The studio ends, and with it what takes long."""


class Studio:
    """A desk, and what is learned from it.

    Attributes:
        desk: images and decisions.
        sight: features of the images.
        answers: of the last labels; None where they are too few.
        score: how good the answers are.
        scored_labels: that it was worked out with, by position.
        written: where the labels are.
        copies: images that show the same; None before they were looked for.
        copies_state: "not looked for", "looking" or "found".
        copies_done: the share of the search.
        training: the last run.
        not_written: why the table could not be written, which is tried again; empty where it was.
        failure: why a thread ended that should not have; empty where all are well.
    """

    def __init__(self, desk: Desk, arch: str) -> None:
        """Load what looks at the images.

        Args:
            desk: images and decisions.
            arch: the backbone's name.

        Raises:
            ModelFileError: its weights cannot be had.
        """
        self.desk, self._arch = desk, arch
        self.sight = Sight(desk, arch)
        self.answers: Answers | PointAnswers | None = None
        self.score: Score | None = None
        self.scored_labels = dict[int, Label]()
        self.written: Written | None = None
        self.copies: Found | None = None
        self.copies_state, self.copies_done = "not looked for", 0.0
        self.training: TrainingRun | None = None
        self.failure = self.not_written = ""
        self._labels = dict[int, Label]()  # that the answers were learned from
        self._points: PointTeacher | None = None
        self._is_behind = False  # whether there are labels that the last look did not come to
        self._gain_at = 0  # labelled images, as it was last worked out what more would bring
        self._is_ending, self._threads = False, list[threading.Thread]()

    def start(self) -> None:
        """Begin to look at images, to learn and to write."""
        for work in (
            lambda: self.sight.look_at_all(lambda: self._is_ending),
            self._learn_on,
            self._score_on,
            self._write_on,
        ):
            self._begin(work)

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded, args=(work,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Let a run save its state, write the table, and end."""
        with self.desk.changed:
            self._is_ending = True
            self.desk.bump()
        for thread in self._threads:
            thread.join()
        if self.training is not None:
            self.training.stop()
        try:
            self._write()
        except (FovealError, OSError) as error:
            warn(f"The table could not be written ({error}); what was decided is in `{self.desk.collection.journal}`.")
        self.desk.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            with self.desk.changed:
                self.failure = f"{type(error).__name__}: {error}"
                self.desk.bump()
            raise

    def _await(self, is_new: Callable[[], bool], seconds: float) -> None:
        with self.desk.changed:
            self.desk.changed.wait_for(lambda: self._is_ending or is_new(), seconds)

    def _await_decision(self, seen: int, seconds: float) -> None:
        self._await(lambda: self.desk.n_decided != seen, seconds)

    # Learning

    def _learn_on(self) -> None:
        """Learn from the labels whenever there are new ones, and choose what to label next while nobody decides."""
        learned = chosen = 0
        while not self._is_ending:
            with self.desk.changed:
                now, features = self.desk.n_decided, self.sight.features
                labels = {at: one for at, one in self.desk.positions_of_labels().items() if self.sight.has(at)}
            if features is None or (now == learned == chosen):
                self._await_decision(now, 1.0)
            elif now != learned:
                answers = self._learned(features, labels)
                with self.desk.changed:
                    self.answers, self._labels = answers, labels
                    learned = -1 if self._is_behind else now
                    self.desk.bump()
            if features is not None and (now == self.desk.n_decided or self.desk.n_queued() < _FEW_QUEUED):
                self._choose(features)
                chosen = now

    def _score_on(self) -> None:
        """Say how good the last answers are, beside the learning, on one thread."""
        scored, scored_at = None, 0.0
        with runtime.on_threads(1):
            while not self._is_ending:
                with self.desk.changed:
                    answers, labels, features = self.answers, self._labels, self.sight.features
                    quiet = time.monotonic() - self.desk.decided_at >= _QUIET_SECONDS
                due = quiet or time.monotonic() - scored_at >= _SCORE_SECONDS
                if answers is scored or features is None or not due:
                    self._await(lambda: False, _PAUSE_SECONDS)
                    continue
                found, scored, scored_at = self._scored(features, answers), answers, time.monotonic()
                with self.desk.changed:
                    self.score, self.scored_labels = found, labels
                    self.desk.bump()

    def _learned(self, features: Tensor, labels: dict[int, Label]) -> Answers | PointAnswers | None:
        purpose = self.desk.marks.purpose
        if purpose is None:
            return None
        if not purpose.has_points:
            taught = Taught.of(purpose, labels, [one.is_valid for one in self.desk.collection.images])
            return learn(features, taught, self.answers if isinstance(self.answers, Answers) else None)
        if self._points is None or self._points.names != purpose.names:  # they may be named anew before the first label
            self._points = PointTeacher(self._arch, purpose)
        images = self.desk.collection.images
        valid = {at: label for at, label in labels.items() if images[at].is_valid}
        train = {at: label for at, label in labels.items() if at not in valid}
        answers = self._points.learn(train, [one.file for one in images], valid)
        self._is_behind = self._points.is_behind(train)
        return answers

    def _scored(self, features: Tensor, answers: Answers | PointAnswers | None) -> Score | None:
        if isinstance(answers, PointAnswers) and self._points is not None:
            return self._points.score(answers, [one.file for one in self.desk.collection.images])
        if not isinstance(answers, Answers):
            return None
        n, before = len(answers.taught.at), self.score.gain if self.score is not None else None
        anew = n >= self._gain_at * _GROWN
        self._gain_at = n if anew else self._gain_at
        return score(features, answers, gain=before, with_gain=anew)

    def _choose(self, features: Tensor) -> None:
        desk, looked, answers = self.desk, self.sight.looked_at(), self.answers
        with desk.changed:
            to_train = [at for at in looked if desk.collection.images[at].is_valid is not True]
            free = [at for at in to_train if desk.is_free(at) and not desk.is_held(at)]
            labelled = [at for at in looked if desk.label_of(at) is not None]
        if free:
            known = answers if isinstance(answers, Answers) else None
            chosen = next_images(features, known, free, labelled, _QUEUE)
            with desk.changed:
                desk.queue = chosen
                desk.bump()

    def points_of(self, at: int) -> list[tuple[float, float]] | None:
        """Return where the points of an image should be, in source pixels; None before that is learned."""
        answers, teacher = self.answers, self._points
        if teacher is None or not isinstance(answers, PointAnswers):
            return None
        try:
            return teacher.points_of(answers, self.desk.collection.images[at].file)
        except (ImageError, OSError):
            return None

    def example_of(self, at: int, suggested: str, given: str) -> int | None:
        """Return the labelled image most like another that has a class, or where none is suggested lacks the given one.

        Args:
            at: the other.
            suggested: the class; empty for none.
            given: the class that is in question.
        """

        def fits(label: Label) -> bool:
            there = [label] if isinstance(label, str) else list(label)
            return suggested in there if suggested else given not in there

        return self.sight.most_like(at, [one for one, label in self.desk.positions_of_labels().items() if fits(label)])

    # Writing

    def _write_on(self) -> None:
        written = self.desk.n_decided
        while not self._is_ending:
            now = self.desk.n_decided
            if now != written:
                try:
                    self._write()
                    written, self.not_written = now, ""
                except (FovealError, OSError) as error:
                    self.not_written = str(error)
                    self.desk.bump()
                self._await(lambda: False, _WRITE_SECONDS)
            else:
                self._await_decision(now, 60.0)

    def _write(self) -> None:
        with self.desk.changed:
            if self.desk.marks.purpose is None or not self.desk.has_decisions:
                return
            marks = self.desk.snapshot()
        self.written = write_marks(self.desk.collection, marks)

    # Copies, and training

    def look_for_copies(self) -> None:
        """Begin to look for copies among the images that were looked at."""
        with self.desk.changed:
            if self.copies_state == "looking":
                return
            self.copies_state, self.copies_done = "looking", 0.0
            self.desk.changed.notify_all()
        self._begin(self._search)

    def _search(self) -> None:
        while not self.sight.is_done:
            if self._is_ending:
                return
            self._await(lambda: self.sight.is_done, 1.0)

        def advance(share: float) -> None:
            self.copies_done = share
            if self._is_ending:
                raise _EndingError

        found = Found((), ())
        if self.sight.features is not None:
            try:
                found = search(self.desk.collection.images, self.sight.features, self.sight.looked_at(), advance)
            except _EndingError:
                return
        with self.desk.changed:
            self.copies, self.copies_state = found, "found"
            self.desk.bump()

    def train(self) -> TrainingRun:
        """Begin to train fully on the labels so far.

        Returns:
            The run, which may be one at work already.

        Raises:
            InputError: nothing is labelled.
        """
        with self.desk.changed:
            if self.training is not None and self.training.is_at_work:
                return self.training
            marks = self.desk.snapshot()
            if not marks.labels:
                raise InputError("Nothing is labelled yet.")
            options = training_options(self.desk.collection, marks) | {"--arch": self._arch}
            if self.desk.refused:
                options["--on-bad"] = "skip"  # the page names them, and so does the run
            folder = free_folder(None, self.desk.collection.given.stem).absolute()
            table = folder.with_name(f"{folder.name}.csv")
            write_rows(table, rows_of(self.desk.collection, marks))
            self.training = TrainingRun.start(table, self.desk.collection.root, options, folder)
            return self.training


def open_studio(settings: ImageRun, arch: str | None = None) -> Studio:
    """Return a studio that is open on what the settings name.

    Args:
        settings: name a folder or a table.
        arch: the backbone that looks at the images; the largest on this machine by default.

    Raises:
        InputError: it cannot be read, there is no backbone on this machine, or another studio is open on it.
    """
    given = settings.data.table.absolute()
    arch, journal = arch or usual_backbone(), Journal(journal_of(given))
    try:
        table, began = given / TABLE, journal.entries[:1]
        known = given.is_dir() and began and not (table.exists() and not is_plain(table, Marks.of(journal).purpose))
        collection = opened_again(given, began[0].value) if known else open_collection(settings)
        return Studio(Desk(collection, journal), arch)
    except BaseException:
        journal.close()
        raise
