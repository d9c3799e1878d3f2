"""Callbacks for what many runs want: clipping, averaged weights, mixed images, early stopping, the best weights kept.

Those that remember something between steps are `checkpoint.Stateful`, so that a resumed run has it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from foveal.core.arguments import check_number
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.rng import generator_for
from foveal.core.seeds import check_seed
from foveal.training.checkpoint import HookState, strip_prefix
from foveal.training.hooks import Callback
from foveal.training.state import EpochResult, FitState

Weights = dict[str, Tensor]
_WEIGHTS = "weights/"


@dataclass(slots=True)
class GradientClip(Callback):
    """Scale gradients down to a norm of at most `max_norm`, over all parameters together, before each step.

    Raises:
        InputError: `max_norm` is not above 0.

    Examples:
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> class Norm(Callback):
        ...     def before_step(self): print(f"{torch.nn.utils.get_total_norm(p.grad for p in params(self.model)):.4f}")
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(1, cbs=[GradientClip(max_norm=0.001), Norm])
        0.0010
        0.0010
        0.0010
    """

    max_norm: float = 1.0

    def __post_init__(self) -> None:
        check_number("max_norm", self.max_norm, above=0)

    def after_backward(self, state: FitState) -> None:
        """Clip before the optimizer steps."""
        if state.completes_step:
            state.scaler.unscale_(state.optimizer)
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), self.max_norm)


@dataclass(slots=True)
class EMA(Callback):
    """Keep an exponential moving average of the weights; validate with it, and end with it.

    Averages of weights go back to Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging".

    Attributes:
        decay: share of the average that each step of a batch keeps; at least 0 and below 1.

    Raises:
        InputError: `decay` is out of its bounds.

    Examples:
        An average that keeps nearly everything stays near where it began.

        >>> from foveal.vision.all import EMA
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> before = learn.model[0][0].weight.clone()
        >>> with learn.no_logging(): learn.fit(1, cbs=EMA(decay=0.999999))
        >>> torch.allclose(learn.model[0][0].weight, before, atol=1e-6)
        True
    """

    decay: float = 0.99
    _average: Weights = field(default_factory=dict, init=False, repr=False)
    _own: Weights = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_number("decay", self.decay, at_least=0, below=1)

    def before_fit(self, state: FitState) -> None:
        """Begin with the weights as they are, unless an average was restored."""
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
        """Continue with the weights themselves."""
        if self._own:
            state.model.load_state_dict(self._own)
            self._own = {}

    def after_fit(self, state: FitState) -> None:
        """End with the average."""
        if state.stopped_by is None:
            state.model.load_state_dict(self._average)

    def state_dict(self) -> HookState:
        """Return the average, and the weights it stands in for."""
        return {f"average/{k}": t for k, t in self._average.items()} | {f"own/{k}": t for k, t in self._own.items()}

    def load_state_dict(self, state: HookState) -> None:
        """Take both back."""
        self._average, self._own = _clone(strip_prefix(state, "average")), _clone(strip_prefix(state, "own"))


@dataclass(slots=True)
class MixUp(Callback):
    """Train on images laid over each other, with targets mixed alike; for labels only.

    From Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization" (arXiv 1710.09412).

    Attributes:
        alpha: both parameters of the beta distribution that the share of the first image is drawn from; the larger, the
            more images are mixed half and half.
        seed: decides the draws.

    Raises:
        InputError: `alpha` is not above 0; or, in a fit, the task's targets cannot be mixed, such as points and
            numbers.

    Examples:
        A class index becomes a share per class.

        >>> from foveal.vision.all import *
        >>> class PrintTargets(Callback):
        ...     def before_backward(self): print(list(self.yb[0].shape))
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::32]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(1, cbs=[MixUp(), PrintTargets])
        [4, 2]
    """

    alpha: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        _check_mixing(self.alpha, self.seed)

    def before_step(self, state: FitState) -> None:
        """Mix the batch."""
        rng = generator_for(self.seed, state.data_epoch, state.step_in_epoch)
        n = len(state.inputs)
        weight = torch.from_numpy(rng.beta(self.alpha, self.alpha, n)).to(state.inputs)
        other = torch.from_numpy(rng.permutation(n)).to(state.device)
        state.targets = _mix_targets(state, other, weight)
        shares = weight.reshape(-1, 1, 1, 1)
        state.inputs = state.inputs * shares + state.inputs[other] * (1 - shares)


@dataclass(slots=True)
class CutMix(Callback):
    """Train on images with a rectangle of another one, targets mixed by area; for labels only.

    From Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features" (arXiv
    1905.04899).

    Attributes:
        alpha: both parameters of the beta distribution that the share of the first image is drawn from; 1 draws every
            share alike.
        seed: decides the draws.

    Raises:
        InputError: `alpha` is not above 0; or, in a fit, the task's targets cannot be mixed, such as points and
            numbers.

    Examples:
        >>> from foveal.vision.all import *
        >>> class PrintTargets(Callback):
        ...     def before_backward(self): print(self.yb[0].sum(dim=1))
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::32]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(1, cbs=[CutMix(), PrintTargets])
        tensor([1., 1., 1., 1.])
    """

    alpha: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check_mixing(self.alpha, self.seed)

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
        state.targets = _mix_targets(state, other, torch.full((n,), 1 - cut, device=state.device))
        state.inputs = state.inputs.clone(memory_format=torch.preserve_format)
        state.inputs[:, :, rows, columns] = state.inputs[other][:, :, rows, columns]


Mode = Literal["min", "max"]
_OTHER_WORDS: Mapping[str, Mode] = {
    **dict.fromkeys(("minimum", "minimise", "minimize", "smaller", "lower", "less", "down"), "min"),
    **dict.fromkeys(("maximum", "maximise", "maximize", "larger", "higher", "greater", "more", "up"), "max"),
}


@dataclass(slots=True)
class EarlyStopping(Callback):
    """Stop when `monitor` has not improved by more than `min_delta` for `patience` epochs.

    Attributes:
        monitor: valid_loss, train_loss or the name of a metric, as the table shows it.
        patience: epochs without improvement after which the fit ends; at least 1.
        min_delta: what counts as an improvement, in units of `monitor`; at least 0.
        mode: `min` or `max`; by default the metric's own direction, which a plain function of yours does not have.

    Raises:
        UnknownNameError: there is no such mode, or, when a fit begins, no such number in the table.
        InputError: a number is out of its bounds; or, when a fit begins, the metric does not declare a direction and
            there is no `mode`.

    Examples:
        No loss falls by 9, so that of nine epochs three are trained.

        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(9, cbs=EarlyStopping(min_delta=9, patience=2))
        >>> len(learn.recorder.values)
        3
    """

    monitor: str = "valid_loss"
    patience: int = 3
    min_delta: float = 0.0
    mode: Mode | None = None
    _best: float | None = field(default=None, init=False, repr=False)
    _best_epoch: int | None = field(default=None, init=False, repr=False)
    _waited: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        check_mode(self.mode)
        check_patience(self.patience, self.min_delta)

    def check_monitor(self, directions: Mapping[str, bool | None]) -> None:
        """Refuse a monitor that the table does not have, or whose direction is not known."""
        monitored_mode(self.monitor, self.mode, directions)

    def before_fit(self, state: FitState) -> None:
        """Check the monitor, and forget an earlier fit."""
        self.check_monitor(state.directions)
        if state.step == 0:
            self._best, self._best_epoch, self._waited = None, None, 0

    def after_epoch(self, state: FitState) -> None:
        """Stop where there was no improvement for too long."""
        mode = monitored_mode(self.monitor, self.mode, state.directions)
        value = monitored_value(state.results[-1], self.monitor)
        if is_improvement(value, self._best, mode, min_delta=self.min_delta):
            self._best, self._best_epoch, self._waited = value, state.epoch, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            state.stop = f"{self.monitor} has not improved for {self.patience} epochs"

    def after_fit(self, state: FitState) -> None:
        """Say what happened."""
        if state.stopped_by is not None or self._best is None:
            return
        stopped = self._waited >= self.patience
        what = f"stopped after epoch {state.epoch}" if stopped else "did not stop the fit"
        epoch = "" if self._best_epoch is None else f", at epoch {self._best_epoch}"
        state.say(f"EarlyStopping {what}; the best {self.monitor} was {self._best:.6g}{epoch}.")

    def state_dict(self) -> HookState:
        """Return the best value, its epoch, and the epochs since."""
        return {"best": self._best, "best_epoch": self._best_epoch, "waited": self._waited}

    def load_state_dict(self, state: HookState) -> None:
        """Take them back; a checkpoint of version 0.1 does not have the epoch."""
        self._best, self._best_epoch, self._waited = state["best"], state.get("best_epoch"), state["waited"]


@dataclass(slots=True)
class KeepBest(Callback):
    """End with the weights of the epoch that was best by `monitor`.

    Attributes:
        monitor: valid_loss, train_loss or the name of a metric, as the table shows it.
        mode: `min` or `max`; by default the metric's own direction, which a plain function of yours does not have.
        from_start: whether the weights that the fit begins with count too, by the last result before it: a probe's.
        epoch: the epoch that was best, as the table numbers it; None for the start.
        best: its value.

    Raises:
        UnknownNameError: there is no such mode, or, when a fit begins, no such number in the table.
        InputError: when a fit begins, the metric does not declare a direction and there is no `mode`.

    Examples:
        >>> from foveal.vision.all import KeepBest
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(3, cbs=(keep := KeepBest()))
        >>> keep.best == min(epoch[1] for epoch in learn.recorder.values)
        True
    """

    monitor: str = "valid_loss"
    mode: Mode | None = None
    from_start: bool = False
    epoch: int | None = field(default=None, init=False, repr=False)
    best: float | None = field(default=None, init=False, repr=False)
    _weights: Weights = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_mode(self.mode)

    def check_monitor(self, directions: Mapping[str, bool | None]) -> None:
        """Refuse a monitor that the table does not have, or whose direction is not known."""
        monitored_mode(self.monitor, self.mode, directions)

    def before_fit(self, state: FitState) -> None:
        """Check the monitor, and forget an earlier fit."""
        self.check_monitor(state.directions)
        if state.step == 0:
            self.best, self._weights, self.epoch = None, {}, None
            if self.from_start and state.history:
                self.best, self._weights = monitored_value(state.history[-1], self.monitor), _copy(state)

    def after_epoch(self, state: FitState) -> None:
        """Keep the weights if they are the best so far."""
        mode = monitored_mode(self.monitor, self.mode, state.directions)
        value = monitored_value(state.results[-1], self.monitor)
        if is_improvement(value, self.best, mode):
            self.best, self._weights, self.epoch = value, _copy(state), state.epoch

    def after_fit(self, state: FitState) -> None:
        """Bring the best weights back, and say whose they are."""
        if not self._weights or state.stopped_by is not None:
            return
        state.model.load_state_dict(self._weights)
        of_epoch = "that the fit began with" if self.epoch is None else f"of epoch {self.epoch}"
        state.say(f"KeepBest ended with the weights {of_epoch}: {self.monitor} {self.best:.6g}.")

    def state_dict(self) -> HookState:
        """Return the best weights, their value and their epoch."""
        weights = {f"{_WEIGHTS}{name}": tensor for name, tensor in self._weights.items()}
        return {"best": self.best, "epoch": self.epoch} | weights

    def load_state_dict(self, state: HookState) -> None:
        """Take them back."""
        tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
        # A checkpoint of version 0.1 has the weights' names without what stands before them here.
        self._weights = {name.removeprefix(_WEIGHTS): tensor for name, tensor in tensors.items()}
        self.best, self.epoch = state["best"], state["epoch"]


def check_patience(patience: int, min_delta: float) -> None:
    """Refuse numbers with which no epoch, or every one, would be without improvement.

    Args:
        patience: epochs without improvement, from 1.
        min_delta: by how much a value must be better, from 0.

    Raises:
        InputError: one is out of its bounds.
    """
    check_number("patience", patience, at_least=1, whole=True)
    check_number("min_delta", min_delta, at_least=0)


def check_mode(mode: str | None) -> None:
    """Refuse a mode that is neither `min` nor `max`.

    Raises:
        UnknownNameError: it is another word; the message offers the one that is meant.
    """
    if mode is not None and mode not in get_args(Mode):
        meant = _OTHER_WORDS.get(str(mode).lower())
        raise UnknownNameError.of("mode", mode, get_args(Mode), f"Did you mean `{meant}`?" if meant else "")


def monitored_mode(monitor: str, mode: Mode | None, directions: Mapping[str, bool | None]) -> Mode:
    """Return whether smaller or larger is better.

    Args:
        monitor: a number of the table.
        mode: what the user wants, if anything.
        directions: the numbers of the table by name, and whether higher is better; None where not known.

    Raises:
        UnknownNameError: the table has no such number.
        InputError: the metric declares no direction, and there is no `mode`.
    """
    if monitor not in directions:
        raise UnknownNameError.of("value to monitor", monitor, directions)
    if mode is not None:
        return mode
    if (higher := directions[monitor]) is None:
        raise InputError(
            f"Whether a higher `{monitor}` is better is not known: give mode='min' or mode='max', or make the metric "
            "Metric(function, name, higher_is_better=...)."
        )
    return "max" if higher else "min"


def monitored_value(result: EpochResult, monitor: str) -> float:
    """Return one number of a line of the table.

    Args:
        result: the line.
        monitor: the name of the number.

    Raises:
        UnknownNameError: the line does not have it.
    """
    values = result.values()
    if monitor not in values:
        raise UnknownNameError.of("value to monitor", monitor, values)
    return values[monitor]


def is_improvement(value: float, best: float | None, mode: Mode, *, min_delta: float = 0.0) -> bool:
    """Return whether a value is better than the best so far; NaN never is.

    Args:
        value: the new one.
        best: None before the first.
        mode: whether smaller or larger is better.
        min_delta: by how much it must be better.
    """
    if math.isnan(value):
        return False
    return best is None or (best - value if mode == "min" else value - best) > min_delta


def _check_mixing(alpha: float, seed: int) -> None:
    check_number("alpha", alpha, above=0)
    check_seed(seed)


def _mix_targets(state: FitState, other: Tensor, weight: Tensor) -> Tensor:
    """Return the mixed targets.

    Raises:
        InputError: those of this task cannot be mixed.
    """
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
