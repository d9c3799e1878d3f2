"""Warnings that point at the line of the user's that they are about."""

from __future__ import annotations

import sys
import warnings

_OURS = __name__.partition(".")[0]


def warn(message: str) -> None:
    """Warn, at the first line outside of foveal that led here."""
    frame, level = sys._getframe(1), 2  # noqa: SLF001 -- what `warnings` itself goes by
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == _OURS:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level - 1)
