"""Callbacks by the course's names and arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from foveal.core.arguments import check_number
from foveal.core.errors import InputError
from foveal.course.events import Callback
from foveal.training import hooks
from foveal.training.callbacks import extras, logs
from foveal.training.checkpoint import PathLike
from foveal.training.hooks import CancelBatchException, CancelEpochException, CancelFitException
from foveal.training.state import FitState

if TYPE_CHECKING:
    from foveal.learner.trainer import Trainer


class EarlyStoppingCallback(extras.EarlyStopping):
    """`EarlyStopping` with the course's arguments: ends a fit when a number of its table has not improved for a while.

    Examples:
        No loss falls by 9, so that of nine epochs three are trained.

        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(9, cbs=EarlyStoppingCallback(min_delta=9, patience=2))
        >>> len(learn.recorder.values)
        3
    """

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Callable[..., Any] | None = None,
        min_delta: float = 0.0,
        patience: int = 1,
    ) -> None:
        """Set what to follow.

        Args:
            monitor: `valid_loss`, `train_loss` or the name of a metric, as the table shows it.
            comp: `np.less` where less is better, `np.greater` where more is; the number's own direction by default.
            min_delta: by how much a value must be better to count as an improvement, in units of `monitor`.
            patience: epochs without improvement after which the fit ends.
        """
        super().__init__(monitor, patience, min_delta, _mode_of(comp))


class SaveModelCallback(extras.KeepBest):
    """`KeepBest` that also writes the best weights to `models/FNAME.safetensors` under the learner's path.

    The fit ends with the best weights, unless `every_epoch` is set.

    Examples:
        >>> import tempfile
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     learn = Learner(dls, SimpleCNN([3, dls.c]), path=folder)
        ...     with learn.no_logging(): learn.fit(2, cbs=SaveModelCallback(fname="best"))
        ...     [file.name for file in Path(folder, "models").ls()]
        ['best.safetensors']
    """

    order: int = 0

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Callable[..., Any] | None = None,
        min_delta: float = 0.0,
        fname: str = "model",
        every_epoch: bool = False,
        at_end: bool = False,
        with_opt: bool = True,
        reset_on_fit: bool = True,
    ) -> None:
        """Set what to follow and where to write.

        Args:
            monitor: `valid_loss`, `train_loss` or the name of a metric, as the table shows it.
            comp: `np.less` where less is better, `np.greater` where more is; the number's own direction by default.
            min_delta: only 0 is supported.
            fname: the file's name.
            every_epoch: write every epoch's weights, to `FNAME_0`, `FNAME_1`, ..., and keep the last.
            at_end: write the last weights too, to `FNAME`, when the fit ends.
            with_opt: the optimizer's averages are written with the weights in any case.
            reset_on_fit: only True is supported: each fit has a best of its own.

        Raises:
            InputError: a value that is not supported.
        """
        if min_delta or not reset_on_fit or not with_opt:
            raise InputError("SaveModelCallback supports min_delta=0, reset_on_fit=True and with_opt=True only.")
        super().__init__(monitor, _mode_of(comp))
        self.fname, self.every_epoch, self.at_end = fname, every_epoch, at_end
        self._learn: Trainer | None = None

    def bound_to(self, learn: Trainer) -> Self:
        """Return this callback as fits of a learner call it."""
        self._learn = learn
        return self

    def after_epoch(self, state: FitState) -> None:
        """Write the weights if they are the best so far, or are to be written each time."""
        best = self.best
        super().after_epoch(state)
        if self.every_epoch:
            self._save(f"{self.fname}_{state.epoch}")
        elif self.best != best:
            self._save(self.fname)

    def after_fit(self, state: FitState) -> None:
        """Bring the best weights back, unless every epoch's were written."""
        if self.at_end:
            self._save(self.fname)
        if not self.every_epoch:
            super().after_fit(state)

    def _save(self, name: str) -> None:
        assert self._learn is not None
        self._learn.save(name)


@dataclass(slots=True)
class ReduceLROnPlateau(hooks.Callback):
    """Divide the learning rate when `monitor` has not improved for `patience` epochs.

    Attributes:
        monitor: `valid_loss`, `train_loss` or the name of a metric, as the table shows it.
        comp: `np.less` where less is better, `np.greater` where more is; the number's own direction by default.
        min_delta: by how much a value must be better to count as an improvement, in units of `monitor`.
        patience: epochs without improvement; at least 1.
        factor: what the rate is divided by; above 1.
        min_lr: the rate is not made smaller than this.
        reset_on_fit: only True is supported: each fit has a best of its own.

    Raises:
        InputError: a number is out of its bounds, or a value is not supported.

    Examples:
        No loss falls by 9, so that the last of three epochs trains at a tenth of the rate.

        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(3, 1e-3, cbs=ReduceLROnPlateau(min_delta=9))
        >>> learn.opt.hypers[-1]["lr"]
        0.0001
    """

    monitor: str = "valid_loss"
    comp: Callable[..., Any] | None = None
    min_delta: float = 0.0
    patience: int = 1
    factor: float = 10.0
    min_lr: float = 0.0
    reset_on_fit: bool = True
    _best: float | None = field(default=None, init=False, repr=False)
    _waited: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        extras.check_patience(self.patience, self.min_delta)
        _mode_of(self.comp)
        check_number("factor", self.factor, above=1, hint="The rate is divided by it: factor=10 makes it a tenth.")
        check_number("min_lr", self.min_lr, at_least=0)
        if not self.reset_on_fit:
            raise InputError("ReduceLROnPlateau supports reset_on_fit=True only: each fit has a best of its own.")

    def check_monitor(self, directions: Mapping[str, bool | None]) -> None:
        """Refuse a monitor that the table does not have, or whose direction is not known."""
        extras.monitored_mode(self.monitor, _mode_of(self.comp), directions)

    def before_fit(self, state: FitState) -> None:
        """Forget an earlier fit."""
        if state.step == 0:
            self._best, self._waited = None, 0

    def after_epoch(self, state: FitState) -> None:
        """Divide the rate where there was no improvement for too long."""
        mode = extras.monitored_mode(self.monitor, _mode_of(self.comp), state.directions)
        value = extras.monitored_value(state.results[-1], self.monitor)
        if extras.is_improvement(value, self._best, mode, min_delta=self.min_delta):
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            self._waited = 0
            for group in state.optimizer.param_groups:
                group["full_lr"] = max(group["full_lr"] / self.factor, self.min_lr)
            state.say(f"Epoch {state.epoch}: reducing lr to {state.optimizer.param_groups[-1]['full_lr']:.6g}")

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, and the epochs since."""
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self._best, self._waited = state["best"], state["waited"]


class GradientAccumulation(Callback):
    """Sum up the gradients of so many batches that at least `n_acc` images make one step of the optimizer.

    An epoch's last step takes the batches that remain. Each batch's loss is divided by the number of batches per step.

    Examples:
        Of three batches of four images, two make the first step.

        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(1, cbs=GradientAccumulation(n_acc=8))
        >>> [int(average["step"]) for average in learn.opt.state.values()]
        [2, 2]
    """

    def __init__(self, n_acc: int = 32) -> None:
        """Set how many images make a step.

        Raises:
            InputError: it is no whole number from 1.
        """
        check_number("n_acc", n_acc, at_least=1, whole=True)
        self.n_acc = n_acc

    def before_fit(self, state: FitState) -> None:
        """Set the number of batches per step."""
        state.accumulate = max(1, math.ceil(self.n_acc / self.learn.dls.bs))


class TerminateOnNaNCallback(hooks.Callback):
    """Nothing to do: a fit ends in an error when its loss is not finite, with the step, the rate and the images.

    It is there so that notebooks that name it run.

    Examples:
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(1, 1e38, cbs=TerminateOnNaNCallback())
        Traceback (most recent call last):
        foveal.core.errors.TrainingError: The loss is nan at step ... of epoch 0, at a learning rate of 1e+38. ...
    """

    def before_fit(self, state: FitState) -> None:
        """Do nothing."""


class ProgressCallback(hooks.Callback):
    """Nothing to do: a fit shows its table and a bar by itself.

    It is there so that notebooks that name it run. `learn.no_bar()` hides the bar, `learn.no_logging()` the table too.

    Examples:
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> Learner(dls, SimpleCNN([3, dls.c]), metrics=accuracy).fit(1, cbs=ProgressCallback())
        epoch  train_loss  valid_loss  accuracy   time
        0      ...
    """

    def before_fit(self, state: FitState) -> None:
        """Do nothing."""


class ShowGraphCallback(hooks.Callback):
    """Draw training and validation loss when a fit ends, as `learn.recorder.plot_loss()` does.

    Examples:
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(1, cbs=ShowGraphCallback())
        >>> [line.get_label() for line in plt.gca().lines]
        ['training, smoothed', 'validation']
        >>> plt.close()
    """

    order: int = 0

    def __init__(self) -> None:
        self._learn: Trainer | None = None

    def bound_to(self, learn: Trainer) -> Self:
        """Return this callback as fits of a learner call it."""
        self._learn = learn
        return self

    def after_fit(self, state: FitState) -> None:
        """Draw."""
        if state.results and self._learn is not None:
            self._learn.recorder.plot_loss(skip_start=0)


class CSVLogger(logs.CSVLogger):
    """Write the epoch table as CSV, a row per epoch, to a file under the learner's path.

    Examples:
        >>> import tempfile
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     learn = Learner(dls, SimpleCNN([3, dls.c]), metrics=accuracy, path=folder)
        ...     with learn.no_logging(): learn.fit(2, cbs=(logger := CSVLogger()))
        ...     list(logger.read_log())
        ['epoch', 'train_loss', 'valid_loss', 'seconds', 'accuracy']
    """

    order: int = 0

    def __init__(self, fname: PathLike = "history.csv", append: bool = False) -> None:
        """Set where to write.

        Args:
            fname: the file; under the learner's path, unless the name is absolute.
            append: only False is supported: the file holds all fits of the learner in any case.

        Raises:
            InputError: `append` is True.
        """
        if append:
            raise InputError("CSVLogger writes all fits of a learner into the file; append=True is not supported.")
        super().__init__(fname)
        self.fname = fname

    def bound_to(self, learn: Trainer) -> Self:
        """Return this callback as fits of a learner call it."""
        self.path = learn.path / self.fname
        return self

    def read_log(self) -> Any:
        """Return the file as a data frame of pandas."""
        import pandas as pd

        return pd.read_csv(self.path)


class ActivationStats(Callback):
    """Keep mean, spread and share near zero of what each layer returns, in training.

    The layers are those with weights of their own, in the model's order; "near zero" is at most 0.05 from it.

    Attributes:
        stats: a list per layer, with {"mean": ..., "std": ..., "near_zero": ...} per batch looked at.

    Examples:
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(1, cbs=ActivationStats())
        >>> len(learn.activation_stats.layer_stats(-1)["near_zero"]) == len(dls.train)
        True
    """

    def __init__(self, with_hist: bool = False, every: int | None = None) -> None:
        """Set how often to look.

        Args:
            with_hist: keep a histogram too, for `color_dim`.
            every: batches between two looks; each batch by default.

        Raises:
            InputError: it is no whole number from 1.
        """
        if every is not None:
            check_number("every", every, at_least=1, whole=True)
        self.with_hist, self.every = with_hist, every or 1
        self.stats: list[list[dict[str, Any]]] = []
        self.layers: list[nn.Module] = []
        self._handles: list[Any] = []

    def before_fit(self, state: FitState) -> None:
        """Watch every layer that has weights of its own."""
        self.layers = [m for m in state.model.modules() if any(True for _ in m.parameters(recurse=False))]
        self.stats = [[] for _ in self.layers]
        at_work = state

        def watch(number: int) -> Callable[..., None]:
            def note(module: nn.Module, inputs: Any, output: object) -> None:
                del inputs
                if isinstance(output, Tensor) and at_work.model.training and at_work.step % self.every == 0:
                    self.stats[number].append(self._stats_of(output.detach().float()))

            return note

        self._handles = [layer.register_forward_hook(watch(number)) for number, layer in enumerate(self.layers)]
        self.learn.activation_stats = self

    def after_fit(self, state: FitState) -> None:
        """Watch no more."""
        del state
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def layer_stats(self, idx: int) -> dict[str, list[float]]:
        """Return the mean, spread and share near zero of a layer, each a list with one number per batch looked at.

        Args:
            idx: the layer's number; a negative one counts from the last.
        """
        return {name: [one[name] for one in self.stats[idx]] for name in ("mean", "std", "near_zero")}

    def plot_layer_stats(self, idx: int) -> None:
        """Draw the mean, spread and share near zero of a layer over the batches looked at.

        Args:
            idx: see `layer_stats`.
        """
        from matplotlib import pyplot as plt

        _, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained")
        for ax, (name, values) in zip(axes, self.layer_stats(idx).items(), strict=True):
            ax.plot(values)
            ax.set_title({"near_zero": "share near zero"}.get(name, name))

    def color_dim(self, idx: int, figsize: tuple[float, float] = (10, 5)) -> None:
        """Draw the histograms of a layer: a column per batch, 40 bins of values from 0 to 10, the largest on top.

        Args:
            idx: see `layer_stats`.
            figsize: in inches.

        Raises:
            InputError: no histograms were kept.
        """
        from matplotlib import pyplot as plt

        if not self.with_hist:
            raise InputError("There are no histograms: ActivationStats(with_hist=True).")
        counts = torch.stack([one["hist"] for one in self.stats[idx]]).t().flip(0)
        _, ax = plt.subplots(figsize=figsize)
        ax.imshow(counts.log1p().numpy(), aspect="auto")
        ax.set_axis_off()

    def _stats_of(self, output: Tensor) -> dict[str, Any]:
        found: dict[str, Any] = {
            "mean": float(output.mean()),
            "std": float(output.std(unbiased=False)),
            "near_zero": float((output.abs() <= _NEAR_ZERO).double().mean()),
        }
        if self.with_hist:
            found["hist"] = output.cpu().histc(_BINS, _LEAST, _MOST)
        return found


# The course's: what counts as near zero, and the bins and bounds of the histograms.
_NEAR_ZERO = 0.05
_BINS, _LEAST, _MOST = 40, 0, 10


def _mode_of(comp: Callable[..., Any] | None) -> extras.Mode | None:
    """Return whether a comparison, such as `np.less`, finds smaller or larger values better.

    Raises:
        InputError: it is no function.
    """
    if comp is None:
        return None
    if not callable(comp):
        raise InputError(f"`comp` is np.less where less is better, and np.greater where more is; got {comp!r}.")
    return "min" if bool(comp(0.0, 1.0)) else "max"


__all__ = [
    "ActivationStats",
    "CSVLogger",
    "Callback",
    "CancelBatchException",
    "CancelEpochException",
    "CancelFitException",
    "EarlyStoppingCallback",
    "GradientAccumulation",
    "ProgressCallback",
    "ReduceLROnPlateau",
    "SaveModelCallback",
    "ShowGraphCallback",
    "TerminateOnNaNCallback",
]
