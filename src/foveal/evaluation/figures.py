"""What a bundle says of how well its model does, and the same anew for other thresholds or another temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError
from foveal.evaluation.prediction_sets import set_threshold
from foveal.evaluation.predictions import Predictions
from foveal.evaluation.thresholds import Criterion, ThresholdFit, tune_thresholds
from foveal.inference.manifest import MetricPart, TrainingPart
from foveal.inference.predictor import Predictor
from foveal.inference.reference import Histogram, Tally
from foveal.inference.signals import (
    DISTANCE,
    labels_of,
    signal_names,
    signals_of,
)
from foveal.inference.store import ValidationAnswers
from foveal.inference.territory import Territory, survey
from foveal.metrics.bootstrap import Interval
from foveal.tasks.base import AnyTask, Decision
from foveal.tasks.kinds import kind_of, require

_MOST_BYTES = 16 << 20
"""Of validation answers in a bundle: 100,000 images of 20 classes; chosen by hand."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How well a model does on its validation images.

    Attributes:
        headline: the headline metrics, by name.
        parts: metrics of each class, point or number.
    """

    headline: dict[str, MetricPart]
    parts: dict[str, dict[str, float | None]]

    @classmethod
    def of(cls, scores: Mapping[str, Any], intervals: Mapping[str, Sequence[float]]) -> Figures:
        """Return the metrics of `Predictions.scores`, with bounds.

        Args:
            scores: values by name, among them a table of each class.
            intervals: of the headline metrics, (low, high).
        """
        parts = next((value for value in scores.values() if isinstance(value, Mapping)), {})
        headline = {name: MetricPart(value=scores[name], low=low, high=high) for name, (low, high) in intervals.items()}
        return cls(headline, dict(parts))

    def into(self, training: TrainingPart) -> TrainingPart:
        """Return what a bundle says of training, with these metrics in it."""
        return training.model_copy(update={"figures": self.headline, "parts": self.parts})


def kept_answers(predictions: Predictions) -> ValidationAnswers | None:
    """Return what a bundle keeps of validation; None where there are no raw outputs of classes, or they are large."""
    outputs, targets = predictions.outputs, predictions.targets
    if outputs is None or not kind_of(predictions.task).has_classes:
        return None
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in (outputs, targets))
    return ValidationAnswers(outputs, targets) if n_bytes <= _MOST_BYTES else None


class Reference(NamedTuple):
    """What later images are compared with.

    Attributes:
        tally: counts of the answers for the validation images.
        territory: where the features of known images lie; None of a model without.
        known_within: the distance within which 95 of 100 further images like them lie; None for too few images.
    """

    tally: Tally
    territory: Territory | None = None
    known_within: float | None = None


def reference_of(predictions: Predictions, more: Tensor | None = None) -> Reference:
    """Return what later images are compared with.

    Args:
        predictions: those of `validation_predictions`, with the decision in force.
        more: features of training images, [m, F], of a body that was not trained on them.
    """
    tally, features = _tally_of(predictions), predictions.features
    if features is None or len(features) < 2:
        return Reference(tally)
    found = survey(features if more is None else torch.cat([features, more]))
    tally.signals[DISTANCE] = Histogram.of(found.distances[: len(features)].numpy())
    return Reference(tally, found.territory, found.limit)


def _tally_of(predictions: Predictions) -> Tally:
    """Return counts of what the answers themselves say: everything but how far the features are."""
    task, signals = predictions.task, predictions.signals
    if kind_of(task).has_classes:  # the confidence depends on the temperature in force
        signals = signals_of(task, predictions.values)
    found = Tally(labels=dict.fromkeys(task.names, 0) if kind_of(task).has_classes else {})
    for label in predictions.labels:
        found.add({}, labels_of(task, task.encode(label)))
    if signals is not None:
        columns = zip(signal_names(task), signals.T.numpy(), strict=True)
        found.signals.update((name, Histogram.of(column)) for name, column in columns)
    return found


@dataclass(frozen=True, slots=True)
class Decided:
    """A model that decides otherwise.

    Attributes:
        predictor: the model, its figures computed anew; without figures where its bundle holds no validation answers.
        before: how well it did as it was.
        after: how well it does now; empty where that is not known.
        fitted: thresholds that were tuned.
    """

    predictor: Predictor
    before: Figures
    after: Figures
    fitted: ThresholdFit | None


def decide_anew(
    predictor: Predictor,
    *,
    thresholds: Mapping[str, float] | float | None = None,
    tune: Criterion | None = None,
    per_class: bool = True,
    only: Sequence[str] = (),
    temperature: float | None = None,
) -> Decided:
    """Return the model with another decision, and with the figures of that decision.

    A temperature is set first, and thresholds move with it, so that it alone changes no answer; then thresholds are
    tuned, then single ones are set.

    Args:
        predictor: with the validation answers of its bundle.
        thresholds: one for all classes, or some by class.
        tune: what thresholds are to be best at on the validation images: see `tune_thresholds`.
        per_class: whether each class is tuned for itself.
        only: the classes that are tuned; all by default.
        temperature: by which logits are divided.

    Raises:
        InputError: the task has no classes or thresholds, a value is out of range, or there are no validation answers
            to tune on.
        UnknownNameError: there is no such class.
    """
    task, kept = predictor.task, predictor.validation
    require("Another decision", task, has="has_classes")
    decision, fitted = task.decision, None
    if temperature is not None:
        if decision.outputs != "logits":
            raise InputError(f"A temperature divides logits; this model returns {decision.outputs}.")
        decision = decision.at_temperature(temperature)
    if decision.set_threshold is None and task.decision.set_threshold is not None and kept is not None:
        at_temperature = task.with_decision(decision)
        found = set_threshold(at_temperature, at_temperature.activate(kept.outputs), kept.targets)
        decision = replace(decision, set_threshold=found)
    if tune is not None or thresholds is not None:
        require("A threshold per class", task, has="has_thresholds")
    if tune is not None:
        if kept is None:
            raise InputError(
                "Thresholds are tuned on validation answers, and this bundle holds none: it was exported without "
                "validation, by an older version, or has very many. Set them by name, or tune them where the model was "
                "trained: learn.tune_thresholds(...)."
            )
        values = task.with_decision(decision).activate(kept.outputs)
        fitted = tune_thresholds(
            values, kept.targets, task.names, metric=tune, per_class=per_class, before=decision.thresholds, only=only
        )
        decision = replace(decision, thresholds=fitted.thresholds)
    if thresholds is not None:
        decision = replace(decision, thresholds=_with_thresholds(task, decision, thresholds))
    decided = task.with_decision(decision)
    before = Figures(predictor.training.figures, predictor.training.parts)
    answers = None if kept is None else _answers_of(decided, kept)
    after = Figures({}, {}) if answers is None else _figures_of(answers)
    reference = predictor.training.reference
    if reference is not None:
        distance = {name: one for name, one in reference.signals.items() if name == DISTANCE}
        reference = Tally(n=reference.n) if answers is None else _tally_of(answers)
        reference.signals |= distance  # which no decision changes
    tuned: dict[str, object] = {}
    if tune is not None or thresholds is not None:
        on_others = fitted.on_others if fitted is not None and thresholds is None else {}
        tuned = {"tuned_on_validation": fitted is not None, "on_others": on_others}
    loss = {} if temperature is None else {"valid_loss": None}  # it is of the logits as they were divided
    training = after.into(predictor.training).model_copy(update=tuned | loss | {"reference": reference})
    changed = replace(predictor, task=decided, training=training)
    return Decided(changed, before, after, fitted)


def _with_thresholds(task: AnyTask, decision: Decision, given: Mapping[str, float] | float) -> tuple[float, ...]:
    if not isinstance(given, Mapping):
        return (float(given),) * task.n_outputs
    for name in given:
        if name not in task.names:
            raise UnknownNameError.of("class", name, task.names)
    usual = decision.thresholds or (0.5,) * task.n_outputs
    return tuple(float(given.get(name, at)) for name, at in zip(task.names, usual, strict=True))


def _answers_of(task: AnyTask, kept: ValidationAnswers) -> Predictions:
    undecided = Predictions([b""] * len(kept.outputs), kept.outputs, (), kept.targets, task, kept.outputs)
    return undecided.with_decision(task.decision)


def _figures_of(predictions: Predictions) -> Figures:
    intervals = {name: (one.low, one.high) for name, one in _intervals(predictions).items()}
    return Figures.of(predictions.scores(), intervals)


def _intervals(predictions: Predictions) -> dict[str, Interval]:
    """Return the intervals of the headline metrics, NaN where there are too few images for them."""
    try:
        with torch.inference_mode():
            return predictions.intervals()
    except InputError:
        return {name: Interval(math.nan, math.nan, math.nan) for name in predictions.task.report_metrics()}
