"""Interpretation: what is confused with what, which answers are worst, which labels are probably wrong, and where.

Everything is computed from the predictions of one fp32 pass.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, cast

from torch import Tensor

from foveal._moved import method
from foveal.core.arguments import check_list, checked_methods
from foveal.core.errors import InputError, UnknownNameError
from foveal.data.loader import DataLoader, require_loader
from foveal.data.loaders import DataLoaders
from foveal.evaluation import plots
from foveal.evaluation.label_issues import (
    PROBABLE,
    LabelIssue,
    check_labels,
    label_issues_of,
    write_label_issues,
)
from foveal.evaluation.predictions import Predictions, predict_dataset
from foveal.images.canvas import Canvas, sheet, small_copy
from foveal.images.decode import name_of
from foveal.inference.predictor import Predictor, task_text
from foveal.metrics.bootstrap import Interval
from foveal.metrics.common import require_direction
from foveal.tasks.base import AnyTask
from foveal.tasks.confidence import legend_of
from foveal.tasks.kinds import Confusion, require
from foveal.tasks.vocab import ClassLabel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_SLICES = 10_000  # a metric of each takes about a millisecond


class Learned(Protocol):
    """What can be interpreted: a learner."""

    @property
    def dls(self) -> DataLoaders:
        """Its loaders."""

    def predictor(self) -> Predictor:
        """What answers with the model as it is now."""


@checked_methods
@dataclass(frozen=True, slots=True, eq=False)
class Interpretation:
    """The predictions of a learner beside the truth: what is confused, which answers are worst, which labels are wrong.

    Make one by `Interpretation.from_learner(learn)`; `ClassificationInterpretation` is the same class under the book's
    name. A learner of another kind than images gives an interpretation of its own.

    Attributes:
        predictions: the answers beside the truth.
        held_out: answers for other images, by models that each was left out of; their labels are checked too.

    Examples:
        >>> from foveal.vision.all import *
        >>> path = untar_data(URLs.SAMPLE_PETS)
        >>> files = get_image_files(path)[::8]
        >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> interp = Interpretation.from_learner(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))
        >>> interp.losses.shape, int(interp.confusion_matrix().sum())
        (torch.Size([6]), 6)
    """

    predictions: Predictions
    held_out: Predictions | None = None

    @classmethod
    def from_learner(cls, learn: Learned, ds_idx: int = 1, dl: DataLoader | None = None) -> Self:
        """Return the interpretation of one side of the split, from one pass in fp32.

        Args:
            learn: the learner that answers.
            ds_idx: 0 is the training side, 1 the validation side.
            dl: a loader instead.

        Returns:
            The interpretation; of a learner that answers for something else than images, its own.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
            >>> [len(Interpretation.from_learner(learn, side).losses) for side in (0, 1)]
            [24, 6]
        """
        if (own := getattr(learn, "interpretation", None)) is not None:
            return cast("Self", own(ds_idx, dl=dl))
        return cls(
            predict_dataset(learn.predictor(), (learn.dls[ds_idx] if dl is None else require_loader(dl)).dataset)
        )

    def __repr__(self) -> str:
        held_out = f", {len(self.held_out.images):,} held out" if self.held_out is not None else ""
        n, what = len(self.predictions.images), task_text(self.predictions.task)
        return f"{type(self).__name__}({n:,} images{held_out}; {what})"

    @property
    def losses(self) -> Tensor:
        """How wrong each answer is, float64 [n]: cross-entropy for labels, pixels for points."""
        found = self.predictions
        return found.task.per_sample_error(found.comparable, found.targets)

    def top_losses(self, k: int | None = None, *, largest: bool = True) -> tuple[Tensor, list[int]]:
        """Return the largest (or smallest) losses and where in the dataset they are.

        Args:
            k: how many; all by default.
            largest: whether the largest ones, or the smallest.

        Returns:
            Losses float64 [k], and as many positions in the dataset.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> interp = Interpretation.from_learner(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))
            >>> losses, positions = interp.top_losses(1)
            >>> bool(losses[0] == interp.losses.max() == interp.losses[positions[0]])
            True
        """
        values, order = self.losses.sort(descending=largest, stable=True)
        return values[:k], order[:k].tolist()

    def plot_top_losses(
        self,
        k: int = 9,
        largest: bool = True,
        *,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> None:
        """Show the images that are answered worst, with truth, answer and loss.

        Args:
            k: how many.
            largest: whether the worst answers, or the best.
            nrows: rows of the sheet; as many as suit by default.
            ncols: columns of the sheet; as many as suit by default.
            figsize: (width, height) in inches.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> interp = Interpretation.from_learner(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))
            >>> interp.plot_top_losses(3, nrows=1)
            >>> len(plt.gcf().axes), plt.close()
            (3, None)
        """
        rows = nrows if nrows or not ncols else -(-k // ncols)
        self.draw_top_losses(k, plots.new_figure(), largest=largest, rows=rows, figsize=figsize)

    def draw_top_losses(
        self,
        k: int,
        figure: Figure,
        *,
        largest: bool = True,
        rows: int | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Figure:
        """Draw the images that are answered worst, with truth, answer and loss, on a figure that you have.

        Args:
            k: how many.
            figure: of matplotlib, to draw on.
            largest: whether the worst answers, or the best.
            rows: of the sheet; as many as suit by default.
            figsize: (width, height) in inches.

        Returns:
            The figure.

        Examples:
            >>> from matplotlib.figure import Figure
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> interp = Interpretation.from_learner(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))
            >>> len(interp.draw_top_losses(2, Figure(), rows=1).axes)
            2
        """
        values, chosen = self.top_losses(k, largest=largest)
        found = self.predictions

        def draw(canvas: Canvas, at: int) -> None:
            index = chosen[at]
            found.draw(canvas, index)
            canvas.below(f"{Path(name_of(found.images[index])).name[-28:]}  {float(values[at]):.3g}")

        images = [small_copy(found.images[index], found.n_channels) for index in chosen]
        return sheet(images, draw, rows=rows, figsize=figsize, figure=figure, caption=legend_of(found.task))

    def confusion_matrix(self) -> Tensor:
        """Return counts of images, int64 [C, C] with the truth down; of several labels a table per class, [C, 2, 2].

        Raises:
            InputError: the task has no classes.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> interp = Interpretation.from_learner(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))
            >>> counts = interp.confusion_matrix()
            >>> counts.sum(dim=1).equal(interp.predictions.targets.bincount(minlength=2))  # images per class
            True
        """
        predictions = self.predictions
        return self.confusion.matrix(predictions.task, predictions.values, predictions.targets)

    def most_confused(self, min_val: int = 1) -> list[tuple[ClassLabel, ClassLabel, int]]:
        """Return (truth, answer, how often), most first, from `min_val` times on.

        For several labels: (label missed, label found though it is not there, in how many images both).

        Args:
            min_val: how often two are confused at least.

        Raises:
            InputError: the task has no classes.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> interp = Interpretation.from_learner(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))
            >>> sum(n for _, _, n in interp.most_confused()) == 6 - interp.confusion_matrix().trace()
            tensor(True)
        """
        predictions = self.predictions
        pairs = self.confusion.pairs(predictions.task, predictions.labels, predictions.targets)
        ranked = sorted(pairs.items(), key=lambda entry: (-entry[1], entry[0]))
        return [(first, second, n) for (first, second), n in ranked if n >= min_val]

    def plot_confusion_matrix(self, *, figsize: tuple[float, float] | None = None, dpi: int | None = None) -> None:
        """Show the confusion matrix, the truth down; for several labels the 2x2 table of each class.

        Args:
            figsize: (width, height) in inches; by the number of classes by default.
            dpi: dots per inch.

        Raises:
            InputError: the task has no classes.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> interp = Interpretation.from_learner(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))
            >>> interp.plot_confusion_matrix(figsize=(3, 3))
            >>> [label.get_text() for label in plt.gca().get_xticklabels()], plt.close()
            (['False', 'True'], None)
        """
        plots.confusion(self.confusion_matrix(), self.predictions.task.names, plots.new_figure(dpi=dpi), figsize)

    def print_classification_report(self) -> None:
        """Print the metrics of each class, and the headline metrics with the bounds of their 95% intervals.

        Of points or numbers the rows are those.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> interp = Interpretation.from_learner(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))
            >>> interp.print_classification_report()
            classes             recall                 f1          positives
            False   ...
            True    ...
            accuracy ... to ...
        """
        for line in self.report_lines():
            print(line)  # noqa: T201 -- printing is what it is for

    def report_lines(self) -> list[str]:
        """Return the lines that `print_classification_report` prints."""
        lines = []
        for kind, rows in self.predictions.task.metrics_by_output(
            self.predictions.comparable, self.predictions.targets
        ).items():
            columns = list(next(iter(rows.values())))
            width = max(len(name) for name in (kind, *rows))
            lines.append("  ".join([kind.ljust(width), *(f"{c.replace('_', ' '):>17}" for c in columns)]))
            for name, row in rows.items():
                cells = (f"{v:>17d}" if isinstance(v, int) else f"{v:>17.3f}" for v in row.values())
                lines.append("  ".join([name.ljust(width), *cells]))
            lines.append("")
        for name, found in self.predictions.intervals().items():
            lines.append(f"{name.replace('_', ' '):<28}{found.value:.4f}   {found.low:.4f} to {found.high:.4f}")
        return lines

    def label_issues(self, k: int | None = None, *, least: float = PROBABLE) -> list[LabelIssue]:
        """Return labels that are probably wrong, the likeliest first.

        Args:
            k: at most so many.
            least: the probability of being wrong from which a label is returned; 0 sorts all labels.

        Raises:
            InputError: labels of the task cannot be checked.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> interp = Interpretation.from_learner(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))
            >>> first, second = interp.label_issues(2, least=0)
            >>> first.confidence >= second.confidence  # that the label is wrong
            True
        """
        return label_issues_of(self._checked, least=least, most=k)

    def wrong_labels(self) -> Interval:
        """Return how many labels are expected to be wrong, at least and at most, whether it is known which or not.

        Raises:
            InputError: labels of the task cannot be checked.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> interp = Interpretation.from_learner(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))
            >>> expected = interp.wrong_labels()
            >>> 0 <= expected.low <= expected.value <= expected.high <= 6
            True
        """
        return check_labels(self._checked).n_wrong

    def wrong_labels_by(self, values: Sequence[Hashable]) -> dict[Hashable, float]:
        """Return how many labels are expected to be wrong for each value of something known of every image.

        Args:
            values: one per image of this side: who labelled it, for instance.

        Raises:
            InputError: there are not as many values as images, or labels of the task cannot be checked.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> interp = Interpretation.from_learner(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))
            >>> sorted(interp.wrong_labels_by(["Ann", "Ann", "Ben", "Ben", "Ben", "Ben"]))
            ['Ann', 'Ben']
        """
        check_list("values", values, "values, one per image")
        each = check_labels(self.predictions).probabilities.nansum(dim=1).tolist()
        if len(values) != len(each):
            raise InputError(f"One value per image is expected, {len(each)}; got {len(values)}.")
        found = dict.fromkeys(values, 0.0)
        for value, wrong in zip(values, each, strict=True):
            found[value] += wrong
        return found

    @property
    def _checked(self) -> Predictions:
        """What labels are checked by."""
        return self.predictions if self.held_out is None else Predictions.concatenate([self.predictions, self.held_out])

    def export_label_issues(self, path: str | os.PathLike[str], *, layout: str = "label-studio") -> int:
        """Write label issues as a table, or the labels they suggest as a .json for a labelling tool.

        Args:
            path: of the file; .csv, .jsonl and .parquet are tables.
            layout: of a .json, `coco` or `label-studio`.

        Returns:
            How many were written.

        Raises:
            InputError: the file's ending names no format, or there is no such layout.

        Examples:
            >>> import json, tempfile
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> interp = Interpretation.from_learner(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     n = interp.export_label_issues(Path(folder) / "issues.json")
            ...     len(json.loads((Path(folder) / "issues.json").read_text())) == n
            True
        """
        return write_label_issues(path, self._checked, layout=layout)

    doubts = method("doubts", "label_issues")
    export_doubts = method("export_doubts", "export_label_issues")

    def plot_precision_recall(self) -> None:
        """Show precision by recall, one curve per class, with the point of the threshold in force.

        Raises:
            InputError: the task has not several labels.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PASCAL)
            >>> dls = ImageDataLoaders.from_csv(
            ...     path, "train.csv", folder="train", label_delim=" ", valid_col="is_valid", item_tfms=Resize(32)
            ... )
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, dls.c)))
            >>> Interpretation.from_learner(learn).plot_precision_recall()
            >>> len(plt.gcf().axes) == dls.c, plt.close()
            (True, None)
        """
        found = self.predictions
        require("Precision by recall", found.task, has="has_thresholds")
        plots.precision_recall_curves(found.values, found.targets, found.task)

    def slices(self, values: Sequence[Hashable], figure: str | None = None) -> list[tuple[Hashable, int, float]]:
        """Return (value, images, metric) for each value of something known of every image, worst first.

        Args:
            values: one per image of this side: a person, a camera, a day.
            figure: the name of a headline metric; the first one by default.

        Raises:
            UnknownNameError: there is no such metric.
            InputError: there are not as many values as images, or too many different ones for a metric of each.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> interp = Interpretation.from_learner(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))
            >>> cameras = ["left"] * 2 + ["right"] * 4  # one per image
            >>> sorted((camera, n) for camera, n, accuracy in interp.slices(cameras))
            [('left', 2), ('right', 4)]
        """
        found = self.predictions
        metrics = found.task.report_metrics()
        check_list("values", values, "values, one per image")
        if len(values) != len(found.labels):
            raise InputError(f"One value per image is expected, {len(found.labels)}; got {len(values)}.")
        if (name := figure or next(iter(metrics))) not in metrics:
            raise UnknownNameError.of("metric", name, metrics)
        places: dict[Hashable, list[int]] = {}
        for at, value in enumerate(values):
            places.setdefault(value, []).append(at)
        if len(places) > _MOST_SLICES:
            raise InputError(
                f"There are {len(places):,} different values among {len(values):,} images; a metric of each is given "
                f"for up to {_MOST_SLICES:,}. Take a column that says what images have in common."
            )
        comparable = found.comparable
        rows = [
            (value, len(at), float(metrics[name](comparable[at], found.targets[at]))) for value, at in places.items()
        ]
        return sorted(rows, key=lambda row: row[2] if require_direction(metrics[name], name) else -row[2])

    @property
    def confusion(self) -> Confusion[AnyTask]:
        """How this task's answers are confused.

        Raises:
            InputError: the task has no classes.
        """
        confusion = require("What is confused with what", self.predictions.task, has="confusion").confusion
        assert confusion is not None
        return confusion


ClassificationInterpretation = Interpretation
