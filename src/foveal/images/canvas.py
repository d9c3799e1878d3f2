"""The drawing surface on which tasks draw their labels, and the sheet of several of them.

Colours are the colour-blind safe ones of Okabe and Ito; right and wrong also differ by a sign, so that they can be
told apart on a grey print.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foveal.core import storage
from foveal.images.channels import RGB, shown_as_rgb
from foveal.images.decode import ImageSource, open_image

if TYPE_CHECKING:  # matplotlib takes a second to import and is needed only when something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RIGHT, WRONG, TARGET, PREDICTED = "#222222", "#666666", "#007a5a", "#c04a00", "#009e73", "#e69f00"
_LINE = 26  # characters of 8 points that fit above an image of a sheet
_LEAST_SIDE = 1000  # pixels of the long side of a copy, or twice as many; sharp to nine inches at 110 dots an inch
_CAPTION_PER_INCH = 13  # characters of 9 points


class SmallCopy(NamedTuple):
    """An image to look at.

    Attributes:
        pixels: uint8 [h, w, C].
        size_hw: of the image itself, (height, width) in pixels: what is drawn on it is in these.
    """

    pixels: NDArray[np.uint8]
    size_hw: tuple[int, int]


def small_copy(source: ImageSource, n_channels: int = RGB, *, side: int = _LEAST_SIDE) -> SmallCopy:
    """Return an image, reduced as it is decoded where it is large: of 12 megapixels drawing takes half a second.

    Args:
        source: a path, bytes, an array, a Pillow or a stored image.
        n_channels: that it is read with.
        side: the least pixels of the copy's long side, where the image has them.

    Raises:
        ImageError: it is refused.
    """
    opened = open_image(source, n_channels)
    return SmallCopy(opened.decode(min(1.0, side / max(opened.size_hw)), quick=True).pixels, opened.size_hw)


@dataclass(frozen=True, slots=True)
class Canvas:
    """One image with what is written over it and drawn on it."""

    axes: Axes

    def image(self, pixels: NDArray[np.uint8], size_hw: tuple[int, int] | None = None) -> None:
        """Show an image; its frame is [0, W] x [0, H]; of four channels the first three are shown.

        Args:
            pixels: uint8 [h, w, C].
            size_hw: (H, W), where the pixels are those of a smaller copy; their own by default.
        """
        height, width = size_hw or pixels.shape[:2]
        self.axes.imshow(shown_as_rgb(pixels), extent=(0, width, height, 0), interpolation="antialiased")
        self.axes.set_axis_off()

    def title(self, *lines: tuple[str, str]) -> None:
        """Write lines of (text, colour) above the image, the first one on top."""
        height = 0.03
        for text, colour in reversed(lines):
            wrapped = textwrap.wrap(text, _LINE, max_lines=2, placeholder=" …") or [""]
            self.axes.text(
                0.0, 1 + height, "\n".join(wrapped), color=colour, fontsize=8, va="bottom", ha="left",
                transform=self.axes.transAxes, linespacing=1.1,
            )  # fmt: skip
            height += 0.085 * len(wrapped)

    def below(self, text: str) -> None:
        """Write a line under the image."""
        self.axes.text(0.0, -0.03, text, transform=self.axes.transAxes, fontsize=7, color=MUTED, va="top", ha="left")

    def lines(self, points_N2: NDArray[np.float64], pairs: Sequence[tuple[int, int]], colour: str) -> None:
        """Join pairs of points, where neither is missing.

        Args:
            points_N2: (x, y) in the image's pixels, float64 [N, 2]; NaN for a missing point.
            pairs: the indices of the points that are joined.
            colour: of matplotlib.
        """
        for pair in pairs:
            x, y = points_N2[list(pair)].T
            self.axes.plot(x, y, color=colour, linewidth=1.5, alpha=0.8, scalex=False, scaley=False)

    def points(self, points_N2: NDArray[np.float64], colour: str, marker: str) -> None:
        """Draw points; those outside the image at its border, as triangles.

        Args:
            points_N2: (x, y) in the image's pixels, float64 [N, 2]; NaN for a missing point.
            colour: of matplotlib.
            marker: of matplotlib.
        """
        (left, right), (bottom, top) = self.axes.get_xlim(), self.axes.get_ylim()
        for x, y in points_N2[~np.isnan(points_N2).any(axis=1)]:
            inside = left <= x <= right and top <= y <= bottom
            at_x, at_y = min(max(x, left), right), min(max(y, top), bottom)
            plot = partial(
                self.axes.plot,
                [at_x],
                [at_y],
                marker=marker if inside else "^",
                clip_on=False,
                linestyle="none",
                markerfacecolor="none",
            )
            plot(markersize=11, color="white", markeredgewidth=3.5)
            plot(markersize=10, color=colour, markeredgewidth=2)

    def circles(self, points_N2: NDArray[np.float64], radius_N: NDArray[np.float64], colour: str) -> None:
        """Draw a thin circle around each point, cut off at the image's border.

        Args:
            points_N2: (x, y) in the image's pixels, float64 [N, 2].
            radius_N: in the same pixels, float64 [N]; NaN for no circle.
            colour: of matplotlib.
        """
        from matplotlib.patches import Circle

        for (x, y), radius in zip(points_N2, radius_N, strict=True):
            if not np.isnan([x, y, radius]).any():
                for line, ink in ((2.4, "white"), (1.0, colour)):
                    # `add_patch` would widen the axes to the whole circle, and the image would not fill them
                    self.axes.add_artist(Circle((x, y), radius, fill=False, edgecolor=ink, linewidth=line))


def grid(max_n: int, nrows: int | None, ncols: int | None) -> tuple[int, int | None]:
    """Return how many images are shown, and in how many rows; None is as many as suit.

    Args:
        max_n: the number of images unless rows or columns are given.
        nrows: rows, if given.
        ncols: columns, if given.
    """
    if nrows is None and ncols is None:
        return max_n, None
    n = (nrows or 1) * (ncols or -(-max_n // (nrows or 1)))
    return n, nrows or -(-n // (ncols or n))


def sheet(
    images: Sequence[NDArray[np.uint8] | SmallCopy],
    draw: Callable[[Canvas, int], None],
    *,
    rows: int | None = None,
    figsize: tuple[float, float] | None = None,
    figure: Figure | None = None,
    caption: str = "",
) -> Figure:
    """Return a figure with images in a grid.

    Args:
        images: uint8 [H, W, C] each, of any sizes, or small copies.
        draw: `draw(canvas, i)` adds what belongs to the i-th image.
        rows: how many; by default about four images across for three down.
        figsize: (width, height) in inches; by default it grows with the grid.
        figure: is drawn on, if given.
        caption: above all images.
    """
    from matplotlib.figure import Figure

    across = -(-len(images) // rows) if rows else math.ceil(math.sqrt(len(images) * 4 / 3))
    across = max(1, min(across, len(images)))
    down = max(1, math.ceil(len(images) / across))
    figure = figure or Figure()
    figure.set_size_inches(figsize or (2.35 * across, 2.6 * down))
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.1)
    if caption:
        width = max(_LINE, int(_CAPTION_PER_INCH * float(figure.get_size_inches()[0])))
        figure.suptitle(textwrap.fill(caption, width), x=0.01, ha="left", fontsize=9, color=MUTED)
    axes = figure.subplots(down, across, squeeze=False).reshape(-1)
    for index, cell in enumerate(axes):
        cell.set_axis_off()
        if index < len(images):
            canvas = Canvas(cell)
            canvas.image(*shown if isinstance(shown := images[index], SmallCopy) else (shown,))
            draw(canvas, index)
    return figure


def save(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a figure as PNG, atomically.

    Args:
        figure: what is written.
        path: the .png file.
        dpi: pixels per inch.
    """
    with storage.replacing(path) as beside:
        beside.write_bytes(png(figure, dpi=dpi))


def png(figure: Figure, *, dpi: int = 110) -> bytes:
    """Return a figure as the bytes of a PNG.

    Args:
        figure: what is drawn.
        dpi: pixels per inch.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, dpi=dpi, format="png", facecolor="white")
    return file.getvalue()
