"""The recorder: prints the epoch table and keeps the history of all fits of a learner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foveal.core import progress
from foveal.core.arguments import checked_methods
from foveal.core.errors import InputError
from foveal.core.listing import L
from foveal.images.canvas import INK, PREDICTED
from foveal.training.checkpoint import HookState
from foveal.training.hooks import Callback
from foveal.training.optim import momentum_of
from foveal.training.state import EpochResult, FitState

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STEPS = ("loss", "rate", "momentum", "smooth")


@checked_methods
class Recorder(Callback):
    """The callback that every fit has.

    Attributes:
        history: one result per epoch, over all fits; the fit state adds to it.
        epochs: the step after which each of them ended, counted over all fits.
        silent: print nothing.
        shows_bar: whether a bar moves on within an epoch.
    """

    def __init__(self, metric_names: Callable[[], Sequence[str]]) -> None:
        self.history: list[EpochResult] = []
        self.epochs: list[int] = []
        self.silent, self.shows_bar = False, True
        self._metric_names = metric_names
        self._steps: dict[str, list[Tensor]] = {name: [] for name in _STEPS}
        self._table = progress.Table(())

    def __repr__(self) -> str:
        return f"Recorder({len(self.history)} epochs)"

    def before_fit(self, state: FitState) -> None:
        """Print the head of the table."""
        del state
        self._begin()

    def before_epoch(self, state: FitState) -> None:
        """Begin a bar."""
        if self.shows_bar and not self.silent:
            self._table.begin(f"epoch {state.epoch}", state.steps_per_epoch)

    def after_step(self, state: FitState) -> None:
        """Keep loss, rate and momentum; move the bar on."""
        group = state.optimizer.param_groups[-1]
        self._steps["loss"].append(state.loss.detach())
        self._steps["rate"].append(torch.tensor(float(group["lr"])))
        self._steps["momentum"].append(torch.tensor(momentum_of(group)))
        self._steps["smooth"].append(state.smooth.average)
        self._table.advance()

    def after_epoch(self, state: FitState) -> None:
        """Print a line."""
        self.close()
        self.epochs.append(len(self._steps["loss"]))
        self._print(state.results[-1])

    def say(self, line: str) -> None:
        """Print a line above the table."""
        if not self.silent:
            progress.say(line)

    def note(self, result: EpochResult) -> None:
        """Keep and print the result of something other than a fit, as a table of its own."""
        self.history.append(result)
        self.epochs.append(len(self._steps["loss"]))
        self._begin()
        self._print(result)

    def close(self) -> None:
        """Clear the bar, also when a fit ends in an error."""
        self._table.end()

    @property
    def losses(self) -> list[float]:
        """The smoothed training loss after each step of all fits."""
        return [float(value) for value in self._steps["smooth"]]

    @property
    def lrs(self) -> list[float]:
        """The learning rate of the last group at each step of all fits."""
        return [float(value) for value in self._steps["rate"]]

    @property
    def values(self) -> L[L[float]]:
        """The numbers of each line of the table: both losses, then the metrics."""
        return L(L(result.values().values()) for result in self.history)

    @property
    def final_record(self) -> L[float]:
        """The numbers of the last line of the table; empty before there is one."""
        return self.values[-1] if self.history else L()

    @property
    def metric_names(self) -> L[str]:
        """The heads of the table's columns."""
        return L(("epoch", "train_loss", "valid_loss", *self._metric_names(), "time"))

    def state_dict(self) -> HookState:
        """Return what was kept of every step, and where epochs ended."""
        steps = {name: torch.stack([value.cpu() for value in kept]) for name, kept in self._steps.items() if kept}
        return {"epochs": self.epochs} | steps

    def load_state_dict(self, state: HookState) -> None:
        """Take both back."""
        self._steps = {name: list(state.get(name, torch.empty(0))) for name in _STEPS}
        self.epochs = list(state["epochs"])

    def plot_loss(self, *, skip_start: int = 5, with_valid: bool = True) -> None:
        """Draw the smoothed training loss step by step, and the validation loss at the end of each epoch.

        Args:
            skip_start: steps that are left out at the start, where the loss is largest.
            with_valid: whether to draw the validation loss.
        """
        smooth = self._kept("smooth")
        axes = _axes("step", "loss")
        axes.plot(range(skip_start, len(smooth)), smooth[skip_start:], color=INK, label="training, smoothed")
        if with_valid:
            ends = [(at, one.valid_loss) for at, one in zip(self.epochs, self.history, strict=True) if not one.is_probe]
            axes.plot([at for at, _ in ends], [loss for _, loss in ends], "o--", color=PREDICTED, label="validation")
            for one in (result for result in self.history if result.is_probe):
                axes.axhline(one.valid_loss, linestyle=":", color=PREDICTED, label="validation, probe")
        axes.legend(frameon=False)

    def plot_sched(self) -> None:
        """Draw the learning rate of the last group, and the momentum, step by step."""
        from matplotlib import pyplot as plt

        _, both = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
        for axes, name, label in zip(both, ("rate", "momentum"), ("learning rate", "momentum"), strict=True):
            axes.plot(self._kept(name), color=INK)
            axes.set_xlabel("step")
            axes.set_ylabel(label)

    def plot_metrics(self) -> None:
        """Draw every metric over all epochs.

        Raises:
            InputError: no epoch was trained with a metric.
        """
        from matplotlib import pyplot as plt

        names = list(dict.fromkeys(name for result in self.history for name in result.metrics))
        if not names:
            raise InputError("There are no metrics to plot: no epoch was trained with one.")
        _, plots = plt.subplots(1, len(names), figsize=(4.2 * len(names), 3.2), layout="constrained", squeeze=False)
        for axes, name in zip(plots[0], names, strict=True):
            values = [result.metrics.get(name, float("nan")) for result in self.history]
            axes.plot(range(1, 1 + len(values)), values, "o-", color=INK)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set_xlabel("epoch")
            axes.set_ylabel(name)

    def _kept(self, name: str) -> list[float]:
        """Return what was kept of each step.

        Raises:
            InputError: there is nothing to plot yet.
        """
        if not self._steps[name]:
            raise InputError("There is nothing to plot yet: train first.")
        return [float(value) for value in self._steps[name]]

    def _begin(self) -> None:
        self._table = progress.table(tuple(self.metric_names))
        if not self.silent:
            self._table.header()

    def _print(self, result: EpochResult) -> None:
        numbers = [result.train_loss, result.valid_loss, *result.metrics.values()]
        if not self.silent:
            # Six decimals as in the book; for numbers far from 1 they would show nothing, or too many digits.
            cells = [f"{n:.6f}" if n == 0 or 1e-4 <= abs(n) < 1e6 else f"{n:.4g}" for n in numbers]
            self._table.row(["probe" if result.is_probe else str(result.epoch), *cells, progress.clock(result.seconds)])


def _axes(x: str, y: str) -> Axes:
    from matplotlib import pyplot as plt

    _, axes = plt.subplots(layout="constrained")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return axes
