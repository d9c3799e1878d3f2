# The types of the names that `foveal` resolves when they are first used; tests/test_typing.py compares both.

from collections.abc import Mapping, Sequence
from os import PathLike as _PathLike
from typing import Literal, TypeAlias

from foveal.audit.checks import Audit
from foveal.core.errors import FetchError as FetchError
from foveal.core.errors import FovealError as FovealError
from foveal.core.errors import ImageError as ImageError
from foveal.core.errors import InputError as InputError
from foveal.core.errors import MissingDependencyError as MissingDependencyError
from foveal.core.errors import ModelFileError as ModelFileError
from foveal.core.errors import TableError as TableError
from foveal.core.errors import TrainingError as TrainingError
from foveal.core.errors import UnknownNameError as UnknownNameError
from foveal.data.block import DataBlock as DataBlock
from foveal.data.image_block import ImageBlock as ImageBlock
from foveal.data.loaders import DataLoaders as DataLoaders
from foveal.evaluation.compare import Comparison
from foveal.geometry.resize import RandomResizedCrop as RandomResizedCrop
from foveal.geometry.resize import Resize as Resize
from foveal.images.augment import aug_transforms as aug_transforms
from foveal.inference.loading import load_learner as load_learner
from foveal.inference.prediction import Prediction as Prediction
from foveal.inference.prediction import Refused as Refused
from foveal.inference.predictor import Predictor as Predictor
from foveal.learner.learner import Learner as Learner
from foveal.learner.vision import vision_learner as vision_learner
from foveal.runs.door import Evaluation
from foveal.runs.run import Run as Run
from foveal.sources.folders import get_image_files as get_image_files
from foveal.tasks.multi_label import MultiCategoryBlock as MultiCategoryBlock
from foveal.tasks.points import PointBlock as PointBlock
from foveal.tasks.regression import RegressionBlock as RegressionBlock
from foveal.tasks.single_label import CategoryBlock as CategoryBlock

_Path: TypeAlias = str | _PathLike[str]
_Names: TypeAlias = str | Sequence[str]

__version__: str

def train(
    source: _Path | None = None,
    *,
    out: _Path | None = None,
    resume: _Path | None = None,
    images: _Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    label_columns: _Names = (),
    label_delimiter: str | None = None,
    valid_column: str | None = None,
    split_file: _Path | None = None,
    channels: Literal["rgb", "grey", "rgba"] = "rgb",
    group_column: str | None = None,
    empty: Literal["skip", "none", "error"] = "skip",
    predictions: bool = False,
    encoding: str | None = None,
    format: str = "auto",
    on_bad: Literal["stop", "skip"] = "stop",
    task: str = "auto",
    points: _Names = (),
    targets: _Names = (),
    point_names: _Names = (),
    flip_pairs: str | Sequence[tuple[str, str]] = (),
    recipe: Literal["auto", "probe", "book"] = "auto",
    arch: str = "tf_efficientnet_lite0",
    weights: _Path | None = None,
    size: int | str | tuple[int, int] = 224,
    min_scale: float = 0.5,
    epochs: int | None = None,
    freeze_epochs: int | None = None,
    views: int | None = None,
    lr: float | None = None,
    time: float | str | None = None,
    batch_size: int | Literal["auto"] = 64,
    sampling: Literal["uniform", "balanced", "square-root"] = "uniform",
    class_weights: str | Mapping[str, float] | None = None,
    keep_decoded: Literal["auto", "yes", "no"] = "auto",
    precision: str = "auto",
    seed: int = 0,
    seeds: int | None = None,
    folds: int | None = None,
    by: _Names = (),
    embed_images: bool = True,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time_column: str | None = None,
    items: str | None = None,
    not_rated: float | Literal["none"] | None = None,
    hold_out: Literal["auto", "user", "time", "rows"] = "auto",
    implicit: bool = False,
    factors: int | None = None,
) -> Run: ...
def check(
    source: _Path,
    *,
    images: _Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    label_columns: _Names = (),
    label_delimiter: str | None = None,
    valid_column: str | None = None,
    split_file: _Path | None = None,
    channels: Literal["rgb", "grey", "rgba"] = "rgb",
    group_column: str | None = None,
    empty: Literal["skip", "none", "error"] = "skip",
    predictions: bool = False,
    encoding: str | None = None,
    format: str = "auto",
    on_bad: Literal["stop", "skip"] = "stop",
    task: str = "auto",
    points: _Names = (),
    targets: _Names = (),
    point_names: _Names = (),
    flip_pairs: str | Sequence[tuple[str, str]] = (),
    seed: int = 0,
    folds: int | None = None,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time_column: str | None = None,
    items: str | None = None,
    not_rated: float | Literal["none"] | None = None,
    hold_out: Literal["auto", "user", "time", "rows"] = "auto",
    implicit: bool = False,
) -> Audit: ...
def evaluate(
    model: _Path,
    source: _Path | None = None,
    *,
    split: Literal["auto", "valid", "train", "test", "all"] = "auto",
    images: _Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    label_columns: _Names = (),
    label_delimiter: str | None = None,
    valid_column: str | None = None,
    split_file: _Path | None = None,
    empty: Literal["skip", "none", "error"] = "skip",
    predictions: bool = False,
    encoding: str | None = None,
    format: str = "auto",
    points: _Names = (),
    targets: _Names = (),
) -> Evaluation: ...
def compare(first: Run | _Path, second: Run | _Path, *, on_shared: bool = ...) -> Comparison: ...
