"""The walk of one item through a data block, step by step, as `DataBlock.summary` prints it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from foveal.core.errors import ImageError, InputError
from foveal.core.listing import under_base
from foveal.core.rng import generator_for
from foveal.data.datasets import Dataset, Datasets
from foveal.data.samples import Pipeline
from foveal.images.decode import name_of, open_image

_LOOKED_AT = 64
_NAMES = 12


def walk(datasets: Datasets, pipeline: Pipeline) -> Iterator[str]:
    """Yield the lines.

    Raises:
        InputError: no transform says the size of the canvas, or the item's image is refused.
    """
    train, task = datasets.train, datasets.train.task
    yield f"split     {len(train):,} items to train on, {len(datasets.valid):,} to validate"
    names = ", ".join(task.names[:_NAMES]) + (", …" if len(task.names) > _NAMES else "")
    yield f"task      {task.kind}, {task.n_outputs} outputs: {names}"
    yield "one item, to train on"
    image, target = train.images[0], train.targets[0]
    yield f"  image {under_base(image) if isinstance(image, Path) else name_of(image)}"
    yield f"  label   {train.label(0)!r}"
    yield f"  target  {train.shown(0)!r}"
    opened = open_image(image)
    yield f"  opened  {opened.format}, {_size(opened.size_hw)} upright"
    require_size(pipeline, train)
    placement_hw = opened.size_hw
    for fit in pipeline.fits:
        yield f"  fit     {fit!r}: {_size(placement_hw)} to {_size(fit.input_size_hw)}"
        placement_hw = fit.input_size_hw
    for move in (*pipeline.moves, *pipeline.tones):
        yield f"  then    {move!r}"
    sample = pipeline.sample(image, target, task, generator_for(0))
    yield f"  sample  pixels {list(sample.pixels.shape)} {sample.pixels.dtype}, target {sample.target.tolist()}"


def require_size(pipeline: Pipeline, dataset: Dataset) -> None:
    """Refuse a pipeline without a canvas.

    Raises:
        InputError: it names two images of different sizes, where there are any, and the transform to add.
    """
    if pipeline.fits:
        return
    raise InputError(
        f"Images need one size to share a batch, and no transform says it{_different(dataset.images)}. "
        "Add one: item_tfms=Resize(224), or item_tfms=RandomResizedCrop(224, min_scale=0.35)."
    )


def _different(images: Sequence[Any]) -> str:
    first: tuple[Any, tuple[int, int]] | None = None
    for image in images[:_LOOKED_AT]:
        try:
            size_hw = open_image(image).size_hw
        except ImageError:
            continue
        if first is None:
            first = (image, size_hw)
        elif size_hw != first[1]:
            here, there = (f"{name_of(p)} is {_size(s)}" for p, s in (first, (image, size_hw)))
            return f": {here}, {there}"
    return ""


def _size(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]} x {size_hw[0]}"
