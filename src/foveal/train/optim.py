"""The optimizer: torch's AdamW, with the book's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from foveal.train.groups import decayed_and_not, parameter_groups
from foveal.train.schedule import Point

BETAS, EPS, WEIGHT_DECAY = (0.9, 0.99), 1e-5, 0.01


def adamw(model: nn.Module, rates: Sequence[float], *, wd: float = WEIGHT_DECAY) -> torch.optim.AdamW:
    """Return AdamW over the parameters that train: a rate a group, no decay on normalisation and biases."""
    groups: list[dict[str, Any]] = []
    for rate, parameters in zip(rates, parameter_groups(model), strict=True):
        decayed, exempt = decayed_and_not(model, parameters)
        for chosen, decay in ((decayed, wd), (exempt, 0.0)):
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay, "full_lr": rate})
    return torch.optim.AdamW(groups, lr=rates[-1], betas=BETAS, eps=EPS, fused=_fused(groups))


def follow(optimizer: torch.optim.Optimizer, point: Point) -> None:
    """Set rates and momentum to what a schedule says."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * point.lr_factor
        if point.momentum is not None:
            group["betas"] = (point.momentum, group["betas"][1])


def _fused(groups: list[dict[str, Any]]) -> bool:
    devices = {p.device.type for group in groups for p in group["params"]}
    return devices <= {"cpu", "cuda", "mps"}
