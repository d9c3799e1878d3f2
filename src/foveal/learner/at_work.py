"""What a callback sees of the fit at work through its learner: `learn.xb`, `learn.loss`, `learn.epoch`, ..."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from foveal.core.errors import InputError
from foveal.training.phases import Training
from foveal.training.state import FitState


class AtWork:
    """The names that the fast.ai course has for the parts of a step; of the last fit, when none is at work.

    `xb`, `yb`, `x`, `y`, `pred` and `loss` may be assigned in training, where the event of the callback is before what
    uses them; in validation they are read only. Before the first fit they raise `InputError`.

    Examples:
        >>> from foveal.vision.all import *
        >>> x = torch.linspace(-1, 1, 32)[:, None]
        >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
        >>> with Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat()).no_logging() as learn:
        ...     learn.fit(2)
        >>> learn.x.shape, learn.pred.shape, learn.epoch, learn.n_epoch, learn.n_iter, learn.train_iter
        (torch.Size([8, 1]), torch.Size([8, 1]), 1, 2, 4, 8)
    """

    model: Any
    _training: Training

    @property
    def fit_state(self) -> FitState | None:
        """Where the fit at work stands, or the last one; None before the first.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat()).fit_state is None
            True
        """
        return self._training.at_work

    @property
    def _state(self) -> FitState:
        if self.fit_state is None:
            raise InputError("No fit has begun: this is known while one is at work, to its callbacks.")
        return self.fit_state

    @property
    def training(self) -> bool:
        """Whether the batch at work is one of training: the mode of the model."""
        return bool(self.model.training)

    @property
    def xb(self) -> tuple[Tensor, ...]:
        """The inputs of the batch, in a tuple of one tensor [B, ...]."""
        return (self._state.inputs,)

    @xb.setter
    def xb(self, value: Any) -> None:
        self._may_assign("xb").inputs = value[0] if isinstance(value, tuple | list) else value

    @property
    def yb(self) -> tuple[Tensor, ...]:
        """The targets of the batch, in a tuple of one tensor [B, ...]."""
        return (self._state.targets,)

    @yb.setter
    def yb(self, value: Any) -> None:
        self._may_assign("yb").targets = value[0] if isinstance(value, tuple | list) else value

    @property
    def x(self) -> Tensor:
        """The inputs of the batch, [B, ...]; images are float32 [B, C, h, w].

        Examples:
            A callback that doubles the inputs of training, so that half the slope is learned:

            >>> from foveal.vision.all import *
            >>> class Double(Callback):
            ...     def before_batch(self):
            ...         if self.training:
            ...             self.learn.x = 2 * self.x
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> with Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat()).no_logging() as learn:
            ...     learn.fit_one_cycle(20, 0.3, cbs=Double())
            >>> abs(learn.model.weight.item() - 1.5) < 0.1
            True
        """
        return self._state.inputs

    @x.setter
    def x(self, value: Tensor) -> None:
        self.xb = value

    @property
    def y(self) -> Tensor:
        """The targets of the batch, [B, ...], as the task encodes them."""
        return self._state.targets

    @y.setter
    def y(self, value: Tensor) -> None:
        self.yb = value

    @property
    def pred(self) -> Tensor:
        """What the model returned for the batch, not activated, [B, ...]."""
        return self._state.output

    @pred.setter
    def pred(self, value: Tensor) -> None:
        self._may_assign("pred").output = value

    @property
    def loss(self) -> Tensor:
        """The loss of the batch, a tensor of one number."""
        return self._state.loss

    @loss.setter
    def loss(self, value: Tensor) -> None:
        self._may_assign("loss").loss = value

    loss_grad = loss

    @property
    def smooth_loss(self) -> float:
        """The exponentially weighted average of the training loss so far."""
        return self._state.smooth.value

    @property
    def opt(self) -> OptimizerView:
        """The optimizer of the fit, with the course's names for its settings.

        Examples:
            >>> from foveal.vision.all import *
            >>> x = torch.linspace(-1, 1, 32)[:, None]
            >>> dl = DataLoader(list(zip(x, 3 * x)), batch_size=8)
            >>> with Learner(DataLoaders(dl, dl), nn.Linear(1, 1), MSELossFlat()).no_logging() as learn:
            ...     learn.fit(1, 0.25)
            >>> learn.opt.hypers[0]["lr"]
            0.25
        """
        return OptimizerView(self._state)

    @property
    def epoch(self) -> int:
        """The number of the epoch, from 0."""
        return self._state.epoch

    @property
    def n_epoch(self) -> int:
        """How many epochs the fit has."""
        return self._state.n_epochs

    @property
    def iter(self) -> int:
        """The number of the batch at work, from 0, within its epoch or its validation."""
        return self._state.batch

    @property
    def n_iter(self) -> int:
        """How many batches the epoch, or the validation, has."""
        return self._state.steps_per_epoch if self.training else len(self._training.dls.valid)

    @property
    def train_iter(self) -> int:
        """How many batches of the fit are done, over all epochs."""
        return self._state.step

    @property
    def pct_train(self) -> float:
        """The share of the fit that is done, from 0 to 1."""
        return self._state.position

    def _may_assign(self, name: str) -> FitState:
        if not self.training:
            raise InputError(f"`{name}` may be assigned in training only: validation answers for what is there.")
        return self._state


class OptimizerView:
    """The optimizer of a fit, with the course's names for its settings."""

    def __init__(self, state: FitState) -> None:
        self._fit = state

    @property
    def hypers(self) -> list[dict[str, Any]]:
        """Learning rate, weight decay and momentum of each group."""
        return [
            {name: value for name, value in group.items() if name not in {"params", "full_lr"}}
            for group in self._fit.optimizer.param_groups
        ]

    def set_hyper(self, name: str, value: float) -> None:
        """Set a setting of all groups; a learning rate is what the schedule then goes by.

        Args:
            name: `lr`, `wd`, or what torch calls it.
            value: the new one.

        Raises:
            InputError: the optimizer has no such setting.
        """
        key = {"wd": "weight_decay"}.get(name, name)
        for group in self._fit.optimizer.param_groups:
            if key not in group:
                raise InputError(f"The optimizer has no setting `{name}`; it has {', '.join(self.hypers[0])}.")
            group[key] = value
            if key == "lr":
                group["full_lr"] = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fit.optimizer, name)
