"""The trainer, the part of a learner that trains; each method is one call into a package below."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self, get_args

from torch import Tensor, nn

from foveal.core import runtime, timing
from foveal.core.arguments import check_list, checked_methods
from foveal.core.errors import UnknownNameError
from foveal.core.listing import L
from foveal.data.loader import DataLoader
from foveal.data.loaders import DataLoaders
from foveal.inference.predictor import model_text
from foveal.learner.fits import Fits, check_moms
from foveal.learner.weighting import choose_loss
from foveal.losses import Loss
from foveal.metrics.common import MetricFunction, named_metrics, refuse_unsuitable
from foveal.models.summary import layers_table
from foveal.tasks.balance import ClassWeights
from foveal.tasks.kinds import PROBE, Recipe, kind_of
from foveal.training import lr_finder
from foveal.training.checked_loss import CheckedLoss, checked_loss
from foveal.training.checkpoint import PathLike
from foveal.training.groups import Freeze, Norm, Splitter, parameter_groups, split_with
from foveal.training.hooks import as_list, bound_callbacks, check_callbacks, training_loop
from foveal.training.optim import Adam, OptimizerFunction
from foveal.training.phases import Training
from foveal.training.probes.linear import HeadFit, fit_head
from foveal.training.recorder import Recorder
from foveal.training.schedule import Rate
from foveal.training.state import EpochResult

Activation = Literal["task", "none"]
_PROBE_EPOCHS = PROBE.epochs  # of draws by weight that a probe is fitted to: those that the recipe trains after it
MOMENTS = (0.95, 0.85, 0.95)  # AdamW's first beta at the start, the highest rate and the end; the book's numbers


@checked_methods
class Trainer(Fits):
    """Trains a model on loaders; `Learner` adds what it takes to predict.

    Attributes:
        model, loss_func, activation: what is trained, by which loss, and what activates its outputs.
        metrics: one or several functions of (raw outputs, targets), partials, or `Metric`; may be changed at any time.
        recorder: the history of all fits.
        path: the folder that `save` writes below.
    """

    def __init__(
        self,
        dls: DataLoaders,
        model: nn.Module,
        loss_func: Loss | None = None,
        opt_func: OptimizerFunction = Adam,
        lr: Rate = 1e-3,
        *,
        splitter: Splitter | None = None,
        cbs: object = None,
        metrics: MetricFunction | Iterable[MetricFunction] | None = None,
        path: PathLike | None = None,
        wd: float | None = None,
        moms: tuple[float, float, float] = MOMENTS,
        activation: Activation | None = None,
        origin: str = "",
        compile: bool = False,
        class_weights: ClassWeights | None = None,
    ) -> None:
        """Make a learner, and put its model on the loaders' device.

        Args:
            dls: the loaders.
            model: takes the inputs of a batch, of images float32 [B, C, h, w], and returns [B, `dls.task.n_outputs`].
            loss_func: of (raw outputs, targets); the task's by default.
            opt_func: builds the optimizer: `Adam` (AdamW), `SGD`, `RMSProp`, `ranger`, a class of torch.optim, or a
                `partial` of one.
            lr: the learning rate of fits that are given none.
            splitter: a function of the model that returns its parameters in groups, from the input to the output; the
                model's own groups by default.
            cbs: callbacks of every fit.
            metrics: functions of (raw outputs, targets), or `Metric`; the task's by default.
            path: the folder that `save` and `export` write to; that of the loaders by default.
            wd: the weight decay of fits that are given none; 0.01 by default.
            moms: the momentum of fits that are given none, at the start, at the highest rate and at the end.
            activation: what turns outputs into probabilities: "task" for the task's, softmax or sigmoid; "none" where
                the model ends with it. By default the loss tells: nothing is activated again for `nn.BCELoss`,
                `nn.NLLLoss` and, of a model of your own, for a loss of your own; what `vision_learner` builds returns
                logits.
            origin: where the weights are from, for reports and bundles.
            compile: train through torch.compile.
            class_weights: by how much classes count in the task's loss, by name, {"dog": 2.0}, the others 1; or
                `balanced`, 1 / (number of classes x frequency of the class in training).

        Raises:
            UnknownNameError: there is no such activation, or no such class.
            InputError: the splitter leaves a parameter out, or `class_weights` and `loss_func` are both given.
        """
        self.model: Any = model
        self.origin, self.path = origin, Path(path if path is not None else dls.path)
        self.lr, self.wd, self.moms, self.cbs = lr, wd, check_moms(moms), as_list(cbs)
        if splitter is not None:
            split_with(model, splitter)
        self.recipe: Recipe | None = None
        self.head_fit: HeadFit | None = None
        runtime.to_device(model, dls.device)
        if activation is not None and activation not in get_args(Activation):
            raise UnknownNameError.of("activation", activation, get_args(Activation))
        self.activation = activation
        self.loss_func = choose_loss(dls, loss_func, class_weights)
        self._usual_loss = self.loss_func if loss_func is None and class_weights is None else None
        self.recorder = Recorder(lambda: list(self._named_metrics()))
        self._training = Training(
            model,
            dls,
            self.recorder,
            self._loss,
            self._named_metrics,
            self._activate,
            compile=compile,
            opt_func=opt_func,
        )
        self.metrics: Any = metrics if metrics is not None else self._usual_metrics()

    def __repr__(self) -> str:
        loaders = repr(self.dls).partition("(")[2].removesuffix(")")
        parts = (model_text(self.model), self._what(), loaders, str(self.dls.device))
        return f"{type(self).__name__}({'; '.join(filter(None, parts))})"

    def _what(self) -> str:
        """Return in words what is learned, where that is known."""
        return ""

    @property
    def dls(self) -> DataLoaders:
        """The loaders; others of the same task may take their place, of another size of image for instance.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> len(Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat()).dls.train)
            4
        """
        return self._training.dls

    @dls.setter
    def dls(self, dls: DataLoaders) -> None:
        self._training.dls = dls.normalised_like(self._training.dls)

    def probe(self) -> None:
        """Fit the head, `linear` or `spatial`, to frozen features of the training images, each looked at once.

        The best linear head is found in closed form or by convex optimisation; its L2 penalty, and what it reads of a
        network's features, are chosen inside the training side. On small sets it is far ahead of the first epochs of
        training, and a good start for `fine_tune`.

        Raises:
            InputError: the head is another one.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = vision_learner(dls, "tf_efficientnet_lite0", head="linear", metrics=error_rate)
            >>> with learn.no_logging():
            ...     learn.probe()
            >>> learn.final_record[0] < 0.2  # the loss on the training side
            True
        """
        began = time.perf_counter()
        fit = self.fit_head()
        self.head_fit, self.is_as_probed = fit, True
        with timing.measure("probe validation"):
            valid_loss, metrics = self._scores(self.dls.valid)
        seconds = time.perf_counter() - began
        self.recorder.note(EpochResult(0, fit.train_loss, valid_loss, metrics, seconds, is_probe=True))

    def _usual_epochs(self, recipe: Recipe) -> int:
        return recipe.usual_epochs(self.dls.train.n, self.dls.pipeline.input_size_hw)

    def fit_head(self) -> HeadFit:
        """Fit the head as `probe` does, without a look at the validation side.

        Returns:
            The losses of the fit, and the outputs for each training image by a solution without it, where there are
            such.

        Raises:
            InputError: the head is another one.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> fitted = vision_learner(dls, "tf_efficientnet_lite0", head="linear").fit_head()
            >>> fitted.train_loss < fitted.held_out_loss, fitted.held_out.shape
            (True, torch.Size([24, 2]))
        """
        return fit_head(
            self.model,
            self.dls.train.in_order(),
            self._loss(),
            precision=self._training.plain_precision,
            device=self.dls.device,
            drawn=self.dls.train.drawn(_PROBE_EPOCHS),
            is_plain=self.loss_func is self._usual_loss and kind_of(self.dls.task).has_score_per_class,
        )

    def lr_find(
        self,
        start_lr: float = 1e-7,
        end_lr: float = 10.0,
        num_it: int = 100,
        *,
        stop_div: bool = True,
        show_plot: bool = True,
        suggest_funcs: Iterable[lr_finder.Suggestion] | lr_finder.Suggestion = lr_finder.valley,
    ) -> Any:
        """Try growing learning rates, draw the losses, and suggest rates to train with.

        Weights, optimizer and random state are afterwards as they were; no file is written. The range test is from
        Smith 2015 (arXiv 1506.01186).

        Args:
            start_lr: the first rate.
            end_lr: the last one.
            num_it: steps at most.
            stop_div: whether to stop when the loss has diverged.
            show_plot: whether to draw the curve.
            suggest_funcs: `valley`, `slide`, `minimum`, `steep`, or several of them; each names a field of the tuple.

        Returns:
            A named tuple with a rate by the name of each function of `suggest_funcs`.

        Raises:
            TrainingError: the loss diverges at once.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> learn = Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat())
            >>> rates = learn.lr_find(show_plot=False, suggest_funcs=(valley, minimum))
            >>> rates._fields, 1e-7 < rates.valley < 10
            (('valley', 'minimum'), True)
        """
        curve = self._training.curve(start_lr, end_lr, num_it, stop_div=stop_div)
        rates = lr_finder.suggest_rates(curve, suggest_funcs)
        if show_plot:
            lr_finder.draw(curve, list(rates._asdict().items()))
        return rates

    def largest_batch(self) -> int:
        """Return how many items, up to the loaders' batch size, fit into memory in one step that trains everything.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat()).largest_batch()
            8
        """
        return self._training.largest_batch()

    def freeze(self, *, norm: Norm = "frozen") -> None:
        """Train the last group only, which of `vision_learner` is the head.

        Args:
            norm: what normalisation layers of the frozen groups do; see `Freeze`.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = vision_learner(dls, "test_efficientnet", pretrained=False)  # a small backbone for tests
            >>> learn.freeze()
            >>> [any(p.requires_grad for p in part.parameters()) for part in learn.model]  # body and head
            [False, True]
        """
        self.freeze_to(-1, norm=norm)

    def unfreeze(self) -> None:
        """Train everything, also what you froze by hand.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = vision_learner(dls, "tf_efficientnet_lite0")  # its body is frozen
            >>> learn.unfreeze()
            >>> all(p.requires_grad for p in learn.model.parameters())
            True
        """
        self.freeze_to(0)

    def freeze_to(self, n: int, *, norm: Norm = "frozen") -> None:
        """Freeze the first `n` groups, and train all parameters of the others.

        Groups go from the input to the output: of `vision_learner` two halves of the backbone and the head, so that
        `freeze_to(-1)` trains the head and `freeze_to(-2)` the later half of the backbone too. For anything finer set
        `requires_grad` yourself: it holds in every fit, `fine_tune` included, until you call `freeze`, `unfreeze` or
        `freeze_to` again. Only the last block of a ResNet's backbone beside the head: `learn.freeze()`, then
        `learn.model[0].network.layer4.requires_grad_(True)`.

        Args:
            n: groups; a negative number counts from the last one.
            norm: what the normalisation layers of frozen groups do; see `Freeze`.

        Raises:
            InputError: there are not so many groups.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = vision_learner(dls, "test_efficientnet", pretrained=False)  # a small backbone for tests
            >>> learn.freeze_to(-2)
            >>> network = learn.model[0].network
            >>> network.conv_stem.weight.requires_grad, network.conv_head.weight.requires_grad
            (False, True)
        """
        n_groups = len(parameter_groups(self.model))
        self._training.set_freeze(Freeze(n + n_groups if n < 0 else n, norm))

    @property
    def measured(self) -> dict[int, runtime.Precision]:
        """The precision that `auto` found fastest, by the number of frozen groups; these are not measured again.

        It is empty unless `to_precision("auto")` was called and something was trained.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat()).measured
            {}
        """
        return self._training.measured

    def to_precision(self, name: str) -> Self:
        """Train in another precision from now on.

        Args:
            name: `fp32`, `bf16`, `fp16` (on a GPU), or `auto` for what is measured to be fastest.

        Returns:
            The learner.

        Raises:
            UnknownNameError: there is no such precision.
            InputError: the device has none of it.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> learn = Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat())
            >>> learn.to_precision("fp32") is learn
            True
        """
        self._training.precision = runtime.check_precision(name, self.dls.device)
        return self

    def to_fp32(self) -> Self:
        """Train in single precision; see `to_precision`.

        Returns:
            The learner.
        """
        return self.to_precision("fp32")

    def to_bf16(self) -> Self:
        """Train in bfloat16; see `to_precision`.

        Returns:
            The learner.
        """
        return self.to_precision("bf16")

    def to_fp16(self) -> Self:
        """Train in half precision; see `to_precision`.

        On a CPU with units for it that is bfloat16, on one without training stays in single precision.

        Returns:
            The learner.
        """
        if self.dls.device.type != "cpu":
            return self.to_precision("fp16")
        if "bf16" in runtime.precisions(self.dls.device):
            return self.to_precision("bf16")
        self.recorder.say("This CPU has no units for half precision, which would be slower: training stays in fp32.")
        return self.to_precision("fp32")

    def validate(self, ds_idx: int = 1, *, dl: DataLoader | None = None) -> L[float]:
        """Return the loss and the metrics, as in the epoch table.

        Args:
            ds_idx: the side of the split: 0 training, 1 validation.
            dl: a loader instead.

        Returns:
            The loss, then a number per metric, in the order of `metrics`.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> learn = Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat(), metrics=rmse)
            >>> loss, error = learn.validate()
            >>> abs(loss - error**2) < 1e-5
            True
        """
        loss, metrics = self._scores(self.dls[ds_idx] if dl is None else self._own_way(dl))
        return L([loss, *metrics.values()])

    @contextmanager
    def no_bar(self) -> Iterator[Self]:
        """Show no progress bar within the block; the table is printed.

        Yields:
            The learner.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> with Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat()).no_bar() as learn:
            ...     learn.fit(1)
            epoch  train_loss  valid_loss  time
            0      ...
        """
        with self._recorder_set("shows_bar", value=False):
            yield self

    @contextmanager
    def no_logging(self) -> Iterator[Self]:
        """Print neither table nor bar within the block.

        Yields:
            The learner.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> with Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat()).no_logging() as learn:
            ...     learn.fit(1)
            >>> len(learn.recorder.history)
            1
        """
        with self._recorder_set("silent", value=True):
            yield self

    no_mbar = no_bar

    @contextmanager
    def _recorder_set(self, name: str, *, value: bool) -> Iterator[None]:
        before = getattr(self.recorder, name)
        setattr(self.recorder, name, value)
        try:
            yield
        finally:
            setattr(self.recorder, name, before)

    @property
    def final_record(self) -> L[float]:
        """The numbers of the last line of the table: both losses, then the metrics.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> with Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat(), metrics=mae).no_logging() as learn:
            ...     learn.fit(2, 0.1)
            >>> learn.final_record[1:] == learn.validate()
            True
        """
        return self.recorder.final_record

    def show_training_loop(self) -> None:
        """Print the events of a fit in order, each with the learner's callbacks that listen to it.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> learn = Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat(), cbs=GradientClip(0.1))
            >>> learn.show_training_loop()
            before_fit
              before_epoch
                before_step
                after_pred
                after_loss
                after_backward: GradientClip(max_norm=0.1)
                ...
        """
        for line in training_loop(bound_callbacks(self.cbs, self)):
            print(line)  # noqa: T201 -- printing is what it is for

    def summary(self) -> None:
        """Print layers, shapes, parameters, what is frozen, and the memory that training takes.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> Learner(DataLoaders(dl, dl), nn.Sequential(nn.Linear(1, 4), nn.Linear(4, 1)), MSELossFlat()).summary()
            Sequential
            part        output  parameters  trains
            0 (Linear)  4                8  yes
            1 (Linear)  1                5  yes
            13 parameters, 13 of them train
            ...
        """
        print(layers_table(self.model, self.dls.one_batch()[0][:1]))  # noqa: T201 -- printing is what it is for

    def save(self, name: PathLike, *, with_opt: bool = True) -> Path:
        """Write weights and optimizer to `models/NAME.safetensors` under `path`.

        To train further, use `load`; for a file that answers without loaders, `export`.

        Args:
            name: of the file, or its path.
            with_opt: whether to write the optimizer's averages too.

        Returns:
            The file.

        Examples:
            >>> import tempfile
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat(), path=folder).save("line").name
            'line.safetensors'
        """
        return self._training.save(self._saved(name), with_averages=with_opt)

    def load(self, name: PathLike, *, with_opt: bool = True) -> Self:
        """Read what `save` wrote.

        Args:
            name: of the file, or its path.
            with_opt: whether to read the optimizer's averages too, where the file has them.

        Returns:
            The learner.

        Raises:
            ModelFileError: there is no such file, or it does not fit this model.

        Examples:
            >>> import tempfile
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     dls = DataLoaders(dl, dl)
            ...     one = Learner(dls, nn.Linear(1, 1), MSELossFlat(), path=folder)
            ...     other = Learner(dls, nn.Linear(1, 1), MSELossFlat(), path=folder)
            ...     file = one.save("line")
            ...     other.load("line").validate() == one.validate()
            True
        """
        self._training.load(self._saved(name), with_averages=with_opt)
        return self

    def _saved(self, name: PathLike) -> Path:
        return self.path / "models" / f"{os.fspath(name).removesuffix('.safetensors')}.safetensors"

    def _announce(self) -> None:
        """Say, before a fit, what of it a reader of the table would not expect."""

    def _refuse(self, callbacks: Sequence[object]) -> None:
        """Refuse metrics and callbacks that do not suit, before anything is trained."""
        refuse_unsuitable(self._metrics(), self.dls.task.n_outputs, self.dls.valid.dataset.targets)
        check_callbacks(callbacks, self._training.fit_inputs().directions())

    def _own_way(self, loader: DataLoader) -> DataLoader:
        """Return a loader, wherever it is from, prepared as the model was trained."""
        return loader

    def _scores(self, loader: DataLoader) -> tuple[float, dict[str, float]]:
        evaluation = self._training.evaluate(loader)
        loss = float(self._loss()(evaluation.outputs, evaluation.targets))
        return loss, evaluation.metrics(self._named_metrics(), self._activate)

    def _usual_metrics(self) -> list[MetricFunction]:
        return list(self.dls.task.metrics().values())

    def _activate(self, output: Tensor) -> Tensor:
        return self.dls.task.activate(output)

    def _loss(self) -> CheckedLoss:
        return checked_loss(self.loss_func, several_labels=kind_of(self.dls.task).has_thresholds)

    def _metrics(self) -> Sequence[MetricFunction]:
        if callable(self.metrics) or isinstance(self.metrics, str):
            return [self.metrics]
        check_list("metrics", self.metrics or (), "functions, such as [accuracy]")
        return list(self.metrics or ())

    def _named_metrics(self) -> dict[str, MetricFunction]:
        return named_metrics(self._metrics())
