"""What columns of an item say of whom it is for: items that nobody had yet get vectors from them.

Gantner et al. 2010, "Learning Attribute-to-Feature Mappings for Cold-Start Recommendations", with ridge regression; the
penalty is the one with the least error on items left out, in closed form.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from foveal.core.errors import InputError

_WIDTH = 512  # places that words are hashed to; with 256 and 1,024 the error on items left out is within 1%
_MIXTURES = 64
_PENALTIES = tuple(10.0**power for power in range(-1, 5))
_WORD = re.compile(r"[\w'-]+")
_LISTED = re.compile(r"\s*[|;,]\s*")


class ContentPart(BaseModel):
    """What a bundle says of the columns of its items.

    Attributes:
        texts: columns whose words are read.
        numbers: mean and standard deviation of the columns that are numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: tuple[str, ...] = ()
    numbers: dict[str, tuple[float, float]] = Field(default_factory=dict)

    @property
    def width(self) -> int:
        """How many numbers the columns of an item become."""
        return _WIDTH + len(self.numbers) + 1

    @classmethod
    def of(cls, features: pd.DataFrame) -> Self:
        """Return how each column is read: as a number where all its values are, as words otherwise."""
        numbers = {}
        for name in features.columns:
            values = pd.to_numeric(features[name], errors="coerce")
            if (values.notna() | features[name].isna()).all() and values.notna().any():
                numbers[str(name)] = (float(values.mean()), float(values.std(ddof=0)) or 1.0)
        return cls(texts=tuple(str(name) for name in features.columns if str(name) not in numbers), numbers=numbers)

    def encode(self, features: pd.DataFrame) -> Tensor:
        """Return the columns of items as numbers, float64 [n, D]; the last of them is 1.

        Raises:
            InputError: a column is missing.
        """
        if missing := [name for name in (*self.texts, *self.numbers) if name not in features.columns]:
            raise InputError(
                f"New items are described by the columns {', '.join((*self.texts, *self.numbers))}; "
                f"`{missing[0]}` is not among {', '.join(map(str, features.columns)) or 'those given'}."
            )
        n = len(features)
        table = np.zeros((n, self.width))
        table[:, -1] = 1
        for name in self.texts:
            for row, cell in enumerate(features[name].tolist()):
                for place, sign in _hashed(name, cell):
                    table[row, place] += sign
        length = np.linalg.norm(table[:, :_WIDTH], axis=1, keepdims=True)
        table[:, :_WIDTH] /= np.maximum(length, 1e-12)
        for at, (name, (mean, std)) in enumerate(self.numbers.items()):
            values = pd.to_numeric(features[name], errors="coerce").to_numpy(dtype=float)
            table[:, _WIDTH + at] = np.nan_to_num((values - mean) / std / max(1, len(self.numbers)) ** 0.5)
        return torch.from_numpy(table)


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """From the columns of items to their vectors.

    Attributes:
        part: how the columns are read.
        weights: float32 [D, K].
    """

    part: ContentPart
    weights: Tensor

    @classmethod
    def fit(cls, features: pd.DataFrame, vectors_NK: Tensor) -> Self:
        """Return what predicts vectors from columns, fitted to items that have both.

        Args:
            features: of n items.
            vectors_NK: theirs.
        """
        part = ContentPart.of(features)
        encoded, targets = part.encode(features).float(), vectors_NK.float()
        left, sizes, right = torch.linalg.svd(encoded, full_matrices=False)
        along = left.T @ targets
        # The error over all numbers of the vectors is that over some random mixtures of them, to a few percent.
        mixed = torch.randn(targets.shape[1], _MIXTURES, generator=torch.Generator().manual_seed(0))
        sides = left, sizes, along @ mixed, targets @ mixed
        errors = {penalty: _left_out_error(*sides, penalty) for penalty in _PENALTIES}
        best = min(errors, key=errors.__getitem__)
        weights = right.T @ ((sizes / (sizes**2 + best))[:, None] * along)
        # A regression's answers spread less than the truth: new items would always stand behind known ones.
        spread = targets.norm() / (encoded @ weights).norm().clamp(min=1e-12)
        return cls(part, (weights * spread).half().float())

    def vectors(self, features: pd.DataFrame) -> Tensor:
        """Return the vectors of items by their columns, float32 [n, K]."""
        return (self.part.encode(features) @ self.weights.double()).float()


def _left_out_error(left: Tensor, sizes: Tensor, along: Tensor, targets: Tensor, penalty: float) -> float:
    """Return the mean squared error of each item's vector by the regression on all others."""
    shrunk = sizes**2 / (sizes**2 + penalty)
    leverage = (left**2 * shrunk).sum(dim=1)
    residuals = targets - left @ (shrunk[:, None] * along)
    return float(((residuals / (1 - leverage).clamp(min=1e-6)[:, None]) ** 2).mean())


def _hashed(column: str, cell: object) -> Iterator[tuple[int, int]]:
    """Yield place and sign of each word of a cell, and of each entry of a list in it."""
    if not isinstance(cell, str):
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return
        cell = str(cell)
    lowered = cell.lower()
    for word in {*_WORD.findall(lowered), *_LISTED.split(lowered)} - {""}:
        number = zlib.crc32(f"{column}={word}".encode())
        yield number % _WIDTH, 1 if number >> 31 else -1
