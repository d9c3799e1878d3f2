"""One fit of a run: how long it is, at which rates, and what is frozen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from foveal.core.errors import InputError
from foveal.training.groups import Freeze
from foveal.training.optim import WEIGHT_DECAY
from foveal.training.schedule import Rate, Schedule


@dataclass(frozen=True, slots=True)
class Phase:
    """One fit of a run.

    Attributes:
        lr, schedule: rates, and how they move; constant by default.
        freeze: how much is frozen.
        wd: weight decay.
        accumulate: batches per step of the optimizer.
        n_epochs: None is as many as fit before `deadline`, by the clock of `time.monotonic`; at least `least`.
        reset_opt: begin with a fresh optimizer, also where the fit before trained the same parameters.
        views: draw each image so often for the whole fit, and let the frozen body see each view once; None draws anew
            in every epoch.
    """

    n_epochs: int | None
    lr: Rate
    schedule: Schedule | None
    freeze: Freeze
    wd: float = WEIGHT_DECAY
    accumulate: int = 1
    deadline: float = math.inf
    least: int = 1
    reset_opt: bool = False
    views: int | None = None

    def __post_init__(self) -> None:
        if self.views is not None and self.views < 1:
            raise InputError(f"An image has at least one view; got views={self.views}.")
