"""The walk of one item through a data block, step by step, as `DataBlock.summary` prints it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from foveal.core import progress, threads
from foveal.core.errors import ImageError, InputError
from foveal.core.listing import under_base
from foveal.core.rng import generator_for
from foveal.data.datasets import Datasets, ImageDataset
from foveal.data.samples import Pipeline
from foveal.geometry.resize import Resize
from foveal.images.decode import ImageSource, name_of, open_image

_NO_SIZE = "Images need one size to share a batch, and no transform says it"
_ADD_ONE = "Add one: item_tfms=Resize(224), or item_tfms=RandomResizedCrop(224, min_scale=0.35)."
_MOST_NAMES = 12
"""Class names that fit in one line; chosen by hand."""


def walk(datasets: Datasets, pipeline: Pipeline) -> Iterator[str]:
    """Yield one line per step.

    Args:
        datasets: of images, with a task.
        pipeline: the transforms of the data block.

    Raises:
        InputError: no transform sets the size of the input, or the item's image is refused.
    """
    train, task = datasets.train, datasets.train.task
    yield f"split     {len(train):,} items to train on, {len(datasets.valid):,} to validate"
    names = ", ".join(task.names[:_MOST_NAMES]) + (", …" if len(task.names) > _MOST_NAMES else "")
    yield f"task      {task.kind}, {task.n_outputs} outputs: {names}"
    yield "one item, to train on"
    image, target = train.images[0], train.targets[0]
    yield f"  image   {under_base(image) if isinstance(image, Path) else name_of(image)}"
    yield f"  label   {train.label(0)!r}"
    yield f"  target  {train.display_target(0)!r}"
    opened = open_image(image, train.n_channels)
    yield f"  opened  {opened.format}, {_size(opened.size_hw)} upright"
    pipeline = with_size(pipeline, train, datasets.valid)
    size_hw = opened.size_hw
    for resize in pipeline.resizes:
        yield f"  resize  {resize!r}: {_size(size_hw)} to {_size(resize.input_size_hw)}"
        size_hw = resize.input_size_hw
    for move in (*pipeline.moves, *pipeline.tones):
        yield f"  then    {move!r}"
    sample = pipeline.sample(image, target, task, generator_for(0))
    yield f"  sample  pixels {list(sample.pixels.shape)} {sample.pixels.dtype}, target {sample.target.tolist()}"


def with_size(pipeline: Pipeline, *sides: ImageDataset) -> Pipeline:
    """Return a pipeline that brings images to one size: as it is, or where all images have one size, to that.

    Args:
        pipeline: the transforms.
        sides: all images.

    Raises:
        InputError: there is no such transform, and the images differ; the message names two of different sizes.
    """
    if pipeline.resizes:
        return pipeline
    images = [(image, side.n_channels) for side in sides for image in side.images]
    first: tuple[str, tuple[int, int]] | None = None
    for name, size_hw in threads.ordered_map(_size_of, images):
        if size_hw is not None and first is None:
            first = name, size_hw
        if size_hw is not None and first is not None and size_hw != first[1]:
            here, there = (f"{shown} is {_size(size)}" for shown, size in (first, (name, size_hw)))
            raise InputError(f"{_NO_SIZE}: {here}, {there}. {_ADD_ONE}")
    if first is None:
        raise InputError(f"{_NO_SIZE}. {_ADD_ONE}")
    progress.say(f"All images are {_size(first[1])}: without a Resize they are taken as they are.")
    return replace(pipeline, resizes=(Resize(first[1]),))


def _size_of(read: tuple[ImageSource, int]) -> tuple[str, tuple[int, int] | None]:
    """Return the name and the (height, width) of an image; None where it is refused, as training says in its turn."""
    image, n_channels = read
    try:
        return name_of(image), open_image(image, n_channels).size_hw
    except ImageError:
        return name_of(image), None


def _size(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]} x {size_hw[0]}"
