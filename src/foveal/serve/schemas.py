"""The JSON of answers about images, for /openapi.json.

Answers are built as plain dictionaries by each task's `to_json`; these models describe them and do not filter them, so
that a task of another package may add names of its own.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class NamedPoint(BaseModel):
    """A point in the image's pixels, x to the right and y down; null where it is unknown."""

    name: str
    x: float | None
    y: float | None
    radius: float | None = Field(
        default=None,
        description="Pixels around the point within which the truth lies in 90 of 100 new images; null for a point "
        "without, absent where the model has none.",
    )


class ImageAnswer(BaseModel):
    """The answer for one image; which of `labels`, `points` and `numbers` there is depends on the model."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="The file's name in the form; `image` where the image was the body.")
    width: int = Field(description="Pixels, upright.")
    height: int = Field(description="Pixels, upright.")
    labels: list[str] | None = Field(default=None, description="The classes found; empty if no class is found.")
    probabilities: dict[str, float | None] | None = Field(default=None, description="From 0 to 1, by class.")
    prediction_set: list[str] | None = Field(
        default=None, description="Classes among which the truth is in 90 of 100 new images, the most probable first."
    )
    points: list[NamedPoint] | None = None
    numbers: dict[str, float | None] | None = Field(default=None, description="By name.")
    known: bool | None = Field(
        default=None,
        description="Whether the image is like those that the model knows, as 95 of 100 of that kind are; absent where "
        "that cannot be told.",
    )


class RefusedImage(BaseModel):
    """An image that cannot be used."""

    name: str
    error: str = Field(description="The reason, in words.")


class Answers(BaseModel):
    """An answer per image, in the order of the request; at least one image could be used."""

    answers: list[ImageAnswer | RefusedImage]


class Kept(BaseModel):
    """What was kept of a correction."""

    kept: str = Field(description="The name of the image in the folder of corrections.")


class AllRefused(BaseModel):
    """No image of the request can be used; `answers` is absent where the request holds none or its form is damaged."""

    error: str = Field(description="The reason for the first image, in words.")
    answers: list[RefusedImage] | None = None


class Refusal(BaseModel):
    """A request that is not answered."""

    error: str = Field(description="The reason, in words.")
