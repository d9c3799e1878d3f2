"""A run: a list of phases, each one fit, over one model and one pair of loaders; begun afresh or resumed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from foveal.core import distributed, runtime, storage, timing
from foveal.core.errors import InputError, ModelFileError, TrainingError
from foveal.data.batches import Batch
from foveal.data.loader import DataLoader
from foveal.data.loaders import DataLoaders
from foveal.metrics.common import MetricFunction
from foveal.models.vision import VisionModel
from foveal.training import checkpoint, loop, lr_finder
from foveal.training.checked_loss import CheckedLoss
from foveal.training.checkpoint import Checkpoints, PathLike, Stored, strip_prefix
from foveal.training.crowding import Crowding
from foveal.training.fixed_views import FixedViews, refuse_views
from foveal.training.groups import Freeze, Freezer, parameter_groups
from foveal.training.hooks import Hooks, as_list
from foveal.training.measure import Trial, fastest_precision, largest_batch, seconds_of_epoch
from foveal.training.optim import (
    Adam,
    OptimizerAverages,
    OptimizerFunction,
    build_optimizer,
    optimizer_text,
)
from foveal.training.phase import Phase
from foveal.training.recorder import Recorder
from foveal.training.schedule import Rate, constant, rates_of
from foveal.training.state import EpochResult, FitState

_DRAWN = 64  # points of a schedule that its fingerprint is made of; chosen by hand


@dataclass(slots=True)
class Training:
    """What all runs of a learner share.

    Attributes:
        loss, metrics: called at the beginning of each fit, as both may be changed between fits.
        activate: turns raw outputs into those that some metrics take.
        precision: the user's choice; `auto` is measured once for each number of frozen groups.
        freeze: how the model is frozen now.
        freezer: sets `requires_grad`, and knows what was set by hand.
        data_epoch: epochs of training so far, in the life of the learner.
        averages: the optimizer's of the last fit, and what it trained, for the next fit that trains the same.
        measured: what `auto` found fastest, by the number of frozen groups.
        compile, opt_func: whether steps go through torch.compile; what builds each fit's optimizer.
        at_work: the state of the fit at work, or of the last one.
    """

    model: nn.Module
    dls: DataLoaders
    recorder: Recorder
    loss: Callable[[], CheckedLoss]
    metrics: Callable[[], Mapping[str, MetricFunction]]
    activate: loop.Activation
    precision: runtime.PrecisionChoice = "fp32"
    freeze: Freeze = field(default=Freeze())
    data_epoch: int = 0
    freezer: Freezer = field(default_factory=Freezer)
    averages: OptimizerAverages | None = None
    compile: bool = False
    opt_func: OptimizerFunction = Adam
    at_work: FitState | None = None
    measured: dict[int, runtime.Precision] = field(default_factory=dict)

    def run(
        self,
        phases: Sequence[Phase],
        cbs: object,
        resume: PathLike | None,
        minutes: float | None = None,
        began: float | None = None,
    ) -> None:
        """Fit one phase after the other; with `resume`, from where the checkpoint of a run stands.

        Args:
            phases: the last one may leave its length to `minutes`.
            cbs: a callback, several, or None.
            resume: the folder of a run, or its checkpoint.
            minutes: for all of it, counted from `began`, by default now.
            began: by the clock of `time.monotonic`.

        Raises:
            InputError: neither or both of epochs and minutes are given.
        """
        last = phases[-1]
        if (last.n_epochs is None) == (minutes is None) and resume is None:
            raise InputError("Say how long to train: a number of epochs, or minutes=; one of the two.")
        if minutes is not None:
            deadline = (time.monotonic() if began is None else began) + 60 * minutes
            phases = [*phases[:-1], replace(last, deadline=deadline)]
        stored = checkpoint.read(resume) if resume is not None else None
        if stored is not None and isinstance(self.model, VisionModel):
            self.model.read_as(stored.part("model"))  # a probe before the stop may have let its head read more
        hooks = as_list(cbs)
        if stored is not None and not any(isinstance(hook, Checkpoints) for hook in hooks):
            hooks.append(Checkpoints(stored.path.parent))
        with runtime.on_threads(self.dls.n_threads):
            for number, phase in enumerate(phases):
                if stored is None or number >= stored.phase:
                    at_work = stored if stored is not None and number == stored.phase else None
                    state = self._fit(phase, number, hooks, at_work)
                    if state is not None and state.stopped_by is not None:
                        return
                    if state is not None and state.stop is not None and phase is not phases[-1]:
                        self.recorder.say(f"This part of the run ended early: {state.stop}. The next part begins.")

    def evaluate(
        self, loader: DataLoader | Iterable[tuple[Tensor, Tensor]], *, only_first: bool = False
    ) -> loop.Evaluation:
        """Return the raw outputs for all items.

        Args:
            loader: a loader, or batches of inputs and targets.
            only_first: of several processes only the first has the outputs; those of the others are empty.
        """
        sharded, device = isinstance(loader, DataLoader), self.dls.device
        if isinstance(loader, DataLoader):
            batches = loader.shard_batches()
        else:
            batches = (Batch(tuple(part.to(device) for part in parts), ()) for parts in loader)
        precision = self.plain_precision
        with runtime.on_threads(self.dls.n_threads):
            return loop.evaluate(
                self.model, batches, precision=precision, device=device, sharded=sharded, only_first=only_first
            )

    @property
    def plain_precision(self) -> runtime.Precision:
        """The user's precision; fp32 where that is to be measured."""
        return "fp32" if self.precision == "auto" else self.precision

    def _fit(self, phase: Phase, number: int, cbs: Sequence[object], stored: Stored | None) -> FitState | None:
        """Return where the fit of one phase ended, or None where there was no time for an epoch.

        Raises:
            InputError: the phase has no epoch.
            TrainingError: the device's memory is full.
            RuntimeError: any other one of torch's.
        """
        if phase.n_epochs is not None and phase.n_epochs < 1:
            raise InputError(f"At least one epoch is trained; got {phase.n_epochs}.")
        self.freeze = phase.freeze
        self.freezer.apply(self.model, phase.freeze)
        if phase.views is not None:
            refuse_views(self.model, self.dls.train, phase.freeze, cbs)
        if not (n_epochs := self._length(phase, stored)):
            return None
        phase = replace(phase, n_epochs=n_epochs)
        state = self.at_work = self.state(phase, number, history=self.recorder.history, stored=stored)
        saving = [hook for hook in cbs if isinstance(hook, Checkpoints)]
        others = [self.recorder, *(hook for hook in cbs if hook not in saving)]
        watching = Crowding(self.recorder.say)
        for hook in saving:
            hook.others = others
        if saving:
            state.run_fingerprint = self._fingerprint(phase, state.precision)
        if stored is not None:
            checkpoint.restore(stored, state, others)
        try:
            with distributed.peer_failure(), runtime.defer_signals(state) if saving else nullcontext():
                loop.fit(state, self._inputs_of(phase, state), Hooks([watching, *others, *saving]))
        except RuntimeError as error:
            if runtime.is_out_of_memory(error):
                raise TrainingError(self._too_large_message(state)) from error
            raise
        finally:
            self.recorder.close()
            self.data_epoch = state.epochs_before + state.epochs_done
        self.averages = self._averages(phase.freeze, state.optimizer.state_dict()["state"])
        return state

    def state(
        self,
        phase: Phase,
        number: int,
        *,
        history: list[EpochResult],
        steps: int | None = None,
        stored: Stored | None = None,
    ) -> FitState:
        """Return the state at the beginning of a fit.

        Args:
            phase: what is fitted.
            number: of the phase in its run, from 0.
            history: results so far; the fit adds to it.
            steps: per epoch; by default the batches of the training side.
            stored: where a run is resumed, its checkpoint, whose precision holds.
        """
        device, rates = self.dls.device, self._rates(phase.lr)
        precision = stored.position["plan"]["precision"] if stored else self.resolve_precision(phase.freeze)
        optimizer = build_optimizer(self.model, rates, wd=phase.wd, opt_func=self.opt_func)
        before = self.averages
        if before is not None and not phase.reset_opt and before.fits(phase.freeze, self.freezer):
            optimizer.load_state_dict(optimizer.state_dict() | {"state": before.values})
        return FitState(
            model=self.model,
            optimizer=optimizer,
            schedule=phase.schedule or constant(),
            freeze=phase.freeze,
            device=device,
            precision=precision,
            scaler=runtime.gradient_scaler(precision, device),
            n_epochs=phase.n_epochs or 1,
            steps_per_epoch=steps or len(self.dls.train),
            epochs_before=self.data_epoch,
            history=history,
            phase=number,
            accumulate=phase.accumulate,
            mix=self.dls.mix,
            compiled=self._compile(),
            say=self.recorder.say,
        )

    def fit_inputs(self) -> loop.FitInputs:
        """Return what a fit needs besides its state."""
        train, valid = self.dls.loaders
        loss = self.loss()
        return loop.FitInputs(
            train=lambda epoch, first: train.rank_batches(epoch=epoch, first=first),
            valid=valid.shard_batches,
            loss=loss,
            metrics=self.metrics,
            name=getattr(train.dataset, "name", str),
            n_valid=len(valid),
            activate=self.activate,
            count=loss.count,
        )

    def _inputs_of(self, phase: Phase, state: FitState) -> loop.FitInputs:
        """Return what a fit needs besides its state; with views, its batches are features."""
        inputs = self.fit_inputs()
        if phase.views is None:
            return inputs
        assert isinstance(self.model, VisionModel)
        views = FixedViews(self.model, self.dls.loaders, phase.views, state.epochs_before, state.precision)
        return replace(inputs, train=views.train, valid=views.valid, network=views.head)

    def curve(self, start_lr: float, end_lr: float, num_it: int, *, stop_div: bool) -> lr_finder.Curve:
        """Return the losses at growing rates; the model is afterwards as it was.

        Args:
            start_lr: the first rate.
            end_lr: the last one.
            num_it: steps at most.
            stop_div: whether to stop when the loss has diverged.
        """
        phase = Phase(1, 1.0, lr_finder.geometric(start_lr, end_lr), self.freeze, reset_opt=True)
        state = self.state(phase, 0, history=[], steps=num_it)
        weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        try:
            with torch.random.fork_rng(), runtime.on_threads(self.dls.n_threads), runtime.computing():
                return lr_finder.run(state, self.fit_inputs(), stop_div=stop_div)
        finally:
            self.model.load_state_dict(weights)
            self.model.zero_grad()

    def largest_batch(self) -> int:
        """Return how large a batch, up to the loaders', fits into memory when everything trains."""
        freeze = Freeze()
        self.freezer.apply(self.model, freeze)
        batch = self._first_batch()
        n_items = largest_batch(self._trial(freeze), batch.inputs, batch.targets, self.plain_precision)
        self.freezer.apply(self.model, self.freeze)
        return int(distributed.broadcast_value(n_items))

    def save(self, path: Path, *, with_averages: bool = True) -> Path:
        """Return the file that the weights, and the optimizer's averages of the last fit, were written to."""
        averages = (with_averages and self.averages) or self._averages(self.freeze, {})
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        metadata = {"freeze": json.dumps(asdict(averages.freeze)), "by_hand": json.dumps(dict(averages.by_hand))}
        storage.write_tensors(path, tensors | checkpoint.optimizer_tensors(averages.values), metadata)
        return path

    def load(self, path: Path, *, with_averages: bool = True) -> None:
        """Read what `save` wrote.

        Raises:
            ModelFileError: there is no such file, or it does not fit this model.
        """
        tensors, metadata = storage.read_tensors(path)
        try:
            self.model.load_state_dict(strip_prefix(tensors, "model"))
            freeze = Freeze(**json.loads(metadata["freeze"]))
            by_hand = json.loads(metadata.get("by_hand", "{}"))  # files of version 0.1 do not have it
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise ModelFileError(f"`{path}` does not fit this model: {str(error).splitlines()[0]}") from error
        self.freezer.reset(self.model, freeze, by_hand)
        self.freeze = freeze
        optimizer = build_optimizer(self.model, self._rates(1.0), opt_func=self.opt_func)
        averages = checkpoint.optimizer_averages(strip_prefix(tensors, "optimizer"), optimizer)
        self.averages = self._averages(freeze, averages) if averages and with_averages else None

    def set_freeze(self, freeze: Freeze) -> None:
        """Freeze the model, also what was thawed by hand, and forget the optimizer's averages."""
        self.freezer.reset(self.model, freeze)
        self.freeze, self.averages = freeze, None

    def resolve_precision(self, freeze: Freeze) -> runtime.Precision:
        """Return the user's precision, or with `auto` the one that measures fastest for what trains."""
        if self.precision != "auto":
            return self.precision
        if freeze.n_frozen not in self.measured:
            with timing.measure("precision"):
                choice = fastest_precision(self._trial(freeze), self._first_batch())
            known = runtime.precisions(self.dls.device)
            self.measured[freeze.n_frozen] = known[int(distributed.broadcast_value(known.index(choice.precision)))]
            if choice.seconds:
                self.recorder.say(str(choice))
        return self.measured[freeze.n_frozen]

    def _averages(self, freeze: Freeze, values: Mapping[int, Mapping[str, Tensor]]) -> OptimizerAverages:
        return OptimizerAverages(freeze, dict(self.freezer.by_hand), values)

    def _compile(self) -> Callable[[Tensor], Tensor] | None:
        """Return what training steps go through where that is not the model itself."""
        if self.dls.device.type == "cuda":
            self.model = distributed.sync_batchnorm(self.model)
        model = distributed.data_parallel(self.model)
        compiled: Callable[[Tensor], Tensor] = torch.compile(model) if self.compile else model
        return None if compiled is self.model else compiled

    def _rates(self, lr: Rate) -> list[float]:
        return rates_of(lr, len(parameter_groups(self.model)))

    def _trial(self, freeze: Freeze) -> Trial:
        return Trial(self.model, freeze, self.loss(), self.dls.device)

    def _first_batch(self) -> loop.Batched:
        return next(self.dls.train.batches(epoch=self.data_epoch))

    def _length(self, phase: Phase, stored: Stored | None) -> int:
        """Return the epochs of a phase: its own, a checkpoint's, or as many as fit into the time that is left."""
        if phase.n_epochs is not None:
            return phase.n_epochs
        if stored is not None:
            return int(stored.position["plan"]["epochs"])
        precision, n_steps = self.resolve_precision(phase.freeze), len(self.dls.train)
        with timing.measure("length of an epoch"):
            each = seconds_of_epoch(self._trial(phase.freeze), self.fit_inputs(), self.data_epoch, precision, n_steps)
        left = phase.deadline - time.monotonic()
        n_epochs = int(distributed.broadcast_value(max(phase.least, int(left / each))))
        self.recorder.say(f"{n_epochs} epochs of about {each:.0f} s in the {max(0.0, left):.0f} s that are left")
        return n_epochs

    def _too_large_message(self, state: FitState) -> str:
        """Return what to do about a batch that does not fit into memory."""
        n = len(state.inputs)
        state.output = state.loss = torch.empty(0)
        state.optimizer.zero_grad()
        inputs, targets = (part[: max(1, n // 2)] for part in (state.inputs, state.targets))
        fitting = largest_batch(self._trial(state.freeze), inputs, targets, state.precision)
        return (
            f"There is not enough memory for a batch of {n}. A batch of {fitting} fits: build the loaders with "
            f"bs={fitting} (`--batch-size {fitting}`, or `--batch-size auto`); `accumulate={-(-n // fitting)}` keeps "
            "the size of a step. Checkpoints written before are unchanged."
        )

    def _fingerprint(self, phase: Phase, precision: str) -> dict[str, object]:
        """Return what decides a fit, by name; it goes through the names of all images.

        The names are those of the checkpoint's file format.
        """
        schedule = phase.schedule or constant()
        shape = [schedule(step / _DRAWN) for step in range(_DRAWN)]
        by_hand = self.freezer.by_hand
        # Only where there is something, so that checkpoints of version 0.1, which do not have it, resume.
        extra: dict[str, object] = {"set by hand": storage.text_hash(repr(sorted(by_hand.items())))} if by_hand else {}
        if self.opt_func is not Adam:
            extra["optimizer"] = optimizer_text(self.opt_func)
        if phase.views is not None:
            extra["views"] = phase.views
        extra |= self.dls.train.fingerprint | self.loss().fingerprint
        return extra | {
            "epochs": phase.n_epochs,
            "rates": [round(rate, 12) for rate in self._rates(phase.lr)],
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
