"""Fine-tuning: what a recipe says, and the fits that it becomes: the head first, then everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from foveal.tasks.kinds import Recipe
from foveal.training.callbacks.extras import KeepBest
from foveal.training.groups import Freeze, parameter_groups
from foveal.training.phase import Phase
from foveal.training.schedule import Rate, one_cycle

_BOOK = Recipe("pooled", probe=False, epochs=1, lr=2e-3, lr_mult=100.0, freeze_epochs=1)  # `fine_tune(1)` of the book


def fill_recipe(
    recipe: Recipe | None,
    *,
    lr: float | None,
    freeze_epochs: int | None,
    lr_mult: float | None,
    probe: bool | None,
) -> Recipe:
    """Return a recipe, by default the book's, with what was given in place of its own.

    Args:
        recipe: the learner's, or None.
        lr: see `Recipe`, as the following; None where the recipe decides.
        freeze_epochs: epochs of the head alone.
        lr_mult: the rate of the head over that of the input.
        probe: whether the head is fitted to frozen features first.
    """
    filled = recipe or _BOOK
    return replace(
        filled,
        lr=filled.lr if lr is None else lr,
        freeze_epochs=filled.freeze_epochs if freeze_epochs is None else freeze_epochs,
        lr_mult=filled.lr_mult if lr_mult is None else lr_mult,
        probe=filled.probe if probe is None else probe,
    )


def with_best_weights(callbacks: Sequence[object]) -> list[object]:
    """Return callbacks with one that ends with the best weights, those of the probe included, unless there is one."""
    if any(isinstance(callback, KeepBest) for callback in callbacks):
        return list(callbacks)
    return [KeepBest(from_start=True), *callbacks]


def fine_tune_phases(
    model: nn.Module,
    recipe: Recipe,
    epochs: int | None,
    lr_max: Rate | None,
    cycle: tuple[float, float, float],
    moms: tuple[float, float, float],
    options: tuple[float, int, bool, int | None],
) -> list[Phase]:
    """Return the fits of a fine-tuning.

    Args:
        model: its last parameter group is the head.
        recipe: rates, epochs of the first fit, and whether the head was fitted to frozen features already: then there
            is no first fit, the second may have no epoch, and batch normalisation keeps its statistics.
        epochs: of the second fit; None for as many as there is time for.
        lr_max: rates of the second fit; those of the recipe by default.
        cycle: of the second fit, see `one_cycle`: pct_start, div, div_final.
        moms: see `one_cycle`.
        options: weight decay, batches per step of the optimizer, and of the first fit whether it begins with a fresh
            one, and its views.
    """
    (pct_start, div, div_final), (wd, accumulate, reset_opt, views) = cycle, options
    phases = []
    if recipe.freeze_epochs and not recipe.probe:
        head_only = Freeze(len(parameter_groups(model)) - 1)
        gentle = one_cycle(pct_start=0.99, div=25.0, div_final=div_final, moms=moms)  # the book's: it only warms up
        rate = slice(recipe.lr)
        phases.append(
            Phase(recipe.freeze_epochs, rate, gentle, head_only, wd, accumulate, reset_opt=reset_opt, views=views)
        )
    rates = slice(recipe.lr / 2 / recipe.lr_mult, recipe.lr / 2) if lr_max is None else lr_max
    schedule = one_cycle(pct_start=pct_start, div=div, div_final=div_final, moms=moms)
    everything, least = Freeze(keep_statistics=recipe.probe), 0 if recipe.probe else 1
    return [*phases, Phase(epochs, rates, schedule, everything, wd, accumulate, least=least, reset_opt=True)]
