"""Homographies: the one value that moves pixels and points alike.

Coordinates are (x, y) in continuous pixels: an image of width w spans [0, w] and pixel centres lie at +0.5. A
resize is then exactly `w_to / w_from` and a flip is `w - x`. Matrices map source to destination.

Shapes: `matrix` is float64 [..., 3, 3]; points are [..., N, 2] with x before y. NaN stands for a missing point and
stays NaN.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Homography:
    """A projective map of the plane, or a stack of them."""

    matrix: Array = field(default_factory=lambda: np.eye(3))

    @classmethod
    def scaling(cls, x: float, y: float) -> Homography:
        """Return the map that multiplies x and y.

        Args:
            x: factor to the right.
            y: factor down.
        """
        return cls(np.diag([x, y, 1.0]))

    @classmethod
    def translation(cls, x: float, y: float) -> Homography:
        """Return the map that adds to x and y.

        Args:
            x: pixels to the right.
            y: pixels down.
        """
        return cls(np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]]))

    @classmethod
    def rotation(cls, degrees: float) -> Homography:
        """Return the map that turns about the origin, clockwise as seen (y points down)."""
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return cls(np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]))

    @classmethod
    def of_rectangle(cls, size_hw: tuple[float, float], corners_to: Sequence[tuple[float, float]]) -> Homography:
        """Return the map of a rectangle to a quadrilateral; that of `quadrilateral`, without a system of equations.

        Source: Heckbert 1989, "Fundamentals of Texture Mapping and Image Warping", 2.2.3.

        Args:
            size_hw: of the rectangle, whose top left corner is the origin.
            corners_to: where its corners go, (x, y) each, clockwise from the top left.
        """
        (height, width), ((x0, y0), (x1, y1), (x2, y2), (x3, y3)) = size_hw, corners_to
        from_1, from_3, sum_x, sum_y = (x1 - x2, y1 - y2), (x3 - x2, y3 - y2), x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
        divisor = from_1[0] * from_3[1] - from_3[0] * from_1[1]
        g = (sum_x * from_3[1] - from_3[0] * sum_y) / divisor
        h = (from_1[0] * sum_y - sum_x * from_1[1]) / divisor
        return cls(
            np.array(
                [
                    [(x1 - x0 + g * x1) / width, (x3 - x0 + h * x3) / height, x0],
                    [(y1 - y0 + g * y1) / width, (y3 - y0 + h * y3) / height, y0],
                    [g / width, h / height, 1.0],
                ]
            )
        )

    @classmethod
    def quadrilateral(cls, corners_from: ArrayLike, corners_to: ArrayLike) -> Homography:
        """Return the map that takes four points to four points, no three of them on a line.

        Args:
            corners_from: [4, 2], (x, y) each.
            corners_to: where they go, [4, 2].
        """
        source, target = np.asarray(corners_from, dtype=float), np.asarray(corners_to, dtype=float)
        rows = []
        for (x, y), (u, v) in zip(source, target, strict=True):
            rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
            rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
        matrix = np.ones(9, dtype=np.float64)
        matrix[:8] = np.linalg.solve(np.array(rows, dtype=float), target.reshape(-1))
        return cls(matrix.reshape(3, 3))

    @staticmethod
    @functools.lru_cache(maxsize=64)
    def unit_frame(size_hw: tuple[int, int]) -> Homography:
        """Return the map from an image of `size_hw` to [-1, 1] x [-1, 1]."""
        height, width = size_hw
        return Homography.scaling(2.0 / width, 2.0 / height).then(Homography.translation(-1.0, -1.0))

    @classmethod
    def stack(cls, homographies: Sequence[Homography]) -> Homography:
        """Return B single maps as one value of shape [B, 3, 3]."""
        return cls(np.stack([h.matrix for h in homographies]))

    def then(self, *following: Homography) -> Homography:
        """Return this map followed by others."""
        matrix = self.matrix
        for step in following:
            matrix = step.matrix @ matrix
        return Homography(matrix)

    @property
    def inverse(self) -> Homography:
        """The map that undoes this one."""
        return Homography(np.asarray(np.linalg.inv(self.matrix), dtype=np.float64))

    def around(self, centre_xy: tuple[float, float]) -> Homography:
        """Return the same map about `centre_xy` instead of the origin."""
        x, y = centre_xy
        (a, b, c), (d, e, f), (g, h, i) = self.matrix.tolist()
        c, f, i = c - a * x - b * y, f - d * x - e * y, i - g * x - h * y
        return Homography(np.array([[a + x * g, b + x * h, c + x * i], [d + y * g, e + y * h, f + y * i], [g, h, i]]))

    def __call__(self, points: ArrayLike) -> Array:
        """Return points [..., N, 2] where the map takes them, float64 [..., N, 2]."""
        points_N2 = np.asarray(points, dtype=float)
        moved = points_N2 @ np.swapaxes(self.matrix[..., :2], -1, -2) + self.matrix[..., None, :, 2]
        return np.asarray(moved[..., :2] / moved[..., 2:])

    def __getitem__(self, index: int) -> Homography:
        """Return one map of a stack."""
        return Homography(self.matrix[index])

    @property
    def is_mirrored(self) -> bool | NDArray[np.bool_]:
        """Whether left and right are swapped (a bool, or one per map of a stack)."""
        if self.matrix.ndim == 2:
            (a, b, _), (c, d, _), _ = self.matrix.tolist()
            return bool(a * d < b * c)
        return np.asarray(np.linalg.det(self.matrix[..., :2, :2]) < 0)

    def scales_at(self, point_xy: tuple[float, float]) -> tuple[float, float]:
        """Return how long a short step along x, and one along y, becomes at a point."""
        (a, b, c), (d, e, f), (g, h, i) = self.matrix.tolist()  # numbers: arrays of nine take six times as long
        x, y = point_xy
        w = g * x + h * y + i
        u, v = (a * x + b * y + c) / w, (d * x + e * y + f) / w
        return math.hypot(a - u * g, d - v * g) / abs(w), math.hypot(b - u * h, e - v * h) / abs(w)


def corners_of(size_hw: tuple[int, int]) -> Array:
    """Return an image's four corners, float64 [4, 2], clockwise from the top left."""
    height, width = size_hw
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=float)


IDENTITY = Homography()
