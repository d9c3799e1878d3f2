"""The optimizer: torch's AdamW, with the book's values."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foveal.core.errors import InputError
from foveal.training.groups import Freeze, Freezer, parameter_groups, split_by_decay
from foveal.training.schedule import Point

# fastai's Adam, so that the book's recipe gives the book's numbers (tests/golden.json holds its schedules).
BETAS = (0.9, 0.99)  # decay of the averages of gradient and squared gradient, per step; a schedule moves the first
EPS = 1e-5  # added to the root of the averaged squared gradient, in units of the gradient
WEIGHT_DECAY = 0.01  # share of a weight that a step takes away, times the learning rate


@dataclass(frozen=True, slots=True)
class OptimizerAverages:
    """What an optimizer knows after a fit.

    Attributes:
        freeze, by_hand: what it trained; see `Freezer`.
        values: by the parameter's number among those that trained, and the average's name.
    """

    freeze: Freeze
    by_hand: Mapping[str, bool]
    values: Mapping[int, Mapping[str, Tensor]]

    def fits(self, freeze: Freeze, freezer: Freezer) -> bool:
        """Return whether the same parameters train.

        Args:
            freeze: of the next fit.
            freezer: knows what was set by hand.
        """
        return self.freeze == freeze and self.by_hand == freezer.by_hand


class _AdamW(torch.optim.AdamW):
    """torch's AdamW without the wrappers that keep torch.compile out of it.

    They import `torch._dynamo`, which takes longer (2 to 6 s) than many a small fit; the sums are the same.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    def step(self, closure: Any = None) -> Any:
        """Take a step."""
        if any(p.device.type != "cpu" for group in self.param_groups for p in group["params"]):
            return super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                lists: list[list[Tensor]] = [[], [], [], [], [], []]
                self._init_group(group, *lists)  # type: ignore[no-untyped-call]
                (beta1, beta2), names = group["betas"], ("lr", "weight_decay", "eps", "amsgrad", "maximize")
                values = {name: group[name] for name in names}
                torch._foreach_add_(lists[-1], 1)
                torch._fused_adamw_(*lists, beta1=beta1, beta2=beta2, **values)
        return None


def adamw(model: nn.Module, rates: Sequence[float], *, wd: float = WEIGHT_DECAY) -> torch.optim.AdamW:
    """Return AdamW over the parameters that train, without decay on normalisation and biases.

    Args:
        model: parameters with `requires_grad` train.
        rates: a learning rate per group of the model.
        wd: weight decay.

    Raises:
        InputError: no parameter trains.
    """
    groups: list[dict[str, Any]] = []
    for rate, parameters in zip(rates, parameter_groups(model), strict=True):
        decayed, exempt = split_by_decay(model, parameters)
        for trained, decay in ((decayed, wd), (exempt, 0.0)):
            if trained:
                groups.append({"params": trained, "lr": rate, "weight_decay": decay, "full_lr": rate})
    if not groups:
        raise InputError(
            "There is nothing to train: every parameter has requires_grad=False. `learn.unfreeze()` trains all."
        )
    return _AdamW(groups, lr=rates[-1], betas=BETAS, eps=EPS, fused=_supports_fused(groups))


def set_rates(optimizer: torch.optim.Optimizer, point: Point) -> None:
    """Set rates and momentum to what a schedule says.

    Args:
        optimizer: by `adamw`.
        point: of the schedule.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * point.lr_factor
        if point.momentum is not None:
            group["betas"] = (point.momentum, group["betas"][1])


def _supports_fused(groups: list[dict[str, Any]]) -> bool:
    devices = {p.device.type for group in groups for p in group["params"]}
    return devices <= {"cpu", "cuda", "mps"}
