"""Labels that are lists: of the classes that are there, or 0 and 1 for each class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.tasks.vocab import ClassLabel, plain


@dataclass(frozen=True, slots=True)
class PartialLabels:
    """Labels of which some are not known to be present or absent: those are masked in loss and metrics."""

    present: tuple[ClassLabel, ...]
    unknown: tuple[ClassLabel, ...] = ()

    def __iter__(self) -> Iterator[ClassLabel]:
        return iter(self.present)


def all_classes(label: object) -> list[ClassLabel]:
    """Return every class in a label, those that are unknown for the image included."""
    return [*check_labels(label), *(label.unknown if isinstance(label, PartialLabels) else ())]


def check_labels(label: object) -> list[ClassLabel]:
    """Return a list of classes as texts or numbers.

    Raises:
        InputError: it is one text (was it meant to be split?) or no list.
    """
    if isinstance(label, str):
        raise InputError(
            f"Several labels are expected as a list of names, got the text {label!r}. "
            "Split it, for instance with `ColReader('labels', label_delim=' ')`, or use CategoryBlock for one label."
        )
    if not isinstance(label, Iterable):
        raise InputError(f"Several labels are expected as a list of names, got {label!r}.")
    return [plain(one) for one in label]


def check_encoded(label: object, n_classes: int) -> Tensor:
    """Return a label that is 0 or 1 for each class as a target.

    Raises:
        InputError: it is something else.
    """
    values = [plain(one) for one in label] if isinstance(label, Iterable) else []
    numbers = [float(value) for value in values if not isinstance(value, str)]
    if len(numbers) != n_classes or len(values) != n_classes or not all(n in {0, 1} or math.isnan(n) for n in numbers):
        raise InputError(f"With encoded=True a label is 0 or 1 for each of {n_classes} classes; got {label!r}.")
    return torch.tensor(numbers)


def looks_encoded(labels: Sequence[Sequence[ClassLabel]]) -> bool:
    """Return whether all labels are 0 or 1 for each of so many classes, rather than lists of classes."""
    lengths = set(map(len, labels))
    return len(lengths) == 1 and min(lengths) > 1 and all(one in {0, 1} for label in labels for one in label)
