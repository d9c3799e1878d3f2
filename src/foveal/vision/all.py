"""All names that a notebook on images needs: `from foveal.vision.all import *`."""

from __future__ import annotations

import gc

# Imports leave no garbage, and looking for it among all of torch's objects takes a seventh of their time.
_COLLECTS = gc.isenabled()
gc.disable()

import math
import random
import re
import string
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.core.lazy import module_on_use
from foveal.core.listing import L, Path, first
from foveal.course import all as course
from foveal.course.all import *  # noqa: F403 -- its names are pinned in its own list
from foveal.course.on_demand import bring_names_on_demand
from foveal.course.refused import explain_missing_names, missing_name
from foveal.data.batches import tensor, to_cpu
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.image_loaders import ImageDataLoaders
from foveal.data.labels import ColReader, RegexLabeller, parent_label, using_attr
from foveal.data.loader import DataLoader
from foveal.data.loaders import DataLoaders
from foveal.data.splits.splitters import (
    ColSplitter,
    FileSplitter,
    FuncSplitter,
    GrandparentSplitter,
    IndexSplitter,
    MaskSplitter,
    RandomSplitter,
)
from foveal.data.splits.stratify import GroupSplitter, StratifiedSplitter
from foveal.evaluation.interpret import ClassificationInterpretation, Interpretation
from foveal.evaluation.plots import plot_function
from foveal.geometry.moves import Dihedral, Flip, Rotate, Shift, Warp, Zoom
from foveal.geometry.resize import RandomResizedCrop, Resize
from foveal.images.augment import Normalize, aug_transforms, imagenet_stats
from foveal.images.pil import PILImage
from foveal.images.tones import Brightness, Contrast
from foveal.inference.loading import load_learner
from foveal.inference.predictor import Predictor
from foveal.learner.learner import Learner
from foveal.learner.vision import cnn_learner, vision_learner
from foveal.losses import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    FocalLossFlat,
    HuberLossFlat,
    MSELossFlat,
    WingLossFlat,
    asymmetric_loss,
    focal_loss,
)
from foveal.metrics.common import Metric
from foveal.metrics.numbers import mae, r2_score, rmse
from foveal.metrics.one_label import accuracy, error_rate
from foveal.metrics.several_labels import accuracy_multi, average_precision, mean_average_precision
from foveal.models.head import sigmoid_range
from foveal.models.resnets import resnet18, resnet34, resnet50, resnet101, resnet152
from foveal.sources.book_sets import URLs, untar_data
from foveal.sources.folders import get_image_files
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.tasks.points import PointBlock
from foveal.tasks.regression import RegressionBlock
from foveal.tasks.single_label import CategoryBlock
from foveal.training.callbacks.extras import EMA, CutMix, EarlyStopping, GradientClip, KeepBest, MixUp
from foveal.training.callbacks.logs import HistoryFile, TensorBoardLogger
from foveal.training.checkpoint import Checkpoints
from foveal.training.lr_finder import minimum, slide, steep, valley

plt = module_on_use("matplotlib.pyplot")

BY_NAME = (
    Predictor,
    EMA,
    KeepBest,
    TensorBoardLogger,
    HistoryFile,
    HuberLossFlat,
    Shift,
    WingLossFlat,
    asymmetric_loss,
    average_precision,
    focal_loss,
    r2_score,
)
"""What can be imported from here by its name, and does not come with the star: that brings less than 200 names."""

__all__ = [
    "BCEWithLogitsLossFlat",
    "Brightness",
    "CategoryBlock",
    "Checkpoints",
    "ClassificationInterpretation",
    "ColReader",
    "ColSplitter",
    "Contrast",
    "CrossEntropyLossFlat",
    "CutMix",
    "DataBlock",
    "DataLoader",
    "DataLoaders",
    "Dihedral",
    "EarlyStopping",
    "F",
    "FileSplitter",
    "Flip",
    "FocalLossFlat",
    "FuncSplitter",
    "GradientClip",
    "GrandparentSplitter",
    "GroupSplitter",
    "ImageBlock",
    "ImageDataLoaders",
    "IndexSplitter",
    "Interpretation",
    "L",
    "Learner",
    "MSELossFlat",
    "MaskSplitter",
    "Metric",
    "MixUp",
    "MultiCategoryBlock",
    "Normalize",
    "PILImage",
    "Path",
    "PointBlock",
    "RandomResizedCrop",
    "RandomSplitter",
    "RegexLabeller",
    "RegressionBlock",
    "Resize",
    "Rotate",
    "StratifiedSplitter",
    "Tensor",
    "URLs",
    "Warp",
    "Zoom",
    "accuracy",
    "accuracy_multi",
    "aug_transforms",
    "cnn_learner",
    "error_rate",
    "first",
    "get_image_files",
    "imagenet_stats",
    "load_learner",
    "mae",
    "math",
    "mean_average_precision",
    "minimum",
    "nn",
    "np",
    "parent_label",
    "partial",
    "pd",
    "plot_function",
    "plt",
    "random",
    "re",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "rmse",
    "sigmoid_range",
    "slide",
    "steep",
    "string",
    "tensor",
    "to_cpu",
    "torch",
    "untar_data",
    "using_attr",
    "valley",
    "vision_learner",
]
__all__ += course.__all__

explain_missing_names()
bring_names_on_demand()

if not TYPE_CHECKING:  # a checker knows the names there are

    def __getattr__(name: str) -> object:
        raise missing_name(__name__, name, __all__)


if _COLLECTS:
    gc.enable()
