"""Hooks: any object with one or more of the eight methods of `EVENTS`, each called with the fit state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from foveal.core.errors import InputError, near_match
from foveal.training.state import FitState

EVENTS = (
    "before_fit",
    "before_epoch",
    "before_step",
    "after_loss",
    "after_backward",
    "after_step",
    "after_epoch",
    "after_fit",
)


class Hooks:
    """Calls, at each event, the hooks that listen to it, in order."""

    def __init__(self, hooks: Iterable[object] = ()) -> None:
        self._listeners: dict[str, Sequence[Callable[[FitState], object]]] = {}
        given = list(hooks)
        for hook in given:
            _check(hook)
        for event in EVENTS:
            self._listeners[event] = [getattr(hook, event) for hook in given if hasattr(hook, event)]

    def __call__(self, event: str, state: FitState) -> None:
        """Tell every listener of `event`."""
        for listener in self._listeners[event]:
            listener(state)


def _check(hook: object) -> None:
    """Refuse what would never be called."""
    methods = [name for name in dir(hook) if name.startswith(("before_", "after_", "on_"))]
    for name in methods:
        if name not in EVENTS:
            raise InputError(
                f"{type(hook).__name__} has the method `{name}`, which is no event.{near_match(name, EVENTS)} "
                f"Events: {', '.join(EVENTS)}."
            )
    if not methods:
        raise InputError(f"{hook!r} is no hook: it has none of the methods {', '.join(EVENTS)}.")
