"""foveal: from a folder or a table of pictures to a trained, explained and served model.

The names below are found when they are first asked for (PEP 562), so that `import foveal` costs next to nothing. Before
torch is loaded, it says how OpenMP's threads wait (see `processors`).
"""

from __future__ import annotations

import importlib
from typing import Any

from foveal import processors

__version__ = "0.1.0"

_HOME = {
    "CategoryBlock": "foveal.data.block",
    "DataBlock": "foveal.data.block",
    "DataLoaders": "foveal.data.loaders",
    "FetchError": "foveal.errors",
    "FovealError": "foveal.errors",
    "ImageBlock": "foveal.data.block",
    "InputError": "foveal.errors",
    "Learner": "foveal.learner.learner",
    "MissingDependencyError": "foveal.errors",
    "ModelFileError": "foveal.errors",
    "MultiCategoryBlock": "foveal.data.block",
    "PictureError": "foveal.errors",
    "PointBlock": "foveal.data.block",
    "Prediction": "foveal.bundle.predictor",
    "Predictor": "foveal.bundle.predictor",
    "RandomResizedCrop": "foveal.geometry.fit",
    "Refused": "foveal.bundle.predictor",
    "RegressionBlock": "foveal.data.block",
    "Resize": "foveal.geometry.fit",
    "TableError": "foveal.errors",
    "TrainingError": "foveal.errors",
    "UnknownNameError": "foveal.errors",
    "aug_transforms": "foveal.image.augment",
    "get_image_files": "foveal.sources.folders",
    "load_learner": "foveal.bundle.predictor",
    "vision_learner": "foveal.vision.learner",
}

__all__ = ["__version__", *_HOME]

processors.shorten_waits()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module `foveal` has no attribute `{name}`")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
