"""Whether to keep decoded images: what it saves a run, and what it costs, measured on a few of them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from foveal.core.rng import generator_for
from foveal.core.threads import default_workers
from foveal.data.batchers import ImageBatcher
from foveal.data.loader import DataLoader
from foveal.images.decode import open_image
from foveal.images.prepare import scale_of

_TRIED = 8  # images that are decoded to know what it costs; chosen by hand, so that it takes a blink
_WRITTEN_PER_SECOND = 400e6  # bytes, with their checksum; measured: 0.5 to 1.5 GB/s into the page cache
_MAPPED_PER_SECOND = 5e9  # bytes; measured
_WORTH_SECONDS = 3.0  # that a run has to be shorter by; chosen by hand


@dataclass(frozen=True, slots=True)
class DecodingCost:
    """What decoding costs a run.

    Attributes:
        n_bytes: of the decoded images of both sides.
        saved_seconds: that the run is shorter by with the images kept; below 0 it is longer.
    """

    n_bytes: int
    saved_seconds: float

    def pays(self, room: int) -> bool:
        """Return whether keeping them shortens the run by seconds that are felt.

        Args:
            room: the bytes that may be kept.
        """
        return self.saved_seconds > _WORTH_SECONDS and self.n_bytes <= room

    def __str__(self) -> str:
        return f"decoded images are kept ({self.n_bytes / 2**20:,.0f} MiB), about {self.saved_seconds:.0f} s saved"


def decoding_cost(train: DataLoader, valid: DataLoader, n_passes: int) -> DecodingCost | None:
    """Return what decoding costs; None where images are no files, or functions of a user's change them first.

    Args:
        train: of the training side.
        valid: of the validation side.
        n_passes: how often each side is gone through, in all runs on these images.

    Raises:
        ImageError: an image is refused.
    """
    batcher = train.batcher
    if not isinstance(batcher, ImageBatcher) or batcher.pipeline.changes or not train.n:
        return None
    pipeline, seconds, n_bytes = batcher.pipeline, list[float](), list[int]()
    for at in np.linspace(0, train.n - 1, min(_TRIED, train.n)).astype(int).tolist():
        began = time.thread_time()
        opened = open_image(batcher.dataset.images[at], pipeline.n_channels)
        to_input = pipeline.source_to_input(opened.size_hw, generator_for(train.seed, 0, at))
        n_bytes.append(opened.decode(scale_of(to_input, opened.size_hw), quick=True).pixels.nbytes)
        seconds.append(time.thread_time() - began)
    each, size, n = float(np.median(seconds)), float(np.mean(n_bytes)), train.n + valid.n
    n_threads = (default_workers() if batcher.num_workers is None else batcher.num_workers) or 1
    later = (n_passes - 1) * (each - size / _MAPPED_PER_SECOND)
    return DecodingCost(int(size * n), n * (later - size / _WRITTEN_PER_SECOND) / n_threads)
