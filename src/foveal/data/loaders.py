"""Loaders: threads turn items into batches, in an order and with draws that only the seed and the epoch decide."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from foveal import runtime, threads
from foveal.data.batches import Batch
from foveal.data.datasets import Dataset, Datasets
from foveal.data.samples import Pipeline, Sample
from foveal.data.summary import require_size
from foveal.errors import InputError
from foveal.image.prepare import IMAGENET, Preparation, Statistics
from foveal.rng import generator_for, order_for
from foveal.tasks.base import Task


@dataclass(frozen=True, slots=True, eq=False)
class DataLoader:
    """Turns one dataset into batches; iterating yields (inputs, targets), plain tensors on `device`.

    Attributes:
        shuffle: a fresh order each epoch, random draws, and no last partial batch (unless it is the only one).
    """

    dataset: Dataset
    pipeline: Pipeline
    batch_size: int
    shuffle: bool
    seed: int
    workers: int
    device: torch.device
    statistics: Statistics

    @property
    def n(self) -> int:
        """How many items there are."""
        return len(self.dataset)

    def __len__(self) -> int:
        whole, rest = divmod(self.n, self.batch_size)
        return whole + (rest > 0 and not (self.shuffle and whole))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.batches(epoch=0):
            yield batch.inputs, batch.targets

    def one_batch(self) -> tuple[Tensor, Tensor]:
        """Return the first batch."""
        return next(iter(self))

    def batches(self, *, epoch: int, statistics: Statistics | None = None) -> Iterator[Batch]:
        """Yield the batches of one epoch, normalised with `statistics` (by default the loader's own).

        Raises:
            PictureError: a picture is refused.
        """
        order = self.order(epoch)
        make = partial(self._sample, epoch)
        samples = threads.ordered_map(make, order, workers=self.workers, ahead=2 * self.batch_size)
        for start in range(0, len(order), self.batch_size):
            group = list(islice(samples, self.batch_size))
            indices = order[start : start + self.batch_size]
            yield Batch.of(group, indices, statistics or self.statistics, self.device)

    def order(self, epoch: int) -> list[int]:
        """Return the items that an epoch visits, in order."""
        if not self.shuffle:
            return list(range(self.n))
        visited = len(self) * self.batch_size
        order: list[int] = order_for(self.seed, epoch, self.n).tolist()
        return order[:visited]

    def _sample(self, epoch: int, index: int) -> Sample:
        rng = generator_for(self.seed, epoch, index) if self.shuffle else None
        dataset = self.dataset
        return self.pipeline.sample(dataset.pictures[index], dataset.targets[index], dataset.task, rng)


class DataLoaders:
    """The loaders of a training and a validation side, and what they share."""

    def __init__(
        self,
        datasets: Datasets,
        pipeline: Pipeline,
        *,
        bs: int = 64,
        seed: int = 0,
        workers: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        """Build both loaders.

        Args:
            datasets: the two sides.
            pipeline: what happens to a picture.
            bs: batch size.
            seed: decides the order of the items and every random draw.
            workers: threads that load pictures (0: none); one a core by default.
            device: where batches go; the best at hand by default.
        """
        if bs < 1:
            raise InputError(f"A batch holds at least one item; got bs={bs}.")
        require_size(pipeline, datasets.train)
        n_train = len(datasets.train)
        if n_train < bs:
            warnings.warn(
                f"There are {n_train} items to train on, fewer than a batch of {bs}: batches shrink to {n_train}.",
                stacklevel=3,
            )
        self.pipeline = pipeline
        self.bs = min(bs, n_train)
        self.device = torch.device(device) if device is not None else runtime.default_device()
        workers = threads.default_workers() if workers is None else workers
        statistics = pipeline.statistics or IMAGENET
        shared = (seed, workers, self.device, statistics)
        self.train = DataLoader(datasets.train, pipeline, self.bs, True, *shared)
        self.valid = DataLoader(datasets.valid, pipeline, bs, False, *shared)

    @property
    def task(self) -> Task[Any]:
        """What is learned."""
        return self.train.dataset.task

    @property
    def vocab(self) -> tuple[str, ...]:
        """The class names, in order."""
        return self.task.names

    @property
    def loaders(self) -> Sequence[DataLoader]:
        """Training, then validation."""
        return self.train, self.valid

    def one_batch(self) -> tuple[Tensor, Tensor]:
        """Return the first training batch."""
        return self.train.one_batch()

    def preparation(self, statistics: Statistics) -> Preparation:
        """Return how pictures are prepared in validation and in service."""
        return self.pipeline.preparation(statistics)

    def __iter__(self) -> Iterator[DataLoader]:
        return iter(self.loaders)

    def __getitem__(self, index: int) -> DataLoader:
        return self.loaders[index]
