"""Which precision trains faster here: measured on a few pictures at the start of a phase, not guessed."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foveal import runtime
from foveal.train.groups import Freeze, set_training
from foveal.train.loop import Batched, Loss

_ITEMS, _ROUNDS = 16, 2


@dataclass(frozen=True, slots=True)
class Choice:
    """A precision, and the seconds that a step took in each candidate."""

    precision: runtime.Precision
    seconds: dict[runtime.Precision, float]

    def __str__(self) -> str:
        times = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in self.seconds.items())
        return f"precision {self.precision}, measured for a step of {_ITEMS} or fewer: {times}"


def quickest(model: nn.Module, freeze: Freeze, batch: Batched, loss: Loss, device: torch.device) -> Choice:
    """Return the precision in which forward and backward take the least time; the model is left as it was."""
    candidates = runtime.precisions(device)
    if len(candidates) == 1:
        return Choice(candidates[0], {})
    inputs, targets = batch.inputs[:_ITEMS], batch.targets[:_ITEMS]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    set_training(model, freeze)
    seconds = dict.fromkeys(candidates, float("inf"))
    with torch.random.fork_rng(), runtime.keeping_memory():
        for number in range(_ROUNDS + 1):
            for candidate in candidates:
                taken = _step(model, inputs, targets, loss, candidate, device)
                if number:  # the first is for warming up
                    seconds[candidate] = min(seconds[candidate], taken)
    model.zero_grad()
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    return Choice(min(candidates, key=lambda candidate: seconds[candidate]), seconds)


def _step(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, precision: runtime.Precision, device: torch.device
) -> float:
    runtime.wait_for(device)
    began = time.perf_counter()
    with runtime.autocast(precision, device):
        output = model(inputs)
    torch.autograd.backward(loss(output.float(), targets))
    runtime.wait_for(device)
    return time.perf_counter() - began
