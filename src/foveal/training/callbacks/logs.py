"""Callbacks that write the history of a run where other programs read it, one line per epoch as it goes."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.core import lazy, storage
from foveal.training.checkpoint import PathLike
from foveal.training.hooks import Callback
from foveal.training.state import EpochResult, FitState

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def write_history(path: PathLike, history: Sequence[EpochResult]) -> None:
    """Write one JSON line per epoch.

    Args:
        path: the file; it is replaced as a whole.
        history: one result per epoch.
    """
    lines = [json.dumps(storage.finite(asdict(result))) for result in history]
    storage.write_text(path, "".join(line + "\n" for line in lines))


def read_history(path: PathLike) -> list[EpochResult]:
    """Return what `write_history` wrote."""
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return [EpochResult(**storage.with_nan(row)) for row in rows]


@dataclass(slots=True)
class HistoryFile(Callback):
    """Write one JSON line per epoch, over all fits."""

    path: PathLike = "history.jsonl"

    def before_fit(self, state: FitState) -> None:
        """Write the results before this fit: a probe's, those of earlier fits."""
        self.after_epoch(state)

    def after_epoch(self, state: FitState) -> None:
        """Write the file anew; it is never seen in part."""
        write_history(self.path, state.history)


@dataclass(slots=True)
class CSVLogger(Callback):
    """Write the epoch table as CSV; epochs count on over all fits."""

    path: PathLike = "history.csv"

    def after_epoch(self, state: FitState) -> None:
        """Write the file anew; it is never seen in part."""
        rows = [_flat(result) | {"epoch": at} for at, result in enumerate(state.history)]
        names = list(dict.fromkeys(name for row in rows for name in row))
        with storage.open_replacing(self.path, newline="") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


@dataclass(slots=True)
class TensorBoardLogger(Callback):
    """Write events for TensorBoard: the loss of each step, and the epoch table."""

    folder: PathLike = "runs"
    _writer: SummaryWriter | None = field(default=None, init=False, repr=False)

    def before_fit(self, state: FitState) -> None:
        """Open the log.

        Raises:
            MissingDependencyError: the package `tensorboard` is not installed.
        """
        del state
        lazy.require("tensorboard", extra="tensorboard", purpose="A log for TensorBoard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(Path(self.folder))

    def after_step(self, state: FitState) -> None:
        """Write the loss."""
        at = state.data_epoch * state.steps_per_epoch + state.step_in_epoch
        assert self._writer is not None
        self._writer.add_scalar("step/loss", float(state.loss.detach()), at)

    def after_epoch(self, state: FitState) -> None:
        """Write the line of the table."""
        assert self._writer is not None
        for name, value in _flat(state.history[-1]).items():
            if name != "epoch":
                self._writer.add_scalar(f"epoch/{name}", value, len(state.history) - 1)

    def after_fit(self, state: FitState) -> None:
        """Close the log."""
        del state
        assert self._writer is not None
        self._writer.close()


def _flat(result: EpochResult) -> dict[str, float]:
    """Return a line of the table with its metrics beside the rest."""
    fixed = {"epoch": result.epoch, "train_loss": result.train_loss, "valid_loss": result.valid_loss}
    return fixed | {"seconds": result.seconds} | result.metrics
