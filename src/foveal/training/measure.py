"""Measurements before a fit: the fastest precision, the largest batch that fits, the time of an epoch.

After a measurement the model and the random state are as they were.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from foveal.core import runtime
from foveal.training.groups import Freeze, keeping_statistics_of_one, set_training
from foveal.training.loop import Batched, FitInputs, Loss, evaluate

# Chosen by hand, so that a measurement costs a few steps; there is no benchmark of them.
_TRIAL_ITEMS = 16  # items of a trial step
# The same on a CPU, where 4, 8 and 16 items give one ratio of bf16 to fp32 (1.8, Lite0 at 128 pixels, no AMX) and 16
# took 2.6 s of a run of 18.
_TRIAL_ITEMS_ON_CPU = 4
_TRIAL_ROUNDS = 2  # steps per precision after the first, of which the faster one counts
_TIMED_BATCHES = 3  # batches of each side that an epoch is timed by, after one for warming up
_USABLE_SHARE = 0.6  # of the free memory of a device that does not report that it is full; chosen by hand
_CLEARLY_SLOWER = 1.5  # times the first precision's first step, beyond which one is not tried again; chosen by hand


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial step is made with.

    Attributes:
        model: on `device`.
        freeze: how much of it is frozen.
        loss: of (raw outputs, targets).
        device: where the batches are.
    """

    model: nn.Module
    freeze: Freeze
    loss: Loss
    device: torch.device

    def step(self, inputs: Tensor, targets: Tensor, precision: runtime.Precision) -> float:
        """Return the seconds of one forward and backward pass.

        Args:
            inputs: on the device, [B, ...].
            targets: on the device, [B, ...].
            precision: of the forward pass.
        """
        runtime.wait_for(self.device)
        began = time.perf_counter()
        with runtime.autocast(precision, self.device), keeping_statistics_of_one(self.model, len(inputs)):
            output = self.model(inputs)
        torch.autograd.backward(self.loss(output.float(), targets))
        runtime.wait_for(self.device)
        return time.perf_counter() - began

    @contextlib.contextmanager
    def restoring_state(self) -> Iterator[None]:
        """Train in the block; buffers, gradients and random state are afterwards as they were."""
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        gradients = [(p, p.grad) for p in self.model.parameters()]
        set_training(self.model, self.freeze)
        try:
            with torch.random.fork_rng(), runtime.computing():
                yield
        finally:
            for parameter, gradient in gradients:
                parameter.grad = gradient
            with torch.no_grad():
                for name, buffer in self.model.named_buffers():
                    buffer.copy_(buffers[name])


@dataclass(frozen=True, slots=True)
class PrecisionTiming:
    """The fastest precision, and the seconds of a step of `n_items` in each candidate."""

    precision: runtime.Precision
    seconds: dict[runtime.Precision, float]
    n_items: int

    def __str__(self) -> str:
        times = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in self.seconds.items())
        return f"precision {self.precision}, measured for a step of {self.n_items}: {times}"


def fastest_precision(trial: Trial, batch: Batched) -> PrecisionTiming:
    """Return the precision in which forward and backward pass take the least time.

    The first step of each warms up; a precision that is clearly slower in it than the first one, which pays for what is
    built once, is not tried again.

    Args:
        trial: what is trained.
        batch: on the device; its first items are used.
    """
    candidates = runtime.precisions(trial.device)
    if len(candidates) == 1:
        return PrecisionTiming(candidates[0], {}, 0)
    n_items = _TRIAL_ITEMS_ON_CPU if trial.device.type == "cpu" else _TRIAL_ITEMS
    inputs, targets = batch.inputs[:n_items], batch.targets[:n_items]
    with trial.restoring_state():
        seconds = {candidate: trial.step(inputs, targets, candidate) for candidate in candidates}
        near = [candidate for candidate in candidates if seconds[candidate] <= _CLEARLY_SLOWER * seconds[candidates[0]]]
        if len(near) > 1:
            rounds = [{name: trial.step(inputs, targets, name) for name in near} for _ in range(_TRIAL_ROUNDS)]
            seconds |= {name: min(times[name] for times in rounds) for name in near}
    return PrecisionTiming(min(near, key=lambda candidate: seconds[candidate]), seconds, len(inputs))


def largest_batch(trial: Trial, inputs: Tensor, targets: Tensor, precision: runtime.Precision) -> int:
    """Return how many items of a batch fit into memory in one step: all of them, or half, a quarter, ...; at least 1.

    Where a device does not report that it is full (a CPU's memory), what the backward pass will need is counted, and
    kept under six tenths of what is free.

    Args:
        trial: what is trained.
        inputs: a batch, on the device.
        targets: its targets.
        precision: of the forward pass.
    """
    n = len(inputs)
    while n > 1 and not _fits_in_memory(trial, inputs[:n], targets[:n], precision):
        n //= 2
    return n


def seconds_of_epoch(trial: Trial, inputs: FitInputs, epoch: int, precision: runtime.Precision, n_steps: int) -> float:
    """Return the seconds that an epoch will take, validation included, from a few batches of each side.

    Args:
        trial: what is trained.
        inputs: the batches of both sides.
        epoch: whose training batches are used.
        precision: of the forward passes.
        n_steps: batches of an epoch.
    """
    with trial.restoring_state():
        batches = inputs.train(epoch, 0)
        taken = []
        began = time.perf_counter()
        for batch in islice(batches, _TIMED_BATCHES + 1):
            trial.step(batch.inputs, batch.targets, precision)
            taken.append(time.perf_counter() - began)
            began = time.perf_counter()
        began = time.perf_counter()
        batches_of_valid = list(islice(inputs.valid(), _TIMED_BATCHES))
        evaluate(trial.model, batches_of_valid, precision=precision, device=trial.device)
        validating = (time.perf_counter() - began) / len(batches_of_valid)
    return min(taken) * n_steps + validating * inputs.n_valid


def _fits_in_memory(trial: Trial, inputs: Tensor, targets: Tensor, precision: runtime.Precision) -> bool:
    most = runtime.free_memory(trial.device) * _USABLE_SHARE
    try:
        with trial.restoring_state(), runtime.saved_for_backward(trial.model, most):
            trial.step(inputs, targets, precision)
    except RuntimeError as error:
        if not runtime.is_out_of_memory(error):
            raise
        return False
    return True
