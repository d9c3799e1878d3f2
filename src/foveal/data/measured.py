"""Statistics of a set's own images, for `Normalize()`."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from foveal.core import progress, threads
from foveal.data.datasets import ImageDataset
from foveal.data.samples import Pipeline
from foveal.images.decode import ImageSource
from foveal.images.prepare import Preparation, Statistics

# Images that are looked at, evenly over the set; chosen by hand: the mean of 1,024 photographs is known to about 0.005.
_MOST = 1024
_LEAST_STD = 1e-3  # of a channel that is the same everywhere; chosen by hand, a quarter of a grey level


def measured_statistics(pipeline: Pipeline, dataset: ImageDataset, num_workers: int | None) -> Statistics:
    """Return the mean and standard deviation of each channel over training images as validation prepares them.

    Args:
        pipeline: the transforms.
        dataset: the training side; at most 1,024 of its images are looked at.
        num_workers: threads that load images.

    Raises:
        ImageError: an image is refused.
    """
    at = np.unique(np.linspace(0, len(dataset) - 1, min(_MOST, len(dataset))).round().astype(int))
    images = [dataset.images[index] for index in at]
    moments = np.zeros((2, pipeline.n_channels))
    for of_image in threads.ordered_map(partial(_moments, pipeline.preparation), images, num_workers=num_workers):
        moments += of_image / len(images)
    mean, std = moments[0], np.sqrt(np.maximum(moments[1] - moments[0] ** 2, _LEAST_STD**2))
    statistics = Statistics(tuple(mean.round(4).tolist()), tuple(std.round(4).tolist()))
    progress.say(f"Normalize: mean {statistics.mean}, standard deviation {statistics.std}, of {len(images)} images.")
    return statistics


def _moments(preparation: Preparation, image: ImageSource) -> NDArray[np.float64]:
    """Return the mean of each channel and of its square, white is 1, [2, C]."""
    pixels = preparation.image(image).pixels.astype(np.float64) / 255
    return np.stack([pixels.mean(axis=(0, 1)), (pixels**2).mean(axis=(0, 1))])
