"""The settings of a run on ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from foveal.core.seeds import SEEDS
from foveal.runs.settings import Panel, RunSettings, setting


class RatingData(Panel):
    """What is read."""

    table: Path = Field(description="A table with a rating per row, or a run.toml.")
    valid_column: str | None = setting("Column that marks validation.", shown="is_valid")
    user: str | None = setting("Ratings: the column of users.", shown="the first")
    item: str | None = setting("Ratings: the column of items.", shown="the second")
    rating: str | None = setting("Ratings: the column of ratings.", shown="the third")
    implicit: bool = setting("There are no ratings: a row says what a user had.", default=False)


class RatingTask(Panel):
    """What is learned."""

    task: Literal["rating"] = setting("What is learned.", default="rating")


class RatingTraining(Panel):
    """How it is trained."""

    factors: int = setting("Ratings: size of the vectors of users and items.", default=50, ge=1)
    epochs: int | None = setting("Epochs.", shown="5", ge=1)
    lr: float | None = setting("Largest learning rate.", shown="0.005", gt=0, allow_inf_nan=False)
    batch_size: Annotated[int, Field(ge=1)] = setting("Rows per step.", default=64)
    seed: int = setting("Decides every random draw.", default=0, ge=SEEDS.start, lt=SEEDS.stop)


class RatingRun(RunSettings):
    """A run on ratings."""

    kind: ClassVar[str] = "rating"

    data: RatingData
    task: RatingTask = Field(default_factory=RatingTask)
    training: RatingTraining = Field(default_factory=RatingTraining)
