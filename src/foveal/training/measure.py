"""What is measured before a fit instead of guessed: the quickest precision, the largest batch, the time of an epoch.

Whatever is tried, the model is afterwards as it was, and so is the random state.
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
from foveal.training.loop import Batched, Loss, Plan, evaluate

_ITEMS, _ROUNDS, _BATCHES = 16, 2, 3
_SPARED, _FAR = 0.6, 1.5


@dataclass(frozen=True, slots=True)
class Trial:
    """What a step is tried with."""

    model: nn.Module
    freeze: Freeze
    loss: Loss
    device: torch.device

    def step(self, inputs: Tensor, targets: Tensor, precision: runtime.Precision) -> float:
        """Go forward and back; return the seconds that it took."""
        runtime.wait_for(self.device)
        began = time.perf_counter()
        with runtime.autocast(precision, self.device), keeping_statistics_of_one(self.model, len(inputs)):
            output = self.model(inputs)
        torch.autograd.backward(self.loss(output.float(), targets))
        runtime.wait_for(self.device)
        return time.perf_counter() - began

    @contextlib.contextmanager
    def restoring_state(self) -> Iterator[None]:
        """Train in the block without leaving a trace."""
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
class Choice:
    """A precision, and the seconds that a step took in each candidate."""

    precision: runtime.Precision
    seconds: dict[runtime.Precision, float]

    def __str__(self) -> str:
        times = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in self.seconds.items())
        return f"precision {self.precision}, measured for a step of {_ITEMS} or fewer: {times}"


def fastest_precision(trial: Trial, batch: Batched) -> Choice:
    """Return the precision in which forward and backward take the least time.

    The first step of each is for warming up; one that is far slower in it than the first one, which pays for all that
    is made once, is not tried again.
    """
    candidates = runtime.precisions(trial.device)
    if len(candidates) == 1:
        return Choice(candidates[0], {})
    inputs, targets = batch.inputs[:_ITEMS], batch.targets[:_ITEMS]
    with trial.restoring_state():
        seconds = {candidate: trial.step(inputs, targets, candidate) for candidate in candidates}
        near = [candidate for candidate in candidates if seconds[candidate] <= _FAR * seconds[candidates[0]]]
        if len(near) > 1:
            rounds = [{one: trial.step(inputs, targets, one) for one in near} for _ in range(_ROUNDS)]
            seconds |= {one: min(times[one] for times in rounds) for one in near}
    return Choice(min(near, key=lambda candidate: seconds[candidate]), seconds)


def largest_batch(trial: Trial, inputs: Tensor, targets: Tensor, precision: runtime.Precision) -> int:
    """Return how many items of a batch fit into memory in one step: all of them, or half, a quarter, ...; at least 1.

    Where a device does not say that it is full (a CPU's memory), what the backward pass will need is counted, and kept
    under six tenths of what is free.
    """
    n = len(inputs)
    while n > 1 and not _fits(trial, inputs[:n], targets[:n], precision):
        n //= 2
    return n


def seconds_of_epoch(trial: Trial, plan: Plan, epoch: int, precision: runtime.Precision, n_steps: int) -> float:
    """Return the time that an epoch of `n_steps` will take, validation included, from a few batches of each side."""
    with trial.restoring_state():
        batches = plan.train(epoch, 0)
        taken = []
        began = time.perf_counter()
        for batch in islice(batches, _BATCHES + 1):
            trial.step(batch.inputs, batch.targets, precision)
            taken.append(time.perf_counter() - began)
            began = time.perf_counter()
        began = time.perf_counter()
        some = list(islice(plan.valid(), _BATCHES))
        evaluate(trial.model, some, precision=precision, device=trial.device)
        validating = (time.perf_counter() - began) / len(some)
    return min(taken) * n_steps + validating * plan.n_valid


def _fits(trial: Trial, inputs: Tensor, targets: Tensor, precision: runtime.Precision) -> bool:
    most = runtime.free_memory(trial.device) * _SPARED
    try:
        with trial.restoring_state(), runtime.saved_for_backward(trial.model, most):
            trial.step(inputs, targets, precision)
    except RuntimeError as error:
        if not runtime.is_out_of_memory(error):
            raise
        return False
    return True
