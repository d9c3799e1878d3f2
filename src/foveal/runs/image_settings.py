"""The settings of a run on images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from foveal.core.errors import InputError, UnknownNameError
from foveal.core.seeds import SEEDS, check_seed
from foveal.runs.parsing import ClassWeights, Minutes, Names, Pairs, Size
from foveal.runs.settings import IMAGES, Panel, RunKind, RunSettings, option, setting
from foveal.sources.formats import FORMATS
from foveal.tasks.kinds import TASKS, AnyKind

AUTO = "auto"
"""In place of a backbone's name: the best of those at hand."""
USUAL_BATCH = 64
"""Images per step where the user does not say; the book's."""


class ImageData(Panel):
    """What is read."""

    table: Path = Field(description="A table, a .json, a folder, or a run.toml.")
    format: str = setting(
        "What the source is: table, coco, voc, yolo, cvat, label-studio, labelme, via, folders, ...",
        default="auto",
        takes="FORMAT",
    )
    images: Path | None = setting("Folder of the images.", shown="the source's")
    image_column: str | None = setting("Column of file names.", shown="fname")
    label_column: str | None = setting("Column, control or attribute of labels.", used_by="classes", shown="labels")
    label_columns: Names = setting(
        "One 0/1 column per class: a,b,c; blank or -1 is unknown.", default=(), used_by="names", takes="A,B,..."
    )
    label_delimiter: str | None = setting(
        "What separates several labels.", used_by="names", shown="found out", takes="TEXT"
    )
    valid_column: str | None = setting("Column that marks validation, or names the side.", shown="is_valid")
    split_file: Path | None = setting(
        "The split, for a source of any format: a table with fname and split, or a .txt of validation images.",
        takes="FILE",
    )
    channels: Literal["rgb", "grey", "rgba"] = setting(
        "What images are read as: 'rgb'; 'grey', one channel; 'rgba', four channels as they are.", default="rgb"
    )
    group_column: str | None = setting("Column whose groups stay on one side of a split.")
    empty: Literal["skip", "none", "error"] = setting(
        "An image without a label is left out ('skip'), has 'none', or is an 'error'.", default="skip"
    )
    predictions: bool = setting("Whether a model's predictions count as labels where nobody labelled.", default=False)
    encoding: str | None = setting("Encoding of a table's text.", shown="found out")
    on_bad: Literal["stop", "skip"] = setting("Images or rows that cannot be used: 'stop' or 'skip'.", default="stop")


class ImageTask(Panel):
    """What is learned."""

    task: str = setting("What is learned, 'auto' for what the source's labels ask for.", default="auto", takes="KIND")
    points: Names = setting(
        "Columns of points: x,y[,x2,y2,...], 'x*,y*' or FIRST..LAST.", default=(), used_by="points_xy", takes="X,Y,..."
    )
    targets: Names = setting(
        "Columns of numbers to predict: age[,weight,...].", default=(), used_by="numbers", takes="A,B,..."
    )
    point_names: Names = setting(
        "What the points are called: nose,left eye,...",
        default=(),
        used_by="points_xy",
        shown="point 1, ...",
        takes="A,B,...",
    )
    flip_pairs: Pairs = setting(
        "Points that change places in a mirror: A:B,C:D.", default=(), used_by="points_xy", takes="A:B,..."
    )


class ImageTraining(Panel):
    """How it is trained."""

    recipe: Literal["auto", "probe", "book"] = setting(
        "'probe': the best head on frozen features, then everything; 'book': the book's.", default="auto", shown="probe"
    )
    arch: str = setting(
        "A backbone by its name in timm or torchvision; auto: the best of those at hand.",
        default="tf_efficientnet_lite0",
    )
    weights: Path | None = setting(
        "A file with the backbone's weights, or a folder in timm's layout.", shown="the backbone's own"
    )
    size: Size | None = setting(
        "Pixels: 128, or HEIGHTxWIDTH like 240x320.", shown="the backbone's own, 224; points 416", takes="PIXELS"
    )
    min_scale: float = setting("Least share of an image in a crop.", default=0.5, used_by="crops", gt=0, le=1)
    epochs: int | None = setting(
        "Epochs that train everything; 0 trains the head alone.", shown="0 to 4, book 5 or 20", ge=0
    )
    freeze_epochs: int | None = setting("Epochs before, for the head; the book's recipe only.", shown="1", ge=0)
    views: int | None = setting(
        "Of --freeze-epochs: draw each image so often in all, in place of once an epoch; many times as quick.",
        shown="one an epoch",
        ge=1,
    )
    lr: float | None = setting("Base learning rate.", shown="0.001, book 0.002 or 0.01", gt=0, allow_inf_nan=False)
    time: Minutes = setting(
        "Minutes for all of it, instead of --epochs; auto: as the recipe says.", shown="auto", gt=0, allow_inf_nan=False
    )
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = setting(
        "Images per step; auto: up to 64, as memory allows.", default=USUAL_BATCH
    )
    sampling: Literal["uniform", "balanced", "square-root"] = setting(
        "'uniform': each image once an epoch; 'balanced': drawn by 1 / frequency of its classes; 'square-root'.",
        default="uniform",
        used_by="has_classes",
    )
    class_weights: ClassWeights = setting(
        "Weights in the loss: dog=2,cat=0.5; or 'balanced'.", used_by="weighted_loss", shown="1 each", takes="A=2,..."
    )
    keep_decoded: Literal["auto", "yes", "no"] = setting(
        "Decode each image once and keep its pixels on disk; auto: where that saves time.", default="auto"
    )
    precision: str = setting("Numbers that it computes with: auto, fp32, bf16 or fp16.", default="auto")
    seed: int = setting("Decides every random draw.", default=0, ge=SEEDS.start, lt=SEEDS.stop)
    seeds: int | None = setting("Train this often, from --seed on; mean and spread.", shown="once", ge=2)
    folds: int | None = setting("Train this often, each part of the data in turn for validation.", shown="once", ge=2)
    fold: int | None = setting("Which of the folds this run is.", ge=0)
    split_seed: int | None = setting("Decides the split, where that is not --seed.", ge=SEEDS.start, lt=SEEDS.stop)
    measured: dict[int, Literal["fp32", "bf16", "fp16"]] = setting(
        "What --precision auto found, by the number of frozen groups.", default={}
    )


class ImageOutput(Panel):
    """What is written."""

    by: Names = setting(
        "Columns that the report gives metrics by: person,camera; none takes away those from before.",
        default=(),
        takes="A,B,...",
    )
    embed_images: bool = setting("Whether images may stand in the report.", default=True)


class ImageRun(RunSettings):
    """A run on images."""

    kind: ClassVar[str] = IMAGES

    data: ImageData
    task: ImageTask = Field(default_factory=ImageTask)
    training: ImageTraining = Field(default_factory=ImageTraining)
    output: ImageOutput = Field(default_factory=ImageOutput)

    @property
    def repeats(self) -> bool:
        """Whether these are settings of several runs."""
        return self.training.seeds is not None or (self.training.folds is not None and self.training.fold is None)

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: two settings exclude each other, or one needs another; the message names them.
            UnknownNameError: there is no such task or format.
        """
        training = self.training
        if training.time is not None and training.epochs is not None:
            raise InputError("--time and --epochs both say how long to train: give one of them.")
        check_seed(training.seed + (training.seeds or 1) - 1)
        if training.seeds is not None and training.folds is not None:
            raise InputError("--seeds repeats one split and --folds one seed: give one of them.")
        if training.fold is not None and not 0 <= training.fold < (training.folds or 0):
            raise InputError(
                f"fold {training.fold} does not exist: folds are counted from 0, and there are {training.folds or 0}."
            )
        if training.arch == AUTO and training.weights is not None:
            raise InputError("--weights is a file for one backbone: name it with --arch, in place of auto.")
        if training.epochs == 0 and (training.recipe == "book" or training.freeze_epochs is not None):
            raise InputError("--epochs 0 trains the head alone, as a probe; the book's recipe needs at least 1.")
        if training.recipe == "probe" and training.freeze_epochs:
            raise InputError("--freeze-epochs belongs to --recipe book: with `probe` the head is fitted at once.")
        if training.views is not None and not (training.recipe == "book" or training.freeze_epochs):
            raise InputError("--views belongs to epochs of the head alone: give --freeze-epochs or --recipe book.")
        if self.task.task != "auto" and self.task.task not in TASKS:
            raise UnknownNameError.of("task", self.task.task, ("auto", *TASKS))
        if self.data.format != "auto" and self.data.format not in FORMATS:
            raise UnknownNameError.of("format", self.data.format, ("auto", *FORMATS))

    def refuse_unused(self, kind: AnyKind) -> None:
        """Refuse settings that the kind of task, known once the source was read, does not use.

        Raises:
            InputError: one was given; the message names the tasks that it belongs to.
        """
        fields = self.fields()
        for name in self.given():
            extra = fields[name][1].json_schema_extra
            needs = str(extra.get("used_by", "")) if isinstance(extra, dict) else ""
            if needs and not _uses(kind, needs):
                able = ", ".join(known for known, other in TASKS.items() if other.label_form and _uses(other, needs))
                raise InputError(f"{option(name)} is not used with task {kind.name}; it belongs to {able}.")


KIND = RunKind(
    settings=ImageRun,
    train="foveal.runs.folds:train_images",
    check="foveal.runs.checking:check_images",
    parallel=True,
    rewrites_report=True,
)


def _uses(kind: AnyKind, needs: str) -> bool:
    if needs == "classes":
        return kind.label_form in {"names", "name"}
    return kind.label_form == needs or bool(getattr(kind, needs, False))
