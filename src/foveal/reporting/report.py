"""The report of a run: one self-contained page that can be sent to a colleague.

It says what was trained on what, what the data's audit found, how well it works and how sure that is, which classes
work and which do not, what is confused, which labels are probably wrong, and how to repeat it. Names from the data are
escaped; the page needs no network.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from markupsafe import Markup
from torch import nn

from foveal.audit.checks import Audit
from foveal.core import runtime, storage
from foveal.core.left_out import leaving_out
from foveal.evaluation import plots
from foveal.evaluation.explain import explanation_sheet
from foveal.evaluation.forecast import Forecast
from foveal.evaluation.interpret import Interpretation, Learned
from foveal.evaluation.predictions import predict_dataset
from foveal.evaluation.thresholds import ThresholdFit
from foveal.images import canvas
from foveal.images.channels import RGB
from foveal.images.decode import ImageSource, name_of
from foveal.inference.manifest import current_versions
from foveal.inference.predictor import Predictor, model_text
from foveal.metrics.bootstrap import Interval
from foveal.reporting import page
from foveal.reporting.card import format_weights
from foveal.sources.items import by_rule
from foveal.tasks.confidence import radius_note
from foveal.tasks.kinds import kind_of
from foveal.training.recorder import Recorder
from foveal.training.state import EpochResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 12  # images of the worst answers, half as many of the best and of what the model looked at; two rows of six
_LISTED_ISSUES = 12  # label issues with their images; all of them go into a file by --label-issues
_CONFUSED = 15  # pairs of classes, most often confused first; chosen by hand
_SLICES = 30  # values of a column, worst first; chosen by hand
_WEAK = 0.5  # of a class's first metric, below which the class is named as weak; chosen by hand
_UNSEEN = 30  # names of classes without a validation image, then how many more; chosen by hand
Slices = Mapping[str, Sequence[Hashable]]


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What a report is made of.

    Attributes:
        title: of the page.
        facts: (what, value), such as the backbone and the number of images.
        interpretation: of the validation side.
        predictor: explains answers; None where they come from several models.
        history: one entry per epoch.
        audit: of the data, where there was one.
        tuned: how thresholds were chosen, where they were.
        repeat: the command that repeats the run.
        images: whether images may stand in the page.
        intervals: of the headline metrics, where they are known already.
        slices: something known of every image, by name: one value per image of the interpretation.
        runs: the headline metrics of each run, by its name, where there were several.
        left_out: results that could not be had, with the reason.
        radius_coverage: in which share of other images the radii of points hold the truth, where that is known.
        baselines: metrics to beat, such as the error of answering with the mean point.
        forecast: what more labels should bring, where that is known.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    interpretation: Interpretation
    predictor: Predictor | None = None
    history: Sequence[EpochResult] = ()
    audit: Audit | None = None
    tuned: ThresholdFit | None = None
    repeat: str = ""
    images: bool = True
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    slices: Slices = field(default_factory=dict)
    runs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    radius_coverage: float | None = None
    forecast: Forecast | None = None

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, atomically.

        Returns:
            Its path.
        """
        storage.write_text(path, page.page(self.title, self._parts()))
        return Path(path)

    def _parts(self) -> Iterator[Markup]:
        """Yield the sections; one that fails is left out, and says why."""
        reasons = dict(self.left_out)
        yield page.opening(self.title, self._lead())
        yield page.table(("", ""), self.facts)
        for name, section in self._sections():
            with leaving_out(name, reasons):
                yield Markup().join(section())
        if reasons:
            yield page.section("Left out", page.table(("what", "why"), list(reasons.items())))
        if self.repeat:
            yield page.section("To repeat it", page.code(self.repeat))

    def _sections(self) -> Iterator[tuple[str, Callable[[], Iterable[Markup]]]]:
        """Yield what the page holds by name, each made when it is its turn."""
        kind = kind_of(self.interpretation.predictions.task)
        yield "metrics", self._metrics
        yield "course of the training", self._course
        yield "metrics by class, point or number", self._parts_of_classes
        if kind.has_thresholds:
            yield "F1 by threshold", self._thresholds
            yield "precision by recall", self._precision_by_recall
        for name, values in self.slices.items():
            yield f"metrics by {name}", partial(self._slices, name, values)
        if kind.confusion is not None:
            yield "what is confused", self._confusions
        if self.images:
            yield "answers that are most wrong", partial(self._answers, "wrong")
            yield "answers that are most right", partial(self._answers, "right")
            yield "what the model looked at", self._looked_at
        if kind.label_issues is not None:
            yield "labels that are probably wrong", self._label_issues
        if self.audit is not None:
            yield "findings", partial(_findings, self.audit)

    def _course(self) -> Iterator[Markup]:
        if self.runs:
            yield page.section("Each of the runs", page.table(*table_of_runs(self.runs)))
        if sum(not result.is_probe for result in self.history):
            yield page.drawing(canvas.png(plots.loss_curves(self.history)), "loss by epoch")

    def _slices(self, name: str, values: Sequence[Hashable]) -> Iterator[Markup]:
        figure = next(iter(self.interpretation.predictions.task.report_metrics())).replace("_", " ")
        rows: list[tuple[object, ...]] = [*self.interpretation.slices(values)[:_SLICES]]
        head: tuple[str, ...] = (name, "images", figure)
        if kind_of(self.interpretation.predictions.task).label_issues is not None:
            wrong = self.interpretation.wrong_labels_by(values)
            head, rows = (*head, "labels expected to be wrong"), [(*row, wrong[row[0]]) for row in rows]
        yield page.section(f"By {name}, worst first", page.table(head, rows))

    def _lead(self) -> str:
        found = self.interpretation.predictions
        return f"{found.task.kind}, measured on {len(found.labels):,} images that it was not trained on"

    def _metrics(self) -> Iterator[Markup]:
        yield page.section("How well it works")
        rows = page.intervals(self.intervals or self.interpretation.predictions.intervals())
        rows += [(name.replace("_", " "), value, "to beat") for name, value in self.baselines.items()]
        note = "The last column holds the metric in 95 of 100 draws of other images of this kind (bootstrap)."
        yield page.table(("metric", "value", "interval"), rows) + page.paragraph(note)
        if radii := radius_note(self.interpretation.predictions.task, self.radius_coverage):
            yield page.paragraph(radii)
        if self.forecast is not None:
            yield page.paragraph(str(self.forecast))

    def _parts_of_classes(self) -> Iterator[Markup]:
        found = self.interpretation.predictions
        for kind, rows in found.task.metrics_by_output(found.comparable, found.targets).items():
            columns = list(next(iter(rows.values())))
            ranked = sorted(rows.items(), key=lambda entry: -entry[1][columns[-1]])
            yield page.section(f"Each of the {kind}")
            if kind == "classes":
                yield page.paragraph(_verdict(rows))
            head = [kind, *(column.replace("_", " ") for column in columns)]
            yield page.table(head, [(name, *row.values()) for name, row in ranked])

    def _thresholds(self) -> Iterator[Markup]:
        if self.tuned is None:
            return
        found = self.interpretation.predictions
        yield page.section("Which threshold to use", *map(page.paragraph, threshold_notes(self.tuned)))
        figure = plots.threshold_curves(found.values, found.targets, found.task, _figure())
        yield page.drawing(canvas.png(figure), "F1 by threshold")

    def _precision_by_recall(self) -> Iterator[Markup]:
        found = self.interpretation.predictions
        yield page.section("Precision by recall")
        if found.task.n_outputs > plots.MOST_CLASSES:
            yield page.paragraph(f"Drawn for the {plots.MOST_CLASSES} classes with the most positives.")
        figure = plots.precision_recall_curves(found.values, found.targets, found.task, _figure())
        yield page.drawing(canvas.png(figure), "precision by recall; the number is the average precision")

    def _confusions(self) -> Iterator[Markup]:
        found = self.interpretation.predictions
        pairs = self.interpretation.most_confused()
        yield page.section("What is confused")
        if not pairs:
            yield page.paragraph("Nothing.")
            return
        yield page.table((*self.interpretation.confusion.head, "images"), pairs[:_CONFUSED])
        counts = self.interpretation.confusion_matrix()
        if counts.ndim == 3:  # a table per class says no more than the metrics of each class
            return
        if found.task.n_outputs > plots.MOST_CLASSES:
            yield page.paragraph(f"A square of {found.task.n_outputs:,} classes is not drawn.")
        else:
            square = plots.confusion_square(counts, found.task.names, _figure(), None)
            yield page.drawing(canvas.png(square, dpi=90), "truth down, answer across")

    def _answers(self, which: Literal["wrong", "right"]) -> Iterator[Markup]:
        wrong = which == "wrong"
        n, caption = (_SHOWN, "largest losses first") if wrong else (_SHOWN // 2, "smallest losses first")
        sheet = self.interpretation.draw_top_losses(n, _figure(), largest=wrong)
        yield page.section(f"The answers that are most {which}", page.drawing(canvas.png(sheet), caption))

    def _looked_at(self) -> Iterator[Markup]:
        if self.predictor is None or not self.predictor.supports_explain:
            return
        found = self.interpretation.predictions
        _, chosen = self.interpretation.top_losses(_SHOWN // 2)
        seen = explanation_sheet(self.predictor, [found.images[i] for i in chosen], _figure())
        yield page.section("What the model looked at", page.drawing(canvas.png(seen), "Grad-CAM"))

    def _label_issues(self) -> Iterator[Markup]:
        label_issues = self.interpretation.label_issues()
        yield page.section(f"Labels that are probably wrong ({len(label_issues)})")
        expected = self.interpretation.wrong_labels()
        yield page.paragraph(
            f"About {expected.value:,.0f} labels of these images are expected to be wrong, between "
            f"{expected.low:,.0f} and {expected.high:,.0f}, by how often labels contradict the answers of which the "
            "model is most certain."
        )
        if not label_issues:
            yield page.paragraph("No label is probably wrong by itself.")
            return
        yield page.paragraph("These are wrong with the probability given. Look at them first.")
        listed = [(str(one), one) for one in label_issues[:_LISTED_ISSUES]]
        if self.images:
            n_channels = self.interpretation.predictions.n_channels
            copies = (canvas.small_copy(one.image, n_channels).pixels for _, one in listed)
            figures = (
                page.image(pixels, f"{_short(one.image)}: {text}")
                for pixels, (text, one) in zip(copies, listed, strict=True)
            )
            yield page.gallery(figures)
        else:
            yield page.table(("image", "label issue"), [(_short(one.image), text) for text, one in listed])


class Trained(Learned, Protocol):
    """What a report is made from: a learner."""

    model: nn.Module
    origin: str
    recorder: Recorder

    @property
    def class_weights(self) -> dict[str, float]:
        """The weight of each class in the loss, by name."""


def report_on(learn: Trained, tuned: ThresholdFit | None, *, images: bool, slices: Slices) -> Report:
    """Return the report on a learner's validation side.

    Args:
        learn: was trained.
        tuned: how its thresholds were chosen, where they were.
        images: whether images may stand in the page.
        slices: something known of every image of the validation side, by name.
    """
    predictor = learn.predictor()
    return Report(
        f"{model_text(learn.model)}, {learn.dls.task.kind}",
        facts_of(learn),
        Interpretation(predict_dataset(predictor, learn.dls.valid.dataset)),
        predictor,
        learn.recorder.history,
        tuned=tuned,
        images=images,
        slices=slices,
    )


def facts_of(learn: Trained) -> list[tuple[str, str]]:
    """Return what was trained on what, in words."""
    dls, history = learn.dls, learn.recorder.history
    (height, width), n_channels = dls.preparation.input_size_hw, dls.preparation.n_channels
    channels = "" if n_channels == RGB else f" of {n_channels} channel{'s' if n_channels > 1 else ''}"
    drawn = [("sampling", dls.train.sampling_text), ("weights in the loss", format_weights(learn.class_weights))]
    return [
        ("images", f"{dls.train.n:,} to train on, {dls.valid.n:,} to validate"),
        *((name, text) for name, text in drawn if text),
        ("model", f"{model_text(learn.model)}, weights from {learn.origin}"),
        ("input size", f"{height} x {width} pixels{channels}, {dls.bs} per step"),
        ("training", _course_of(history)),
        *where_made(dls.device),
    ]


def where_made(device: torch.device) -> list[tuple[str, str]]:
    """Return on which machine, with which versions."""
    versions = ", ".join(f"{name} {version}" for name, version in current_versions().items())
    return [("machine", runtime.hardware(device)), ("versions", versions)]


def table_of_runs(runs: Mapping[str, Mapping[str, float]]) -> tuple[list[str], list[list[Any]]]:
    """Return head and rows of a table: each metric with mean and standard deviation over runs, and in each run."""
    names = list(dict.fromkeys(name for run in runs.values() for name in run))
    rows: list[list[Any]] = []
    for name in names:
        values = [run.get(name, math.nan) for run in runs.values()]
        defined = len(values) > 1 and not any(map(math.isnan, values))
        spread = statistics.stdev(values) if defined else math.nan
        rows.append([name.replace("_", " "), statistics.fmean(values), spread, *values])
    return ["metric", "mean", "spread", *runs], rows


def threshold_notes(tuned: ThresholdFit) -> Iterator[str]:
    """Yield what to know about tuned thresholds, one sentence each."""
    yield (
        f"Macro F1 is {tuned.before:.3f} at the thresholds before, {tuned.after:.3f} at the tuned ones, on the "
        f"images that they were tuned on. On other images expect {tuned.unseen:.3f}: that is what thresholds give "
        "that were tuned on four fifths of the images and evaluated on the last fifth."
    )
    if tuned.few:
        yield f"Too few images to be sure of the threshold (fewer than 10): {', '.join(tuned.few)}."


def _verdict(rows: Mapping[str, Mapping[str, float]]) -> str:
    first = next(iter(next(iter(rows.values()))))
    good = [name for name, row in rows.items() if row[first] >= _WEAK]
    weak = [name for name, row in rows.items() if row[first] < _WEAK]
    unseen = [name for name in rows if name not in good and name not in weak]
    text = f"{len(good)} of {len(rows)} classes reach {_WEAK:g} in {first.replace('_', ' ')}."
    if weak:
        ranked = sorted(weak, key=lambda name: rows[name][first])
        text += f" Weakest: {', '.join(f'{n} ({rows[n][first]:.2f})' for n in ranked[:6])}."
    if unseen:
        more = f" and {len(unseen) - _UNSEEN:,} more" if len(unseen) > _UNSEEN else ""
        text += f" Not in these images, so not measured: {', '.join(unseen[:_UNSEEN])}{more}."
    return text


def _short(image: ImageSource) -> str:
    return Path(name_of(image)).name


def _findings(audit: Audit) -> Iterator[Markup]:
    yield page.section("What the audit of the data found", page.paragraph(audit.summary))
    rows = [(level, rule, len(same), same[0].hint) for (level, rule), same in by_rule(audit.findings).items()]
    if rows:
        yield page.table(("", "finding", "times", "what to do"), rows)


def _figure() -> Figure:
    from matplotlib.figure import Figure

    return Figure()


def _course_of(history: Sequence[EpochResult]) -> str:
    """Return how long a training took, and of what it was made."""
    n_probes = sum(result.is_probe for result in history)
    n = len(history) - n_probes
    parts = [*(["a probe"] if n_probes else []), *([f"{n} epoch{'s' if n > 1 else ''}"] if n else [])]
    return f"{sum(result.seconds for result in history):.0f} s: {' and '.join(parts) or 'nothing'}"
