"""The learner: a trainer that also predicts, evaluates and exports; each method is one call into a package below."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import torch
from pandas import DataFrame
from torch import Tensor

from foveal.core import distributed
from foveal.core.arguments import checked_methods
from foveal.core.errors import InputError
from foveal.core.registry import resolve
from foveal.core.rng import order_for
from foveal.core.warn import warn
from foveal.data.loader import DataLoader
from foveal.data.loaders import DataLoaders
from foveal.evaluation import plots, show
from foveal.evaluation.explain import show_overlay
from foveal.evaluation.prediction_sets import set_threshold
from foveal.evaluation.predictions import Predictions, fit_temperature, predict_dataset
from foveal.evaluation.radii import FEWEST, RadiusFit, fit_radii
from foveal.evaluation.thresholds import Criterion, ThresholdFit, tune_thresholds
from foveal.evaluation.tta import augmented_predictions
from foveal.images.canvas import grid
from foveal.images.decode import ImageSource
from foveal.inference.manifest import TrainingPart
from foveal.inference.prediction import Embeddings, Prediction
from foveal.inference.predictor import Predictor
from foveal.learner.export import write_export
from foveal.learner.trainer import Trainer
from foveal.learner.weighting import named_weights
from foveal.metrics.common import MetricFunction, at_thresholds, of_probabilities
from foveal.models.vision import VisionModel
from foveal.reporting.report import Slices, report_on
from foveal.tasks.base import AnyTask, Decision, OutputForm, decoded
from foveal.tasks.encoding import class_counts
from foveal.tasks.kinds import kind_of, require
from foveal.training.checked_loss import output_form
from foveal.training.checkpoint import PathLike

Loader = DataLoader | Iterable[tuple[Tensor, Tensor]]
_MOST_HELD_OUT = 200_000, 20_000_000  # images, and answers for them: a file of 240 MB; chosen by hand


@checked_methods
class Learner(Trainer):
    """Trains a model on loaders and answers for what it learned.

    Attributes:
        tuned: how thresholds were chosen, once they were. From then on `validate` and the epoch table use them as
            predictions do, in metrics whose `thresh` was left at its default; `partial(accuracy_multi, thresh=0.5)`
            keeps .5.
    """

    tuned: ThresholdFit | None = None
    _decision: Decision | None = None

    def __new__(cls, dls: DataLoaders, *args: Any, **options: Any) -> Self:
        """Make the learner that suits the loaders: the book calls `Learner` for whatever is learned."""
        if cls is Learner and dls.learner_class is not None:
            suited: Any = resolve(dls.learner_class)
            return cast("Self", suited(dls, *args, **options))  # no `Learner`, so Python does not initialise it again
        return super().__new__(cls)

    @property
    def task(self) -> AnyTask:
        """What is learned, with the thresholds, the temperature and the activation in force."""
        task = self.dls.task
        decision = replace(self._decision or self._usual_decision(), outputs=self._output_form())
        return task if decision == task.decision else task.with_decision(decision)

    @property
    def class_weights(self) -> dict[str, float]:
        """The weight of each class in the loss, by name; empty for a loss without weights."""
        return named_weights(self.dls, self.loss_func)

    def _usual_decision(self) -> Decision:
        """Return the task's decision, with the threshold of the loss where it has one."""
        task, thresh = self.dls.task, getattr(self.loss_func, "thresh", None)
        if thresh is None or not kind_of(task).has_thresholds:
            return task.decision
        return replace(task.decision, thresholds=(float(thresh),) * task.n_outputs)

    def tune_thresholds(self, metric: Criterion = "f1", *, per_class: bool = True) -> ThresholdFit:
        """Choose thresholds on the validation side; they are used from now on, and travel with the model.

        Args:
            metric: `f1`, `precision>=0.9`, `recall>=0.95`, or (cost of a false alarm, cost of a miss).
            per_class: one threshold per class, or one for all.

        Returns:
            The thresholds with intervals, F1 before and after, and F1 to expect on images not seen.

        Raises:
            InputError: the task has no thresholds, or there is no such metric.
        """
        task = self.task
        require("A threshold per class", task, has="has_thresholds")
        preds, targets = self.get_preds()
        fitted = tune_thresholds(
            preds, targets, task.names, metric=metric, per_class=per_class, before=task.decision.thresholds
        )
        self.use_thresholds(fitted)
        return fitted

    def use_thresholds(self, fitted: ThresholdFit) -> None:
        """Answer with thresholds that were tuned elsewhere, by `tune_thresholds` for instance."""
        self._decision, self.tuned = replace(self.task.decision, thresholds=fitted.thresholds), fitted

    def validation_predictions(self) -> Predictions:
        """Return what the model, in fp32 as it is handed over, answers on the validation side, from one pass.

        The raw outputs of labels are kept, the spread of points, and features, so that `calibrate`, `calibrate_radius`,
        `with_decision` and what a bundle says of validation need no other pass.
        """
        keep = kind_of(self.task).has_classes
        return predict_dataset(self.predictor(), self.dls.valid.dataset, keep_outputs=keep, keep_features=True)

    def held_out_predictions(self) -> Predictions | None:
        """Return what the last probe answers for each image of the training side by a solution without that image.

        Labels can be checked with them as with those of the validation side and, as long as nothing was trained since,
        thresholds be tuned.

        Returns:
            The predictions; None without a probe, where it was not found in closed form, and of more than 200,000
            images or 20 million answers.
        """
        outputs, dataset, task = self.head_fit and self.head_fit.held_out, self.dls.train.dataset, self.task
        if outputs is None or len(outputs) > _MOST_HELD_OUT[0] or outputs.numel() > _MOST_HELD_OUT[1]:
            return None
        if len(dataset) != len(outputs):  # loaders of other images took the place of those
            return None
        values = task.activate(outputs)
        n_channels = self.dls.pipeline.n_channels
        undecided = Predictions(dataset.images, values, (), dataset.targets, task, outputs, n_channels)
        return undecided.with_decision(task.decision)

    def calibrate(self, predictions: Predictions | None = None) -> float:
        """Choose the temperature with the least loss on the validation side, and return it; answers stay as they are.

        For points see `calibrate_radius`.

        Args:
            predictions: those of `validation_predictions`, which are made anew by default.

        Raises:
            InputError: the task has no probabilities.
        """
        require("A temperature", self.task, has="has_classes")
        temperature = fit_temperature(self.validation_predictions() if predictions is None else predictions)
        self._decision = self.task.decision.at_temperature(temperature)
        return temperature

    def calibrate_sets(self, predictions: Predictions | None = None) -> float | None:
        """Choose prediction sets that hold the truth of 90 in 100 new images; answers stay as they are.

        They are used from now on, and travel with the model; after another temperature choose them again.

        Args:
            predictions: of images that the model did not learn from, at the temperature in force; those of the
                validation side by default.

        Returns:
            The probability from which a class belongs to the set; None where there are fewer than nine images.

        Raises:
            InputError: the task has no classes.
        """
        require("A prediction set", self.task, has="has_classes")
        found = self.validation_predictions() if predictions is None else predictions
        threshold = set_threshold(self.task, found.values, found.targets)
        self._decision = replace(self.task.decision, set_threshold=threshold)
        return threshold

    def calibrate_radius(self, predictions: Predictions | None = None) -> RadiusFit:
        """Choose, on the validation side, radii that hold the truth in 90 of 100 new images; answers stay as they are.

        They are used from now on, and travel with the model; after further training choose them again.

        Args:
            predictions: those of `validation_predictions`, which are made anew by default.

        Returns:
            The factor of each point, and how often radii held the truth that were chosen on one half of the images and
            checked on the other.

        Raises:
            InputError: the answers are no points, or fewer than nine validation images have a known place.
        """
        require("A radius", self.task, has="confidence")
        fitted = fit_radii(self.validation_predictions() if predictions is None else predictions)
        if fitted.without:
            listed = ", ".join(f"{name} ({n})" for name, n in fitted.without.items())
            warn(f"No radius, for want of {FEWEST} validation images with a known place: {listed}.")
        self._decision = replace(self.task.decision, radius_factors=fitted.factors)
        return fitted

    def report(self, path: PathLike = "report.html", *, images: bool = True, by: Slices | None = None) -> Path:
        """Write one self-contained page on the validation side; return its path.

        Args:
            path: of the page.
            images: whether it shows images.
            by: what is known of each validation image, by name: its camera, for instance.
        """
        return report_on(self, self.tuned, images=images, slices=by or {}).write(path)

    def explain(self, image: ImageSource, label: str | None = None) -> None:
        """Show what the model looked at for a label (Grad-CAM).

        Args:
            image: a path, bytes, an array or a PIL image.
            label: by default the most probable answer.
        """
        show_overlay(self.predictor(), image, label)

    def plot_thresholds(self) -> None:
        """Draw F1 by threshold on the validation side, one curve per class, with the thresholds in force."""
        preds, targets = self.get_preds()
        plots.threshold_curves(preds, targets, self.task)

    def _own_way(self, loader: DataLoader) -> DataLoader:
        """Return a loader with images normalised as the model was trained."""
        return loader.normalised_like(self.dls.train)

    def _activate(self, output: Tensor) -> Tensor:
        return self.task.activate(output)

    def _output_form(self) -> OutputForm:
        if self.activation is not None or not kind_of(self.dls.task).has_classes:
            return "probabilities" if self.activation == "none" else "logits"
        return output_form(self.loss_func, are_logits=isinstance(self.model, VisionModel))

    def _named_metrics(self) -> dict[str, MetricFunction]:
        named, decision = super()._named_metrics(), self.task.decision
        if self.tuned is not None:
            named = at_thresholds(named, decision.thresholds)[0]
        return named if decision.outputs == "logits" else of_probabilities(named)

    def _announce(self) -> None:
        if self.tuned is not None:
            _, names = at_thresholds(super()._named_metrics(), self.task.decision.thresholds)
            if names:
                self.recorder.say(f"{', '.join(names)}: at the tuned thresholds, which predictions use too.")

    def get_preds(
        self,
        ds_idx: int = 1,
        *,
        dl: Loader | None = None,
        with_loss: bool = False,
        with_decoded: bool = False,
        only_first: bool = False,
        reorder: bool = True,
    ) -> tuple[Tensor, ...]:
        """Return activated predictions [n, ...] and targets of one side of the split, or of a loader, on the CPU.

        Args:
            ds_idx: 0 is the training side, in data order and prepared as in validation; 1 the validation side.
            dl: a loader instead, such as `dls.test_dl(files)`, or batches, such as `[dls.one_batch()]`.
            with_loss: append the loss of each item [n], by the loss that trains; weights per class count.
            with_decoded: append the answers as targets [n, ...], before the losses: labels, or points in [-1, 1].
            only_first: of several processes only the first has them; all tensors of the others are empty.
            reorder: data order, which is the only one: False is refused where a loader has another.

        Raises:
            InputError: see `reorder`.
        """
        if not reorder and dl is None and self.dls[ds_idx].shuffle:
            raise InputError("Predictions come in data order: leave reorder=False out.")
        loader = self.dls[ds_idx] if dl is None else dl
        in_order = self._own_way(loader).in_order() if isinstance(loader, DataLoader) else loader
        evaluation = self._training.evaluate(in_order, only_first=only_first)
        if only_first and not distributed.is_first():
            return (torch.empty(0),) * (2 + with_decoded + with_loss)
        preds = self.task.activate(evaluation.outputs)
        answers = [decoded(self.task, preds)] if with_decoded else []
        losses = [evaluation.losses(self._loss().of_item)] if with_loss else []
        return (preds, evaluation.targets, *answers, *losses)

    def tta(
        self, ds_idx: int = 1, *, dl: DataLoader | None = None, n: int = 4, beta: float = 0.25
    ) -> tuple[Tensor, Tensor]:
        """Return predictions averaged over each image and copies under the moves of training, and targets.

        Points are moved back first.

        Args:
            ds_idx: see `get_preds`.
            dl: see `get_preds`.
            n: copies per image.
            beta: the weight of the plain image; the copies share the rest.
        """
        loader = self.dls[ds_idx] if dl is None else self._own_way(dl)
        precision = self._training.plain_precision
        return augmented_predictions(self.model, loader, self.task, n=n, beta=beta, precision=precision)

    def embed(self, source: Any) -> Embeddings:
        """Return the activations before the last layer for images, or for rows that the data block reads."""
        images = self.dls.test_dl(source).dataset.images if isinstance(source, DataFrame) else source
        return self.predictor().embed(images)

    def predict(self, image: ImageSource) -> Prediction:
        """Answer for a path, bytes, an array or a PIL image; points are in its pixels.

        Raises:
            ImageError: the image is refused.
        """
        return self.predictor().predict(image)

    def predictor(self, training: TrainingPart | None = None) -> Predictor:
        """Return what answers with the model as it is now, in fp32."""
        preparation = self.dls.preparation
        if isinstance(self.model, VisionModel) and self.model.body.statistics is not None:
            preparation = replace(preparation, statistics=self.model.body.statistics)
        return Predictor.of(self.model, self.task, preparation, training)

    def export(self, fname: PathLike = "export.pkl") -> Path:
        """Write one safe file that `load_learner` reads, below `path`; return where it is.

        Args:
            fname: the file. Whatever its name, it is in the format safetensors: never a pickle, which could run code.
        """
        return write_export(self.predictor(self.trained()), self.path, fname)

    def trained(self) -> TrainingPart:
        """Return what a bundle says of its training; metrics are added where they are known."""
        return TrainingPart(
            weights=self.origin,
            made=dt.datetime.now(dt.UTC).date().isoformat(),
            n_train=self.dls.train.n,
            n_valid=self.dls.valid.n,
            sampling=self.dls.train.sampling_text,
            class_weights=self.class_weights,
            tuned_on_validation=self.tuned is not None,
            on_others={} if self.tuned is None else self.tuned.on_others,
            counts=class_counts(self.task, self.dls.train.dataset.targets) if kind_of(self.task).has_classes else {},
        )

    def show_results(
        self,
        ds_idx: int = 1,
        *,
        max_n: int = 9,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> None:
        """Show items of one side of the split, drawn at random but always the same, with truth and prediction.

        Args:
            ds_idx: 0 is the training side, 1 the validation side.
            max_n: items, unless `nrows` and `ncols` are given.
            nrows: rows of the sheet.
            ncols: columns of the sheet.
            figsize: in inches.
        """
        n, rows = grid(max_n, nrows, ncols)
        dataset = self.dls[ds_idx].dataset
        indices = order_for(0, 0, len(dataset))[:n].tolist()
        sample = dataset.subset(indices)
        predictions = predict_dataset(self.predictor(), sample)
        show.results_sheet(predictions, max_n=n, rows=rows, figsize=figsize, figure=plots.new_figure())
