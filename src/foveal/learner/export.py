"""Where a learner writes the file that answers without it."""

from __future__ import annotations

import os
from pathlib import Path

from foveal.core import progress
from foveal.inference.predictor import AnyPredictor

_PICKLES = (".pkl", ".pickle", ".pth", ".pt")


def write_export(predictor: AnyPredictor, folder: Path, fname: str | os.PathLike[str]) -> Path:
    """Write a bundle, and say where it is unless it is in the working directory.

    Args:
        predictor: what is written.
        folder: of the learner.
        fname: the file, below the folder unless it is absolute.

    Returns:
        The file.
    """
    path = folder / fname
    path.parent.mkdir(parents=True, exist_ok=True)
    predictor.save(path)
    if path.suffix in _PICKLES:
        progress.say(f"`{path}` is in the format safetensors, whatever its name says; foveal writes no pickle.")
    elif not Path(fname).is_absolute() and folder != Path():
        progress.say(f"Written to `{path}`.")
    return path
