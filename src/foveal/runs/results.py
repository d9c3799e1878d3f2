"""What a trained model leaves behind in its run folder: model, predictions, sheet, and the summary of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from foveal.audit.checks import Audit
from foveal.core import progress, timing
from foveal.core.left_out import leaving_out
from foveal.core.tables import write_table
from foveal.evaluation.figures import Figures, kept_answers, reference_of
from foveal.evaluation.forecast import Labelled, forecast
from foveal.evaluation.predictions import Predictions, constant_answer
from foveal.evaluation.radii import radius_metrics
from foveal.evaluation.show import results_sheet
from foveal.evaluation.thresholds import ThresholdFit, tune_best_thresholds
from foveal.images import canvas
from foveal.inference.manifest import MetricPart
from foveal.learner.learner import Learner
from foveal.reporting.report import facts_of
from foveal.runs import folder as run
from foveal.runs.folder import Summary
from foveal.runs.image_settings import ImageRun
from foveal.runs.provenance import provenance
from foveal.sources.items import Source
from foveal.tasks.kinds import kind_of
from foveal.training.probes.linear import HeadFit


@contextmanager
def part(name: str) -> Iterator[None]:
    """Book the block, and show on a terminal what is at work: after the last epoch nothing else would be seen."""
    with timing.measure(name), progress.busy(name):
        yield


def write_results(learn: Learner, settings: ImageRun, source: Source, found: Audit, folder: Path) -> Summary:
    """Write model, predictions and sheet from one fp32 pass.

    Returns:
        The summary: counts, the loss, the metrics and their intervals.
    """
    dls, left_out = learn.dls, dict[str, str]()
    counts = {"n_train": dls.train.n, "n_valid": dls.valid.n}
    with timing.measure("predictions"):
        predictions = learn.validation_predictions()
    with part("thresholds"):
        held_out = learn.held_out_predictions()
        decided = _decide(learn, predictions, held_out, left_out)
        if predictions.outputs is not None or predictions.spread is not None:
            predictions = predictions.with_decision(learn.task.decision)
    predictor = learn.predictor()
    with part("metrics and intervals"):
        scores = predictions.scores()
        intervals = intervals_of(predictions, left_out)
    if baselines := kind_of(dls.task).baselines:
        with leaving_out("error of the mean point", left_out):
            baseline = constant_answer(predictor, dls.train.dataset, dls.valid.dataset).scores()
            scores |= {f"{run.BASELINE}{name}": baseline[name] for name in baselines}
    radii = radius_metrics(predictions, decided.get("radius_coverage", math.nan))
    scores |= radii
    last = learn.recorder.history[-1]
    figures = Figures.of(scores, intervals)
    figures.headline.update({name: MetricPart(value=value) for name, value in radii.items()})
    probe = learn.head_fit if learn.is_as_probed else None
    reference = reference_of(predictions, None if probe is None else probe.features)
    known = {"valid_loss": last.valid_loss, "reference": reference.tally, "known_within": reference.known_within}
    trained = figures.into(learn.trained()).model_copy(update=known | provenance(learn, settings, source, found))
    with part("model and predictions on disk"):
        kept = kept_answers(predictions)
        replace(predictor, training=trained, validation=kept, territory=reference.territory).save(folder / run.MODEL)
        predictions.save(folder / run.PREDICTIONS)
        if held_out is not None:
            held_out = held_out.with_decision(learn.task.decision) if learn.is_as_probed else held_out
            held_out.save(folder / run.HELD_OUT)
        write_table(folder / "predictions.csv", predictions.rows(run.image_folder(settings)))
    with part("sheet"), leaving_out("sheet of validation images", left_out):
        canvas.save(results_sheet(predictions), folder / run.SAMPLES)
    return {"task": dls.task.kind, **counts, "n_outputs": dls.task.n_outputs, "valid_loss": last.valid_loss} | {
        "metrics": scores,
        "intervals": intervals,
        "decision": decided,
        "left_out": left_out,
        **_forecast(learn, probe, predictions, left_out),
        "facts": dict(facts_of(learn)),
        **({} if learn.tuned is None else {"tuned": asdict(learn.tuned)}),
    }


def _forecast(learn: Learner, probe: HeadFit | None, predictions: Predictions, left_out: dict[str, str]) -> Summary:
    """Return what more labels should bring to a model as its probe left it; {} where that cannot be told."""
    features = predictions.features
    if probe is None or probe.features is None or probe.targets is None or features is None:
        return {}
    if len(probe.features) < learn.dls.train.n or not kind_of(learn.dls.task).has_score_per_class:
        return {}
    train, valid = Labelled(probe.features, probe.targets), Labelled(features, predictions.targets)
    found: Summary = {}
    with part("forecast"), leaving_out("forecast", left_out):
        if (expected := forecast(learn.dls.task, train, valid)) is not None:
            found["forecast"] = expected._asdict()
    return found


def intervals_of(predictions: Predictions, left_out: dict[str, str]) -> dict[str, list[float]]:
    """Return the bounds of each headline figure, not defined where they cannot be had."""
    intervals = {name: [math.nan, math.nan] for name in predictions.task.report_metrics()}
    with leaving_out("intervals", left_out):
        intervals |= {name: [found.low, found.high] for name, found in predictions.intervals().items()}
    return intervals


def _decide(
    learn: Learner, predictions: Predictions, held_out: Predictions | None, left_out: dict[str, str]
) -> Summary:
    """Choose temperature and thresholds of labels, or radii of points, by the predictions.

    Where the model is as its probe left it, what that answered for the training images that it left out counts too: of
    few validation images alone, thresholds and temperature are mostly chance.

    Returns:
        A summary of what was chosen.
    """
    kind = kind_of(learn.dls.task)
    decided: Summary = {}
    if kind.confidence is not None:
        with leaving_out("radius of points", left_out):
            decided = learn.calibrate_radius(predictions).to_dict()
    if not kind.has_classes:
        return decided
    if held_out is not None and learn.is_as_probed:
        predictions = Predictions.concatenate([predictions, held_out])
    with leaving_out("temperature", left_out):
        decided["temperature"] = learn.calibrate(predictions)
    predictions = predictions.with_decision(learn.task.decision)
    with leaving_out("prediction sets", left_out):
        decided["set_threshold"] = learn.calibrate_sets(predictions)
    if kind.has_thresholds:
        with leaving_out("tuned thresholds", left_out):
            best = tune_best_thresholds(predictions.values, predictions.targets, learn.dls.task.names)
            if best.is_improvement:
                learn.use_thresholds(best)
            decided |= decision_of(best)
    return decided


def decision_of(best: ThresholdFit) -> Summary:
    """Return what is to be known of thresholds, whether they are taken or not."""
    scores = {"f1_at_half": best.before, "f1": best.after, "f1_on_unseen_images": best.unseen}
    if not best.is_improvement:
        return {"thresholds": "0.5 for all", **scores, "f1": best.before, "uncertain": list(best.few)}
    n_distinct = len(set(best.thresholds))
    shared = n_distinct < len(best.thresholds) - 1
    each = "one for all" if n_distinct == 1 else "one per class, few positives share one" if shared else "one per class"
    return {"thresholds": each, **scores, "uncertain": list(best.few)}
