"""The fit state: the one mutable object of a run, all that a callback sees."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from foveal._moved import attribute
from foveal.core import distributed, progress, runtime
from foveal.training.groups import Freeze
from foveal.training.schedule import Schedule

_SMOOTHING = 0.98
"""Share of the old average in the smoothed loss, per step; fastai's `beta`, so that its curves can be compared."""


@dataclass(slots=True)
class SmoothLoss:
    """An exponential average of the training loss, debiased, kept on the loss's device."""

    total: Tensor | None = None
    count: int = 0

    def add(self, loss: Tensor) -> None:
        """Take in the loss of one step."""
        before = torch.zeros_like(loss) if self.total is None else self.total
        self.total = torch.lerp(loss, before, _SMOOTHING)
        self.count += 1

    @property
    def value(self) -> float:
        """The average so far."""
        return float(self.average)

    @property
    def average(self) -> Tensor:
        """The average so far, on the loss's device; NaN before there is a loss."""
        return torch.tensor(float("nan")) if self.total is None else self.total / self.weight

    @property
    def weight(self) -> float:
        """How much of a whole average the losses so far make."""
        return 1.0 - _SMOOTHING**self.count


@dataclass(slots=True)
class EpochResult:
    """One line of the table.

    Attributes:
        epoch: its number within its fit, from 0.
        train_loss: smoothed over the steps of the fit so far.
        valid_loss: of all validation items at once.
        metrics: by name.
        seconds: of training and validation together.
        is_probe: whether it is the result of a probe, which comes before all epochs.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    metrics: dict[str, float]
    seconds: float
    is_probe: bool = False

    def values(self) -> dict[str, float]:
        """Return both losses and the metrics by name: what a callback can monitor."""
        return {"train_loss": self.train_loss, "valid_loss": self.valid_loss} | self.metrics


@dataclass(slots=True, repr=False)
class FitState:
    """Where a run stands.

    Attributes:
        model, optimizer, schedule, freeze, precision, device, scaler: what is trained, and how.
        n_epochs: epochs of this fit.
        epoch: the number that the table shows, from 0: of the epoch at work, and between epochs of the last one.
        epochs_done: epochs of this fit that are closed; within `after_epoch` the one at work is among them.
        epochs_before: epochs of earlier fits of the learner; see `data_epoch`.
        n_steps: batches in all; `step` of them are done.
        batch: the number of the batch at work, from 0, in its epoch or its validation.
        inputs, targets, indices, output, loss: the step at work.
        smooth: the average of the training loss over this fit.
        results: one entry per closed epoch.
        history: the results of all fits so far, this one's included.
        directions: the numbers of the table by name, and whether higher is better; None where a metric declares none.
        phase: which fit of a run this is, from 0.
        run_fingerprint: what decides the fit, by name; a checkpoint with another one is refused.
        accumulate: batches whose gradients are summed up for one step of the optimizer.
        mix: the task's way to mix two targets.
        compiled: the model as torch.compile made it, where that was requested.
        signal: the signal that this process received, if any.
        stopped_by: the signal that ends the whole run, once `sync_stop` has shared it between processes.
        stop: a reason to stop after this step, set by a callback; None to continue.
        say: prints a line above the table.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    freeze: Freeze
    device: torch.device
    precision: runtime.Precision
    scaler: torch.amp.GradScaler
    n_epochs: int
    steps_per_epoch: int
    epochs_before: int = 0
    epoch: int = 0
    epochs_done: int = 0
    step: int = 0
    batch: int = 0
    inputs: Tensor = field(default_factory=lambda: torch.empty(0))
    targets: Tensor = field(default_factory=lambda: torch.empty(0))
    indices: Sequence[int] = ()
    output: Tensor = field(default_factory=lambda: torch.empty(0))
    loss: Tensor = field(default_factory=lambda: torch.empty(0))
    smooth: SmoothLoss = field(default_factory=SmoothLoss)
    results: list[EpochResult] = field(default_factory=list)
    history: list[EpochResult] = field(default_factory=list)
    directions: Mapping[str, bool | None] = field(default_factory=dict)
    phase: int = 0
    run_fingerprint: Mapping[str, object] = field(default_factory=dict)
    accumulate: int = 1
    mix: Callable[[Tensor, Tensor, Tensor], Tensor | None] | None = None
    compiled: Callable[[Tensor], Tensor] | None = None
    stop: str | None = None
    signal: str | None = None
    stopped_by: str | None = None
    say: Callable[[str], None] = progress.say

    plan = attribute("FitState.plan", "run_fingerprint")
    asked = attribute("FitState.asked", "signal")

    def sync_stop(self) -> bool:
        """Return whether the fit ends here, once signals and reasons to stop are shared between processes."""
        number, stops = distributed.all_reduce_max(
            signal.Signals[self.signal] if self.signal else 0, int(self.stop is not None)
        )
        if number:
            self.signal = self.stopped_by = signal.Signals(number).name
        if stops and self.stop is None:
            self.stop = "another process stopped"
        return self.stopped_by is not None or self.stop is not None

    @property
    def n_steps(self) -> int:
        """Batches in all."""
        return self.n_epochs * self.steps_per_epoch

    @property
    def data_epoch(self) -> int:
        """The epoch's number in the life of the learner, which names its random draws."""
        return self.epochs_before + self.epoch

    @property
    def step_in_epoch(self) -> int:
        """Batches of the epoch at work that are done."""
        return self.step - self.epoch * self.steps_per_epoch

    @property
    def completes_step(self) -> bool:
        """Whether the batch at work is the last of those that make one step of the optimizer."""
        done = self.step_in_epoch + 1
        return done % self.accumulate == 0 or done == self.steps_per_epoch

    @property
    def n_waiting(self) -> int:
        """How many batches' gradients wait for the optimizer's step."""
        return self.step_in_epoch % self.accumulate if self.step_in_epoch < self.steps_per_epoch else 0

    @property
    def position(self) -> float:
        """The share of the batches that is done."""
        return self.step / self.n_steps

    def __repr__(self) -> str:
        return f"FitState(epoch {self.epoch} of {self.n_epochs}, step {self.step} of {self.n_steps})"
