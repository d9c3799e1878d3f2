"""What an export of a model of ratings takes and gives: numbers of user and item in, a rating out."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from foveal.collab.predictor import RatingPredictor
from foveal.core.errors import InputError
from foveal.core.rng import generator_for


class RatingExporter:
    """Exports a model of ratings: inputs int64 [B, 2], the numbers of user and item."""

    def __init__(self, predictor: RatingPredictor) -> None:
        self.predictor = predictor
        self.runner = importlib.resources.files("foveal.collab").joinpath("runner.txt").read_text(encoding="utf-8")

    def prepare(self, given: Tensor) -> Tensor:
        """Return the pairs as they are."""
        return given

    def inputs(self, n: int, images: Sequence[object]) -> Tensor:
        """Return drawn pairs.

        Args:
            n: how many pairs.
            images: must be empty.

        Raises:
            InputError: images were given.
        """
        if images:
            raise InputError("`images` (--images) is for models of images: this one takes pairs of users and items.")
        sizes = (len(self.predictor.task.users), len(self.predictor.task.items))
        return torch.from_numpy(generator_for(0, 0, 0).integers(0, sizes, (n, 2)))

    def describe(self) -> dict[str, object]:
        """Return what the numbers of a pair mean."""
        meaning = "numbers of user and item, counted from 1 in the lists of the task; 0 is unknown"
        return {"input": {"name": "input", "type": "int64", "shape": ["batch", 2], "is": meaning}}

    def finish(self, file: Path) -> dict[str, object]:
        """Leave the file as it is: a pair is a batch of one.

        Args:
            file: of ONNX.

        Returns:
            What the description tells of the file.
        """
        del file
        return self.describe()

    def compare(self, runner: Path, images: Sequence[object]) -> None:
        """Compare nothing: pairs come from no files.

        Args:
            runner: not used.
            images: not used.
        """
