"""The recorder: prints the epoch table and keeps the history of all fits of a learner."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from foveal import progress, storage
from foveal.train.state import EpochResult, FitState


class Recorder:
    """A hook that every fit has.

    Attributes:
        history: one result an epoch, over all fits; the fit state adds to it.
        silent: print nothing.
    """

    def __init__(self, metric_names: Callable[[], Sequence[str]]) -> None:
        self.history: list[EpochResult] = []
        self.silent = False
        self._metric_names = metric_names
        self._table = progress.Table(())
        self._bar: progress.Bar | None = None

    def before_fit(self, state: FitState) -> None:
        """Print the head of the table."""
        del state
        self._begin()

    def before_epoch(self, state: FitState) -> None:
        """Begin a bar."""
        if not self.silent:
            self._bar = progress.Bar(f"epoch {state.epoch}", state.steps_per_epoch).__enter__()

    def after_step(self, state: FitState) -> None:
        """Move the bar on."""
        if self._bar is not None:
            self._bar.advance()
        del state

    def say(self, line: str) -> None:
        """Print a line above the table."""
        if not self.silent:
            progress.say(line)

    def note(self, result: EpochResult) -> None:
        """Keep and print the result of something that is no fit, as a table of its own."""
        self.history.append(result)
        self._begin()
        self._print(result)

    def after_epoch(self, state: FitState) -> None:
        """Print a line."""
        self.close()
        self._print(state.results[-1])

    def _begin(self) -> None:
        self._table = progress.Table(("epoch", "train_loss", "valid_loss", *self._metric_names(), "time"))
        if not self.silent:
            self._table.header()

    def _print(self, result: EpochResult) -> None:
        numbers = [result.train_loss, result.valid_loss, *result.metrics.values()]
        if not self.silent:
            cells = [f"{number:.6f}" for number in numbers]
            self._table.row([str(result.epoch), *cells, progress.clock(result.seconds)])

    def close(self) -> None:
        """Clear the bar, also when a fit ends in an error."""
        if self._bar is not None:
            self._bar.__exit__()
            self._bar = None


def write_history(path: Path, history: Sequence[EpochResult]) -> None:
    """Write one JSON line an epoch."""
    lines = [json.dumps(storage.finite(asdict(result))) for result in history]
    storage.write_text(path, "".join(line + "\n" for line in lines))
