"""A run: a list of phases, each one fit, over one model and one pair of loaders; begun afresh or resumed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from foveal import runtime, storage
from foveal.data.loaders import DataLoader, DataLoaders
from foveal.errors import InputError
from foveal.image.decode import name_of
from foveal.losses import Loss
from foveal.metrics import Metric
from foveal.models.vision import VisionModel
from foveal.train import checkpoint, loop
from foveal.train.checkpoint import Checkpoints, Stored
from foveal.train.groups import Freeze, apply_freeze, parameter_groups
from foveal.train.hooks import Hooks
from foveal.train.optim import WEIGHT_DECAY, adamw
from foveal.train.precision import quickest
from foveal.train.probe import fit_head
from foveal.train.recorder import Recorder
from foveal.train.schedule import Rate, Schedule, constant, rates_of
from foveal.train.state import EpochResult, FitState

Place = str | os.PathLike[str]
_DRAWN = 64


@dataclass(frozen=True, slots=True)
class Phase:
    """One fit of a run."""

    n_epochs: int
    lr: Rate
    schedule: Schedule | None
    freeze: Freeze
    wd: float = WEIGHT_DECAY
    accumulate: int = 1


@dataclass(slots=True)
class Training:
    """What all runs of a learner share.

    Attributes:
        loss, metrics: asked for at the beginning of each fit, so that both may be changed between fits.
        precision: what was asked for; `auto` is measured once for each way to freeze.
        freeze: how the model is frozen now.
        data_epoch: epochs of training so far, in the life of the learner.
    """

    model: VisionModel
    dls: DataLoaders
    recorder: Recorder
    loss: Callable[[], Loss]
    metrics: Callable[[], Mapping[str, Metric]]
    precision: runtime.PrecisionChoice = "fp32"
    freeze: Freeze = field(default=Freeze())
    data_epoch: int = 0
    _measured: dict[Freeze, runtime.Precision] = field(default_factory=dict)

    def run(self, phases: Sequence[Phase], cbs: Iterable[object], resume: Place | None) -> None:
        """Fit one phase after the other; with `resume`, from where the checkpoint of a run stands."""
        stored = checkpoint.read(resume) if resume is not None else None
        hooks = list(cbs)
        if stored is not None and not any(isinstance(hook, Checkpoints) for hook in hooks):
            hooks.append(Checkpoints(stored.path.parent))
        for number, phase in enumerate(phases):
            if stored is None or number >= stored.phase:
                at_work = stored if stored is not None and number == stored.phase else None
                if not self._fit(phase, number, hooks, at_work):
                    return

    def evaluate(self, loader: DataLoader, model: nn.Module | None = None) -> loop.Evaluation:
        """Return the raw outputs for all items of a loader, by default of the model that trains."""
        batches = loader.batches(epoch=0)
        return loop.evaluate(model or self.model, batches, precision=self.plain_precision, device=self.dls.device)

    def probe(self, loss: Loss) -> float:
        """Fit the head to the training side, each picture looked at once as in validation; return the loss there."""
        batches = DataLoader(self.dls.train.feed, self.dls.bs).batches(epoch=0)
        return fit_head(self.model, batches, loss, precision=self.plain_precision, device=self.dls.device)

    @property
    def plain_precision(self) -> runtime.Precision:
        """The precision that was asked for; fp32 where that is to be measured."""
        return "fp32" if self.precision == "auto" else self.precision

    def _fit(self, phase: Phase, number: int, cbs: Sequence[object], stored: Stored | None) -> bool:
        """Fit one phase; return whether it was gone through."""
        if phase.n_epochs < 1:
            raise InputError(f"At least one epoch is trained; got {phase.n_epochs}.")
        self.freeze = phase.freeze
        apply_freeze(self.model, self.freeze)
        state = self.state(phase, number, history=self.recorder.history, stored=stored)
        saving = [hook for hook in cbs if isinstance(hook, Checkpoints)]
        others = [self.recorder, *(hook for hook in cbs if hook not in saving)]
        for hook in saving:
            hook.others = others
        if saving:
            state.plan = self._description(phase, state.precision)
        if stored is not None:
            checkpoint.restore(stored, state, others)
        try:
            with runtime.signals_noted(state) if saving else nullcontext():
                loop.fit(state, self.plan(), Hooks([*others, *saving]))
        finally:
            self.recorder.close()
            self.data_epoch = state.data_epoch
        return state.stop is None

    def state(
        self,
        phase: Phase,
        number: int,
        *,
        history: list[EpochResult],
        steps: int | None = None,
        stored: Stored | None = None,
    ) -> FitState:
        """Return the state at the beginning of a fit, in the precision of `stored` where a run is resumed."""
        device, rates = self.dls.device, rates_of(phase.lr, len(parameter_groups(self.model)))
        precision = stored.position["plan"]["precision"] if stored else self._resolved(phase.freeze)
        return FitState(
            model=self.model,
            optimizer=adamw(self.model, rates, wd=phase.wd),
            schedule=phase.schedule or constant(),
            freeze=phase.freeze,
            device=device,
            precision=precision,
            scaler=runtime.gradient_scaler(precision, device),
            n_epochs=phase.n_epochs,
            steps_per_epoch=steps or len(self.dls.train),
            data_epoch=self.data_epoch,
            history=history,
            phase=number,
            accumulate=phase.accumulate,
            mix=self.dls.task.mix,
        )

    def plan(self) -> loop.Plan:
        """Return what a fit needs besides its state."""
        train, valid = self.dls.loaders
        return loop.Plan(
            train=lambda epoch, first: train.batches(epoch=epoch, first=first),
            valid=lambda: valid.batches(epoch=0),
            loss=self.loss(),
            metrics=self.metrics,
            name=lambda index: name_of(train.dataset.pictures[index]),
        )

    def _resolved(self, freeze: Freeze) -> runtime.Precision:
        """Return the precision that was asked for, or with `auto` the one that measures quickest for what trains."""
        if self.precision != "auto":
            return self.precision
        if freeze not in self._measured:
            batch = next(self.dls.train.batches(epoch=self.data_epoch))
            choice = quickest(self.model, freeze, batch, self.loss(), self.dls.device)
            self._measured[freeze] = choice.precision
            if choice.seconds:
                self.recorder.say(str(choice))
        return self._measured[freeze]

    def _description(self, phase: Phase, precision: str) -> dict[str, Any]:
        """Return what decides a fit, by name; it goes through the names of all pictures."""
        rates = rates_of(phase.lr, len(parameter_groups(self.model)))
        schedule = phase.schedule or constant()
        shape = [schedule(step / _DRAWN) for step in range(_DRAWN)]
        return {
            "epochs": phase.n_epochs,
            "rates": [round(rate, 12) for rate in rates],
            "schedule": storage.text_hash(repr(shape)),
            "weight decay": phase.wd,
            "accumulate": phase.accumulate,
            "frozen groups": phase.freeze.n_frozen,
            "norm": phase.freeze.norm,
            "keeps statistics": phase.freeze.keep_statistics,
            "precision": precision,
            "batch size": self.dls.bs,
            "seed": self.dls.train.seed,
            "model": storage.text_hash(repr([(n, tuple(p.shape)) for n, p in self.model.named_parameters()])),
            "data": self.dls.train.dataset.fingerprint,
        }
