"""The fit state: the one mutable object of a run, all that a hook sees."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from foveal.core import distributed, runtime
from foveal.training.groups import Freeze
from foveal.training.schedule import Schedule

_SMOOTHING = 0.98


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
        if self.total is None:
            return float("nan")
        return float(self.total) / self.weight

    @property
    def weight(self) -> float:
        """How much of a whole average the losses so far make."""
        return 1.0 - _SMOOTHING**self.count


@dataclass(slots=True)
class EpochResult:
    """One line of the table."""

    epoch: int
    train_loss: float
    valid_loss: float
    metrics: dict[str, float]
    seconds: float


@dataclass(slots=True)
class FitState:
    """Where a run stands.

    Attributes:
        model, optimizer, schedule, freeze, precision, device, scaler: what is trained, and how.
        n_epochs: epochs of this fit; `epoch` is the one at work, from 0.
        n_steps: batches in all; `step` of them are done.
        data_epoch: the epoch's number in the life of the learner, which names its random draws.
        inputs, targets, indices, output, loss: the step at work.
        smooth: the average of the training loss over this fit.
        results: one entry an epoch done.
        history: the results of all fits so far, this one's included.
        phase: which fit of a run this is, from 0.
        plan: what decides the fit, by name; a checkpoint of another plan is refused.
        accumulate: batches whose gradients are summed up for one step of the optimizer.
        mix: the task's way to mix two targets.
        compiled: the model as torch.compile made it, where that was asked for.
        asked: the signal that asked this process to end, once one came.
        interrupted: the same for the whole run, once `heed` took note of it.
        stop: a reason to stop after this step, set by a hook; None to go on.
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
    data_epoch: int = 0
    epoch: int = 0
    step: int = 0
    inputs: Tensor = field(default_factory=lambda: torch.empty(0))
    targets: Tensor = field(default_factory=lambda: torch.empty(0))
    indices: Any = ()
    output: Tensor = field(default_factory=lambda: torch.empty(0))
    loss: Tensor = field(default_factory=lambda: torch.empty(0))
    smooth: SmoothLoss = field(default_factory=SmoothLoss)
    results: list[EpochResult] = field(default_factory=list)
    history: list[EpochResult] = field(default_factory=list)
    phase: int = 0
    plan: Mapping[str, Any] = field(default_factory=dict)
    accumulate: int = 1
    mix: Callable[[Tensor, Tensor, Tensor], Tensor | None] | None = None
    compiled: Callable[[Tensor], Tensor] | None = None
    stop: str | None = None
    asked: str | None = None
    stopped_by: str | None = None

    def sync_stop(self) -> bool:
        """Take note, together, of what any process was asked or decided; return whether the fit ends here."""
        number, stops = distributed.all_reduce_max(
            signal.Signals[self.asked] if self.asked else 0, int(self.stop is not None)
        )
        if number:
            self.asked = self.stopped_by = signal.Signals(number).name
        if stops and self.stop is None:
            self.stop = "another process stopped"
        return self.stopped_by is not None or self.stop is not None

    @property
    def n_steps(self) -> int:
        """Batches in all."""
        return self.n_epochs * self.steps_per_epoch

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
    def waiting(self) -> int:
        """How many batches' gradients wait for the optimizer's step."""
        return self.step_in_epoch % self.accumulate if self.step_in_epoch < self.steps_per_epoch else 0

    @property
    def position(self) -> float:
        """The share of the batches that is done."""
        return self.step / self.n_steps
