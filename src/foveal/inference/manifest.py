"""The manifest: the description that a bundle carries, validated on the way in and out."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from foveal.geometry.pixels import PadMode
from foveal.geometry.resize import MAX_INPUT_PIXELS, ResizeMethod
from foveal.images.channels import RGB
from foveal.inference.reference import Tally
from foveal.models.body import Pool
from foveal.models.head import Range

FORMAT = 2
"""The version of the file format; raised by each change that an older foveal cannot read.

Format 2 holds what is kept of validation too; a file without them is written as format 1.
"""
_MAX_SIDE = 4096
"""Pixels of a side of the input; as `MAX_INPUT_PIXELS` so that a small file cannot ask for all the memory."""
_MAX_CHANNELS = 1024
"""Of an image; chosen by hand, as above."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)


Positive = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=1, le=_MAX_SIDE)]


def _bounded(size_hw: tuple[int, int]) -> tuple[int, int]:
    if size_hw[0] * size_hw[1] > MAX_INPUT_PIXELS:
        raise ValueError(f"an input of {size_hw[0]} x {size_hw[1]} pixels, and at most {MAX_INPUT_PIXELS:,} are taken")
    return size_hw


SizeHW = Annotated[tuple[Side, Side], AfterValidator(_bounded)]


def _without(written: dict[str, Any], **usual: object) -> dict[str, Any]:
    """Return the entries that are not as usual; the others are not written, so that older versions read it."""
    return {key: value for key, value in written.items() if key not in usual or value != usual[key]}


class ResizePart(_Strict):
    """How an image is brought to the input's size."""

    size_hw: SizeHW
    method: ResizeMethod
    pad_mode: PadMode = "reflection"

    @model_serializer(mode="wrap")
    def _without_usual(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(handler(self), pad_mode="reflection")


class PreparationPart(_Strict):
    """Size, resize method and statistics of the pixels."""

    fit: ResizePart  # format 1 calls it so
    mean: tuple[float, ...]
    std: tuple[float, ...]
    n_channels: Literal[1, 3, 4] = 3

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if not len(self.mean) == len(self.std) == self.n_channels:
            raise ValueError(
                f"{len(self.mean)} means and {len(self.std)} standard deviations of {self.n_channels} channels"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_usual(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(handler(self), n_channels=RGB)


class HeadPart(_Strict):
    """The layers of a pooled head that is not the usual one."""

    hidden: tuple[Positive, ...]
    dropout: tuple[float, ...]
    concat_pool: bool
    first_bn: bool
    bn_final: bool
    lin_first: bool


class ModelPart(_Strict):
    """The architecture; what is usual is not written, so that older versions read it."""

    arch: str
    n_outputs: Positive
    input_size_hw: SizeHW = Field(alias="canvas_hw")  # format 1 calls it so
    y_range: Range | None
    head: str
    n_channels: Literal[1, 3, 4] = 3
    head_options: HeadPart | None = None
    cut: int | None = None
    pooling: tuple[Pool, ...] = Field(default=(), description="What the head reads, where that is not the map.")

    @model_serializer(mode="wrap")
    def _without_usual(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(handler(self), n_channels=RGB, head_options=None, cut=None, pooling=())


class OwnPart(_Strict):
    """A module written by hand: its code is not in the bundle."""

    module: str


class MetricPart(_Strict):
    """A metric with the bounds of its 95% interval; None where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


class TrainingPart(_Strict):
    """What a model was trained on, and how well it did on what it was not trained on."""

    source: str = Field(default="", description="The table or folder, and its kind.")
    weights: str = Field(default="", description="Where the backbone's weights came from.")
    made: str = Field(default="", description="The day, ISO 8601.")
    n_train: int | None = None
    n_valid: int | None = None
    counts: dict[str, int] = Field(default_factory=dict, description="Training images of each class.")
    sampling: str = Field(default="", description="How training drew its images, where not each once an epoch.")
    class_weights: dict[str, float] = Field(default_factory=dict, description="Of the loss, where it had some.")
    valid_loss: float | None = None
    figures: dict[str, MetricPart] = Field(default_factory=dict, description="On the validation images.")
    parts: dict[str, dict[str, float | None]] = Field(
        default_factory=dict, description="Metrics of each class, point or number on the validation images."
    )
    data: str = Field(default="", description="The SHA-256 of the images' files and labels, and their sides.")
    split: str = Field(default="", description="How the validation images were chosen.")
    seed: int | None = None
    epochs: str = Field(default="", description="How long it was trained, in words.")
    hardware: str = ""
    first: tuple[str, ...] = Field(default=(), description="What to know of the data before anything else.")
    tuned_on_validation: bool = Field(default=False, description="Whether thresholds were chosen on those images.")
    on_others: dict[str, float] = Field(
        default_factory=dict, description="What thresholds chosen like these have on images that played no part."
    )

    reference: Tally | None = Field(default=None, description="What it answered on the validation images, as counts.")
    known_within: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        default=None, description="The feature distance within which 95 of 100 images like those of training lie."
    )

    @model_serializer(mode="wrap")
    def _without_usual(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fresh = TrainingPart.model_construct()
        usual = {name: getattr(fresh, name) for name in TrainingPart.model_fields if name not in _FROM_THE_FIRST}
        return _without(handler(self), **usual)


_FROM_THE_FIRST = frozenset(
    {"source", "weights", "made", "n_train", "n_valid", "counts", "valid_loss", "figures", "parts"}
)
"""What the first version of a `TrainingPart` had, and is always written."""


class Manifest(_Strict):
    """Everything about a model but its tensors."""

    format: Literal[1, 2] = 1
    task: dict[str, Any]
    preparation: PreparationPart | None = None
    model: Annotated[ModelPart | OwnPart | dict[str, Any], Field(union_mode="left_to_right")] = Field(
        description="Of images, or written by hand; what another kind of task says is checked by that kind."
    )
    training: TrainingPart = Field(default_factory=TrainingPart)
    extra: dict[str, Any] = Field(
        default_factory=dict, description="What another kind of task keeps besides; checked by that kind."
    )
    versions: dict[str, str] = Field(default_factory=dict)
    tensors: dict[str, str] = Field(description="The SHA-256 of each tensor's type, shape and bytes.")

    @model_serializer(mode="wrap")
    def _without_usual(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(handler(self), extra={})


def current_versions() -> dict[str, str]:
    """Return the versions of foveal and of the packages that its numbers depend on."""
    names = ("foveal", "torch", "timm", "numpy", "simplejpeg", "opencv-python-headless", "pillow")
    return {name: importlib.metadata.version(name) for name in names}
