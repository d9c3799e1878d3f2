"""The learner: a trainer that also predicts, evaluates and exports; each method is one call into a package below."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
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
from foveal.data.loader import DataLoader, require_batches, require_loader
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
from foveal.inference.predictor import Predictor, task_text
from foveal.learner.export import write_export
from foveal.learner.trainer import Trainer
from foveal.learner.weighting import named_weights
from foveal.metrics.common import MetricFunction, at_thresholds, of_probabilities
from foveal.models.vision import VisionModel
from foveal.reporting.report import Slices, report_on
from foveal.tasks.base import AnyTask, Decision, OutputForm, decoded
from foveal.tasks.encoding import class_counts
from foveal.tasks.kinds import kind_of, require
from foveal.tasks.vocab import ClassLabel
from foveal.training.checked_loss import output_form
from foveal.training.checkpoint import PathLike

Loader = DataLoader | Iterable[tuple[Tensor, Tensor]]
_MOST_HELD_OUT = 200_000, 20_000_000  # images, and answers for them: a file of 240 MB; chosen by hand


@checked_methods
class Learner(Trainer):
    """A learner: it trains a model on loaders, predicts, evaluates, explains and exports.

    `vision_learner` makes one for images with a pretrained backbone; `Learner(dls, model)` takes any module. Loaders of
    batches of your own, of which nothing else is known, give a learner that trains and validates only.

    Attributes:
        tuned: how thresholds were chosen, once they were. From then on `validate` and the epoch table use them as
            predictions do, in metrics whose `thresh` was left at its default; `partial(accuracy_multi, thresh=0.5)`
            keeps .5.

    Examples:
        Fit a line to points by gradient descent, as chapter 4 of the book does:

        >>> from foveal.vision.all import *
        >>> x = torch.linspace(-1, 1, 32)[:, None]
        >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
        >>> learn = Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat())
        >>> with learn.no_logging():
        ...     learn.fit_one_cycle(20, 0.3)
        >>> round(learn.model.weight.item())
        3

        Images, with the smallest model there is:

        >>> path = untar_data(URLs.SAMPLE_PETS)
        >>> files = get_image_files(path)[::8]
        >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
        >>> learn.predict(files[0]).values.shape
        torch.Size([2])
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
        """The task: what is learned, with the thresholds, the temperature and the activation in force.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
            >>> learn.task.kind, learn.task.n_outputs, learn.task.decision.temperature
            ('single-label', 2, 1.0)
        """
        task = self.dls.task
        decision = replace(self._decision or self._usual_decision(), outputs=self._output_form())
        return task if decision == task.decision else task.with_decision(decision)

    @property
    def class_weights(self) -> dict[str, float]:
        """The weight of each class in the loss, by name; empty for a loss without weights.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)), class_weights={"True": 3})
            >>> learn.class_weights
            {'False': 1.0, 'True': 3.0}
        """
        return named_weights(self.dls, self.loss_func)

    def _usual_decision(self) -> Decision:
        """Return the task's decision, with the threshold of the loss where it has one."""
        task, thresh = self.dls.task, getattr(self.loss_func, "thresh", None)
        if thresh is None or not kind_of(task).has_thresholds:
            return task.decision
        return replace(task.decision, thresholds=(float(thresh),) * task.n_outputs)

    def tune_thresholds(
        self, metric: Criterion = "f1", *, per_class: bool = True, only: Sequence[ClassLabel] = ()
    ) -> ThresholdFit:
        """Choose thresholds on the validation side; they are used from now on, and travel with the model.

        Args:
            metric: `f1`, `precision>=0.9` (the most recall that keeps this precision), `recall>=0.95` (the most
                precision that keeps this recall), or (cost of a false alarm, cost of a miss).
            per_class: one threshold per class, or one for all.
            only: the classes that are tuned, the others keep their threshold; all by default.

        Returns:
            The thresholds with intervals, F1 before and after, and F1 to expect on images not seen.

        Raises:
            InputError: the task has no thresholds, or there is no such metric.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PASCAL)
            >>> dls = ImageDataLoaders.from_csv(
            ...     path, "train.csv", folder="train", label_delim=" ", valid_col="is_valid", item_tfms=Resize(32)
            ... )
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, dls.c)))
            >>> fitted = learn.tune_thresholds(per_class=False)
            >>> learn.task.decision.thresholds == fitted.thresholds, len(set(fitted.thresholds))
            (True, 1)
        """
        task = self.task
        require("A threshold per class", task, has="has_thresholds")
        preds, targets = self.get_preds()
        fitted = tune_thresholds(
            preds, targets, task.names, metric=metric, per_class=per_class, before=task.decision.thresholds, only=only
        )
        self.use_thresholds(fitted)
        return fitted

    def use_thresholds(self, fitted: ThresholdFit) -> None:
        """Answer with thresholds that were tuned elsewhere, from now on.

        Args:
            fitted: what `tune_thresholds` of another learner, or of `foveal.evaluation.thresholds`, returned; one
                threshold per class, in the order of the vocab.

        Raises:
            InputError: there are more or fewer thresholds than classes; nothing is changed then.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PASCAL)
            >>> dls = ImageDataLoaders.from_csv(
            ...     path, "train.csv", folder="train", label_delim=" ", valid_col="is_valid", item_tfms=Resize(32)
            ... )
            >>> one, other = (Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3072, dls.c))) for _ in range(2))
            >>> other.use_thresholds(one.tune_thresholds(per_class=False))
            >>> other.task.decision.thresholds == one.task.decision.thresholds
            True
        """
        decision = replace(self.task.decision, thresholds=fitted.thresholds)
        self.task.with_decision(decision)  # which refuses another number of them
        self._decision, self.tuned = decision, fitted

    def validation_predictions(self) -> Predictions:
        """Return what the model, in fp32 as it is exported, answers on the validation side, from one pass.

        The raw outputs of labels are kept, the spread of points, and features, so that `calibrate`, `calibrate_radius`,
        `with_decision` and what a bundle tells of validation need no other pass.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
            >>> learn.validation_predictions().values.shape
            torch.Size([6, 2])
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

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = vision_learner(dls, "test_efficientnet", pretrained=False, head="linear")
            >>> with learn.no_logging():
            ...     learn.probe()
            >>> learn.held_out_predictions().values.shape
            torch.Size([24, 2])
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
        """Choose the temperature with the least loss on the validation side; answers stay as they are.

        The temperature T divides the logits, so that probabilities agree with how often they are right (Guo et al.
        2017, arXiv 1706.04599). It is used from now on and travels with the model. For points see `calibrate_radius`.

        Args:
            predictions: those of `validation_predictions`, which are made anew by default.

        Returns:
            The temperature, which is 1 where probabilities are right as they are, and larger where the model is too
            sure.

        Raises:
            InputError: the task has no probabilities.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
            >>> learn.calibrate() == learn.task.decision.temperature
            True
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

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::4]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
            >>> learn.calibrate_sets() == learn.task.decision.set_threshold
            True
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
            The factor of each point, by which its spread in source pixels is multiplied, and how often radii held the
            truth that were chosen on one half of the images and checked on the other.

        Raises:
            InputError: the answers are no points, or fewer than nine validation images have a known place.

        Examples:
            >>> from foveal.vision.all import *
            >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::4]
            >>> block = DataBlock((ImageBlock, PointBlock), get_y=lambda file: [(64, 48)], item_tfms=Resize(32))
            >>> dls = block.dataloaders(files, bs=4)
            >>> learn = vision_learner(dls, "test_efficientnet", pretrained=False, head="spatial")
            >>> learn.calibrate_radius().known  # images from which the radius of the only point was chosen
            (12,)
            >>> learn.predict(files[0]).radius.shape
            (1,)
        """
        require("A radius", self.task, has="confidence")
        fitted = fit_radii(self.validation_predictions() if predictions is None else predictions)
        if fitted.without:
            listed = ", ".join(f"{name} ({n})" for name, n in fitted.without.items())
            warn(f"No radius where fewer than {FEWEST} validation images have a known place: {listed}.")
        self._decision = replace(self.task.decision, radius_factors=fitted.factors)
        return fitted

    def report(self, path: PathLike = "report.html", *, images: bool = True, by: Slices | None = None) -> Path:
        """Write one self-contained HTML page on the validation side.

        Args:
            path: of the page, from the working directory.
            images: whether it shows images.
            by: what is known of each validation image, by name: its camera, for instance. Metrics are then given for
                each value of it.

        Returns:
            The path of the page.

        Examples:
            >>> import tempfile
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     learn.report(Path(folder) / "page.html", images=False).read_text()[:15]
            '<!DOCTYPE html>'
        """
        return report_on(self, self.tuned, images=images, slices=by or {}).write(path)

    def explain(self, image: ImageSource, label: ClassLabel | None = None) -> None:
        """Show what the model looked at for a label: the image is dark where it did not look.

        The method is Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391).

        Args:
            image: a path, bytes, an array or a PIL image.
            label: a class as in the vocab or as text, or the name of a number or a point; the most probable class, or
                the first, by default.

        Raises:
            UnknownNameError: there is no such label.
            InputError: the model is written by hand, or has several numbers and `label` names none of them.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = vision_learner(dls, "test_efficientnet", pretrained=False)
            >>> learn.explain(files[0], True)
            >>> len(plt.gcf().axes), plt.close()
            (1, None)
        """
        show_overlay(self.predictor(), image, label)

    def plot_thresholds(self) -> None:
        """Draw F1 by threshold on the validation side, one curve per class, with the thresholds in force.

        Raises:
            InputError: the task has not several labels.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PASCAL)
            >>> dls = ImageDataLoaders.from_csv(
            ...     path, "train.csv", folder="train", label_delim=" ", valid_col="is_valid", item_tfms=Resize(32)
            ... )
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, dls.c)))
            >>> learn.plot_thresholds()
            >>> len(plt.gcf().axes) == dls.c, plt.close()
            (True, None)
        """
        preds, targets = self.get_preds()
        plots.threshold_curves(preds, targets, self.task)

    def _what(self) -> str:
        return task_text(self.dls.task)

    def _own_way(self, loader: DataLoader) -> DataLoader:
        """Return a loader with images normalised as the model was trained."""
        return require_loader(loader).normalised_like(self.dls.train)

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

        Returns:
            A tuple of tensors, float32 probabilities, points in [-1, 1] of the input or numbers, then the targets as
            the task encodes them, then what was added.

        Raises:
            InputError: see `reorder`; or `dl` is neither a loader nor batches.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
            >>> [tuple(t.shape) for t in learn.get_preds(with_decoded=True, with_loss=True)]
            [(6, 2), (6,), (6,), (6,)]
        """
        if not reorder and dl is None and self.dls[ds_idx].shuffle:
            raise InputError("Predictions come in data order: leave reorder=False out.")
        loader = self.dls[ds_idx] if dl is None else dl
        in_order = self._own_way(loader).in_order() if isinstance(loader, DataLoader) else require_batches(loader)
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

        Test-time augmentation; points are moved back before they are averaged.

        Args:
            ds_idx: see `get_preds`.
            dl: see `get_preds`.
            n: copies per image.
            beta: the weight of the plain image; the copies share the rest.

        Returns:
            Activated predictions float32 [n, ...], and the targets, on the CPU.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
            >>> preds, targets = learn.tta(n=2)
            >>> preds.shape, preds.sum(dim=1).allclose(torch.ones(6))
            (torch.Size([6, 2]), True)
        """
        loader = self.dls[ds_idx] if dl is None else self._own_way(dl)
        precision = self._training.plain_precision
        return augmented_predictions(self.model, loader, self.task, n=n, beta=beta, precision=precision)

    def embed(self, source: Any) -> Embeddings:
        """Return the activations before the last layer for images, or for rows that the data block reads.

        Args:
            source: images as `predict` takes them, or a DataFrame with the columns of the training data.

        Returns:
            The names of the images, and their vectors float32 [n, F].

        Raises:
            ImageError: an image is refused.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = vision_learner(dls, "test_efficientnet", pretrained=False)  # a small backbone for tests
            >>> learn.embed(files[:3]).vectors.shape
            (3, 512)
        """
        images = self.dls.test_dl(source).dataset.images if isinstance(source, DataFrame) else source
        return self.predictor().embed(images)

    def predict(self, image: ImageSource) -> Prediction:
        """Answer for one image, a path, bytes, an array or a PIL image; points are in its pixels.

        Args:
            image: the image; an array is uint8 [h, w, 3] or [h, w].

        Returns:
            The answer: label, the same encoded, and activated outputs. For many images `predictor().predict_batch` is
                faster.

        Raises:
            ImageError: the image is refused.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
            >>> label, encoded, probabilities = learn.predict(files[0])
            >>> label == dls.vocab[encoded], round(probabilities.sum().item(), 4)
            (True, 1.0)
        """
        return self.predictor().predict(image)

    def predictor(self, training: TrainingPart | None = None) -> Predictor:
        """Return a copy of the model as it is now that is ready to answer, in fp32 and evaluation mode.

        Args:
            training: what a bundle tells of the training, as `trained` returns it; nothing by default.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
            >>> len(list(learn.predictor().predict_batch(files)))
            30
        """
        preparation = self.dls.preparation
        if isinstance(self.model, VisionModel) and self.model.body.statistics is not None:
            preparation = replace(preparation, statistics=self.model.body.statistics)
        return Predictor.of(self.model, self.task, preparation, training)

    def export(self, fname: PathLike = "export.pkl") -> Path:
        """Write one safe file that `load_learner` reads, below `path`.

        It holds the weights, the task, the preparation of images, and what the training was; no optimizer, for which
        see `save`.

        Args:
            fname: the file. Whatever its name, it is in the format safetensors: never a pickle, which could run code.

        Returns:
            Where the file is.

        Examples:
            >>> import tempfile
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     learn = vision_learner(dls, "test_efficientnet", pretrained=False, path=folder)
            ...     load_learner(learn.export("model.safetensors")).vocab
            Written to `...model.safetensors`.
            (#2) [False,True]
        """
        return write_export(self.predictor(self.trained()), self.path, fname)

    def trained(self) -> TrainingPart:
        """Return what a bundle tells of its training; metrics are added where they are known.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> part = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))).trained()
            >>> part.n_train, part.n_valid
            (24, 6)
        """
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
            figsize: (width, height) in inches.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
            >>> learn.show_results(max_n=2)
            >>> len(plt.gcf().axes), plt.close()
            (2, None)
        """
        n, rows = grid(max_n, nrows, ncols)
        dataset = self.dls[ds_idx].dataset
        indices = order_for(0, 0, len(dataset))[:n].tolist()
        sample = dataset.subset(indices)
        predictions = predict_dataset(self.predictor(), sample)
        show.results_sheet(predictions, max_n=n, rows=rows, figsize=figsize, figure=plots.new_figure())
