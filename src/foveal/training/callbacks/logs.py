"""Hooks that write the history of a run where other programs read it, a line an epoch as it goes."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foveal.core import lazy, storage
from foveal.training.state import EpochResult, FitState


def write_history(path: str | os.PathLike[str], history: Sequence[EpochResult]) -> None:
    """Write one JSON line an epoch."""
    lines = [json.dumps(storage.finite(asdict(result))) for result in history]
    storage.write_text(path, "".join(line + "\n" for line in lines))


def read_history(path: str | os.PathLike[str]) -> list[EpochResult]:
    """Read what `write_history` wrote."""
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return [EpochResult(**storage.with_nan(row)) for row in rows]


@dataclass(slots=True)
class HistoryFile:
    """Write one JSON line an epoch."""

    path: str | os.PathLike[str] = "history.jsonl"

    def before_fit(self, state: FitState) -> None:
        """Write what was before: a probe, earlier fits."""
        self.after_epoch(state)

    def after_epoch(self, state: FitState) -> None:
        """Write the file anew; it is never seen in part."""
        write_history(self.path, state.history)


@dataclass(slots=True)
class CSVLogger:
    """Write the epoch table as CSV; epochs count on over all fits."""

    path: str | os.PathLike[str] = "history.csv"

    def after_epoch(self, state: FitState) -> None:
        """Write the file anew; it is never seen in part."""
        rows = [_flat(result) | {"epoch": at} for at, result in enumerate(state.history)]
        names = list(dict.fromkeys(name for row in rows for name in row))
        with storage.open_replacing(self.path, newline="") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


@dataclass(slots=True)
class TensorBoardLogger:
    """Write events for TensorBoard: the loss of each step, and the epoch table."""

    folder: str | os.PathLike[str] = "runs"
    _writer: Any = None

    def before_fit(self, state: FitState) -> None:
        """Open the log.

        Raises:
            MissingDependencyError: the package `tensorboard` is not there.
        """
        del state
        lazy.require("tensorboard", extra="tensorboard", purpose="A log for TensorBoard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(Path(self.folder))

    def after_step(self, state: FitState) -> None:
        """Write the loss."""
        at = state.data_epoch * state.steps_per_epoch + state.step_in_epoch
        self._writer.add_scalar("step/loss", float(state.loss.detach()), at)

    def after_epoch(self, state: FitState) -> None:
        """Write the line of the table."""
        for name, value in _flat(state.history[-1]).items():
            if name != "epoch":
                self._writer.add_scalar(f"epoch/{name}", value, len(state.history) - 1)

    def after_fit(self, state: FitState) -> None:
        """Close the log."""
        del state
        self._writer.close()


def _flat(result: EpochResult) -> dict[str, Any]:
    whole = asdict(result)
    metrics: dict[str, Any] = whole.pop("metrics")
    return {**whole, **metrics}
