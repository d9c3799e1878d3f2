"""Results that only accompany the model: one that fails is left out, with the reason, and the run continues."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from foveal.core.errors import FovealError
from foveal.core.warn import warn


@contextmanager
def leaving_out(name: str, reasons: dict[str, str]) -> Iterator[None]:
    """Continue if the block fails, with a warning.

    Args:
        name: of the result that the block makes.
        reasons: is given the reason under this name.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 -- whatever it is, a trained model is worth more
        reason = str(error) if isinstance(error, FovealError) else f"{type(error).__name__}: {error}"
        reasons[name] = reason
        warn(f"Left out: {name}. {reason}")
