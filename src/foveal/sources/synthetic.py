"""The built-in sample set: drawn landscapes with none to several of eight kinds of things, and a point to find.

Every scene is drawn from (seed, index) alone, so the set is the same on every machine. The labels are the kinds to be
seen; the point is the centre of the balloon in the scenes that have one.
"""

from __future__ import annotations

import colorsys
import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from foveal.core import storage
from foveal.core.rng import generator_for

Colour = tuple[int, int, int]
_OVERSAMPLING = 2  # times the final size at which scenes are drawn, so that edges are smooth
_VALID_SHARE = 0.2  # of the scenes, the last ones


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A drawn image, the kinds to be seen in it, and the centre (x, y) of its balloon in pixels if it has one."""

    image: Image.Image
    labels: tuple[str, ...]
    balloon_xy: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class _Pen:
    """Draws shapes given relative to a thing's centre and size."""

    draw: ImageDraw.ImageDraw
    x: float
    y: float
    size: float

    def _at(self, *points: float) -> list[tuple[float, float]]:
        pairs = zip(points[::2], points[1::2], strict=True)
        return [(self.x + dx * self.size, self.y + dy * self.size) for dx, dy in pairs]

    def oval(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self.draw.ellipse(self._at(left, top, right, bottom), fill=colour)

    def shape(self, colour: Colour, *points: float) -> None:
        self.draw.polygon(self._at(*points), fill=colour)

    def line(self, colour: Colour, width: float, *points: float) -> None:
        self.draw.line(self._at(*points), fill=colour, width=max(1, round(width * self.size)), joint="curve")

    def pie(self, box: tuple[float, float, float, float], start: float, end: float, colour: Colour) -> None:
        self.draw.pieslice(self._at(*box), start, end, fill=colour)


def _tone(
    rng: np.random.Generator, hue: float, spread: float = 0.04, light: float = 0.5, strong: float = 0.65
) -> Colour:
    hue = (hue + rng.uniform(-spread, spread)) % 1
    light, strong = np.clip([light + rng.uniform(-0.06, 0.06), strong + rng.uniform(-0.1, 0.1)], 0, 1)
    red, green, blue = colorsys.hls_to_rgb(hue, light, strong)
    return round(red * 255), round(green * 255), round(blue * 255)


def _darker(colour: Colour, factor: float = 0.75) -> Colour:
    red, green, blue = (round(part * factor) for part in colour)
    return red, green, blue


def _balloon(pen: _Pen, rng: np.random.Generator) -> None:
    first, second = _tone(rng, rng.random()), _tone(rng, 0.12, light=0.75)
    pen.line((90, 70, 50), 0.02, -0.3, 0.25, -0.1, 0.75)
    pen.line((90, 70, 50), 0.02, 0.3, 0.25, 0.1, 0.75)
    pen.oval(-0.5, -0.5, 0.5, 0.5, first)
    pen.oval(-0.28, -0.5, 0.28, 0.5, second)
    pen.oval(-0.1, -0.5, 0.1, 0.5, first)
    pen.shape((140, 98, 58), -0.13, 0.72, 0.13, 0.72, 0.1, 0.92, -0.1, 0.92)


def _boat(pen: _Pen, rng: np.random.Generator) -> None:
    hull = _tone(rng, rng.choice([0.0, 0.08, 0.6]), light=0.35)
    pen.line((80, 60, 45), 0.04, 0.0, 0.25, 0.0, -0.55)
    pen.shape((250, 247, 238), 0.04, -0.52, 0.04, 0.18, 0.48, 0.18)
    pen.shape(_tone(rng, 0.03, light=0.62), -0.04, -0.42, -0.04, 0.18, -0.34, 0.18)
    pen.shape(hull, -0.55, 0.24, 0.58, 0.24, 0.36, 0.5, -0.38, 0.5)
    pen.line(_darker(hull), 0.04, -0.53, 0.27, 0.56, 0.27)


def _flower(pen: _Pen, rng: np.random.Generator) -> None:
    petal, stem = _tone(rng, rng.choice([0.9, 0.97, 0.75, 0.14]), light=0.65, strong=0.85), _tone(rng, 0.32, light=0.35)
    pen.line(stem, 0.06, 0.0, 0.0, 0.03, 0.6)
    pen.oval(0.03, 0.3, 0.3, 0.42, stem)
    for angle in np.linspace(0, 2 * np.pi, 7)[:-1]:
        dx, dy = 0.26 * np.cos(angle), -0.15 + 0.26 * np.sin(angle)
        pen.oval(dx - 0.17, dy - 0.17, dx + 0.17, dy + 0.17, petal)
    pen.oval(-0.14, -0.29, 0.14, -0.01, (250, 205, 70))


def _house(pen: _Pen, rng: np.random.Generator) -> None:
    wall, roof = _tone(rng, 0.1, light=0.82, strong=0.5), _tone(rng, 0.02, light=0.42)
    pen.shape(_darker(roof), 0.2, -0.5, 0.32, -0.5, 0.32, -0.15, 0.2, -0.15)
    pen.shape(wall, -0.42, -0.12, 0.42, -0.12, 0.42, 0.5, -0.42, 0.5)
    pen.shape(roof, -0.55, -0.1, 0.0, -0.58, 0.55, -0.1)
    pen.shape(_tone(rng, 0.08, light=0.33), -0.1, 0.12, 0.1, 0.12, 0.1, 0.5, -0.1, 0.5)
    for left in (-0.34, 0.16):
        pen.shape((255, 236, 150), left, 0.0, left + 0.18, 0.0, left + 0.18, 0.17, left, 0.17)


def _kite(pen: _Pen, rng: np.random.Generator) -> None:
    first, second = _tone(rng, rng.random(), light=0.55, strong=0.85), _tone(rng, rng.random(), light=0.7, strong=0.85)
    pen.line((70, 70, 80), 0.02, 0.0, 0.35, 0.12, 0.55, -0.02, 0.75, 0.12, 0.95)
    for y in (0.55, 0.75):
        pen.shape(second, 0.0, y - 0.06, 0.12, y + 0.06, 0.12, y - 0.06, 0.0, y + 0.06)
    pen.shape(first, 0.0, -0.5, 0.36, -0.1, 0.0, 0.42, -0.36, -0.1)
    pen.shape(second, 0.0, -0.5, 0.36, -0.1, 0.0, -0.1)
    pen.shape(second, -0.36, -0.1, 0.0, -0.1, 0.0, 0.42)


def _mushroom(pen: _Pen, rng: np.random.Generator) -> None:
    cap = _tone(rng, 0.0, light=0.45, strong=0.75)
    pen.shape((244, 234, 214), -0.13, -0.02, 0.13, -0.02, 0.18, 0.5, -0.18, 0.5)
    pen.pie((-0.5, -0.48, 0.5, 0.52), 180, 360, cap)
    for x, y, r in ((-0.25, -0.15, 0.08), (0.02, -0.3, 0.1), (0.28, -0.12, 0.07)):
        pen.oval(x - r, y - r, x + r, y + r, (255, 250, 240))


def _sun(pen: _Pen, rng: np.random.Generator) -> None:
    glow = _tone(rng, 0.13, 0.02, light=0.66, strong=0.95)
    for angle in np.linspace(0, 2 * np.pi, 13)[:-1]:
        cos, sin = np.cos(angle), np.sin(angle)
        pen.line(glow, 0.06, 0.38 * cos, 0.38 * sin, 0.54 * cos, 0.54 * sin)
    pen.oval(-0.32, -0.32, 0.32, 0.32, glow)


def _tree(pen: _Pen, rng: np.random.Generator) -> None:
    leaf = _tone(rng, 0.33, 0.06, light=0.34, strong=0.5)
    pen.shape((104, 72, 46), -0.07, 0.1, 0.07, 0.1, 0.1, 0.6, -0.1, 0.6)
    if rng.random() < 0.5:
        for top, half in ((-0.65, 0.24), (-0.42, 0.33), (-0.16, 0.42)):
            pen.shape(leaf, 0.0, top, half, top + 0.48, -half, top + 0.48)
        return
    for x, y, r in ((-0.22, 0.0, 0.27), (0.22, -0.02, 0.27), (0.0, -0.28, 0.32)):
        pen.oval(x - r, y - r, x + r, y + r, leaf)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a kind is drawn; its size as a share of the short side, and its height in the image as a share."""

    paint: Callable[[_Pen, np.random.Generator], None]
    size: tuple[float, float]
    height: tuple[float, float]


_KINDS = {
    "balloon": _Kind(_balloon, (0.26, 0.42), (0.2, 0.42)),
    "boat": _Kind(_boat, (0.26, 0.42), (0.62, 0.8)),
    "flower": _Kind(_flower, (0.26, 0.4), (0.64, 0.82)),
    "house": _Kind(_house, (0.3, 0.46), (0.52, 0.74)),
    "kite": _Kind(_kite, (0.24, 0.38), (0.18, 0.42)),
    "mushroom": _Kind(_mushroom, (0.24, 0.38), (0.66, 0.84)),
    "sun": _Kind(_sun, (0.26, 0.42), (0.14, 0.3)),
    "tree": _Kind(_tree, (0.36, 0.56), (0.48, 0.7)),
}
KINDS = tuple(_KINDS)

# Sky at the top, sky at the horizon, near hills: (hue, lightness) each.
_MOODS = (
    ((0.57, 0.68), (0.55, 0.88), (0.3, 0.5)),
    ((0.6, 0.55), (0.08, 0.82), (0.27, 0.42)),
    ((0.75, 0.45), (0.03, 0.75), (0.4, 0.3)),
    ((0.62, 0.28), (0.65, 0.5), (0.5, 0.28)),
    ((0.53, 0.75), (0.14, 0.9), (0.12, 0.62)),
    ((0.55, 0.6), (0.5, 0.85), (0.55, 0.5)),
)


def draw_scene(
    seed: int, index: int, *, kinds: Sequence[str] | None = None, size_wh: tuple[int, int] | None = None
) -> Scene:
    """Return one drawn scene; the same arguments give the same image.

    Args:
        seed: of the set.
        index: of the scene in the set.
        kinds: what is in it, of `KINDS`; none to four kinds at random by default.
        size_wh: (width, height) in pixels; one of three by default.
    """
    rng = generator_for(seed, 0, index)
    random_wh = ((320, 240), (240, 320), (280, 280))[int(rng.integers(3))]
    width, height = random_wh if size_wh is None else size_wh
    width, height = width * _OVERSAMPLING, height * _OVERSAMPLING
    image = _landscape(rng, width, height)
    count = int(rng.choice([0, 1, 2, 3, 4], p=[0.1, 0.28, 0.32, 0.2, 0.1]))
    chosen = sorted(rng.choice(len(KINDS), size=count, replace=False).tolist())
    if kinds is not None:
        count, chosen = len(kinds), sorted(KINDS.index(kind) for kind in kinds)
    columns = rng.permutation(max(count, 1))
    draw = ImageDraw.Draw(image)
    balloon = None
    for slot, kind in zip(columns, (KINDS[i] for i in chosen), strict=False):
        look = _KINDS[kind]
        size = rng.uniform(*look.size) * min(width, height)
        share = (slot + rng.uniform(0.3, 0.7)) / max(count, 1)
        x = float(np.clip(share * width, size * 0.55, width - size * 0.55))
        y = float(rng.uniform(*look.height) * height)
        look.paint(_Pen(draw, x, y, size), rng)
        if kind == "balloon":
            balloon = (x / _OVERSAMPLING, y / _OVERSAMPLING)
    small = image.resize((width // _OVERSAMPLING, height // _OVERSAMPLING), Image.Resampling.LANCZOS)
    return Scene(_grain(small, rng), tuple(KINDS[i] for i in chosen), balloon)


def write_scenes(folder: str | os.PathLike[str], *, n: int = 400, seed: int = 0) -> Path:
    """Write scenes with two tables.

    `scenes.csv` has the columns fname, labels (separated by spaces, empty for none) and is_valid; `balloons.csv` the
    scenes with a balloon: fname, x, y, is_valid. Images lie in `scenes/`.

    Args:
        folder: is created.
        n: how many scenes.
        seed: of the set.

    Returns:
        The path of `scenes.csv`.
    """
    root = Path(folder)
    (root / "scenes").mkdir(parents=True, exist_ok=True)
    labelled: list[tuple[object, ...]] = [("fname", "labels", "is_valid")]
    pointed: list[tuple[object, ...]] = [("fname", "x", "y", "is_valid")]
    for index in range(n):
        scene = draw_scene(seed, index)
        name, valid = f"scene_{index:04d}.jpg", index >= n * (1 - _VALID_SHARE)
        scene.image.save(root / "scenes" / name, quality=92)
        labelled.append((name, " ".join(scene.labels), valid))
        if scene.balloon_xy is not None:
            pointed.append((name, *(round(part, 2) for part in scene.balloon_xy), valid))
    for table, rows in (("scenes.csv", labelled), ("balloons.csv", pointed)):
        with storage.open_replacing(root / table, newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    return root / "scenes.csv"


def _landscape(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    sky_hue, horizon_hue, hill_hue = _MOODS[int(rng.integers(len(_MOODS)))]
    top, low = (np.array(_tone(rng, hue, light=light, strong=0.55)) for hue, light in (sky_hue, horizon_hue))
    horizon = round(height * rng.uniform(0.5, 0.66))
    share = np.clip(np.arange(height) / horizon, 0, 1)[:, None, None]
    sky = np.broadcast_to(top * (1 - share) + low * share, (height, width, 3))
    image = Image.fromarray(sky.astype(np.uint8))
    clouds = Image.new("L", image.size)
    pen = ImageDraw.Draw(clouds)
    for _ in range(int(rng.integers(0, 4))):
        x, y, w = rng.uniform(0, width), rng.uniform(0.05, 0.4) * height, rng.uniform(0.1, 0.25) * width
        for dx in (-0.5, 0.0, 0.45):
            r = w * rng.uniform(0.25, 0.4)
            pen.ellipse((x + dx * w - r, y - r * 0.6, x + dx * w + r, y + r * 0.6), fill=150)
    white = Image.new("RGB", image.size, (252, 250, 246))
    image.paste(white, mask=clouds.filter(ImageFilter.GaussianBlur(width / 80)))
    draw = ImageDraw.Draw(image)
    across = np.linspace(0, width, 40)
    for layer in range(3):
        base = horizon + layer * (height - horizon) * 0.3
        wave = rng.uniform(0.01, 0.05) * height * np.sin(across / width * rng.uniform(3, 9) + rng.uniform(0, 6.3))
        hue, light = hill_hue
        colour = _tone(rng, hue, 0.02, light=light + 0.14 * (1 - layer) - 0.02, strong=0.42)
        ridge = list(zip(across.tolist(), (base + wave).tolist(), strict=True))
        draw.polygon([*ridge, (width, height), (0, height)], fill=colour)
    return image


def _grain(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, dtype=np.int16)
    return Image.fromarray(np.clip(pixels + rng.integers(-5, 6, pixels.shape), 0, 255).astype(np.uint8))
