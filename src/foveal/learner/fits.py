"""The fits of a trainer: at a constant rate, by the one-cycle schedule, along a cosine, and `fine_tune`."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

from foveal.core.arguments import are_numbers, checked_methods
from foveal.core.errors import InputError
from foveal.learner.at_work import AtWork
from foveal.tasks.kinds import Recipe
from foveal.training.checkpoint import PathLike
from foveal.training.fine_tuning import fill_recipe, fine_tune_phases, with_best_weights
from foveal.training.hooks import Hooks, as_list, bound_callbacks
from foveal.training.optim import WEIGHT_DECAY, OptimizerFunction
from foveal.training.phase import Phase
from foveal.training.recorder import Recorder
from foveal.training.schedule import Rate, Schedule, flat_cosine, one_cycle


def check_moms(moms: object) -> tuple[float, float, float]:
    """Return the momentum at the start, at the highest rate and at the end.

    Raises:
        InputError: these are not three numbers from 0 to below 1.
    """
    given = tuple(moms) if isinstance(moms, list | tuple) else ()
    if len(given) != 3 or not are_numbers(*given) or not all(0 <= one < 1 for one in given):
        raise InputError(
            "`moms` are three numbers from 0 to below 1, the momentum at the start, at the highest rate and at the "
            f"end, such as (0.95, 0.85, 0.95); got {moms!r}."
        )
    return given


@checked_methods
class Fits(AtWork):
    """The ways in which a learner trains its model.

    Attributes:
        lr, wd, moms: learning rate, weight decay and momentum of fits that are given none.
        cbs: callbacks of every fit.
        recipe: what `fine_tune` does unless told otherwise; None for the book's.
        recorder: the history of all fits.
        is_as_probed: whether nothing was trained since the last probe.
    """

    lr: Rate
    wd: float | None
    moms: tuple[float, float, float]
    cbs: list[Any]
    recipe: Recipe | None
    recorder: Recorder
    is_as_probed: bool = False

    @property
    def opt_func(self) -> OptimizerFunction:
        """What builds the optimizer of each fit; another one may be assigned.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> learn = Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat(), opt_func=SGD)
            >>> learn.opt_func is SGD
            True
        """
        return self._training.opt_func

    @opt_func.setter
    def opt_func(self, opt_func: OptimizerFunction) -> None:
        self._training.opt_func = opt_func

    def fit(
        self,
        n_epoch: int | None = None,
        lr: Rate | None = None,
        *,
        schedule: Schedule | None = None,
        wd: float | None = None,
        accumulate: int = 1,
        minutes: float | None = None,
        cbs: object = None,
        reset_opt: bool = False,
        views: int | None = None,
        resume: PathLike | None = None,
    ) -> None:
        """Train for `n_epoch` epochs at a constant rate, or as `schedule` says.

        Args:
            n_epoch: how often the training side is gone through.
            lr: a rate, one per group, or a slice, see `rates_of`; the learner's by default.
            schedule: of the rates, over the whole fit.
            wd: weight decay; the learner's by default.
            accumulate: batches whose gradients are summed up for one step of the optimizer.
            minutes: in place of `n_epoch`, as many epochs as fit into this time, measured at the start; at least one.
            cbs: a callback, or several; see `Callback`. `Checkpoints(folder)` makes the fit resumable.
            reset_opt: forget the optimizer's averages of an earlier fit that trained the same parameters.
            views: of a frozen body, draw each image so often for the whole fit in place of once an epoch: later epochs
                run the head alone, many times as quick. With as many as epochs nothing changes, and nothing is saved.
            resume: the folder of a run with a checkpoint, from which the fit resumes bit-exactly.

        Raises:
            InputError: an argument, a metric or a callback does not suit; nothing was trained then.
            TrainingError: the loss is not finite, or memory runs out.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> learn = Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat())
            >>> learn.fit(2, 0.1)
            epoch  train_loss  valid_loss  time
            0      ...
            1      ...
            >>> len(learn.recorder.history)
            2
        """
        phase = self._phase(n_epoch, lr, schedule, wd, accumulate, reset_opt=reset_opt, views=views)
        self._run([phase], cbs, resume, minutes)

    def fit_one_cycle(
        self,
        n_epoch: int | None = None,
        lr_max: Rate | None = None,
        *,
        div: float = 25.0,
        div_final: float = 1e5,
        pct_start: float = 0.25,
        wd: float | None = None,
        moms: tuple[float, float, float] | None = None,
        accumulate: int = 1,
        minutes: float | None = None,
        cbs: object = None,
        reset_opt: bool = False,
        views: int | None = None,
        resume: PathLike | None = None,
    ) -> None:
        """Train with the one-cycle schedule: the rate rises, then falls along a cosine (Smith 2018, arXiv 1803.09820).

        See `one_cycle` for the schedule, and `fit` for the arguments that are not explained here.

        Args:
            n_epoch: epochs.
            lr_max: the highest rate, one per group, or a slice, see `rates_of`; the learner's by default.
            div: the highest rate over the first one.
            div_final: the highest rate over the last one.
            pct_start: the share of the run in which the rate rises.
            wd: weight decay.
            moms: momentum (of Adam its first beta) at the start, at the highest rate and at the end; the learner's by
                default.
            accumulate: see `fit`.
            minutes: see `fit`.
            cbs: see `fit`.
            reset_opt: see `fit`.
            views: see `fit`.
            resume: see `fit`.

        Raises:
            InputError: see `fit`; or `pct_start` is not between 0 and 1.
            TrainingError: see `fit`.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> with Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat()).no_logging() as learn:
            ...     learn.fit_one_cycle(20, 0.3)
            >>> round(learn.model.weight.item())
            3
        """
        schedule = one_cycle(pct_start=pct_start, div=div, div_final=div_final, moms=check_moms(moms or self.moms))
        phase = self._phase(n_epoch, lr_max, schedule, wd, accumulate, reset_opt=reset_opt, views=views)
        self._run([phase], cbs, resume, minutes)

    def fit_flat_cos(
        self,
        n_epoch: int | None = None,
        lr: Rate | None = None,
        *,
        div_final: float = 1e5,
        pct_start: float = 0.75,
        wd: float | None = None,
        accumulate: int = 1,
        minutes: float | None = None,
        cbs: object = None,
        reset_opt: bool = False,
        views: int | None = None,
        resume: PathLike | None = None,
    ) -> None:
        """Train at a constant rate, then down a cosine.

        Args:
            n_epoch: epochs.
            lr: see `fit`.
            div_final: the rate over the last one.
            pct_start: the share of the run at the constant rate.
            wd: weight decay.
            accumulate: see `fit`.
            minutes: see `fit`.
            cbs: see `fit`.
            reset_opt: see `fit`.
            views: see `fit`.
            resume: see `fit`.

        Raises:
            InputError: see `fit`; or `pct_start` is not between 0 and 1.
            TrainingError: see `fit`.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> with Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat()).no_logging() as learn:
            ...     learn.fit_flat_cos(20, 0.3)
            >>> round(learn.model.weight.item())
            3
        """
        schedule = flat_cosine(pct_start=pct_start, div_final=div_final)
        phase = self._phase(n_epoch, lr, schedule, wd, accumulate, reset_opt=reset_opt, views=views)
        self._run([phase], cbs, resume, minutes)

    def fine_tune(
        self,
        epochs: int | None = None,
        base_lr: float | None = None,
        freeze_epochs: int | None = None,
        *,
        lr_mult: float | None = None,
        pct_start: float = 0.3,
        div: float = 5.0,
        lr_max: Rate | None = None,
        div_final: float = 1e5,
        wd: float | None = None,
        moms: tuple[float, float, float] | None = None,
        accumulate: int = 1,
        minutes: float | None = None,
        probe: bool | None = None,
        cbs: object = None,
        reset_opt: bool = False,
        views: int | None = None,
        resume: PathLike | None = None,
    ) -> None:
        """Train the head for `freeze_epochs`, then everything for `epochs` with smaller rates towards the input.

        What is not given is the learner's recipe's (`vision_learner(recipe="best")`), which ends with the best weights
        where it probes; without a recipe it is the book's. Parameters whose `requires_grad` you set yourself keep it in
        both parts; see `freeze_to`.

        Args:
            epochs: of the second part; 0 ends with the probe, as a recipe does on few images of a good size.
            base_lr: the highest rate of the first part, a tenth of it for what is frozen but trains; the book's 0.002.
            freeze_epochs: of the first part; the book's 1.
            lr_mult: the rate of the last group over that of the first one; the book's 100.
            pct_start: the share of the second part in which rates rise.
            div: the highest rate over the first one, in the second part.
            lr_max: rates of the second part; by default `slice(base_lr / 2 / lr_mult, base_lr / 2)`.
            div_final: the highest rate over the last one.
            wd: weight decay.
            moms: see `fit_one_cycle`.
            accumulate: see `fit`.
            minutes: for both parts; the second one takes what the first one left, after a probe possibly nothing.
            probe: fit the head by `learn.probe()` in place of the first part; batch normalisation then keeps the
                statistics that the probe was fitted with.
            cbs: see `fit`.
            reset_opt: see `fit`.
            views: of the first part, see `fit`.
            resume: see `fit`.

        Raises:
            InputError: see `fit`; or `views` are given and no part trains the head alone.
            TrainingError: see `fit`.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> dls = ImageDataLoaders.from_name_func(path, files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
            >>> learn = vision_learner(dls, "test_efficientnet", pretrained=False)  # a small backbone for tests
            >>> with learn.no_logging():
            ...     learn.fine_tune(2)
            >>> [result.epoch for result in learn.recorder.history]  # one of the head alone, two of everything
            [0, 0, 1]
        """
        began, by_recipe, chosen_moms = time.monotonic(), self.recipe is not None, check_moms(moms or self.moms)
        recipe = fill_recipe(self.recipe, lr=base_lr, freeze_epochs=freeze_epochs, lr_mult=lr_mult, probe=probe)
        callbacks = with_best_weights(as_list(cbs)) if by_recipe and recipe.probe else as_list(cbs)
        if epochs is None and minutes is None and by_recipe:
            epochs = self._usual_epochs(recipe)
        if views is not None and (recipe.probe or not recipe.freeze_epochs):
            raise InputError(
                "`views` are for the epochs that train the head alone, and this fine-tuning has none: "
                + ("a probe fits the head at once." if recipe.probe else "freeze_epochs is 0.")
            )
        if recipe.probe and resume is None:
            self._refuse(callbacks)
            self.probe()
            if epochs == 0:
                self.recorder.say("The head alone was trained; with epochs=4 everything is trained after it.")
                return
        cycle, options = (pct_start, div, div_final), (self._weight_decay(wd), accumulate, reset_opt, views)
        phases = fine_tune_phases(self.model, recipe, epochs, lr_max, cycle, chosen_moms, options)
        self._run(phases, callbacks, resume, minutes, began)

    def add_cb(self, callback: object) -> Self:
        """Add a callback, or several, to those of every fit.

        Args:
            callback: a callback, or a list of them; see `Callback`.

        Returns:
            The learner.

        Raises:
            InputError: one of them is no callback; none is added then.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> learn = Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat()).add_cb(GradientClip(0.1))
            >>> [type(callback).__name__ for callback in learn.cbs]
            ['GradientClip']
        """
        added = as_list(callback)
        Hooks(bound_callbacks(added, self))  # which refuses what is no callback
        self.cbs += added
        return self

    add_cbs = add_cb

    def remove_cb(self, callback: object) -> Self:
        """Take a callback, given itself or by its class, from those of every fit.

        Args:
            callback: the object or the class; nothing happens where it is not among them.

        Returns:
            The learner.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> learn = Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat(), cbs=GradientClip(0.1))
            >>> learn.remove_cb(GradientClip).cbs
            []
        """
        self.cbs = [one for one in self.cbs if one is not callback and type(one) is not callback]
        return self

    def _phase(
        self,
        n_epoch: int | None,
        lr: Rate | None,
        schedule: Schedule | None,
        wd: float | None,
        accumulate: int,
        *,
        reset_opt: bool,
        views: int | None,
    ) -> Phase:
        """Return a fit of the model as it is frozen; what is None is the learner's."""
        rate, decay = self.lr if lr is None else lr, self._weight_decay(wd)
        freeze = self._training.freeze
        return Phase(n_epoch, rate, schedule, freeze, decay, accumulate, reset_opt=reset_opt, views=views)

    def _weight_decay(self, given: float | None) -> float:
        """Return the weight decay of a fit: the fit's, the learner's, the optimizer's own, or the usual one."""
        options = self.opt_func.keywords if isinstance(self.opt_func, partial) else {}
        known = (given, self.wd, options.get("wd"), options.get("weight_decay"), WEIGHT_DECAY)
        return next(float(value) for value in known if value is not None)

    def _run(self, phases: Sequence[Phase], cbs: object, resume: PathLike | None, *minutes: float | None) -> None:
        callbacks = bound_callbacks([*self.cbs, *as_list(cbs)], self)
        self._refuse(callbacks)
        self.is_as_probed = False
        self._announce()
        self._training.run(phases, callbacks, resume, *minutes)

    @abstractmethod
    def _usual_epochs(self, recipe: Recipe) -> int:
        """Return the epochs of everything that a recipe trains for on the learner's loaders."""

    @abstractmethod
    def probe(self) -> None:
        """Fit the head to frozen features."""

    @abstractmethod
    def _announce(self) -> None:
        """Say, before a fit, what of it a reader of the table would not expect."""

    @abstractmethod
    def _refuse(self, callbacks: Sequence[object]) -> None:
        """Refuse metrics and callbacks that do not suit, before anything is trained."""
