"""The loop: fit -> epoch -> step, then evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from foveal.core import distributed, runtime
from foveal.core.errors import TrainingError
from foveal.losses import n_known
from foveal.metrics.common import Metric
from foveal.training.groups import keeping_statistics_of_one, set_training
from foveal.training.hooks import Hooks
from foveal.training.optim import follow
from foveal.training.state import EpochResult, FitState

Loss = Callable[[Tensor, Tensor], Tensor]
_NAMES = 8


class Batched(Protocol):
    """A batch."""

    @property
    def inputs(self) -> Tensor:
        """What the model takes."""

    @property
    def targets(self) -> Tensor:
        """What it should answer."""

    @property
    def indices(self) -> Sequence[int]:
        """Where in the dataset each came from."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What a pass without gradients gave: outputs and targets of all items, in order, on the CPU."""

    outputs: Tensor
    targets: Tensor

    def losses(self, loss: Loss) -> Tensor:
        """Return the loss of each item, [n]."""
        parts = (slice(at, at + 1) for at in range(len(self.targets)))
        return torch.stack([loss(self.outputs[part], self.targets[part]) for part in parts])

    def metrics(self, metrics: Mapping[str, Metric]) -> dict[str, float]:
        """Return each metric, computed once over all items."""
        return {name: float(metric(self.outputs, self.targets)) for name, metric in metrics.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a fit needs besides its state.

    Attributes:
        train: the batches of a training epoch, by its number, from a batch on.
        valid: the batches of a validation pass.
        loss: of raw outputs and targets.
        metrics: read anew at every evaluation, by name.
        name: what a message calls an item of the training side.
        n_valid: batches of a validation pass.
    """

    train: Callable[[int, int], Iterable[Batched]]
    valid: Callable[[], Iterable[Batched]]
    loss: Loss
    metrics: Callable[[], Mapping[str, Metric]]
    name: Callable[[int], str] = str
    n_valid: int = 1


def fit(state: FitState, plan: Plan, hooks: Hooks) -> None:
    """Train for all epochs, until a hook sets `state.stop` or the process is asked to end."""
    with runtime.computing():
        hooks("before_fit", state)
        while state.epoch < state.n_epochs and not state.sync_stop():
            epoch(state, plan, hooks)
        hooks("after_fit", state)
        distributed.broadcast_buffers(state.model)


def epoch(state: FitState, plan: Plan, hooks: Hooks) -> None:
    """Train what is left of one epoch and evaluate."""
    began = time.perf_counter()
    hooks("before_epoch", state)
    set_training(state.model, state.freeze)
    for batch in plan.train(state.data_epoch, state.step_in_epoch):
        step(state, batch, plan, hooks)
        if state.sync_stop():
            break
    if state.step == 0:
        raise TrainingError("There is nothing to train on: the loader gave no batch.")
    found = None if state.stopped_by else _evaluated(state, plan)
    state.sync_stop()
    if found is None or state.stopped_by is not None:
        return  # the epoch is closed when the run is resumed
    valid_loss = float(plan.loss(found.outputs, found.targets))
    metrics = found.metrics(plan.metrics())
    seconds = time.perf_counter() - began
    result = EpochResult(state.epoch, state.smooth.value, valid_loss, metrics, seconds)
    state.results.append(result)
    state.history.append(result)
    state.epoch += 1
    state.data_epoch += 1
    hooks("after_epoch", state)


def step(state: FitState, batch: Batched, plan: Plan, hooks: Hooks) -> None:
    """Take one batch, and with the last that is accumulated one step of the optimizer."""
    state.inputs, state.targets, state.indices = batch.inputs, batch.targets, batch.indices
    follow(state.optimizer, state.schedule(state.position))
    hooks("before_step", state)
    alone = keeping_statistics_of_one(state.model, len(state.inputs))
    with runtime.autocast(state.precision, state.device), alone:
        state.output = (state.compiled or state.model)(state.inputs)
    state.loss = plan.loss(state.output.float(), state.targets)
    hooks("after_loss", state)
    own, share = state.loss, 1.0
    if distributed.world_size() > 1:  # a part of the batch counts for what it has of its targets
        n_own = n_known(state.targets)
        n_all, summed = distributed.all_reduce_sum(torch.stack([n_own.to(own), own.detach() * n_own]))
        n_all = n_all.clamp(min=1)
        state.loss, share = summed / n_all, float(n_own / n_all) * distributed.world_size()
    if not state.loss.isfinite():
        raise TrainingError(_not_finite(state, plan, own))
    torch.autograd.backward(state.scaler.scale(own * share / state.accumulate))
    hooks("after_backward", state)
    if state.completes_step:
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad()
    state.step += 1
    state.smooth.add(state.loss.detach())
    hooks("after_step", state)


def _evaluated(state: FitState, plan: Plan) -> Evaluation:
    """Evaluate, but end early where the process is asked to."""

    def heeding() -> Iterator[Batched]:
        for batch in plan.valid():
            yield batch
            if distributed.world_size() == 1 and state.sync_stop():  # several have unlike numbers of batches
                return

    distributed.broadcast_buffers(state.model)
    return evaluate(state.model, heeding(), precision=state.precision, device=state.device, dealt=True)


def _not_finite(state: FitState, plan: Plan, own: Tensor) -> str:
    if own.isfinite():
        return f"The loss of another process is {float(state.loss)}; it says on which images."
    names = [plan.name(index) for index in state.indices]
    shown = ", ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")
    rates = ", ".join(sorted({f"{group['lr']:.3g}" for group in state.optimizer.param_groups}))
    where = f"at step {state.step} of epoch {state.epoch}, at a learning rate of {rates}"
    return (
        f"The loss is {float(state.loss.detach())} {where}. "
        f"The batch held {shown}. Try a lower rate (`lr_find` suggests one), or `to_fp32()`. "
        "Checkpoints written before are untouched."
    )


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batched],
    *,
    precision: runtime.Precision,
    device: torch.device,
    dealt: bool = False,
    only_first: bool = False,
) -> Evaluation:
    """Return the raw outputs of all items; every module is left in the mode it was in.

    With `dealt` the batches are this process's of `DataLoader.shard_batches`; all have the outputs of all, or,
    with `only_first`, the first process has them and the others have none.

    Raises:
        TrainingError: there was no batch at all.
    """
    outputs, targets = [], []
    with runtime.evaluating(model), runtime.computing():
        for batch in batches:
            with runtime.autocast(precision, device):
                output = model(batch.inputs)
            outputs.append(output.float().cpu())
            targets.append(batch.targets.cpu())
    if dealt:
        outputs, targets = (distributed.all_gather_ordered(one, only_first=only_first) for one in (outputs, targets))
    if only_first and not distributed.is_first():
        return Evaluation(torch.empty(0), torch.empty(0))
    if not outputs:
        raise TrainingError("There is nothing to evaluate: the loader gave no batch.")
    return Evaluation(torch.cat(outputs), torch.cat(targets))
