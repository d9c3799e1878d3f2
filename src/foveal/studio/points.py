"""What a studio learns from points that were set: heatmaps on kept feature maps, and how far off they are.

Shapes: m labelled images, K points, F features on h x w cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

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
from foveal.training.probes.heatmaps import HeatmapFit, Sums, reading_of

_FEWEST = 5  # images with points; of fewer it is worse than the middle of the image
_HELD_EVERY, _MOST_HELD = 4, 64  # images that choose the penalty, and are answered without their label
_MOST_LEARNED = 400  # images: of 750 heads 300 gave 14.2 pixels, 589 gave 14.5
_AT_ONCE = 32  # new images, after which there are answers: 2 s
_MOST_VALID = 128  # images of a validation side that are answered: 7 s the first time
_MAPS = 512  # feature maps that are kept, 0.8 MB each


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
        at: positions of images whose points are known and that were left out of a fit, [m].
        held_out: answers for these by heatmaps fitted without them, float64 [m, K, 2] in source pixels.
        targets: where their points are, NaN where one is not there.
        valid: labels of a validation side, by position; empty where none is stated.
    """

    n_learned: int
    whole: HeatmapFit
    at: list[int]
    held_out: Tensor
    targets: Tensor
    valid: Mapping[int, Label]


class PointTeacher:
    """Learns points; one thread at a time may call `learn`, any `points_of`.

    Attributes:
        names: of the points.
    """

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
        self.names = purpose.names
        self._learned = dict[int, _Learned]()
        self._unread = dict[int, Label]()
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

    def is_behind(self, labels: Mapping[int, Label]) -> bool:
        """Return whether there are labels to learn from that `learn` has not come to yet."""
        return len(self._learned) < _MOST_LEARNED and labels.keys() > self._learned.keys() | self._unread.keys()

    @torch.no_grad()
    def learn(
        self, labels: Mapping[int, Label], files: Sequence[Path], valid: Mapping[int, Label]
    ) -> PointAnswers | None:
        """Learn from points; what changed since the last time is added and taken away.

        Args:
            labels: by position.
            files: of all images.
            valid: labels that say how good the answers are, in place of every fourth of the others.

        Returns:
            The answers; None where the points are too few.
        """
        self._forget([at for at, known in self._learned.items() if labels.get(at) != known.label], files)
        waiting = (at for at in labels if at not in self._learned and at not in self._unread)
        for at in list(islice(waiting, min(_AT_ONCE, _MOST_LEARNED - len(self._learned)))):
            try:
                self._learned[at] = self._take(labels[at], *self._look(files[at]))
            except (ImageError, OSError):  # gone since it was looked at
                self._unread[at] = labels[at]
        held = {at: one for at, one in self._learned.items() if one.held is not None}
        if len(self._learned) < _FEWEST or len(held) < 2:
            return None
        assert self._everything is not None
        assert self._left_out is not None
        pairs = [(one.held, one.unit[None]) for one in held.values() if one.held is not None]
        reading = reading_of(self._everything, self._left_out, pairs)
        whole = reading.fit(self._everything)
        others = len(self._learned) > len(held)
        rest = reading.fit(self._everything.plus(self._left_out, -1.0)) if others else whole
        sizes = [(round(float(one.size_wh[0])), round(float(one.size_wh[1]))) for one in held.values()]
        answered = torch.stack([self._answered(rest, maps, size) for (maps, _), size in zip(pairs, sizes, strict=True)])
        targets = torch.stack([one.points for one in held.values()])
        return PointAnswers(len(self._learned), whole, list(held), answered, targets, valid)

    def _forget(self, gone: Sequence[int], files: Sequence[Path]) -> None:
        try:
            for at in gone:
                self._add(self._learned.pop(at), self._look(files[at])[0].float(), -1.0)
        except (ImageError, OSError):  # what it added cannot be taken away: all is learned anew
            self._learned.clear()
            self._everything = self._left_out = None

    @torch.inference_mode()
    def score(self, answers: PointAnswers, files: Sequence[Path]) -> Score | None:
        """Return how far off answers are, and which points are probably wrong; None where no point is known.

        Args:
            answers: of this teacher.
            files: of all images.
        """
        at, found, targets = answers.at, answers.held_out, answers.targets
        if answers.valid:
            at = [one for one in list(answers.valid)[:_MOST_VALID] if files[one].is_file()]
            found = torch.stack([self._answered(answers.whole, *self._look(files[one])) for one in at])
            targets = torch.stack([_tensor_of(answers.valid[one]) for one in at])
        errors = (found - targets).norm(dim=2)
        if (whole := _mean(errors)) is None:
            return None
        checked = check_points(found, targets, self.names)
        issues = tuple(one._replace(position=at[one.position]) for one in checked.likeliest(PROBABLE, None))
        classes = tuple(
            ClassScore(name, int((~errors[:, column].isnan()).sum()), _mean(errors[:, column : column + 1]))
            for column, name in enumerate(self.names)
        )
        of_valid = bool(answers.valid)
        return Score("mean distance", whole, len(at), of_valid, classes, None, checked.n_wrong, issues, "pixels")

    @staticmethod
    def _answered(fit: HeatmapFit, maps: Tensor, size_wh: tuple[int, int]) -> Tensor:
        """Return the points of an image [K, 2] in source pixels."""
        return (fit.points(maps.float())[0].double() + 1) / 2 * torch.tensor(size_wh)

    def _take(self, label: Label, maps: Tensor, size_wh: tuple[int, int]) -> _Learned:
        points = _tensor_of(label)
        size = torch.tensor(size_wh, dtype=torch.float64)
        n_held = sum(one.held is not None for one in self._learned.values())
        is_held = len(self._learned) % _HELD_EVERY == 1 and n_held < _MOST_HELD
        learned = _Learned(label, points, (points / size * 2 - 1).float(), size, maps if is_held else None)
        self._add(learned, maps.float(), 1.0)
        return learned

    def _add(self, learned: _Learned, maps: Tensor, sign: float) -> None:
        if self._everything is None or self._left_out is None:
            zeros = Sums.zeros(maps.shape[1], len(self.names), torch.device("cpu"))
            self._everything = self._left_out = zeros
        sums = Sums.of(maps, learned.unit[None])
        self._everything = self._everything.plus(sums, sign)
        if learned.held is not None:
            self._left_out = self._left_out.plus(sums, sign)

    @torch.inference_mode()
    def points_of(self, answers: PointAnswers, file: Path) -> list[tuple[float, float]]:
        """Return where the points of an image should be, in source pixels.

        Args:
            answers: of this teacher.
            file: the image.

        Raises:
            ImageError: it cannot be read.
        """
        found = self._answered(answers.whole, *self._look(file))
        return [(round(x, 1), round(y, 1)) for x, y in found.tolist()]


def _tensor_of(label: Label) -> Tensor:
    return torch.tensor([(math.nan, math.nan) if one is None else one for one in label], dtype=torch.float64)


def _mean(errors: Tensor) -> Interval | None:
    if errors.isnan().all():
        return None
    return interval(lambda some: some.nanmean(), errors, n_samples=200)
