"""Where foveal keeps what it would otherwise make or fetch again: `FOVEAL_HOME`, by default ~/.foveal.

What is kept saves time and is never needed: where it cannot be written, everything else works without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foveal.core.warn import warn

_NO_HOME = Path(os.devnull)  # below which nothing can be written
_told = set[Path]()


def home() -> Path:
    """Return the user's home; where the system knows of none, a path below which nothing can be."""
    try:
        return Path.home()
    except RuntimeError:
        return _NO_HOME


def cache_folder() -> Path:
    """Return the folder that downloads and what was computed are kept in."""
    return Path(os.environ.get("FOVEAL_HOME") or home() / ".foveal")


@contextmanager
def keeping() -> Iterator[None]:
    """Go on if the block cannot write what it keeps; the first time in a process a note says so."""
    try:
        yield
    except OSError as error:
        folder = cache_folder()
        if folder not in _told:
            _told.add(folder)
            reason = "there is no home" if _NO_HOME in folder.parents else error.strerror or str(error)
            warn(
                f"What was computed is not kept for the next time: `{folder}` cannot be written ({reason}). "
                "FOVEAL_HOME names another folder."
            )
