"""The options that several verbs share, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from foveal.core import timing

Option = typer.Option

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model.safetensors.")]
SourceArgument = Annotated[Path, typer.Argument(metavar="SOURCE", help="A table, a .json or a folder of images.")]
Images = Annotated[Path | None, Option(help="Folder of the images. (default: the source's)")]
ImageColumn = Annotated[str | None, Option(help="Column of file names. (default: fname)")]
LabelColumn = Annotated[str | None, Option(help="Column of labels. (default: labels)")]
LabelColumns = Annotated[str | None, Option(help="One 0/1 column a class: a,b,c; blank or -1 is unknown.")]
LabelDelimiter = Annotated[str | None, Option(help="What separates several labels. (default: a space)")]
ValidColumn = Annotated[str | None, Option(help="Column that marks validation. (default: is_valid)")]
GroupColumn = Annotated[str | None, Option(help="Column whose groups stay on one side of a split.")]
Empty = Annotated[str | None, Option(help="An empty label cell is an 'error' or means 'none'.")]
Points = Annotated[str | None, Option(help="Columns of points: x,y[,x2,y2,...], in pixels.")]
Targets = Annotated[str | None, Option(help="Columns of numbers to predict: age[,weight,...].")]
PointNames = Annotated[str | None, Option(help="What the points are called: nose,left eye,...")]
FlipPairs = Annotated[str | None, Option(help="Points that change places in a mirror: A:B,C:D.")]
OnBad = Annotated[str | None, Option(help="Images that cannot be used: 'stop' or 'skip'.")]
Time = Annotated[str | None, Option(help="Minutes for all of it, instead of --epochs; auto: as the recipe says.")]
BatchSize = Annotated[str | None, Option(help="Images a step; auto: up to 64, as memory allows. (default: 64)")]
By = Annotated[str | None, Option(help="Columns that the report gives figures by: person,camera.")]
Device = Annotated[str | None, Option(help="Where to answer: cpu, cuda, cuda:1, mps. (default: the best at hand)")]
User = Annotated[str | None, Option(help="Ratings: the column of users. (default: the first)")]
Item = Annotated[str | None, Option(help="Ratings: the column of items. (default: the second)")]
Rating = Annotated[str | None, Option(help="Ratings: the column of ratings. (default: the third)")]
Implicit = Annotated[bool | None, Option(help="There are no ratings: a row says what a user had.")]
Folds = Annotated[int | None, Option(help="Train this often, each part of the data in turn for validation.")]
Seed = Annotated[int | None, Option(help="Decides every random draw. (default: 0)")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
TaskName = Annotated[str | None, Option(help="auto, multi-label, single-label, points, regression or rating.")]


def said(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, lists and pairs taken apart, as settings."""
    with timing.timed("imports"):
        from foveal.runs.settings import parse_names, parse_pairs, parse_size, parse_time

    parse = {
        "size": parse_size,
        "time": parse_time,
        "label_columns": parse_names,
        "points": parse_names,
        "targets": parse_names,
        "point_names": parse_names,
        "by": parse_names,
        "flip_pairs": parse_pairs,
    }
    return {
        name: parse[name](value) if name in parse else value for name, value in options.items() if value is not None
    }
