"""The walk of one item through a data block, step by step, as `DataBlock.summary` prints it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from foveal.data.datasets import Dataset, Datasets
from foveal.data.samples import Pipeline
from foveal.errors import InputError, PictureError
from foveal.image.decode import name_of, open_picture
from foveal.listing import under_base
from foveal.rng import generator_for

_LOOKED_AT = 64
_NAMES = 12


def walk(datasets: Datasets, pipeline: Pipeline) -> Iterator[str]:
    """Yield the lines.

    Raises:
        InputError: no transform says the size of the canvas, or the item's picture is refused.
    """
    train, task = datasets.train, datasets.train.task
    yield f"split     {len(train):,} items to train on, {len(datasets.valid):,} to validate"
    names = ", ".join(task.names[:_NAMES]) + (", …" if len(task.names) > _NAMES else "")
    yield f"task      {task.kind}, {task.n_outputs} outputs: {names}"
    yield "one item, to train on"
    picture, target = train.pictures[0], train.targets[0]
    yield f"  picture {under_base(picture) if isinstance(picture, Path) else name_of(picture)}"
    yield f"  label   {train.label(0)!r}"
    yield f"  target  {train.shown(0)!r}"
    opened = open_picture(picture)
    yield f"  opened  {opened.format}, {_size(opened.size_hw)} upright"
    require_size(pipeline, train)
    placement_hw = opened.size_hw
    for fit in pipeline.fits:
        yield f"  fit     {fit!r}: {_size(placement_hw)} to {_size(fit.canvas_hw)}"
        placement_hw = fit.canvas_hw
    for move in (*pipeline.moves, *pipeline.tones):
        yield f"  then    {move!r}"
    sample = pipeline.sample(picture, target, task, generator_for(0))
    yield f"  sample  pixels {list(sample.pixels.shape)} {sample.pixels.dtype}, target {sample.target.tolist()}"


def require_size(pipeline: Pipeline, dataset: Dataset) -> None:
    """Refuse a pipeline without a canvas.

    Raises:
        InputError: it names two pictures of different sizes, where there are any, and the transform to add.
    """
    if pipeline.fits:
        return
    raise InputError(
        f"Pictures need one size to share a batch, and no transform says it{_different(dataset.pictures)}. "
        "Add one: item_tfms=Resize(224), or item_tfms=RandomResizedCrop(224, min_scale=0.35)."
    )


def _different(pictures: Sequence[Any]) -> str:
    first: tuple[Any, tuple[int, int]] | None = None
    for picture in pictures[:_LOOKED_AT]:
        try:
            size_hw = open_picture(picture).size_hw
        except PictureError:
            continue
        if first is None:
            first = (picture, size_hw)
        elif size_hw != first[1]:
            here, there = (f"{name_of(p)} is {_size(s)}" for p, s in (first, (picture, size_hw)))
            return f": {here}, {there}"
    return ""


def _size(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]} x {size_hw[0]}"
