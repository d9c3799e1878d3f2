"""A callback that warns, once per process, where other work slows torch's threads down by a multiple."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from foveal.core import distributed, processors, runtime
from foveal.training.hooks import Callback
from foveal.training.state import FitState

_SECONDS = 2.0  # so many ticks of the system's clock that a busy process is told from a busy moment
_BUSY = 0.5  # processors that others take; from there on an unfrozen epoch has taken twice as long

_printed: list[str] = []


@dataclass(slots=True)
class Crowding(Callback):
    """Looks at what other processes take, over the first seconds of a fit whose threads wait long for each other.

    Attributes:
        say: prints a line.
    """

    say: Callable[[str], None]
    _began: float = field(init=False, default=0.0)
    _others: float | None = field(init=False, default=None)

    def before_fit(self, state: FitState) -> None:
        """Begin to count, where there is something to say: on a GPU, or of several processes, others are no guide."""
        alone = distributed.world_size() == 1 and state.device.type == "cpu"
        if alone and not _printed and runtime.has_long_waits():
            self._began, self._others = time.perf_counter(), processors.seconds_of_others()

    def after_step(self, state: FitState) -> None:
        """Say it, if others take much and enough time has passed to know."""
        del state
        seconds = time.perf_counter() - self._began
        if self._others is None or seconds < _SECONDS:
            return
        now = processors.seconds_of_others()
        taken = 0.0 if now is None else (now - self._others) / seconds
        self._others = None
        if taken >= _BUSY:
            _printed.append(
                f"note: other work takes {taken:.1f} of {processors.usable()} processors, and torch's threads wait for "
                "each other in busy loops. Quicker: import foveal before torch, and leave OMP_WAIT_POLICY, "
                "GOMP_SPINCOUNT and KMP_BLOCKTIME unset."
            )
            self.say(_printed[0])
