"""The settings of a run on ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from foveal.core.seeds import SEEDS
from foveal.runs.settings import Panel, RunSettings, setting


def _not_rated(value: object) -> object:
    """Return the number that stands for "had, not rated".

    Raises:
        ValueError: it is neither a number nor `none`.
    """
    if value is None or isinstance(value, int | float):
        return value
    text = str(value).strip().lower()
    try:
        return text if text == "none" else float(text.replace(",", "."))
    except ValueError:
        raise ValueError(f"--not-rated is a number, such as 0 or -1, or 'none'; got {value!r}") from None


def _from_anywhere(value: object) -> object:
    """Return the path of a table so that a run.toml with it repeats the run from any folder."""
    return value if value is None or value == "none" else str(Path(str(value)).absolute())


def _text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


NotRated = Annotated[float | Literal["none"] | None, BeforeValidator(_not_rated)]


class RatingData(Panel):
    """What is read."""

    table: Path = Field(description="A table with a rating per row, or a run.toml.")
    valid_column: str | None = setting("Column that marks validation.", shown="is_valid")
    encoding: str | None = setting("Encoding of a table's text.", shown="found out")
    on_bad: Literal["stop", "skip"] = setting("Rows that cannot be used: 'stop' or 'skip'.", default="stop")
    user: str | None = setting("The column of users.", shown="found out", takes="COLUMN")
    item: str | None = setting("The column of items.", shown="found out", takes="COLUMN")
    rating: str | None = setting("The column of ratings.", shown="found out", takes="COLUMN")
    time_column: str | None = setting("The column of times.", shown="found out")
    items: Annotated[str | None, BeforeValidator(_from_anywhere)] = setting(
        "A table with titles and features of the items; 'none' for none.",
        shown="found beside the ratings",
        takes="PATH",
    )
    not_rated: NotRated = setting("The number that stands for 'had, not rated', or 'none'.", shown="found out")
    hold_out: Literal["auto", "user", "time", "rows"] = setting(
        "What is validated on: the latest rows of each 'user', the latest by 'time', or drawn 'rows'.",
        default="auto",
    )
    implicit: bool = setting("There are no ratings: a row says what a user had.", default=False)


class RatingTask(Panel):
    """What is learned."""

    task: Literal["rating"] = setting("What is learned.", default="rating", takes="KIND")


class RatingTraining(Panel):
    """How it is trained."""

    factors: int | None = setting("Size of the vectors of users and items.", shown="by the table", ge=1)
    epochs: int | None = setting("Epochs of gradient steps.", shown="none for ratings", ge=1)
    lr: float | None = setting("Largest learning rate of the steps.", shown="0.005", gt=0, allow_inf_nan=False)
    batch_size: Annotated[int, Field(ge=1)] | None = setting("Rows per step.", shown="64, or more")
    seed: int = setting("Decides every random draw.", default=0, ge=SEEDS.start, lt=SEEDS.stop)

    @property
    def steps(self) -> str | None:
        """The setting that asks for gradient steps; None where none does."""
        return next((name for name in ("epochs", "lr", "batch_size") if getattr(self, name) is not None), None)


class RatingRun(RunSettings):
    """A run on ratings."""

    kind: ClassVar[str] = "rating"

    data: RatingData
    task: RatingTask = Field(default_factory=RatingTask)
    training: RatingTraining = Field(default_factory=RatingTraining)
