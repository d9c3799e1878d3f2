"""All names that a notebook on collaborative filtering needs: `from foveal.collab.all import *`."""

from __future__ import annotations

import math
import os
import random
import re
import string
from functools import partial
from operator import itemgetter
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.collab.learner import collab_learner, get_emb_sz
from foveal.collab.loaders import CollabDataLoaders, TimeSplitter
from foveal.collab.model import Embedding, EmbeddingDotBias, EmbeddingNN, Module, embedding_size, one_hot
from foveal.collab.rank_evaluation import rank_metrics
from foveal.collab.ranking import ndcg_at_k, precision_at_k, recall_at_k
from foveal.core.lazy import module_on_use
from foveal.core.listing import L, Path, first
from foveal.course.basics import array, range_of, set_seed, to_np
from foveal.course.callbacks import (
    CSVLogger,
    EarlyStoppingCallback,
    GradientAccumulation,
    ReduceLROnPlateau,
    SaveModelCallback,
    ShowGraphCallback,
)
from foveal.course.events import Callback
from foveal.course.metrics_of_numbers import R2Score, mse
from foveal.course.models import params
from foveal.course.on_demand import bring_names_on_demand
from foveal.course.refused import explain_missing_names, missing_name
from foveal.data.batches import tensor, to_cpu
from foveal.data.loader import DataLoader
from foveal.data.loaders import DataLoaders
from foveal.data.splits.splitters import ColSplitter, IndexSplitter, RandomSplitter
from foveal.data.splits.stratify import GroupSplitter
from foveal.evaluation.interpret import Interpretation
from foveal.inference.loading import load_learner
from foveal.learner.learner import Learner
from foveal.losses import BCEWithLogitsLossFlat, MSELossFlat
from foveal.metrics.common import Metric
from foveal.metrics.numbers import mae, rmse
from foveal.models.head import sigmoid_range
from foveal.sources.book_sets import URLs, untar_data
from foveal.training.callbacks.extras import EMA, EarlyStopping, GradientClip, KeepBest
from foveal.training.checkpoint import Checkpoints
from foveal.training.hooks import CancelBatchException, CancelEpochException, CancelFitException
from foveal.training.lr_finder import minimum, slide, steep, valley
from foveal.training.optim import SGD, Adam, OptimWrapper, RMSProp, ranger

plt = module_on_use("matplotlib.pyplot")

__all__ = [
    "EMA",
    "SGD",
    "Adam",
    "BCEWithLogitsLossFlat",
    "CSVLogger",
    "Callback",
    "CancelBatchException",
    "CancelEpochException",
    "CancelFitException",
    "Checkpoints",
    "ColSplitter",
    "CollabDataLoaders",
    "DataLoader",
    "DataLoaders",
    "EarlyStopping",
    "EarlyStoppingCallback",
    "Embedding",
    "EmbeddingDotBias",
    "EmbeddingNN",
    "F",
    "GradientAccumulation",
    "GradientClip",
    "GroupSplitter",
    "IndexSplitter",
    "Interpretation",
    "KeepBest",
    "L",
    "Learner",
    "MSELossFlat",
    "Metric",
    "Module",
    "OptimWrapper",
    "Path",
    "R2Score",
    "RMSProp",
    "RandomSplitter",
    "ReduceLROnPlateau",
    "SaveModelCallback",
    "ShowGraphCallback",
    "SimpleNamespace",
    "Tensor",
    "TimeSplitter",
    "URLs",
    "array",
    "collab_learner",
    "embedding_size",
    "first",
    "get_emb_sz",
    "itemgetter",
    "load_learner",
    "mae",
    "math",
    "minimum",
    "mse",
    "ndcg_at_k",
    "nn",
    "np",
    "one_hot",
    "os",
    "params",
    "partial",
    "pd",
    "plt",
    "precision_at_k",
    "random",
    "range_of",
    "ranger",
    "rank_metrics",
    "re",
    "recall_at_k",
    "rmse",
    "set_seed",
    "sigmoid_range",
    "slide",
    "steep",
    "string",
    "tensor",
    "to_cpu",
    "to_np",
    "torch",
    "untar_data",
    "valley",
]

explain_missing_names()
bring_names_on_demand()

if not TYPE_CHECKING:  # a checker knows the names there are

    def __getattr__(name: str) -> object:
        raise missing_name(__name__, name, __all__)
