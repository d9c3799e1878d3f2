"""Figures: what thresholds do to each class, and what is confused with what."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from foveal.images.canvas import INK, MUTED, PREDICTED, WRONG
from foveal.metrics.common import sweep
from foveal.metrics.several_labels import average_precision, f1_multi
from foveal.tasks.base import Task

_COLUMNS = 4
MOST_CLASSES = 60
"""Classes that are drawn; a small plot takes 20 ms, and more of them are no longer looked at."""
_GRID = 101
_LONGEST = 26


def new_figure(*, dpi: int | None = None) -> Any:
    """Return a new figure of pyplot, which a notebook shows."""
    from matplotlib import pyplot as plt

    return plt.figure(dpi=dpi)


def plot_function(  # the book's name and arguments
    f: Callable[[Tensor], Tensor],
    tx: str | None = None,
    ty: str | None = None,
    title: str | None = None,
    min: float = -2,
    max: float = 2,
    figsize: tuple[float, float] = (6, 4),
) -> None:
    """Draw a function of a tensor between `min` and `max`; `tx` and `ty` name the axes."""
    figure = new_figure()
    figure.set_size_inches(figsize)
    axes = figure.subplots()
    x = torch.linspace(min, max, 100)
    axes.plot(x, f(x), color=INK)
    axes.set_xlabel(tx or "")
    axes.set_ylabel(ty or "")
    axes.set_title(title or "")


def confusion(counts: Tensor, names: Sequence[str], figure: Any, figsize: tuple[float, float] | None) -> Any:
    """Draw counts: a square [C, C], or a table per class [C, 2, 2].

    Args:
        counts: the truth down, the answer across.
        names: of the C classes.
        figure: of matplotlib.
        figsize: in inches; by the number of classes where None.
    """
    draw = confusion_square if counts.ndim == 2 else confusion_tables
    return draw(counts, names, figure, figsize)


def confusion_square(counts: Tensor, names: Sequence[str], figure: Any, figsize: tuple[float, float] | None) -> Any:
    """Draw counts [C, C], the truth down and the answer across; shades are shares of each row."""
    n, names = len(names), [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in names]
    side = 1.2 + 0.09 * max(map(len, names)) + 0.32 * n
    figure.set_size_inches(figsize or (side, side))
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    shares = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
    axes.imshow(shares.numpy(), cmap="Greys", vmin=0, vmax=1.25)
    size = 9 if n <= 12 else 6.5
    for i, j in counts.nonzero().tolist():
        colour = "white" if shares[i, j] > 0.6 else WRONG if i != j else INK
        axes.text(j, i, str(int(counts[i, j])), ha="center", va="center", fontsize=size, color=colour)
    axes.set_xticks(range(n), names, rotation=90, fontsize=size)
    axes.set_yticks(range(n), names, fontsize=size)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    return figure


def confusion_tables(counts: Tensor, names: Sequence[str], figure: Any, figsize: tuple[float, float] | None) -> Any:
    """Draw a 2x2 table a class from counts [C, 2, 2]: the truth down, the answer across."""
    down = math.ceil(len(names) / _COLUMNS)
    figure.set_size_inches(figsize or (2.1 * _COLUMNS, 1.9 * down + 0.3))
    figure.set_layout_engine("constrained")
    for at, axes in enumerate(figure.subplots(down, _COLUMNS, squeeze=False).reshape(-1)):
        if at >= len(names):
            axes.set_axis_off()
            continue
        table = counts[at]
        shares = table.double() / table.sum(dim=1, keepdim=True).clamp(min=1)
        axes.imshow(shares.numpy(), cmap="Greys", vmin=0, vmax=1.6)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            axes.text(j, i, str(int(table[i, j])), ha="center", va="center", color=INK if i == j else WRONG)
        axes.set_title(names[at][:20], fontsize=8, loc="left")
        axes.set_xticks((0, 1), ("not found", "found"), fontsize=7)
        axes.set_yticks((0, 1), ("absent", "there"), fontsize=7)
    return figure


def threshold_curves(probability: Tensor, truth: Tensor, task: Task[Any], figure: Any = None) -> Any:
    """Draw F1 by threshold, a small plot a class, with the threshold in force; return the figure.

    Of more than `MOST_CLASSES` those with the most positives are drawn.

    Args:
        probability: of each label, [N, C].
        truth: 0 or 1, [N, C].
        task: names the classes and holds their thresholds.
        figure: of matplotlib; a new one of pyplot by default.
    """
    grid = torch.linspace(0, 1, _GRID, dtype=torch.float64)
    f1 = torch.stack([f1_multi(probability, truth, float(t), sigmoid=False, average=None) for t in grid])

    def draw(axes: Any, at: int) -> None:
        thresh = task.decision.thresholds[at]
        axes.plot(grid, f1[:, at], color=INK, linewidth=1.2)
        axes.axvline(thresh, color=PREDICTED, linestyle="--", linewidth=1.2)
        axes.text(0.98, 0.9, f"{thresh:.2f}", transform=axes.transAxes, ha="right", fontsize=8, color=MUTED)

    return _a_class_each(draw, truth, task, figure, "threshold (dashed: in force)", "F1 on validation")


def precision_recall_curves(probability: Tensor, truth: Tensor, task: Task[Any], figure: Any = None) -> Any:
    """Draw precision by recall, a small plot a class, with the point of the threshold in force; return the figure.

    Args as for `threshold_curves`. The number in a plot is the average precision.
    """
    precision = average_precision(probability, truth)

    def draw(axes: Any, at: int) -> None:
        scores, hits, answers = sweep(probability[:, at], truth[:, at])
        if not len(hits) or hits[-1] == 0:
            return
        axes.step([0, *(hits / hits[-1])], [1, *(hits / answers)], where="pre", color=INK, linewidth=1.2)
        above = int((scores > task.decision.thresholds[at]).sum())
        if above:
            place = float(hits[above - 1] / hits[-1]), float(hits[above - 1] / answers[above - 1])
            axes.plot(*place, "o", color=PREDICTED, markersize=5, clip_on=False)
        axes.text(0.98, 0.9, f"{precision[at]:.2f}", transform=axes.transAxes, ha="right", fontsize=8, color=MUTED)

    return _a_class_each(draw, truth, task, figure, "recall (dot: threshold in force)", "precision")


def _a_class_each(
    draw: Callable[[Any, int], None], truth: Tensor, task: Task[Any], figure: Any, across: str, up: str
) -> Any:
    names, down = task.names, math.ceil(min(len(task.names), MOST_CLASSES) / _COLUMNS)
    positives = (truth == 1).sum(dim=0)
    chosen = sorted(positives.argsort(descending=True, stable=True)[:MOST_CLASSES].tolist())
    figure = figure or new_figure()
    figure.set_size_inches(2.4 * _COLUMNS, 1.7 * down + 0.4)
    figure.set_layout_engine("constrained")
    several = figure.subplots(down, _COLUMNS, sharex=True, sharey=True, squeeze=False).reshape(-1)
    for axes in several[len(chosen) :]:
        axes.set_axis_off()
    for at, axes in zip(chosen, several, strict=False):
        draw(axes, at)
        axes.set_title(f"{names[at][:22]} ({int(positives[at])})", fontsize=8, loc="left")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.tick_params(labelsize=7)
    figure.supxlabel(across, fontsize=8)
    figure.supylabel(up, fontsize=8)
    return figure
