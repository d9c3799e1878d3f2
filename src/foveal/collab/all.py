"""All names that a notebook on collaborative filtering needs: `from foveal.collab.all import *`."""

from __future__ import annotations

import math
import random
import re
import string
from functools import partial

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.collab.learner import collab_learner, get_emb_sz
from foveal.collab.loaders import CollabDataLoaders, TimeSplitter
from foveal.collab.model import Embedding, EmbeddingDotBias, Module, embedding_size, one_hot
from foveal.collab.ranking import ndcg_at_k, precision_at_k, recall_at_k
from foveal.collab.report import rank_metrics
from foveal.core.lazy import module_on_use
from foveal.core.listing import L, Path, first
from foveal.data.batches import tensor, to_cpu
from foveal.data.loader import DataLoader
from foveal.data.loaders import DataLoaders
from foveal.data.splits.splitters import ColSplitter, IndexSplitter, RandomSplitter
from foveal.data.splits.stratify import GroupSplitter
from foveal.inference.loading import load_learner
from foveal.learner.learner import Learner
from foveal.losses import BCEWithLogitsLossFlat, MSELossFlat
from foveal.metrics.common import Metric
from foveal.metrics.numbers import mae, rmse
from foveal.models.head import sigmoid_range
from foveal.sources.book_sets import URLs, untar_data
from foveal.training.callbacks.extras import EMA, EarlyStopping, GradientClip, KeepBest
from foveal.training.checkpoint import Checkpoints
from foveal.training.hooks import Callback
from foveal.training.lr_finder import minimum, slide, steep, valley

plt = module_on_use("matplotlib.pyplot")

__all__ = [
    "EMA",
    "BCEWithLogitsLossFlat",
    "Callback",
    "Checkpoints",
    "ColSplitter",
    "CollabDataLoaders",
    "DataLoader",
    "DataLoaders",
    "EarlyStopping",
    "Embedding",
    "EmbeddingDotBias",
    "F",
    "GradientClip",
    "GroupSplitter",
    "IndexSplitter",
    "KeepBest",
    "L",
    "Learner",
    "MSELossFlat",
    "Metric",
    "Module",
    "Path",
    "RandomSplitter",
    "Tensor",
    "TimeSplitter",
    "URLs",
    "collab_learner",
    "embedding_size",
    "first",
    "get_emb_sz",
    "load_learner",
    "mae",
    "math",
    "minimum",
    "ndcg_at_k",
    "nn",
    "np",
    "one_hot",
    "partial",
    "pd",
    "plt",
    "precision_at_k",
    "random",
    "rank_metrics",
    "re",
    "recall_at_k",
    "rmse",
    "sigmoid_range",
    "slide",
    "steep",
    "string",
    "tensor",
    "to_cpu",
    "torch",
    "untar_data",
    "valley",
]
