"""The learner: data, model and loss in one hand; each method is one call into a room."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal import runtime
from foveal.bundle.predictor import Prediction, Predictor
from foveal.data.loaders import DataLoader, DataLoaders
from foveal.errors import InputError
from foveal.image.decode import PictureSource
from foveal.listing import L
from foveal.losses import Loss, guarded
from foveal.metrics import Metric, metric_name
from foveal.models.vision import VisionModel
from foveal.results import show
from foveal.results.predictions import predict_dataset
from foveal.tasks.multi_label import MultiLabel
from foveal.train import find
from foveal.train.groups import Freeze, Norm, apply_freeze, parameter_groups
from foveal.train.optim import WEIGHT_DECAY
from foveal.train.phases import Phase, Place, Training
from foveal.train.recorder import Recorder
from foveal.train.schedule import Rate, Schedule, one_cycle
from foveal.train.state import EpochResult

_MOMENTS = (0.95, 0.85, 0.95)


class Learner:
    """Trains a model on loaders and answers for what it learned.

    Attributes:
        dls, model, loss_func: what is trained, on what, by which loss.
        metrics: one function or several of (raw outputs, targets); may be changed at any time.
        recorder: the history of all fits.
    """

    def __init__(
        self,
        dls: DataLoaders,
        model: VisionModel,
        *,
        loss_func: Loss | None = None,
        metrics: Metric | Iterable[Metric] | None = None,
        origin: str = "",
    ) -> None:
        """Put a model on the loaders' device.

        Args:
            dls: the loaders.
            model: answers with `dls.task.n_outputs` numbers.
            loss_func: of (raw outputs, targets); the task's by default.
            metrics: the task's by default.
            origin: where the weights came from.
        """
        self.dls, self.origin = dls, origin
        self.model = model
        runtime.to_device(model, dls.device)
        self.loss_func = loss_func if loss_func is not None else dls.loss_func
        self.metrics: Any = metrics if metrics is not None else list(dls.task.metrics().values())
        self.recorder = Recorder(lambda: [metric_name(metric) for metric in self._metrics()])
        self._training = Training(model, dls, self.recorder, self._loss, self._named_metrics)

    def fit(
        self,
        n_epoch: int,
        lr: Rate = 1e-3,
        *,
        schedule: Schedule | None = None,
        wd: float = WEIGHT_DECAY,
        accumulate: int = 1,
        cbs: Iterable[object] = (),
        resume: Place | None = None,
    ) -> None:
        """Train for `n_epoch` epochs at a constant rate, or as `schedule` says.

        Args:
            n_epoch: how often the training side is gone through.
            lr: a rate, a rate a group, or a slice; see `rates_of`.
            schedule: of the rates, over the whole fit.
            wd: weight decay.
            accumulate: batches whose gradients are summed up for one step of the optimizer.
            cbs: hooks; `Checkpoints(folder)` among them makes the fit resumable.
            resume: the folder of a run with a checkpoint, to go on from there to the bit.
        """
        self._run([Phase(n_epoch, lr, schedule, self._training.freeze, wd, accumulate)], cbs, resume)

    def fit_one_cycle(
        self,
        n_epoch: int,
        lr_max: Rate = 1e-3,
        *,
        div: float = 25.0,
        div_final: float = 1e5,
        pct_start: float = 0.25,
        wd: float = WEIGHT_DECAY,
        moms: tuple[float, float, float] = _MOMENTS,
        accumulate: int = 1,
        cbs: Iterable[object] = (),
        resume: Place | None = None,
    ) -> None:
        """Train with the one-cycle schedule up to `lr_max`; see `fit` for the rest."""
        schedule = one_cycle(pct_start=pct_start, div=div, div_final=div_final, moms=moms)
        self._run([Phase(n_epoch, lr_max, schedule, self._training.freeze, wd, accumulate)], cbs, resume)

    def fine_tune(
        self,
        epochs: int,
        base_lr: float = 2e-3,
        *,
        freeze_epochs: int = 1,
        lr_mult: float = 100.0,
        pct_start: float = 0.3,
        div: float = 5.0,
        wd: float = WEIGHT_DECAY,
        accumulate: int = 1,
        probe: bool = False,
        cbs: Iterable[object] = (),
        resume: Place | None = None,
    ) -> None:
        """Train the head for `freeze_epochs`, then everything for `epochs` with smaller rates towards the input.

        With `probe` the head is fitted by `learn.probe()` in place of the first epochs, and batch normalisation goes
        on with the statistics that the probe has seen.
        """
        phases = []
        if probe and resume is None:
            self.probe()
        if freeze_epochs and not probe:
            head_only = Freeze(len(parameter_groups(self.model)) - 1)
            gentle = one_cycle(pct_start=0.99, div=25.0)
            phases.append(Phase(freeze_epochs, slice(base_lr), gentle, head_only, wd, accumulate))
        base_lr /= 2
        rates = slice(base_lr / lr_mult, base_lr)
        everything = Freeze(keep_statistics=probe)
        phases.append(Phase(epochs, rates, one_cycle(pct_start=pct_start, div=div), everything, wd, accumulate))
        self._run(phases, cbs, resume)

    def probe(self) -> None:
        """Fit the head, `linear` or `spatial`, to frozen features of the training pictures, each looked at once.

        The best linear head is found by convex optimisation; its L2 penalty is chosen inside the training side. On
        small sets it is far ahead of the first epochs of training, and a good place to go on from.

        Raises:
            InputError: the head is another one.
        """
        began = time.perf_counter()
        train_loss = self._training.probe(self._loss())
        valid_loss, metrics = self._scores(self.dls.valid)
        self.recorder.note(EpochResult(0, train_loss, valid_loss, metrics, time.perf_counter() - began))

    def lr_find(
        self,
        start_lr: float = 1e-7,
        end_lr: float = 10.0,
        num_it: int = 100,
        *,
        stop_div: bool = True,
        show_plot: bool = True,
        suggest_funcs: Iterable[find.Suggestion] | find.Suggestion = find.valley,
    ) -> Any:
        """Try growing rates for up to `num_it` steps, draw the losses and return what `suggest_funcs` suggest.

        Weights, optimizer and random state are afterwards as they were; no file is written.
        """
        phase = Phase(1, 1.0, find.growing(start_lr, end_lr), self._training.freeze)
        state = self._training.state(phase, 0, history=[], steps=num_it)
        weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        try:
            with torch.random.fork_rng(), runtime.keeping_memory():
                curve = find.run(state, self._training.plan(), stop_div=stop_div)
        finally:
            self.model.load_state_dict(weights)
            self.model.zero_grad()
        rates = find.suggested(curve, suggest_funcs)
        if show_plot:
            find.draw(curve, list(rates._asdict().items()))
        return rates

    def freeze(self, *, norm: Norm = "frozen") -> None:
        """Train the last group only; `norm` says what normalisation layers of the others do (see `Freeze`)."""
        self.freeze_to(-1, norm=norm)

    def unfreeze(self) -> None:
        """Train everything."""
        self.freeze_to(0)

    def freeze_to(self, n: int, *, norm: Norm = "frozen") -> None:
        """Freeze the first `n` groups; a negative `n` counts from the last."""
        n_groups = len(parameter_groups(self.model))
        self._training.freeze = Freeze(n + n_groups if n < 0 else n, norm)
        apply_freeze(self.model, self._training.freeze)

    def to_precision(self, name: str) -> Learner:
        """Train in `fp32`, `bf16`, `fp16` (on a GPU), or what `auto` finds best."""
        self._training.precision = runtime.check_precision(name, self.dls.device)
        return self

    def to_fp32(self) -> Learner:
        """Train in single precision."""
        return self.to_precision("fp32")

    def to_bf16(self) -> Learner:
        """Train in bfloat16."""
        return self.to_precision("bf16")

    def to_fp16(self) -> Learner:
        """Train in half precision; where there is no GPU, in bfloat16, as the CPU has no fast half."""
        return self.to_precision("bf16" if self.dls.device.type == "cpu" else "fp16")

    def validate(self, ds_idx: int = 1) -> L[float]:
        """Return the loss and the metrics on one side of the split."""
        loss, metrics = self._scores(self.dls[ds_idx])
        return L([loss, *metrics.values()])

    def get_preds(self, ds_idx: int = 1, *, dl: DataLoader | None = None) -> tuple[Tensor, Tensor]:
        """Return activated predictions [n, ...] and targets of one side of the split, or of a loader, on the CPU."""
        found = self._training.evaluate(dl or self.dls[ds_idx])
        return self.dls.task.activate(found.outputs), found.targets

    def predict(self, picture: PictureSource) -> Prediction:
        """Answer for a path, bytes, an array or a PIL picture; points come back in its pixels."""
        return self.predictor().predict(picture)

    def predictor(self, training: dict[str, Any] | None = None) -> Predictor:
        """Return what answers with the model as it is now, in fp32."""
        return Predictor.of(self.model, self.dls.task, self.dls.preparation, training)

    def export(self, path: str | os.PathLike[str] = "model.safetensors") -> Path:
        """Write one safe file that `load_learner` reads; return its path."""
        self.predictor({"weights": self.origin, "n_train": self.dls.train.n, "n_valid": self.dls.valid.n}).save(path)
        return Path(path)

    def show_results(self, ds_idx: int = 1, *, max_n: int = 9) -> None:
        """Draw pictures of one side of the split with the truth and what was predicted."""
        from matplotlib import pyplot as plt

        predictions = predict_dataset(self.predictor(), self.dls[ds_idx].dataset)
        show.results_sheet(predictions, max_n=max_n, figure=plt.figure())

    def _run(self, phases: Sequence[Phase], cbs: Iterable[object], resume: Place | None) -> None:
        self._try_metrics()
        self._training.run(phases, cbs, resume)

    def _scores(self, loader: DataLoader) -> tuple[float, dict[str, float]]:
        found = self._training.evaluate(loader)
        return float(self._loss()(found.outputs, found.targets)), found.metrics(self._named_metrics())

    def _loss(self) -> Loss:
        return guarded(self.loss_func, several_labels=self.dls.task.kind == MultiLabel.kind)

    def _try_metrics(self) -> None:
        """Let a metric that does not suit the task say so before an epoch is spent."""
        targets = self.dls.valid.dataset.targets[:2]
        for metric in self._metrics():
            try:
                metric(torch.zeros(len(targets), self.dls.task.n_outputs), targets)
            except InputError:
                raise
            except Exception:  # noqa: BLE001 -- it may need more than two items to be defined
                return

    def _metrics(self) -> Sequence[Metric]:
        return [self.metrics] if callable(self.metrics) else list(self.metrics or ())

    def _named_metrics(self) -> dict[str, Metric]:
        return {metric_name(metric): metric for metric in self._metrics()}
