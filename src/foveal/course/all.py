"""The course's names for images that foveal itself does not need; `foveal.vision.all` brings them."""

from __future__ import annotations

import os
import shutil
from types import SimpleNamespace

from foveal.core.lazy import module_on_use
from foveal.course.backbones import xresnet18, xresnet34, xresnet50
from foveal.course.basics import (
    TensorCategory,
    TensorImage,
    TensorPoint,
    array,
    doc,
    image2tensor,
    noop,
    parallel,
    range_of,
    set_seed,
    to_np,
)
from foveal.course.callbacks import (
    ActivationStats,
    CSVLogger,
    EarlyStoppingCallback,
    GradientAccumulation,
    ProgressCallback,
    ReduceLROnPlateau,
    SaveModelCallback,
    ShowGraphCallback,
    TerminateOnNaNCallback,
)
from foveal.course.cleaner import ImageClassifierCleaner
from foveal.course.controls import VBox, widgets
from foveal.course.datasets import Datasets
from foveal.course.downloads import download_images, download_url
from foveal.course.events import Callback
from foveal.course.files import resize_images, verify_images
from foveal.course.layers import (
    AdaptiveConcatPool2d,
    ConvLayer,
    Flatten,
    Lambda,
    NormType,
    PoolFlatten,
    ResBlock,
    SimpleCNN,
    sequential,
)
from foveal.course.losses import BaseLoss, L1LossFlat, LabelSmoothingCrossEntropy, LabelSmoothingCrossEntropyFlat
from foveal.course.metrics import (
    APScoreBinary,
    APScoreMulti,
    BalancedAccuracy,
    BrierScore,
    BrierScoreMulti,
    CohenKappa,
    F1Score,
    F1ScoreMulti,
    FBeta,
    FBetaMulti,
    HammingLoss,
    HammingLossMulti,
    JaccardMulti,
    MatthewsCorrCoef,
    MatthewsCorrCoefMulti,
    Precision,
    PrecisionMulti,
    Recall,
    RecallMulti,
    RocAuc,
    RocAucBinary,
    RocAucMulti,
)
from foveal.course.metrics_of_numbers import (
    AccumMetric,
    ExplainedVariance,
    PearsonCorrCoef,
    R2Score,
    SpearmanCorrCoef,
    mse,
    skm_to_fastai,
)
from foveal.course.models import create_body, create_head, create_vision_model, params
from foveal.course.names import PadMode, ResizeMethod
from foveal.course.pil_names import Image
from foveal.course.pixels import Hue, RandomErasing, Saturation
from foveal.course.splits import EndSplitter, TrainTestSplitter
from foveal.course.transforms import Categorize, IntToFloatTensor, Pipeline, ToTensor, Transform
from foveal.geometry.resize import CropPad, RandomCrop
from foveal.images.pil import PILImageBW
from foveal.images.show import show_image, subplots
from foveal.metrics.one_label import top_k_accuracy
from foveal.models.module import Module
from foveal.sources.folders import get_files
from foveal.training.hooks import CancelBatchException, CancelEpochException, CancelFitException
from foveal.training.optim import SGD, Adam, OptimWrapper, RMSProp, ranger

matplotlib = module_on_use("matplotlib")

__all__ = [
    "SGD",
    "APScoreBinary",
    "APScoreMulti",
    "AccumMetric",
    "ActivationStats",
    "Adam",
    "AdaptiveConcatPool2d",
    "BalancedAccuracy",
    "BaseLoss",
    "BrierScore",
    "BrierScoreMulti",
    "CSVLogger",
    "Callback",
    "CancelBatchException",
    "CancelEpochException",
    "CancelFitException",
    "Categorize",
    "CohenKappa",
    "ConvLayer",
    "CropPad",
    "Datasets",
    "EarlyStoppingCallback",
    "EndSplitter",
    "ExplainedVariance",
    "F1Score",
    "F1ScoreMulti",
    "FBeta",
    "FBetaMulti",
    "Flatten",
    "GradientAccumulation",
    "HammingLoss",
    "HammingLossMulti",
    "Hue",
    "Image",
    "ImageClassifierCleaner",
    "IntToFloatTensor",
    "JaccardMulti",
    "L1LossFlat",
    "LabelSmoothingCrossEntropy",
    "LabelSmoothingCrossEntropyFlat",
    "Lambda",
    "MatthewsCorrCoef",
    "MatthewsCorrCoefMulti",
    "Module",
    "NormType",
    "OptimWrapper",
    "PILImageBW",
    "PadMode",
    "PearsonCorrCoef",
    "Pipeline",
    "PoolFlatten",
    "Precision",
    "PrecisionMulti",
    "ProgressCallback",
    "R2Score",
    "RMSProp",
    "RandomCrop",
    "RandomErasing",
    "Recall",
    "RecallMulti",
    "ReduceLROnPlateau",
    "ResBlock",
    "ResizeMethod",
    "RocAuc",
    "RocAucBinary",
    "RocAucMulti",
    "Saturation",
    "SaveModelCallback",
    "ShowGraphCallback",
    "SimpleCNN",
    "SimpleNamespace",
    "SpearmanCorrCoef",
    "TensorCategory",
    "TensorImage",
    "TensorPoint",
    "TerminateOnNaNCallback",
    "ToTensor",
    "TrainTestSplitter",
    "Transform",
    "VBox",
    "array",
    "create_body",
    "create_head",
    "create_vision_model",
    "doc",
    "download_images",
    "download_url",
    "get_files",
    "image2tensor",
    "matplotlib",
    "mse",
    "noop",
    "os",
    "parallel",
    "params",
    "range_of",
    "ranger",
    "resize_images",
    "sequential",
    "set_seed",
    "show_image",
    "shutil",
    "skm_to_fastai",
    "subplots",
    "to_np",
    "top_k_accuracy",
    "verify_images",
    "widgets",
    "xresnet18",
    "xresnet34",
    "xresnet50",
]
