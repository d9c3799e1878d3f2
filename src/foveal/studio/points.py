"""What a studio learns from points that were set: heatmaps on kept feature maps, and how far off they are.

Shapes: m labelled images, K points, F features on h x w cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foveal.core.errors import ImageError
from foveal.evaluation.label_issues import PROBABLE
from foveal.images.prepare import Preparation, collate
from foveal.metrics.bootstrap import Interval, interval
from foveal.models import zoo
from foveal.models.vision import ModelSpec, VisionModel, pretrained_model
from foveal.studio.collection import Label, Purpose
from foveal.studio.learning import ClassScore, Score
from foveal.tasks.label_checks import check_points
from foveal.training.probes.heatmaps import HeatmapFit, Sums, solve_heatmaps

_FEWEST = 5  # images with points; of fewer it is worse than the middle of the image
_HELD_EVERY, _MOST_HELD = 4, 64  # images that choose the penalty, and are answered without their label
_MAPS = 256  # feature maps of images that were asked about, 0.8 MB each


@dataclass(frozen=True, slots=True)
class _Learned:
    """An image that was learned from: its points in source pixels and in [-1, 1], its size, and its map where held."""

    label: Label
    points: Tensor
    unit: Tensor
    size_wh: Tensor
    held: Tensor | None


@dataclass(frozen=True, slots=True)
class PointAnswers:
    """Heatmaps, and what they answer for images that they were fitted without.

    Attributes:
        n_learned: images learned from.
        whole: fitted to all of them.
        at: positions of the images left out, [m].
        held_out: answers for these by heatmaps fitted without them, float64 [m, K, 2] in source pixels.
        targets: where their points are, NaN where one is not there.
        names: of the points.
    """

    n_learned: int
    whole: HeatmapFit
    at: list[int]
    held_out: Tensor
    targets: Tensor
    names: tuple[str, ...]

    def score(self) -> Score:
        """Say how far off the answers are, and which points are probably wrong."""
        errors = (self.held_out - self.targets).norm(dim=2)
        found = check_points(self.held_out, self.targets, self.names)
        issues = tuple(one._replace(position=self.at[one.position]) for one in found.likeliest(PROBABLE, None))
        classes = tuple(
            ClassScore(name, int((~errors[:, at].isnan()).sum()), _mean(errors[:, at : at + 1]))
            for at, name in enumerate(self.names)
        )
        whole = _mean(errors) or Interval(float("nan"), float("nan"), float("nan"))
        return Score("mean distance", whole, len(self.at), False, classes, None, found.n_wrong, issues, "pixels")


class PointTeacher:
    """Learns points; one thread at a time may call `learn`, any `points_of`."""

    def __init__(self, arch: str, purpose: Purpose) -> None:
        """Load the backbone with its feature maps.

        Args:
            arch: its name.
            purpose: names the points.
        """
        size_hw, n_outputs = zoo.usual_size(arch), 2 * len(purpose.names)
        spec = ModelSpec(zoo.backbone_name(arch), n_outputs, size_hw, head="spatial", pooling=None)
        self._model, _ = pretrained_model(spec, generator=torch.Generator().manual_seed(0))
        assert isinstance(self._model, VisionModel)
        self._model.eval().requires_grad_(requires_grad=False)
        self._preparation = Preparation.of(size_hw, "squish", zoo.statistics_of(arch))
        self._names = purpose.names
        self._learned = dict[int, _Learned]()
        self._everything: Sums | None = None
        self._left_out: Sums | None = None
        self._map_of = lru_cache(_MAPS)(self._looked)

    @torch.inference_mode()
    def _looked(self, file: Path, _: int) -> tuple[Tensor, tuple[int, int]]:
        """Return the map of an image [1, F, h, w], and its size (width, height)."""
        prepared = self._preparation.image(file)
        maps = self._model.body(self._preparation.normalise(collate([prepared.pixels])))
        height, width = prepared.size_hw
        return maps.bfloat16(), (width, height)

    def _look(self, file: Path) -> tuple[Tensor, tuple[int, int]]:
        return self._map_of(file, file.stat().st_mtime_ns)

    @torch.no_grad()
    def learn(self, labels: Mapping[int, Label], files: Mapping[int, Path]) -> PointAnswers | None:
        """Learn from points; what changed since the last time is added and taken away. None where they are too few.

        Args:
            labels: by position.
            files: of these images.
        """
        for at in [at for at, known in self._learned.items() if labels.get(at) != known.label]:
            self._add(self._learned.pop(at), self._look(files[at])[0].float() if at in files else None, -1.0)
        for at, label in labels.items():
            if at not in self._learned:
                try:
                    maps, size_wh = self._look(files[at])
                except (ImageError, OSError):
                    continue
                self._learned[at] = self._take(at, label, maps, size_wh)
        held = {at: one for at, one in self._learned.items() if one.held is not None}
        if len(self._learned) < _FEWEST or len(held) < 2:
            return None
        assert self._everything is not None
        assert self._left_out is not None
        pairs = [(one.held, one.unit[None]) for one in held.values() if one.held is not None]
        whole, rest = solve_heatmaps(self._everything, self._left_out, pairs)
        sizes = torch.stack([one.size_wh for one in held.values()])
        found = torch.cat([rest.points(maps.float()) for maps, _ in pairs]).double()
        answered = (found + 1) / 2 * sizes[:, None]
        targets = torch.stack([one.points for one in held.values()])
        return PointAnswers(len(self._learned), whole, list(held), answered, targets, self._names)

    def _take(self, at: int, label: Label, maps: Tensor, size_wh: tuple[int, int]) -> _Learned:
        points = torch.tensor([(np.nan, np.nan) if one is None else one for one in label], dtype=torch.float64)
        size = torch.tensor(size_wh, dtype=torch.float64)
        n_held = sum(one.held is not None for one in self._learned.values())
        is_held = len(self._learned) % _HELD_EVERY == 1 and n_held < _MOST_HELD
        learned = _Learned(label, points, (points / size * 2 - 1).float(), size, maps if is_held else None)
        self._add(learned, maps.float(), 1.0)
        return learned

    def _add(self, learned: _Learned, maps: Tensor | None, sign: float) -> None:
        if maps is None:
            return
        if self._everything is None or self._left_out is None:
            zeros = Sums.zeros(maps.shape[1], len(self._names), torch.device("cpu"))
            self._everything = self._left_out = zeros
        sums = Sums.of(maps, learned.unit[None])
        self._everything = self._everything.plus(sums, sign)
        if learned.held is not None:
            self._left_out = self._left_out.plus(sums, sign)

    @torch.inference_mode()
    def points_of(self, answers: PointAnswers, file: Path) -> list[tuple[float, float]]:
        """Return where the points of an image should be, in source pixels.

        Raises:
            ImageError: it cannot be read.
        """
        maps, size_wh = self._look(file)
        found = (answers.whole.points(maps.float())[0].double() + 1) / 2 * torch.tensor(size_wh)
        return [(round(x, 1), round(y, 1)) for x, y in found.tolist()]


def _mean(errors: Tensor) -> Interval | None:
    if errors.isnan().all():
        return None
    return interval(lambda some: some.nanmean(), errors, n_samples=200)
