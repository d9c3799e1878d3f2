"""The audit of both sides of a split, and a split without the images that it refuses."""

from __future__ import annotations

from foveal.audit.checks import Audit, audit
from foveal.core.errors import InputError
from foveal.core.listing import Path
from foveal.core.warn import warn
from foveal.data.datasets import Datasets
from foveal.images.decode import name_of
from foveal.sources.items import Item, Source

_MOST_LISTED = 10
"""Images that a warning names; chosen by hand, as many lines as one reads."""


def audit_datasets(datasets: Datasets) -> Audit:
    """Return the audit of both sides of a split of images."""
    items = [
        Item(Path(name_of(image)), dataset.label(index), is_valid, name_of(image))
        for dataset, is_valid in ((datasets.train, False), (datasets.valid, True))
        for index, image in enumerate(dataset.images)
    ]
    return audit(Source("data block", datasets.train.task.kind, items), n_channels=datasets.train.n_channels)


def without_bad_images(datasets: Datasets) -> Datasets:
    """Return a split without the images that cannot be used; one warning names them, with their number.

    Raises:
        InputError: nothing is left of a side.
    """
    result = audit_datasets(datasets)
    bad, names = result.unusable, result.bad_images
    if not bad:
        return datasets
    lines = "\n".join(f"  {finding.value}" for finding in bad[:_MOST_LISTED]) + (
        "\n  …" if len(bad) > _MOST_LISTED else ""
    )
    warn(f"{len(bad)} images cannot be used and are left out:\n{lines}")
    sides = []
    for side in (datasets.train, datasets.valid):
        usable = [index for index, image in enumerate(side.images) if Path(name_of(image)) not in names]
        if not usable:
            raise InputError("No image of one side of the split can be used.")
        sides.append(side.subset(usable))
    return Datasets.of(*sides)
