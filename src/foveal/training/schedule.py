"""Schedules: functions of the position in a run, 0 at the first step and k / N at the k-th of N.

Learning rates are a multiplier of each group's own; momentum is AdamW's first beta. The shapes are those of Smith
2018, "A disciplined approach to neural network hyper-parameters", with cosine legs as the fast.ai book draws them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foveal.core.errors import InputError

Rate = float | slice | Sequence[float]
_START_DIVISOR = 10  # of the highest rate for all groups but the last, by `slice(highest)`; the book's number


@dataclass(frozen=True, slots=True)
class Point:
    """What a schedule says at one position: a multiplier of the learning rates, and the momentum (None: unchanged)."""

    lr_factor: float
    momentum: float | None = None


Schedule = Callable[[float], Point]


def cosine(start: float, end: float, position: float) -> float:
    """Return the value of half a cosine from `start` to `end`.

    Args:
        start: the value at 0.
        end: the value at 1.
        position: from 0 to 1.
    """
    return start + (1 + math.cos(math.pi * (1 - position))) * (end - start) / 2


def one_cycle(
    *,
    pct_start: float = 0.25,
    div: float = 25.0,
    div_final: float = 1e5,
    moms: tuple[float, float, float] = (0.95, 0.85, 0.95),
) -> Schedule:
    """Return the one-cycle schedule.

    The rate rises from 1 / `div` of its maximum over the share `pct_start` of the run and falls to 1 / `div_final`;
    momentum does the opposite through `moms`.

    Args:
        pct_start: the share of the run in which the rate rises, between 0 and 1.
        div: the maximum over the first rate.
        div_final: the maximum over the last rate.
        moms: AdamW's first beta at the start, at the maximum and at the end.

    Raises:
        InputError: `pct_start` is not between 0 and 1.
    """
    if not 0 < pct_start < 1:
        raise InputError(f"`pct_start` is a share of the run between 0 and 1; got {pct_start!r}.")

    def at(position: float) -> Point:
        if position < pct_start:
            share = position / pct_start
            return Point(cosine(1 / div, 1.0, share), cosine(moms[0], moms[1], share))
        share = (position - pct_start) / (1 - pct_start)
        return Point(cosine(1.0, 1 / div_final, share), cosine(moms[1], moms[2], share))

    return at


def flat_cosine(*, pct_start: float = 0.75, div_final: float = 1e5) -> Schedule:
    """Return a schedule that stays at the full rate, then falls along a cosine.

    Args:
        pct_start: the share of the run at the full rate.
        div_final: the full rate over the last one.
    """

    def at(position: float) -> Point:
        share = max(0.0, (position - pct_start) / (1 - pct_start))
        return Point(cosine(1.0, 1 / div_final, share))

    return at


def constant() -> Schedule:
    """Return the schedule that changes nothing."""
    return lambda _: Point(1.0)


def rates_of(lr: Rate, n_groups: int) -> list[float]:
    """Return a learning rate for each group, first to last.

    A number holds for all; `slice(hi)` is hi / 10 for every group but the last; `slice(lo, hi)` is geometric across
    the groups; a list has one entry per group.

    Args:
        lr: one of these.
        n_groups: of the model.

    Raises:
        InputError: a rate is not positive, or a list has another length.
    """
    if isinstance(lr, slice):
        if lr.stop is None:
            raise InputError("A slice of learning rates is slice(highest) or slice(lowest, highest).")
        if lr.start is None:
            rates = [lr.stop / _START_DIVISOR] * (n_groups - 1) + [lr.stop]
        elif n_groups == 1:
            rates = [lr.stop]
        else:
            step = (lr.stop / lr.start) ** (1 / (n_groups - 1))
            rates = [lr.start * step**group for group in range(n_groups)]
    elif isinstance(lr, Sequence):
        if len(lr) != n_groups:
            raise InputError(f"A list of learning rates needs one for each of the {n_groups} groups; got {len(lr)}.")
        rates = list(lr)
    else:
        rates = [lr] * n_groups
    if not all(math.isfinite(rate) and rate > 0 for rate in rates):
        raise InputError(f"A learning rate must be a positive number; got {lr!r}.")
    return [float(rate) for rate in rates]
