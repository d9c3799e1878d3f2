"""Callbacks: the events of a fit, what ends parts of it, the class that documents them, and what calls them in order.

Any object with one or more of the methods of `EVENTS` is a callback; `Callback` is there so that an editor completes
them and shows what each may do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from foveal.core.errors import InputError, near_match
from foveal.training.state import FitState

EVENTS = (
    "before_fit",
    "before_epoch",
    "before_step",
    "after_pred",
    "after_loss",
    "after_backward",
    "after_step",
    "before_validate",
    "after_valid_batch",
    "after_validate",
    "after_epoch",
    "after_fit",
)


class Callback:
    """What a fit calls at its events, in this order; override those that you need.

    ```
    before_fit
        before_epoch
            before_step   after_pred   after_loss   after_backward   after_step
            before_validate   after_valid_batch   after_validate
        after_epoch
    after_fit
    ```

    Each method gets the `FitState`: read what you like, and assign `inputs`, `targets` or `loss` where the method says
    so. `state.stop = "reason"` ends the fit after the step at work; `state.say(line)` prints above the table. Raise
    `CancelBatchException`, `CancelEpochException` or `CancelFitException` to leave the batch, the rest of the epoch's
    training or validation, or the fit at once; where there is no such thing to leave, they are refused. Give a callback
    that remembers something between steps the methods `state_dict` and `load_state_dict` (see `checkpoint.Stateful`),
    so that a resumed fit has it too.

    Examples:
        >>> from foveal.vision.all import *
        >>> from foveal.training.hooks import Callback
        >>> class StopAt(Callback):
        ...     def after_step(self, state):
        ...         if state.smooth.value < 2.0: state.stop = "the loss is low enough"
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(9, cbs=StopAt())
        >>> len(learn.recorder.values)
        1
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return type(self).__name__

    def before_fit(self, state: FitState) -> None:
        """Run once before the first epoch, and again when a fit is resumed: check arguments here."""

    def before_epoch(self, state: FitState) -> None:
        """Run before the first batch of an epoch; `state.epoch` is its number in the table, from 0."""

    def before_step(self, state: FitState) -> None:
        """Run before the forward pass; `inputs` and `targets` are on the device and may be assigned."""

    def after_pred(self, state: FitState) -> None:
        """Run after the forward pass; `state.output` holds raw outputs, and may be assigned."""

    def after_loss(self, state: FitState) -> None:
        """Run after the loss was computed; `state.loss` may be assigned."""

    def after_backward(self, state: FitState) -> None:
        """Run after the backward pass, before the optimizer's step; gradients may be changed.

        In half precision they are scaled; `state.scaler.unscale_(state.optimizer)` undoes that. With `accumulate`,
        `state.completes_step` says whether the optimizer steps now.
        """

    def after_step(self, state: FitState) -> None:
        """Run after each batch; `state.step` counts it, `state.smooth.value` is the smoothed loss."""

    def before_validate(self, state: FitState) -> None:
        """Run after the last step of an epoch, before its validation."""

    def after_valid_batch(self, state: FitState) -> None:
        """Run after each batch of the validation: `state.inputs`, `targets` and `output` are its."""

    def after_validate(self, state: FitState) -> None:
        """Run after the last batch of the validation."""

    def after_epoch(self, state: FitState) -> None:
        """Run after the validation of an epoch; `state.results[-1]` is its line of the table."""

    def after_fit(self, state: FitState) -> None:
        """Run once after the last epoch, also after an early stop; `state.stop` says why it ended early, if it did.

        Where a signal ended the fit, `state.stopped_by` names it, and the fit can be resumed from here.
        """


class CancelBatchException(Exception):  # noqa: N818 -- the fast.ai course's name
    """Raised by a callback: the batch at work is left, and the next one begins.

    In training, in an event before the step is done, from `before_batch` to `before_step`, the batch does not move the
    weights. In validation, in any event of a batch, it does not count in losses and metrics; where none counts, they
    are NaN.

    Examples:
        >>> from foveal.vision.all import *
        >>> class SkipAll(Callback):
        ...     def before_batch(self):
        ...         if self.training: raise CancelBatchException
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> before = learn.model[0][0].weight.clone()
        >>> with learn.no_logging(): learn.fit(1, cbs=SkipAll)
        >>> torch.equal(learn.model[0][0].weight, before)
        True
    """


class CancelEpochException(Exception):  # noqa: N818 -- the fast.ai course's name
    """Raised by a callback: the rest of the epoch's training is left, or the rest of its validation.

    From `before_epoch` to `after_batch` of a training batch the epoch trains no further, and is validated. From
    `after_train` to `after_validate`, and in batches of validation, the validation ends; the losses and metrics that it
    leaves open are NaN.

    Examples:
        Two epochs of one batch each.

        >>> from foveal.vision.all import *
        >>> class OneBatch(Callback):
        ...     run_valid = False
        ...     def after_batch(self): raise CancelEpochException
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(2, cbs=OneBatch)
        >>> len(learn.recorder.losses), len(learn.recorder.values)
        (2, 2)
    """


class CancelFitException(Exception):  # noqa: N818 -- the fast.ai course's name
    """Raised by a callback: the fit ends at once, and `after_fit` is called.

    An epoch that has not ended gets no line in the table. Raise it in any event but `after_fit`.

    Examples:
        >>> from foveal.vision.all import *
        >>> class OneEpoch(Callback):
        ...     def before_epoch(self):
        ...         if self.epoch == 1: raise CancelFitException
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> learn = Learner(dls, SimpleCNN([3, dls.c]))
        >>> with learn.no_logging(): learn.fit(9, cbs=OneEpoch)
        >>> len(learn.recorder.values)
        1
    """


@runtime_checkable
class Monitoring(Protocol):
    """A callback that follows one of the numbers of the table."""

    def check_monitor(self, directions: Mapping[str, bool | None]) -> None:
        """Refuse a number that there will not be.

        Args:
            directions: the numbers of the table by name, and whether higher is better; None where not known.
        """


_OF_EPOCH = (CancelEpochException, CancelFitException)
_OF_BATCH = (CancelBatchException, *_OF_EPOCH)
_MAY_CANCEL: Mapping[str, tuple[type[Exception], ...]] = {
    "before_fit": (CancelFitException,),
    **dict.fromkeys(("before_epoch", "after_step", "before_validate", "after_validate"), _OF_EPOCH),
    **dict.fromkeys(("before_step", "after_pred", "after_loss", "after_backward", "after_valid_batch"), _OF_BATCH),
    "after_epoch": (CancelFitException,),
    "after_fit": (),
}
"""What may be raised at each event."""
_MEANT: Mapping[type[Exception], str] = {
    CancelBatchException: "it leaves a batch of training before the optimizer's step, or one of validation",
    CancelEpochException: "it leaves the rest of an epoch, from `before_epoch` to `after_validate`",
    CancelFitException: "it ends a fit that has not ended",
}


def call_listener(listener: Callable[[FitState], object], state: FitState, event: str, place: str) -> None:
    """Call a callback's method; refuse to cancel what the event is no part of.

    Args:
        listener: the method.
        state: what it gets.
        event: one of `EVENTS`.
        place: what a message calls the method.

    Raises:
        InputError: it cancels what there is not.
    """
    try:
        listener(state)
    except _OF_BATCH as cancelled:
        if isinstance(cancelled, _MAY_CANCEL[event]):
            raise
        meant = next(words for kind, words in _MEANT.items() if isinstance(cancelled, kind))
        raise InputError(
            f"{place} raised {type(cancelled).__name__}, which means nothing there: {meant}."
        ) from cancelled


class Hooks:
    """Calls, at each event, the callbacks that listen to it, in order."""

    def __init__(self, hooks: Iterable[object] = ()) -> None:
        self._listeners: dict[str, Sequence[tuple[Callable[[FitState], object], str]]] = {}
        listed = list(hooks)
        for hook in listed:
            _check(hook)
        for event in EVENTS:
            self._listeners[event] = [
                (getattr(hook, event), f"`{event}` of {type(hook).__name__}")
                for hook in listed
                if _listens(hook, event)
            ]

    def listens(self, event: str) -> bool:
        """Return whether a callback has a method for an event."""
        return bool(self._listeners[event])

    def __call__(self, event: str, state: FitState) -> None:
        """Call every listener of `event`.

        Args:
            event: one of `EVENTS`.
            state: what they get.
        """
        for listener, place in self._listeners[event]:
            call_listener(listener, state, event, place)


def training_loop(callbacks: Iterable[object]) -> Iterator[str]:
    """Yield the events of a fit, a line each, with the callbacks that listen to it.

    Args:
        callbacks: bound to their learner.
    """
    listed = list(callbacks)
    depth = {"before_fit": 0, "after_fit": 0, "before_epoch": 1, "after_epoch": 1}
    for event in EVENTS:
        names = ", ".join(repr(callback) for callback in listed if _listens(callback, event))
        yield f"{'  ' * depth.get(event, 2)}{event}{': ' if names else ''}{names}"


def check_callbacks(callbacks: Iterable[object], directions: Mapping[str, bool | None]) -> None:
    """Refuse, before anything is trained, callbacks that would never be called or that follow what there is not.

    Args:
        callbacks: as a fit gets them.
        directions: the numbers of the table by name, and whether higher is better.

    Raises:
        InputError: a method is no event, or a monitor is no number of the table.
    """
    for callback in callbacks:
        _check(callback)
        if isinstance(callback, Monitoring):
            callback.check_monitor(directions)


def as_list(callbacks: object) -> list[object]:
    """Return callbacks as a list: of one, of several, or of None."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, Iterable) and not isinstance(callbacks, str) else [callbacks]


@runtime_checkable
class Bound(Protocol):
    """A callback that needs the learner, and comes before or after others."""

    order: int

    def bound_to(self, learn: Any) -> object:
        """Return the callback for fits of a learner."""


def bound_callbacks(callbacks: object, learn: object) -> list[object]:
    """Return callbacks as a fit takes them: a class is called, and those that need the learner get it.

    Args:
        callbacks: one, several, or None.
        learn: whose fit it is.
    """
    made = [one() if isinstance(one, type) else one for one in as_list(callbacks)]
    made.sort(key=lambda one: one.order if isinstance(one, Bound) else 0)
    return [one.bound_to(learn) if isinstance(one, Bound) else one for one in made]


def _listens(hook: object, event: str) -> bool:
    """Return whether a callback has a method of its own for an event, other than the empty one of `Callback`."""
    return hasattr(hook, event) and getattr(type(hook), event, None) is not getattr(Callback, event)


def _takes_nothing(method: Callable[..., object]) -> bool:
    try:
        inspect.signature(method).bind(None)
    except ValueError:  # a function in C says nothing of its arguments
        return False
    except TypeError:
        return True
    return False


def _check(hook: object) -> None:
    """Refuse what would never be called.

    Raises:
        InputError: a method is no event or takes no argument, or there is no event among them.
    """
    methods = [name for name in dir(hook) if name.startswith(("before_", "after_", "on_"))]
    for name in methods:
        if name not in EVENTS:
            raise InputError(
                f"{type(hook).__name__} has the method `{name}`, which is no event.{near_match(name, EVENTS)} "
                f"Events: {', '.join(EVENTS)}."
            )
        if _takes_nothing(getattr(hook, name)):
            raise InputError(
                f"`{name}` of {type(hook).__name__} takes no argument, and is given the state of the fit: write "
                f"{name}(self, state), or derive it from foveal.vision.all's `Callback`, which knows the learner."
            )
    if not any(_listens(hook, name) for name in methods):
        raise InputError(f"{hook!r} is no callback: it has none of the methods {', '.join(EVENTS)}.")
