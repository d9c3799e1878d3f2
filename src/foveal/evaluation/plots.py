"""Figures of an evaluation: confusion matrix, F1 by threshold, precision by recall, loss; and `plot_function`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from foveal.images.canvas import INK, MUTED, PREDICTED, WRONG
from foveal.metrics.common import sweep
from foveal.metrics.several_labels import average_precision, f1_multi
from foveal.tasks.base import Task
from foveal.training.state import EpochResult

if TYPE_CHECKING:  # matplotlib takes a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Label = TypeVar("Label")
_COLUMNS = 4
"""Small plots side by side; chosen by hand for the width of a page."""
MOST_CLASSES = 60
"""Classes that are drawn; a small plot takes 20 ms, and more of them are no longer looked at."""
_N_THRESHOLDS = 101
"""Thresholds at which F1 is drawn: every hundredth."""
_LONGEST_NAME = 26
"""Characters of a class name beside a confusion matrix; chosen by hand."""
_LONGEST_TITLE = 20
"""Characters of a class name over a 2 x 2 table; chosen by hand."""
_LONGEST_CURVE_TITLE = 22
"""Characters of a class name over a curve; chosen by hand."""
_MANY_CLASSES = 12
"""Classes above which a confusion matrix is written in small type; chosen by hand."""
_DARK = 0.6
"""The share from which a cell is dark and its number white; chosen by hand."""


def new_figure(*, dpi: int | None = None) -> Figure:
    """Return a new figure of pyplot, which a notebook shows; `dpi` in dots per inch."""
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
    """Draw a function of a tensor over a range, as chapter 4 of the book does with an activation.

    Args:
        f: takes and returns a float32 tensor [100].
        tx: names the x axis.
        ty: names the y axis.
        title: stands above.
        min: where x begins.
        max: where x ends.
        figsize: (width, height) in inches.

    Examples:
        >>> from foveal.vision.all import *
        >>> plot_function(torch.sigmoid, title="sigmoid", min=-4, max=4)
        >>> x, y = plt.gca().lines[0].get_data()
        >>> len(x), float(x[0]), round(float(y[-1]), 3), plt.close()
        (100, -4.0, 0.982, None)
    """
    figure = new_figure()
    figure.set_size_inches(figsize)
    axes = figure.subplots()
    x = torch.linspace(min, max, 100)
    axes.plot(x, f(x), color=INK)
    axes.set_xlabel(tx or "")
    axes.set_ylabel(ty or "")
    axes.set_title(title or "")


def confusion(counts: Tensor, names: Sequence[str], figure: Figure, figsize: tuple[float, float] | None) -> Figure:
    """Draw counts: a square [C, C], or a table per class [C, 2, 2].

    Args:
        counts: images, the truth down, the answer across.
        names: of the C classes.
        figure: of matplotlib, to draw in.
        figsize: (width, height) in inches; by the number of classes by default.

    Returns:
        The figure.
    """
    draw = confusion_square if counts.ndim == 2 else confusion_tables
    return draw(counts, names, figure, figsize)


def confusion_square(
    counts: Tensor, names: Sequence[str], figure: Figure, figsize: tuple[float, float] | None
) -> Figure:
    """Draw a confusion matrix, the truth down and the answer across; shades are shares of each row.

    Args:
        counts: images, int64 [C, C].
        names: of the C classes.
        figure: of matplotlib, to draw in.
        figsize: (width, height) in inches; by the number and length of the names by default.

    Returns:
        The figure.
    """
    n, names = len(names), [name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…" for name in names]
    side = 1.2 + 0.09 * max(map(len, names)) + 0.32 * n
    figure.set_size_inches(figsize or (side, side))
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    shares = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
    axes.imshow(shares.numpy(), cmap="Greys", vmin=0, vmax=1.25)
    size = 9 if n <= _MANY_CLASSES else 6.5
    for i, j in counts.nonzero().tolist():
        colour = "white" if shares[i, j] > _DARK else WRONG if i != j else INK
        axes.text(j, i, str(int(counts[i, j])), ha="center", va="center", fontsize=size, color=colour)
    axes.set_xticks(range(n), names, rotation=90, fontsize=size)
    axes.set_yticks(range(n), names, fontsize=size)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    return figure


def confusion_tables(
    counts: Tensor, names: Sequence[str], figure: Figure, figsize: tuple[float, float] | None
) -> Figure:
    """Draw one 2 x 2 table per class, the truth down and the answer across.

    Args:
        counts: images, int64 [C, 2, 2].
        names: of the C classes.
        figure: of matplotlib, to draw in.
        figsize: (width, height) in inches; by the number of classes by default.

    Returns:
        The figure.
    """
    down = math.ceil(len(names) / _COLUMNS)
    figure.set_size_inches(figsize or (2.1 * _COLUMNS, 1.9 * down + 0.3))
    figure.set_layout_engine("constrained")
    for number, axes in enumerate(figure.subplots(down, _COLUMNS, squeeze=False).reshape(-1)):
        if number >= len(names):
            axes.set_axis_off()
            continue
        table = counts[number]
        shares = table.double() / table.sum(dim=1, keepdim=True).clamp(min=1)
        axes.imshow(shares.numpy(), cmap="Greys", vmin=0, vmax=1.6)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            axes.text(j, i, str(int(table[i, j])), ha="center", va="center", color=INK if i == j else WRONG)
        axes.set_title(names[number][:_LONGEST_TITLE], fontsize=8, loc="left")
        axes.set_xticks((0, 1), ("not found", "found"), fontsize=7)
        axes.set_yticks((0, 1), ("absent", "there"), fontsize=7)
    return figure


def threshold_curves(probability: Tensor, truth: Tensor, task: Task[Label], figure: Figure | None = None) -> Figure:
    """Draw F1 by threshold, one small plot per class, with the threshold in force.

    Of more than `MOST_CLASSES` those with the most positives are drawn.

    Args:
        probability: of each label, [N, C].
        truth: 0 or 1, [N, C].
        task: names the classes and holds their thresholds.
        figure: of matplotlib; a new one of pyplot by default.

    Returns:
        The figure.
    """
    grid = torch.linspace(0, 1, _N_THRESHOLDS, dtype=torch.float64)
    f1 = torch.stack([f1_multi(probability, truth, float(t), sigmoid=False, average=None) for t in grid])

    def draw(axes: Axes, index: int) -> None:
        threshold = task.decision.thresholds[index]
        axes.plot(grid, f1[:, index], color=INK, linewidth=1.2)
        axes.axvline(threshold, color=PREDICTED, linestyle="--", linewidth=1.2)
        axes.text(0.98, 0.9, f"{threshold:.2f}", transform=axes.transAxes, ha="right", fontsize=8, color=MUTED)

    return _plot_per_class(draw, truth, task, figure, "threshold (dashed: in force)", "F1 on validation")


def precision_recall_curves(
    probability: Tensor, truth: Tensor, task: Task[Label], figure: Figure | None = None
) -> Figure:
    """Draw precision by recall, one small plot per class, with the point of the threshold in force.

    The number in a plot is the average precision.

    Args:
        probability: of each label, [N, C].
        truth: 0 or 1, [N, C].
        task: names the classes and holds their thresholds.
        figure: of matplotlib; a new one of pyplot by default.

    Returns:
        The figure.
    """
    precision = average_precision(probability, truth)

    def draw(axes: Axes, index: int) -> None:
        scores, hits, n_predicted = sweep(probability[:, index], truth[:, index])
        if not len(hits) or hits[-1] == 0:
            return
        axes.step([0, *(hits / hits[-1])], [1, *(hits / n_predicted)], where="pre", color=INK, linewidth=1.2)
        n_above = int((scores > task.decision.thresholds[index]).sum())
        if n_above:
            in_force = float(hits[n_above - 1] / hits[-1]), float(hits[n_above - 1] / n_predicted[n_above - 1])
            axes.plot(*in_force, "o", color=PREDICTED, markersize=5, clip_on=False)
        axes.text(0.98, 0.9, f"{precision[index]:.2f}", transform=axes.transAxes, ha="right", fontsize=8, color=MUTED)

    return _plot_per_class(draw, truth, task, figure, "recall (dot: threshold in force)", "precision")


def _plot_per_class(
    draw: Callable[[Axes, int], None], truth: Tensor, task: Task[Label], figure: Figure | None, across: str, up: str
) -> Figure:
    names, down = task.names, math.ceil(min(len(task.names), MOST_CLASSES) / _COLUMNS)
    positives = (truth == 1).sum(dim=0)
    drawn = sorted(positives.argsort(descending=True, stable=True)[:MOST_CLASSES].tolist())
    figure = figure or new_figure()
    width, height = 2.4 * _COLUMNS, 1.7 * down + 0.4
    figure.set_size_inches(width, height)
    # Placed by hand, in inches: laying them out by their texts takes as long again as drawing them.
    figure.subplots_adjust(
        left=0.6 / width, right=1 - 0.1 / width, bottom=0.5 / height, top=1 - 0.25 / height, wspace=0.1, hspace=0.3
    )
    grid = figure.subplots(down, _COLUMNS, sharex=True, sharey=True, squeeze=False).reshape(-1)
    for axes in grid[len(drawn) :]:
        axes.set_axis_off()
    for index, axes in zip(drawn, grid, strict=False):
        draw(axes, index)
        axes.set_title(f"{names[index][:_LONGEST_CURVE_TITLE]} ({int(positives[index])})", fontsize=8, loc="left")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.tick_params(labelsize=7)
    figure.supxlabel(across, fontsize=8, y=0.1 / height)
    figure.supylabel(up, fontsize=8, x=0.1 / width)
    return figure


def loss_curves(history: Sequence[EpochResult]) -> Figure:
    """Return training and validation loss by epoch, and as a line that of a probe, which comes before all epochs.

    Args:
        history: of a run.
    """
    from matplotlib.figure import Figure

    figure = Figure()
    figure.set_size_inches(6, 2.6)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    epochs = [result for result in history if not result.is_probe]
    at = range(1, 1 + len(epochs))
    axes.plot(at, [result.train_loss for result in epochs], "o-", color=INK, label="training")
    axes.plot(at, [result.valid_loss for result in epochs], "o--", color=PREDICTED, label="validation")
    for probe in (result for result in history if result.is_probe):
        axes.axhline(probe.valid_loss, linestyle=":", color=PREDICTED, label="validation, probe")
    axes.set_xticks(at if len(at) <= 20 else at[:: len(at) // 10])
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    return figure
