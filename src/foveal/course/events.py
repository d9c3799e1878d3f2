"""Callbacks by the course's events and names, over `foveal.training.hooks`.

A callback of the course has methods without arguments and finds everything through `self`: `self.learn`, `self.loss`,
`self.epoch`. Methods that take the `FitState` are foveal's own; one class may have both.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from foveal.core.errors import InputError, near_match
from foveal.training import hooks
from foveal.training.hooks import EVENTS
from foveal.training.state import FitState

_CALLED: Mapping[str, tuple[str, ...]] = {
    "before_fit": ("begin_fit", "before_fit"),
    "before_epoch": ("before_epoch", "before_train"),
    "before_step": ("before_batch",),
    "after_pred": ("after_pred",),
    "after_loss": ("after_loss", "before_backward"),
    "after_backward": ("after_backward", "before_step"),
    "after_step": ("after_step", "after_batch"),
    "before_validate": ("after_train", "before_validate"),
    "after_valid_batch": ("before_batch", "after_pred", "after_loss", "after_batch"),
    "after_validate": ("after_validate",),
    "after_epoch": ("after_epoch",),
    "after_fit": ("after_fit",),
}
"""The course's events that each of foveal's stands for, in order."""
COURSE_EVENTS = dict.fromkeys(name for names in _CALLED.values() for name in names)
_OF_STEPS = {"before_step", "after_step"}
"""Events of the course that come once per step of the optimizer, not once per batch."""


class Callback(hooks.Callback):
    """What a fit calls, by the course's events or by foveal's; subclass it with methods named after them.

    Methods without arguments are the course's: `before_fit`, `before_epoch`, `before_train`, `before_batch`,
    `after_pred`, `after_loss`, `before_backward`, `after_backward`, `before_step`, `after_step`, `after_batch`,
    `after_train`, `before_validate`, `after_validate`, `after_epoch`, `after_fit`. In them `self.learn` is the learner,
    and what it has can be read from `self`: `self.xb`, `self.yb`, `self.pred`, `self.loss`, `self.epoch`,
    `self.training`. Assign through the learner: `self.learn.loss = 2 * self.loss`. Batches of validation call
    `before_batch`, `after_pred`, `after_loss` and `after_batch` once they are answered, with `self.training` False.

    Methods that take one argument are foveal's; see `foveal.training.hooks.Callback`. Raise `CancelBatchException`,
    `CancelEpochException` or `CancelFitException` to leave the batch, the rest of the epoch's training or validation,
    or the fit at once.

    Attributes:
        order: callbacks with a smaller number come first.
        run_train, run_valid: whether batches of training, and of validation, call it.

    Raises:
        InputError: when a fit begins, a method is named like an event but is not one; the message has the near match.

    Examples:
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> class PrintShapes(Callback):
        ...     def after_pred(self): print("training" if self.training else "validation", list(self.pred.shape))
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(1, cbs=PrintShapes)
        training [4, 2]
        training [4, 2]
        training [4, 2]
        validation [3, 2]
    """

    order: int = 0
    run_train: bool = True
    run_valid: bool = True
    learn: Any = None

    def bound_to(self, learn: Any) -> object:
        """Return this callback as fits of a learner call it."""
        self.learn = learn
        return _Adapter(self)

    def __getattr__(self, name: str) -> Any:
        learn = self.__dict__.get("learn")
        if name.startswith("__") or learn is None:
            raise AttributeError(f"{type(self).__name__} has no attribute `{name}`.")
        return getattr(learn, name)

    def __repr__(self) -> str:
        return type(self).__name__

    @property
    def name(self) -> str:
        """The class's name in lower case, with `_` between its words and without `Callback` at its end."""
        words = type(self).__name__.removesuffix("Callback")
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in words).lstrip("_")


class _Adapter:
    """Calls a callback's methods, of both kinds, at foveal's events."""

    def __init__(self, callback: Callback) -> None:
        self.callback = callback
        self._listeners: dict[str, list[tuple[str, Callable[[FitState], object]]]] = {}
        for name in _own_events(callback):
            if name not in EVENTS and name not in COURSE_EVENTS:
                known = list(dict.fromkeys((*EVENTS, *COURSE_EVENTS)))
                raise InputError(
                    f"{type(callback).__name__} has the method `{name}`, which is no event.{near_match(name, known)} "
                    f"Events: {', '.join(known)}."
                )
        for event in EVENTS:
            listeners = self._listeners_of(event)
            if listeners:
                self._listeners[event] = listeners
        if not self._listeners:
            raise InputError(f"{callback!r} is no callback: it has none of the methods {', '.join(COURSE_EVENTS)}.")
        for name in ("state_dict", "load_state_dict", "check_monitor"):
            if hasattr(type(callback), name):
                setattr(self, name, getattr(callback, name))

    def __repr__(self) -> str:
        return repr(self.callback)

    def __dir__(self) -> list[str]:
        return list(self._listeners)

    def __getattr__(self, name: str) -> Callable[[FitState], None]:
        if name.startswith("_") or name not in self._listeners:
            raise AttributeError(name)

        def call(state: FitState) -> None:
            for method, listener in self._listeners[name]:
                hooks.call_listener(listener, state, name, f"`{method}` of {self.callback!r}")

        return call

    def _listeners_of(self, event: str) -> list[tuple[str, Callable[[FitState], object]]]:
        """Return the callback's methods for one of foveal's events, each with its name."""
        listeners: list[tuple[str, Callable[[FitState], object]]] = []
        own = _own_events(self.callback)
        if event in own and _takes_state(own[event]):
            listeners.append((event, own[event]))
        listeners += [
            (name, self._course_call(event, name, own[name]))
            for name in _CALLED[event]
            if name in own and not _takes_state(own[name])
        ]
        return listeners

    def _course_call(self, event: str, name: str, method: Callable[[], object]) -> Callable[[FitState], object]:
        callback, in_validation = self.callback, event == "after_valid_batch"
        of_batches = event in {"before_step", "after_pred", "after_loss", "after_backward", "after_step"}

        def call(state: FitState) -> None:
            if (of_batches and not callback.run_train) or (in_validation and not callback.run_valid):
                return
            if event == "after_backward" and name in _OF_STEPS and not state.completes_step:
                return
            if event == "after_step" and name in _OF_STEPS and state.n_waiting:
                return
            if in_validation and name == "after_loss":
                state.loss = callback.learn.loss_func(state.output.float(), state.targets)
            method()

        return call


def _own_events(callback: Callback) -> dict[str, Callable[..., object]]:
    """Return the methods of a callback that are called at an event, by name."""
    names = [name for name in dir(type(callback)) if name.startswith(("before_", "after_", "begin_"))]
    overridden = [name for name in names if getattr(type(callback), name) is not getattr(hooks.Callback, name, None)]
    return {name: getattr(callback, name) for name in overridden}


def _takes_state(method: Callable[..., object]) -> bool:
    return any(
        parameter.default is parameter.empty
        and parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
        for parameter in inspect.signature(method).parameters.values()
    )
