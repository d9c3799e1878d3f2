"""The walk of one item through a data block, step by step, as `DataBlock.summary` prints it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from foveal.core.errors import ImageError, InputError
from foveal.core.listing import under_base
from foveal.core.rng import generator_for
from foveal.data.datasets import Datasets, ImageDataset
from foveal.data.samples import Pipeline
from foveal.images.decode import ImageSource, name_of, open_image

_MOST_OPENED = 64
"""Images whose headers are read to find two of different sizes; chosen by hand, about 10 ms."""
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
    require_size(pipeline, train)
    size_hw = opened.size_hw
    for resize in pipeline.resizes:
        yield f"  fit     {resize!r}: {_size(size_hw)} to {_size(resize.input_size_hw)}"
        size_hw = resize.input_size_hw
    for move in (*pipeline.moves, *pipeline.tones):
        yield f"  then    {move!r}"
    sample = pipeline.sample(image, target, task, generator_for(0))
    yield f"  sample  pixels {list(sample.pixels.shape)} {sample.pixels.dtype}, target {sample.target.tolist()}"


def require_size(pipeline: Pipeline, dataset: ImageDataset) -> None:
    """Refuse a pipeline without a transform that brings images to one size.

    Args:
        pipeline: the transforms.
        dataset: its images give an example of different sizes.

    Raises:
        InputError: there is no such transform; the message names two images of different sizes, if there are any.
    """
    if pipeline.resizes:
        return
    raise InputError(
        f"Images need one size to share a batch, and no transform says it{_example_of_sizes(dataset)}. "
        "Add one: item_tfms=Resize(224), or item_tfms=RandomResizedCrop(224, min_scale=0.35)."
    )


def _example_of_sizes(dataset: ImageDataset) -> str:
    first: tuple[ImageSource, tuple[int, int]] | None = None
    for image in dataset.images[:_MOST_OPENED]:
        try:
            size_hw = open_image(image, dataset.n_channels).size_hw
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
