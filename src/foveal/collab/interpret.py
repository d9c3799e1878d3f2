"""Interpretation of ratings: which pairs are answered worst."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from foveal.collab.loaders import RatingDataset
from foveal.core.errors import InputError
from foveal.core.progress import display

_NEEDS_CLASSES = ("confusion_matrix", "plot_confusion_matrix", "most_confused", "print_classification_report")


@dataclass(frozen=True, eq=False)
class RatingInterpretation:
    """Predicted and true ratings.

    Attributes:
        dataset: the pairs.
        ratings, targets: what was answered and what was given, [n, 1].
        losses: of each pair, [n].
    """

    dataset: RatingDataset
    ratings: Tensor
    targets: Tensor
    losses: Tensor

    def __repr__(self) -> str:
        return f"RatingInterpretation({len(self.losses)} pairs)"

    def top_losses(self, k: int | None = None, *, largest: bool = True) -> tuple[Tensor, list[int]]:
        """Return the largest (or smallest) losses and where in the dataset they are.

        Args:
            k: how many; all by default.
            largest: whether the largest ones, or the smallest.
        """
        values, order = self.losses.sort(descending=largest, stable=True)
        return values[:k], order[:k].tolist()

    def worst(self, k: int = 9, *, largest: bool = True) -> pd.DataFrame:
        """Return the pairs that are answered worst, with rating, prediction and loss.

        Args:
            k: how many.
            largest: whether the worst, or the best.
        """
        losses, at = self.top_losses(k, largest=largest)
        return self.dataset.frame(at, prediction=self.ratings[at, 0].tolist(), loss=losses.tolist())

    def plot_top_losses(self, k: int = 9, *, largest: bool = True) -> None:
        """Show `worst` as a table.

        Args:
            k: how many.
            largest: whether the worst, or the best.
        """
        display(self.worst(k, largest=largest))

    def __getattr__(self, name: str) -> object:
        if name in _NEEDS_CLASSES:
            raise InputError(f"`{name}` is for tasks with classes; ratings have `top_losses` and `plot_top_losses`.")
        raise AttributeError(f"{type(self).__name__} has no attribute `{name}`.")
