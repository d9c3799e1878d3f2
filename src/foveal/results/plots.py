"""Curves: what thresholds do to each class."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from foveal.canvas import INK, MUTED, PREDICTED
from foveal.metrics.several_labels import counts_per_class
from foveal.tasks.base import Task

_COLUMNS = 4
_GRID = 101


def threshold_curves(probability: Tensor, truth: Tensor, task: Task[Any], figure: Any = None) -> Any:
    """Draw F1 by threshold, a small plot a class, with the threshold in force; return the figure.

    Args:
        probability: of each label, [N, C].
        truth: 0 or 1, [N, C].
        task: names the classes and holds their thresholds.
        figure: of matplotlib; a new one of pyplot by default.
    """
    grid = torch.linspace(0, 1, _GRID, dtype=torch.float64)
    f1 = torch.stack([_f1(probability, truth, float(thresh)) for thresh in grid])
    names, down = task.names, math.ceil(len(task.names) / _COLUMNS)
    if figure is None:
        from matplotlib import pyplot as plt

        figure = plt.figure()
    figure.set_size_inches(2.4 * _COLUMNS, 1.7 * down + 0.4)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(down, _COLUMNS, sharex=True, sharey=True, squeeze=False).reshape(-1)
    for at, one in enumerate(axes):
        if at >= len(names):
            one.set_axis_off()
            continue
        thresh, positives = task.decision.thresholds[at], int((truth[:, at] == 1).sum())
        one.plot(grid, f1[:, at], color=INK, linewidth=1.2)
        one.axvline(thresh, color=PREDICTED, linestyle="--", linewidth=1.2)
        one.set_title(f"{names[at][:22]} ({positives})", fontsize=8, loc="left")
        one.text(0.98, 0.9, f"{thresh:.2f}", transform=one.transAxes, ha="right", fontsize=8, color=MUTED)
        one.set_ylim(-0.02, 1.02)
        one.tick_params(labelsize=7)
    figure.supxlabel("threshold (dashed: in force)", fontsize=8)
    figure.supylabel("F1 on validation", fontsize=8)
    return figure


def _f1(probability: Tensor, truth: Tensor, thresh: float) -> Tensor:
    hits, alarms, misses, _ = (n.double() for n in counts_per_class(probability, truth, thresh, sigmoid=False))
    return torch.where(hits + misses > 0, 2 * hits / (2 * hits + alarms + misses), torch.nan)
