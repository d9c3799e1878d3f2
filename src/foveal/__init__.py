"""foveal: from a folder or a table of images to a trained, explained and served model.

The names below are resolved at their first use (PEP 562), so that `import foveal` costs next to nothing. Before
torch is loaded, it says how OpenMP's threads wait (see `processors`).
"""

from __future__ import annotations

import importlib
from typing import Any

from foveal import _moved
from foveal.core import processors

__version__ = "0.2.0"

_HOME = {
    "CategoryBlock": "foveal.tasks.single_label",
    "DataBlock": "foveal.data.block",
    "DataLoaders": "foveal.data.loaders",
    "FetchError": "foveal.core.errors",
    "FovealError": "foveal.core.errors",
    "ImageBlock": "foveal.data.image_block",
    "ImageError": "foveal.core.errors",
    "InputError": "foveal.core.errors",
    "Learner": "foveal.learner.learner",
    "MissingDependencyError": "foveal.core.errors",
    "ModelFileError": "foveal.core.errors",
    "MultiCategoryBlock": "foveal.tasks.multi_label",
    "PointBlock": "foveal.tasks.points",
    "Prediction": "foveal.inference.prediction",
    "Predictor": "foveal.inference.predictor",
    "RandomResizedCrop": "foveal.geometry.resize",
    "Refused": "foveal.inference.prediction",
    "RegressionBlock": "foveal.tasks.regression",
    "Resize": "foveal.geometry.resize",
    "Run": "foveal.runs.run",
    "TableError": "foveal.core.errors",
    "TrainingError": "foveal.core.errors",
    "UnknownNameError": "foveal.core.errors",
    "aug_transforms": "foveal.images.augment",
    "check": "foveal.runs.door",
    "compare": "foveal.runs.door",
    "evaluate": "foveal.runs.door",
    "get_image_files": "foveal.sources.folders",
    "load_learner": "foveal.inference.loading",
    "train": "foveal.runs.door",
    "vision_learner": "foveal.learner.vision",
}

__all__ = ["__version__", *_HOME]

processors.shorten_waits()
_moved.install()


def __getattr__(name: str) -> Any:
    name = _moved.renamed(name)
    if name not in _HOME:
        raise AttributeError(f"module `foveal` has no attribute `{name}`")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
