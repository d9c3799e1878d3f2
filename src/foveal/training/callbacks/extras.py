"""Hooks for what many runs want: clipping, averaged weights, mixed images, early stopping, the best weights kept.

Those that remember something from one step to the next fulfil `checkpoint.Keeping`, so that a resumed run has it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError
from foveal.core.rng import generator_for
from foveal.training.checkpoint import below
from foveal.training.state import EpochResult, FitState

Weights = dict[str, Tensor]


@dataclass(slots=True)
class GradientClip:
    """Scale gradients down to a norm of at most `max_norm`."""

    max_norm: float = 1.0

    def after_backward(self, state: FitState) -> None:
        """Clip before the optimizer steps."""
        if state.completes_step:
            state.scaler.unscale_(state.optimizer)
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), self.max_norm)


@dataclass(slots=True)
class EMA:
    """Keep an exponential moving average of the weights; validate with it, and end with it.

    Source: Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging".
    """

    decay: float = 0.99
    _average: Weights = field(default_factory=dict)
    _own: Weights = field(default_factory=dict)

    def before_fit(self, state: FitState) -> None:
        """Begin with the weights as they are, unless an average was restored."""
        if not 0 <= self.decay < 1:
            raise InputError(f"`decay` must be at least 0 and below 1; got {self.decay!r}.")
        if not self._average or state.step == 0:
            self._average, self._own = _copy(state), {}
        self._average, self._own = _on(state.device, self._average), _on(state.device, self._own)

    def after_step(self, state: FitState) -> None:
        """Move the average; after the last step of an epoch it stands in for the weights until they train again."""
        for name, tensor in state.model.state_dict().items():
            kept = self._average[name]
            if kept.is_floating_point():
                kept.lerp_(tensor, 1 - self.decay)
            else:
                kept.copy_(tensor)
        if state.step_in_epoch == state.steps_per_epoch:
            self._own = _copy(state)
            state.model.load_state_dict(self._average)

    def after_epoch(self, state: FitState) -> None:
        """Go on with the weights themselves."""
        if self._own:
            state.model.load_state_dict(self._own)
            self._own = {}

    def after_fit(self, state: FitState) -> None:
        """End with the average."""
        if state.stopped_by is None:
            state.model.load_state_dict(self._average)

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the average, and the weights it stands in for."""
        return {f"average/{k}": t for k, t in self._average.items()} | {f"own/{k}": t for k, t in self._own.items()}

    def values(self) -> Mapping[str, Any]:
        """Return nothing."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take both back."""
        self._average, self._own = _clone(below(tensors, "average")), _clone(below(tensors, "own"))


@dataclass(slots=True)
class MixUp:
    """Train on images laid over each other, with targets mixed alike; for labels only.

    Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization".
    """

    alpha: float = 0.4
    seed: int = 0

    def before_step(self, state: FitState) -> None:
        """Mix the batch."""
        rng = generator_for(self.seed, state.data_epoch, state.step_in_epoch)
        n = len(state.inputs)
        weight = torch.from_numpy(rng.beta(self.alpha, self.alpha, n)).to(state.inputs)
        other = torch.from_numpy(rng.permutation(n)).to(state.device)
        state.targets = _mixed(state, other, weight)
        shares = weight.reshape(-1, 1, 1, 1)
        state.inputs = state.inputs * shares + state.inputs[other] * (1 - shares)


@dataclass(slots=True)
class CutMix:
    """Train on images with a rectangle of another one, targets mixed by area; for labels only.

    Source: Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features".
    """

    alpha: float = 1.0
    seed: int = 0

    def before_step(self, state: FitState) -> None:
        """Mix the batch."""
        rng = generator_for(self.seed, state.data_epoch, state.step_in_epoch)
        n, _, height, width = state.inputs.shape
        side = math.sqrt(1 - rng.beta(self.alpha, self.alpha))
        (at_y, at_x) = rng.random(2)
        top, left = int(at_y * height - side * height / 2), int(at_x * width - side * width / 2)
        rows = slice(max(0, top), min(height, top + round(side * height)))
        columns = slice(max(0, left), min(width, left + round(side * width)))
        other = torch.from_numpy(rng.permutation(n)).to(state.device)
        cut = max(0, rows.stop - rows.start) * max(0, columns.stop - columns.start) / (height * width)
        state.targets = _mixed(state, other, torch.full((n,), 1 - cut, device=state.device))
        state.inputs = state.inputs.clone(memory_format=torch.preserve_format)
        state.inputs[:, :, rows, columns] = state.inputs[other][:, :, rows, columns]


Mode = Literal["min", "max"]


@dataclass(slots=True)
class EarlyStopping:
    """Stop when `monitor` has not improved by more than `min_delta` for `patience` epochs.

    Attributes:
        monitor: valid_loss, train_loss or the name of a metric.
        mode: whether smaller or larger is better; by default smaller for losses and error rates.
    """

    monitor: str = "valid_loss"
    patience: int = 3
    min_delta: float = 0.0
    mode: Mode | None = None
    _best: float | None = None
    _waited: int = 0

    def after_epoch(self, state: FitState) -> None:
        """Judge the epoch."""
        value = _monitored(state.results[-1], self.monitor)
        if _improves(value, self._best, self.monitor, self.mode, self.min_delta):
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            state.stop = f"{self.monitor} has not improved for {self.patience} epochs"

    def tensors(self) -> Mapping[str, Tensor]:
        """Return nothing."""
        return {}

    def values(self) -> Mapping[str, Any]:
        """Return the best value and the epochs since."""
        return {"best": self._best, "waited": self._waited}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take both back."""
        self._best, self._waited = values["best"], values["waited"]


@dataclass(slots=True)
class KeepBest:
    """End with the weights of the epoch that was best by `monitor`; see `EarlyStopping` for the arguments.

    `epoch` is the one that was best, None for the start; `best` its value. With `from_start` the weights that the fit
    begins with count too, by the last result before it: a probe's.
    """

    monitor: str = "valid_loss"
    mode: Mode | None = None
    from_start: bool = False
    epoch: int | None = None
    best: float | None = None
    _weights: Weights = field(default_factory=dict)

    def before_fit(self, state: FitState) -> None:
        """Forget an earlier fit."""
        if state.step == 0:
            self.best, self._weights, self.epoch = None, {}, None
            if self.from_start and state.history:
                self.best, self._weights = _monitored(state.history[-1], self.monitor), _copy(state)

    def after_epoch(self, state: FitState) -> None:
        """Keep the weights if they are the best so far."""
        value = _monitored(state.results[-1], self.monitor)
        if _improves(value, self.best, self.monitor, self.mode, 0.0):
            self.best, self._weights, self.epoch = value, _copy(state), state.results[-1].epoch

    def after_fit(self, state: FitState) -> None:
        """Bring the best weights back."""
        if self._weights and state.stopped_by is None:
            state.model.load_state_dict(self._weights)

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the best weights."""
        return self._weights

    def values(self) -> Mapping[str, Any]:
        """Return the best value and its epoch."""
        return {"best": self.best, "epoch": self.epoch}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take them back."""
        self._weights, self.best, self.epoch = dict(tensors), values["best"], values["epoch"]


def _mixed(state: FitState, other: Tensor, weight: Tensor) -> Tensor:
    mixed = state.mix(state.targets, state.targets[other], weight) if state.mix is not None else None
    if mixed is None:
        raise InputError("Targets of this task cannot be mixed: MixUp and CutMix are for labels.")
    return mixed


def _on(device: torch.device, tensors: Weights) -> Weights:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _copy(state: FitState) -> Weights:
    return _clone(state.model.state_dict())


def _clone(tensors: Mapping[str, Tensor]) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _monitored(result: EpochResult, name: str) -> float:
    known = {"train_loss": result.train_loss, "valid_loss": result.valid_loss} | result.metrics
    if name not in known:
        raise UnknownNameError.of("value to monitor", name, known)
    return known[name]


def _improves(value: float, best: float | None, monitor: str, mode: Mode | None, min_delta: float) -> bool:
    if math.isnan(value):
        return False
    smaller = mode == "min" if mode else "loss" in monitor or "error" in monitor
    return best is None or ((best - value) if smaller else (value - best)) > min_delta
