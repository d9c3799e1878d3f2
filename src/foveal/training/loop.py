"""The loop: fit -> epoch -> step, then evaluate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import torch
from torch import Tensor, nn

from foveal.core import distributed, runtime
from foveal.core.errors import TrainingError
from foveal.losses import n_known
from foveal.metrics.common import MetricFunction, higher_is_better, takes_activated
from foveal.training.groups import keeping_statistics_of_one, set_training
from foveal.training.hooks import CancelBatchException, CancelEpochException, CancelFitException, Hooks
from foveal.training.optim import set_rates
from foveal.training.state import EpochResult, FitState

Loss = Callable[[Tensor, Tensor], Tensor]
Activation = Callable[[Tensor], Tensor]
_NAMES = 8  # files that a message shows; chosen by hand, so that it stays within a terminal


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
    """What a pass without gradients gave: raw outputs [n, ...] and targets [n, ...] in data order, on the CPU."""

    outputs: Tensor
    targets: Tensor

    def losses(self, loss: Loss) -> Tensor:
        """Return the loss of each item, [n]."""
        items = (slice(at, at + 1) for at in range(len(self.targets)))
        return torch.stack([loss(self.outputs[item], self.targets[item]) for item in items])

    def metrics(self, metrics: Mapping[str, MetricFunction], activate: Activation | None = None) -> dict[str, float]:
        """Return each metric, computed once over all items.

        Args:
            metrics: by name.
            activate: what turns raw outputs into those that some metrics take; raw ones stay raw by default.
        """
        values = {}
        for name, metric in metrics.items():
            wanted = activate if takes_activated(metric) else None
            outputs = self.outputs if wanted is None else wanted(self.outputs)
            values[name] = float(metric(outputs, self.targets))
        return values


@dataclass(frozen=True, slots=True, eq=False)
class FitInputs:
    """What a fit needs besides its state.

    Attributes:
        train: returns the batches of a training epoch, by its number, from a batch on.
        valid: returns the batches of a validation pass.
        loss: of raw outputs and targets.
        metrics: by name; called at every evaluation.
        name: what a message calls an item of the training side.
        n_valid: batches of a validation pass.
        activate: turns raw outputs into those that some metrics take.
        count: by how much the targets of a batch count in its mean loss; entries that are known, or their weights.
        network: what batches go through where that is not the whole model, such as the head where they are features.
    """

    train: Callable[[int, int], Iterable[Batched]]
    valid: Callable[[], Iterable[Batched]]
    loss: Loss
    metrics: Callable[[], Mapping[str, MetricFunction]]
    name: Callable[[int], str] = str
    n_valid: int = 1
    activate: Activation | None = None
    count: Callable[[Tensor], Tensor] = n_known
    network: nn.Module | None = None

    def directions(self) -> dict[str, bool | None]:
        """Return the numbers of the table by name, and whether higher is better; None where a metric declares none."""
        losses: dict[str, bool | None] = {"train_loss": False, "valid_loss": False}
        return losses | {name: higher_is_better(metric) for name, metric in self.metrics().items()}


def fit(state: FitState, inputs: FitInputs, hooks: Hooks) -> None:
    """Train for all epochs, until a callback sets `state.stop` or a signal ends the process.

    Args:
        state: at the start of a fit, or where a checkpoint stands.
        inputs: data, loss and metrics.
        hooks: what is called at each event.
    """
    state.directions = inputs.directions()
    with runtime.computing():
        try:
            hooks("before_fit", state)
            while state.epochs_done < state.n_epochs and not state.sync_stop():
                epoch(state, inputs, hooks)
        except CancelFitException as reason:
            state.stop = str(reason) or "a callback ended it"
        hooks("after_fit", state)
        distributed.broadcast_buffers(state.model)


def epoch(state: FitState, inputs: FitInputs, hooks: Hooks) -> None:
    """Train what is left of one epoch and evaluate.

    Where a callback cancels the validation, or leaves all of its batches, the epoch's line holds NaN.

    Args:
        state: the epoch after those that are done is trained.
        inputs: data, loss and metrics.
        hooks: what is called at each event.

    Raises:
        TrainingError: there is no batch, or the loss is not finite.
    """
    began = time.perf_counter()
    state.epoch = state.epochs_done
    try:
        hooks("before_epoch", state)
        set_training(state.model, state.freeze)
        for batch in inputs.train(state.data_epoch, state.step_in_epoch):
            step(state, batch, inputs, hooks)
            if state.sync_stop():
                break
    except CancelEpochException:
        state.step = (state.epoch + 1) * state.steps_per_epoch
    if state.step == 0:
        raise TrainingError("There is nothing to train on: the loader gave no batch.")
    evaluation = None if state.stopped_by else _evaluate_until_stopped(state, inputs, hooks)
    state.sync_stop()
    if state.stopped_by is not None:
        return  # the epoch is closed when the run is resumed
    if evaluation is None:
        valid_loss, metrics = math.nan, dict.fromkeys(inputs.metrics(), math.nan)
    else:
        valid_loss = float(inputs.loss(evaluation.outputs, evaluation.targets))
        metrics = evaluation.metrics(inputs.metrics(), inputs.activate)
    seconds = time.perf_counter() - began
    result = EpochResult(state.epoch, state.smooth.value, valid_loss, metrics, seconds)
    state.results.append(result)
    state.history.append(result)
    state.epochs_done += 1  # before the callbacks, so that a checkpoint written by one of them resumes with the next
    hooks("after_epoch", state)


def step(state: FitState, batch: Batched, inputs: FitInputs, hooks: Hooks) -> None:
    """Take one batch, and with the last that is accumulated one step of the optimizer.

    Args:
        state: holds the batch afterwards.
        batch: this process's share of it.
        inputs: loss, and how a message names items.
        hooks: what is called at each event.

    Raises:
        TrainingError: the loss is not finite.
    """
    state.batch, state.inputs, state.targets = state.step_in_epoch, batch.inputs, batch.targets
    state.indices = batch.indices
    set_rates(state.optimizer, state.schedule(state.position))
    try:
        _update(state, inputs, hooks)
        state.smooth.add(state.loss.detach())
    except CancelBatchException:
        state.loss = torch.tensor(float("nan"))  # that of the step before is not this one's
    state.step += 1
    hooks("after_step", state)


def _update(state: FitState, inputs: FitInputs, hooks: Hooks) -> None:
    """Go forward and backward, and move the weights where the batch completes a step.

    Raises:
        TrainingError: the loss is not finite.
    """
    hooks("before_step", state)
    one_item = keeping_statistics_of_one(state.model, len(state.inputs))
    with runtime.autocast(state.precision, state.device), one_item:
        state.output = (inputs.network or state.compiled or state.model)(state.inputs)
    hooks("after_pred", state)
    state.loss = inputs.loss(state.output.float(), state.targets)
    hooks("after_loss", state)
    own, share = state.loss, 1.0
    if distributed.world_size() > 1:  # a mean of means is the batch's mean only if each counts by its targets
        n_own = inputs.count(state.targets)
        n_all, summed = distributed.all_reduce_sum(torch.stack([n_own.to(own), own.detach() * n_own]))
        n_all = torch.where(n_all > 0, n_all, 1.0)
        state.loss, share = summed / n_all, float(n_own / n_all) * distributed.world_size()
    if not state.loss.isfinite():
        raise TrainingError(_not_finite_message(state, inputs, own))
    torch.autograd.backward(state.scaler.scale(own * share / state.accumulate))
    hooks("after_backward", state)
    if state.completes_step:
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad()


def _evaluate_until_stopped(state: FitState, inputs: FitInputs, hooks: Hooks) -> Evaluation | None:
    """Return the evaluation of the validation side, cut short where a signal ends the run.

    A callback may leave batches, which then do not count, or cancel it all; what is left of it then is None.
    """

    def batches() -> Iterator[Batched]:
        for batch in inputs.valid():
            yield batch
            # Several processes may have unlike numbers of batches: one that waits here for all would wait for ever.
            if distributed.world_size() == 1 and state.sync_stop() and state.stopped_by is not None:
                return

    numbers = count()

    def counts(batch: Batched, output: Tensor) -> bool:
        state.batch = next(numbers)
        state.inputs, state.targets, state.indices, state.output = batch.inputs, batch.targets, batch.indices, output
        try:
            hooks("after_valid_batch", state)
        except CancelBatchException:
            return False
        return True

    distributed.broadcast_buffers(state.model)
    watch = counts if hooks.listens("after_valid_batch") else None
    network = inputs.network or state.model
    try:
        hooks("before_validate", state)
        evaluation = evaluate(
            network, batches(), precision=state.precision, device=state.device, sharded=True, counts=watch
        )
    except CancelEpochException:
        return None
    with suppress(CancelEpochException):  # nothing is left of it
        hooks("after_validate", state)
    return evaluation if len(evaluation.targets) else None


def _not_finite_message(state: FitState, inputs: FitInputs, own: Tensor) -> str:
    if own.isfinite():
        return f"The loss of another process is {float(state.loss)}; it says on which images."
    names = [inputs.name(index) for index in state.indices]
    shown = ", ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")
    rates = ", ".join(sorted({f"{group['lr']:.3g}" for group in state.optimizer.param_groups}))
    where = f"at step {state.step} of epoch {state.epoch}, at a learning rate of {rates}"
    return (
        f"The loss is {float(state.loss.detach())} {where}. "
        f"The batch held {shown}. Try a lower rate (`lr_find` suggests one), or `to_fp32()`. "
        "Checkpoints written before are unchanged."
    )


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batched],
    *,
    precision: runtime.Precision,
    device: torch.device,
    sharded: bool = False,
    only_first: bool = False,
    counts: Callable[[Batched, Tensor], bool] | None = None,
) -> Evaluation:
    """Return the raw outputs of all items; every module is left in the mode it was in.

    Args:
        model: on `device`.
        batches: of inputs and targets.
        precision: of the forward pass; outputs are returned in single precision.
        device: where the model is.
        sharded: the batches are this process's share of those of a `DataLoader`, and outputs are gathered in order.
        only_first: of several processes only the first has the outputs; those of the others are empty.
        counts: called with each batch and its outputs; where it returns False, they are left out.

    Raises:
        TrainingError: there was no batch at all.
    """
    outputs, targets = [], []
    with runtime.evaluating(model), runtime.computing():
        for batch in batches:
            with runtime.autocast(precision, device):
                output = model(batch.inputs)
            n = None if counts is None or counts(batch, output) else 0  # a process needs an entry for each batch
            outputs.append(output[:n].float().cpu())
            targets.append(batch.targets[:n].cpu())
    if sharded:
        outputs, targets = (distributed.all_gather_ordered(one, only_first=only_first) for one in (outputs, targets))
    if only_first and not distributed.is_first():
        return Evaluation(torch.empty(0), torch.empty(0))
    if not outputs:
        raise TrainingError("There is nothing to evaluate: the loader gave no batch.")
    return Evaluation(torch.cat(outputs), torch.cat(targets))
