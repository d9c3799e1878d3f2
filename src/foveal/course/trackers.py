"""A callback that logs to a run of wandb, or of another tracker with the same `log`, such as trackio."""

from __future__ import annotations

from typing import Protocol

from foveal.core.errors import InputError
from foveal.core.lazy import require
from foveal.training.hooks import Callback
from foveal.training.state import FitState


class Tracker(Protocol):
    """What logs: `wandb.run`, or the module `trackio` after `trackio.init(project=...)`."""

    def log(self, values: dict[str, float]) -> object:
        """Keep numbers by name."""


class WandbCallback(Callback):
    """Log the loss and the rate of each step, and each line of the table."""

    def __init__(self, run: Tracker | None = None, *, log_preds: bool = False, log_model: bool = False) -> None:
        """Say where to.

        Args:
            run: what logs; the run that `wandb.init()` began by default.
            log_preds: only False: `learn.report()` writes images and predictions into one page.
            log_model: only False: `learn.export()` writes the model.

        Raises:
            InputError: a value that is not supported.
        """
        if log_preds or log_model:
            raise InputError(
                "WandbCallback logs numbers. `learn.report()` writes predictions and `learn.export()` the model: give "
                "those files to your tracker."
            )
        self._given, self._run = run, run

    def before_fit(self, state: FitState) -> None:
        """Find the run.

        Raises:
            InputError: none has begun.
            MissingDependencyError: wandb is not installed.
        """
        del state
        if self._given is None:
            self._run = require("wandb", extra="wandb", purpose="WandbCallback").run
        if self._run is None:
            raise InputError("No run of wandb has begun: wandb.init(project=...), or give one: WandbCallback(run).")

    def after_step(self, state: FitState) -> None:
        """Log the loss and the rate."""
        assert self._run is not None
        epoch, rate = (
            state.data_epoch + (state.batch + 1) / state.steps_per_epoch,
            state.optimizer.param_groups[-1]["lr"],
        )
        self._run.log({"epoch": epoch, "lr": float(rate), "train_loss": float(state.loss.detach())})

    def after_epoch(self, state: FitState) -> None:
        """Log the line of the table."""
        assert self._run is not None
        self._run.log({"epoch": state.data_epoch + 1.0, **state.results[-1].values()})
