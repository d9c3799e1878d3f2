"""The learning-rate finder: a short run at rates that grow, and what its curve suggests.

Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks".
"""

from __future__ import annotations

import math
import reprlib
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.core import progress
from foveal.core.errors import InputError, TrainingError
from foveal.training import loop
from foveal.training.groups import set_training
from foveal.training.hooks import Callback, Hooks
from foveal.training.schedule import Point, Schedule
from foveal.training.state import FitState

Values = NDArray[np.float64]
Suggestion = Callable[[Values, Values], float]
_DIVERGED = 4.0
"""Times the least smoothed loss at which the finder stops; fastai's number."""
_named_tuple: Any = namedtuple  # noqa: PYI024 -- its fields are known at run time only
# Points of the curve that suggestions leave out, as fastai does with its 100 steps.
_HEAD = 10  # steps at the start, before the smoothed loss has settled
_TAIL = 5  # steps at the end, where the loss may have diverged
# Of `slide`, as fastai's; tests/golden.json holds its values.
_INTERVAL = 15  # steps between the slopes that are compared
_THRESHOLD = 0.005  # difference of slopes, in units of the loss per step


class Curve(NamedTuple):
    """Smoothed losses at growing rates."""

    rates: Values
    losses: Values

    def trim(self) -> Curve:
        """Return the part that suggestions look at: without the first ten and the last five."""
        return Curve(self.rates[_HEAD:-_TAIL], self.losses[_HEAD:-_TAIL])


def geometric(lowest: float, highest: float) -> Schedule:
    """Return the schedule of a rate of 1 that grows geometrically.

    Args:
        lowest: the first rate.
        highest: the rate at the end.

    Raises:
        InputError: they are not positive, or not in this order.
    """
    if not 0 < lowest < highest:
        raise InputError(f"The rates grow from `start_lr` to `end_lr`, both positive; got {lowest!r} and {highest!r}.")
    return lambda position: Point(lowest * (highest / lowest) ** position)


@dataclass(slots=True)
class CurveRecorder(Callback):
    """Keeps the curve and stops when the loss has diverged.

    Attributes:
        rates, losses: one per step.
        stops: whether to stop.
    """

    rates: list[float]
    losses: list[float]
    stops: bool = True

    def after_step(self, state: FitState) -> None:
        """Keep the rate and the smoothed loss of the step."""
        self.rates.append(state.optimizer.param_groups[-1]["lr"])
        self.losses.append(state.smooth.value)
        if self.stops and self.losses[-1] > _DIVERGED * min(self.losses):
            state.stop = "the loss has diverged"


def run(state: FitState, inputs: loop.FitInputs, *, stop_div: bool) -> Curve:
    """Return the curve of up to `state.steps_per_epoch` steps; the state's model and optimizer are changed.

    Args:
        state: at the beginning of a fit.
        inputs: data and loss.
        stop_div: whether to stop when the loss has diverged.

    Raises:
        TrainingError: there is no batch, or the first loss is not finite.
    """
    recorder, bar = CurveRecorder([], [], stop_div), progress.table(())
    hooks = Hooks([recorder])
    set_training(state.model, state.freeze)
    bar.begin("lr_find", state.steps_per_epoch)
    try:
        for batch in _endless(inputs, state.data_epoch, state.steps_per_epoch):
            loop.step(state, batch, inputs, hooks)
            bar.advance()
            if state.stop is not None:
                break
    except TrainingError:
        if not recorder.losses:
            raise
    finally:
        bar.end()
    return Curve(np.array(recorder.rates), np.array(recorder.losses))


def minimum(rates: Values, losses: Values) -> float:
    """Return a tenth of the rate where the loss is least; one of the `suggest_funcs` of `lr_find`.

    Args:
        rates: ascending, [n].
        losses: smoothed, [n].

    Raises:
        InputError: they are not as many numbers, two at least.

    Examples:
        >>> from foveal.vision.all import *
        >>> minimum(np.array([1e-4, 1e-3, 1e-2, 1e-1]), np.array([2.0, 1.5, 0.9, 4.0]))
        0.001
    """
    rates, losses = _as_curve(rates, losses)
    return float(rates[losses.argmin()] / 10)


def steep(rates: Values, losses: Values) -> float:
    """Return the rate where the loss falls fastest over the logarithm of the rate; one of `lr_find`'s `suggest_funcs`.

    Args:
        rates: ascending, [n].
        losses: smoothed, [n].

    Raises:
        InputError: they are not as many numbers, two at least.

    Examples:
        >>> from foveal.vision.all import *
        >>> steep(np.array([1e-4, 1e-3, 1e-2, 1e-1]), np.array([2.0, 1.8, 0.9, 4.0]))
        0.001
    """
    rates, losses = _as_curve(rates, losses)
    return float(rates[(np.diff(losses) / np.diff(np.log(rates))).argmin()])


def valley(rates: Values, losses: Values) -> float:
    """Return a rate half way through the longest fall, the longest subsequence of ever smaller losses.

    `lr_find` suggests it unless `suggest_funcs` names others.

    Args:
        rates: ascending, [n].
        losses: smoothed, [n].

    Raises:
        InputError: they are not as many numbers, two at least.

    Examples:
        >>> from foveal.vision.all import *
        >>> valley(np.logspace(-5, 1, 7), np.array([2.0, 1.9, 1.7, 1.2, 0.9, 0.7, 4.0]))
        0.001
    """
    rates, losses = _as_curve(rates, losses)
    length = np.ones(len(losses), dtype=int)
    for at in range(1, len(losses)):
        higher = length[:at][losses[:at] > losses[at]]
        if len(higher):
            length[at] = higher.max() + 1
    end = int(length.argmax())
    span = int(length[end])
    return float(rates[end - span + span // 3 + span // 6])


def slide(rates: Values, losses: Values) -> float:
    """Return the rate where, seen from the right, slopes an interval apart first agree: where the curve flattens.

    It looks at slopes 15 steps apart; one of the `suggest_funcs` of `lr_find`.

    Args:
        rates: ascending, [n].
        losses: smoothed, [n].

    Raises:
        InputError: they are not as many numbers, two at least.

    Examples:
        >>> from foveal.vision.all import *
        >>> rates = np.logspace(-4, 0, 41)
        >>> losses = np.where(rates < 1e-2, 1.0, 1.0 + rates)
        >>> round(slide(rates, losses), 4)
        0.0008
    """
    rates, losses = _as_curve(rates, losses)
    slopes = np.gradient(losses)
    rate = float(rates[-1])
    for right in range(len(losses) - 1, _INTERVAL - 1, -1):
        if abs(slopes[right] - slopes[right - _INTERVAL]) <= _THRESHOLD:
            break
        rate = float(rates[right - _INTERVAL])
    return rate


def _as_curve(rates: ArrayLike, losses: ArrayLike) -> Curve:
    """Return rates and losses as arrays.

    Raises:
        InputError: they are not as many numbers, two at least.
    """
    try:
        curve = Curve(np.asarray(rates, dtype=np.float64), np.asarray(losses, dtype=np.float64))
    except (TypeError, ValueError):
        curve = Curve(np.empty(0), np.empty(0))
    if curve.rates.shape != curve.losses.shape or curve.rates.ndim != 1 or len(curve.rates) < 2:
        raise InputError(
            f"A suggestion takes rates and the loss at each, two at least; got {reprlib.repr(rates)} and "
            f"{reprlib.repr(losses)}."
        )
    return curve


def suggest_rates(curve: Curve, functions: Iterable[Suggestion] | Suggestion) -> Any:
    """Return what each function suggests, as a named tuple with the functions' names.

    Args:
        curve: of the finder.
        functions: one or several of (rates, losses); see `valley`.

    Raises:
        TrainingError: the curve is too short to suggest anything.
    """
    listed = [functions] if callable(functions) else list(functions)
    trimmed = curve.trim()
    if len(trimmed.rates) < 3 or not np.isfinite(trimmed.losses).all():
        raise TrainingError(
            f"The loss diverged after {len(curve.rates)} steps: there is no curve to read a rate from. Begin lower "
            "(start_lr), or look for what makes the loss so large."
        )
    return _named_tuple("SuggestedLRs", [function.__name__ for function in listed])(
        *(function(trimmed.rates, trimmed.losses) for function in listed)
    )


def draw(curve: Curve, suggestions: Sequence[tuple[str, float]]) -> None:
    """Plot the curve with the suggestions on it.

    Args:
        curve: of the finder.
        suggestions: names and rates.
    """
    from matplotlib import pyplot as plt

    _, axes = plt.subplots()
    axes.semilogx(curve.rates, curve.losses, color="#222222")
    for number, (name, rate) in enumerate(suggestions):
        at = int(np.abs(np.log(curve.rates) - math.log(rate)).argmin())
        axes.plot(rate, curve.losses[at], "osD^"[number % 4], markersize=8, label=f"{name} {rate:.2g}")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss, smoothed")
    axes.legend(frameon=False)


def _endless(inputs: loop.FitInputs, epoch: int, n: int) -> Iterator[loop.Batched]:
    """Yield `n` batches, through as many epochs as that takes.

    Raises:
        TrainingError: there is no batch at all.
    """
    taken = 0
    while taken < n:
        before = taken
        for batch in inputs.train(epoch, 0):
            yield batch
            taken += 1
            if taken == n:
                return
        if taken == before:
            raise TrainingError("There is nothing to train on: the loader gave no batch.")
        epoch += 1
