"""Batchers: how the items of a dataset become batches, in a given order.

What is drawn for an item depends on the seed, the epoch and the item alone.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Self, cast

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.core import progress, runtime, threads
from foveal.core.errors import InputError
from foveal.core.rng import generator_for
from foveal.data.batches import Batch, Item, Parts, collate, on_device
from foveal.data.datasets import Dataset, ImageDataset
from foveal.data.pixel_ops import apply_pixel_ops
from foveal.data.samples import Pipeline, Placed, Sample
from foveal.geometry import resample
from foveal.geometry.homography import Homography
from foveal.images.canvas import Canvas, sheet
from foveal.images.prepare import Statistics, denormalise, normalise

Draw = tuple[int, int]
"""A seed and an epoch."""
_CPU = torch.device("cpu")
Room = NDArray[np.float32]
"""The inputs of a batch, [B, h, w, C], or those of one image."""
Job = tuple[int, Room | None]
"""A position, and where its input goes; None where the batch is finished as a whole."""
_AHEAD = 2
"""Batches that threads load before they are needed; chosen by hand."""


class Batcher(ABC):
    """Turns groups of positions into batches.

    An epoch may draw an item of n more than once: position + k n stands for its repetition k, with draws of its own.

    An implementation that is a dataclass declares `dataset` and `device` with `field()`: without it, dataclass would
    take these properties for defaults.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def dataset(self) -> Dataset | Sequence[Item]:
        """The source of the items."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where batches are."""

    @abstractmethod
    def batches(self, groups: Sequence[Sequence[int]], draw: Draw | None) -> Iterator[Batch]:
        """Yield one batch per group.

        Args:
            groups: positions in the dataset; see `Batcher` for items that are repeated.
            draw: seed and epoch of random draws; None leaves nothing to chance.
        """

    def positions(self, group: Sequence[int]) -> Sequence[int]:
        """Return the positions in the dataset of a group, in which items may be repeated."""
        n = len(self.dataset)
        return group if max(group, default=0) < n else [slot % n for slot in group]

    def with_dataset(self, dataset: Item) -> Self:
        """Return the same batcher over another dataset."""
        changed: Item = replace(cast("Item", self), dataset=dataset)
        return cast("Self", changed)

    def to(self, device: torch.device) -> Self:
        """Return the same batcher for batches on a device."""
        changed: Item = replace(cast("Item", self), device=device)
        return cast("Self", changed)

    def decode(self, parts: Parts) -> Parts:
        """Return the parts of a batch as they were before what only a model needs."""
        return parts

    def decode_items(self, parts: Parts, max_n: int) -> list[Parts]:
        """Return the items of a batch one by one, with labels as a person would write them.

        Args:
            parts: of a batch.
            max_n: the most items.
        """
        return list(islice(zip(*self.decode(parts), strict=True), max_n))

    @abstractmethod
    def show(self, batch: Batch, *, max_n: int, rows: int | None, figsize: tuple[float, float] | None) -> None:
        """Show the first items of a batch.

        Args:
            batch: made by `batches`.
            max_n: how many items.
            rows: of a grid; as many as suit by default.
            figsize: (width, height) in inches; as large as suits by default.
        """


@dataclass(frozen=True, slots=True, eq=False)
class TupleBatcher(Batcher):
    """Any sequence of items: a batch is the tuple of its slots laid side by side."""

    dataset: Sequence[Item] = field()
    device: torch.device = _CPU

    def batches(self, groups: Sequence[Sequence[int]], draw: Draw | None) -> Iterator[Batch]:
        """Yield one batch per group.

        Args:
            groups: positions in the dataset.
            draw: seed and epoch of random draws; None leaves nothing to chance.
        """
        for group in map(self.positions, groups):
            items = [self.dataset[index] for index in group]
            collated = collate(items)
            parts = collated if isinstance(items[0], tuple) else (collated,)
            yield Batch(on_device(parts, self.device), group)

    def show(self, batch: Batch, *, max_n: int, rows: int | None, figsize: tuple[float, float] | None) -> None:
        """Print the first items.

        Args:
            batch: made by `batches`.
            max_n: how many items.
            rows: not used.
            figsize: not used.
        """
        for index in batch.indices[:max_n]:
            print(self.dataset[index])  # noqa: T201 -- printing is what it is for


@dataclass(frozen=True, slots=True, eq=False)
class ImageBatcher(Batcher):
    """Images: threads load them; where there is an accelerator, the batch is warped there.

    Attributes:
        dataset: images and targets.
        pipeline: the transforms.
        num_workers: threads that load images; 0 loads them in this one, None takes one per core.
        device: where batches are.
        warps_batches: leave the warp to the batch; by default where `device` is not the CPU.
    """

    dataset: ImageDataset = field()
    pipeline: Pipeline
    num_workers: int | None
    device: torch.device = field()
    warps_batches: bool | None = None

    def batches(self, groups: Sequence[Sequence[int]], draw: Draw | None) -> Iterator[Batch]:
        """Yield one batch per group.

        Args:
            groups: positions in the dataset.
            draw: seed and epoch of random draws; None leaves nothing to chance.

        Raises:
            ImageError: an image is refused.
        """
        if draw is not None and self.device.type == "cpu":
            _say_if_slow()
        rooms = deque[Room | None]()
        jobs = (self._jobs(group, draw, rooms) for group in groups)
        made = threads.grouped_map(partial(self._sample, draw), jobs, num_workers=self.num_workers, ahead=_AHEAD)
        with runtime.keeping_memory():  # of each image and batch: fresh pages for them take a tenth of the time
            for samples, group in zip(made, groups, strict=True):
                yield self._batch(samples, group, draw, rooms.popleft())

    def _jobs(self, group: Sequence[int], draw: Draw | None, rooms: deque[Room | None]) -> Sequence[Job]:
        """Return what threads make for a group: each image is finished in its place of the batch, where it can be."""
        if self.device.type != "cpu" or self._warps_batches() or (draw is not None and self.pipeline.operations):
            rooms.append(None)
            return [(slot, None) for slot in group]
        size = self.pipeline.input_size_hw
        # Torch's memory begins at multiples of 64 bytes; elsewhere its sums may come in another order.
        room: Room = torch.empty(len(group), *size, self.pipeline.normalisation.n_channels).numpy()
        rooms.append(room)
        return list(zip(group, room, strict=True))

    def with_statistics(self, statistics: Statistics | None) -> ImageBatcher:
        """Return the same batcher with these statistics for its images, in place of its own."""
        return replace(self, pipeline=self.pipeline.with_statistics(statistics))

    def show(self, batch: Batch, *, max_n: int, rows: int | None, figsize: tuple[float, float] | None) -> None:
        """Draw the first images, as the model sees them, with their labels.

        Args:
            batch: made by `batches`.
            max_n: how many items.
            rows: of the grid; as many as suit by default.
            figsize: (width, height) in inches; as large as suits by default.
        """
        from matplotlib import pyplot as plt

        n = min(max_n, len(batch))
        images = denormalise(batch.inputs[:n], self.pipeline.preparation.statistics).cpu().numpy()

        def draw(canvas: Canvas, index: int) -> None:
            self.dataset.task.draw(canvas, self._label(batch.targets[index]))

        sheet(list(images), draw, rows=rows, figsize=figsize, figure=plt.figure())

    def decode(self, parts: Parts) -> Parts:
        """Return a batch with images from 0 to 1, float32 [B, C, h, w]."""
        images = denormalise(parts[0], self.pipeline.preparation.statistics).permute(0, 3, 1, 2).float() / 255
        return (images, *parts[1:])

    def decode_items(self, parts: Parts, max_n: int) -> list[Parts]:
        """Return images [C, h, w] from 0 to 1, each with its label; points are in its pixels.

        Args:
            parts: of a batch.
            max_n: the most items.
        """
        images, targets = self.decode(tuple(part[:max_n] for part in parts))
        return [(image, self._label(target)) for image, target in zip(images, targets, strict=True)]

    def _label(self, target: torch.Tensor) -> Item:
        """Return the label of a target of a batch, points in pixels of the input."""
        task, target_to_input = self.dataset.task, Homography.unit_frame(self.pipeline.input_size_hw).inverse
        return task.decode_target(task.move(target.cpu(), target_to_input))

    def _sample(self, draw: Draw | None, job: Job) -> Sample | Placed:
        slot, room = job
        rng, index = None if draw is None else generator_for(*draw, slot), slot % len(self.dataset)
        image, target = self.dataset.images[index], self.dataset.targets[index]
        if room is not None:
            return self.pipeline.sample_into(room, image, target, self.dataset.task, rng)
        windowed = rng is not None and self._warps_batches()
        sample = self.pipeline.sample(image, target, self.dataset.task, rng, windowed=windowed)
        return sample if windowed else sample.with_tones()

    def _warps_batches(self) -> bool:
        return self.device.type != "cpu" if self.warps_batches is None else self.warps_batches

    def _batch(
        self, samples: Sequence[Sample | Placed], group: Sequence[int], draw: Draw | None, room: Room | None
    ) -> Batch:
        targets = torch.stack([sample.target for sample in samples]).to(self.device, non_blocking=True)
        source_to_target = Homography.stack([sample.source_to_target for sample in samples])
        if room is None:
            inputs = self._normalised(cast("Sequence[Sample]", samples), group, draw)
        else:
            inputs = torch.from_numpy(room).permute(0, 3, 1, 2)
        return Batch((inputs, targets), self.positions(group), source_to_target)

    def _normalised(self, samples: Sequence[Sample], group: Sequence[int], draw: Draw | None) -> torch.Tensor:
        pixels = self.pipeline.pixels(samples, self.device)
        if draw is not None and self.pipeline.operations:
            pixels = apply_pixel_ops(pixels, self.pipeline.operations, generator_for(*draw, group[0]))
        return normalise(pixels, self.pipeline.normalisation)


@functools.cache
def _say_if_slow() -> None:
    """Print a line, once in a process, if this foveal was built without its library."""
    if resample.library() is None and not resample.is_pure_wanted():
        progress.say(
            "This foveal was built without its library for images: they are warped to the same pixels, but 50 times "
            "more slowly. Install a C compiler (gcc or clang), then foveal once more."
        )


def image_batcher(batcher: Batcher) -> ImageBatcher:
    """Return a batcher of images as what it is.

    Raises:
        InputError: it carries no images.
    """
    if not isinstance(batcher, ImageBatcher):
        raise InputError("These loaders carry no images: build them with a DataBlock and its blocks.")
    return batcher
