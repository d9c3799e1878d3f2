"""The parts of every HTML page that foveal writes: style, escaped text, embedded images, tables cut when long.

A page needs no network, works in light and dark, on a phone and on paper. The templates beside this module do all of
the markup and escape whatever is put into them: a plain `str` is text, so that names with markup in them stay inert;
a `Markup` is HTML that another part of this module has returned.
"""

from __future__ import annotations

import base64
import functools
import importlib.resources
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from foveal.core.formats import format_number
from foveal.images.channels import shown_as_rgb

if TYPE_CHECKING:
    from jinja2 import Environment

STYLE = importlib.resources.files("foveal.reporting").joinpath("templates/style.css").read_text(encoding="utf-8")
"""The style sheet of every page; the service's own pages begin with it."""

MOST_ROWS = 1000
"""Rows of a table that are shown: a page of ten such tables is still under 5 MB."""
_SIDE = 300  # pixels of an image's long side: twice its width on the page, for screens of double density
_QUALITY = 80  # of JPEG; chosen by hand: about 10 kB for each image

number = format_number


def page(title: str, parts: Iterable[str]) -> Markup:
    """Return a whole page.

    Args:
        title: of the browser's window.
        parts: what the functions below return; plain text among them is escaped.
    """
    return _render("page.html", title=title, parts=parts)


def opening(title: str, lead: str) -> Markup:
    """Return the title of a page, and a line that says what the page is about.

    Args:
        title: the heading of the whole page.
        lead: one sentence below it.
    """
    return _render("opening.html", title=title, lead=lead)


def links(title: str, addresses: Mapping[str, str]) -> Markup:
    """Return a whole page of links, whose style is `app.css` beside it.

    Args:
        title: the heading.
        addresses: of the links, by what they are called.
    """
    return _render("links.html", title=title, addresses=addresses)


def section(heading: str, *parts: str, level: str = "") -> Markup:
    """Return a section with its heading.

    Args:
        heading: above the section.
        parts: what the section holds; plain text among them is escaped.
        level: of a finding ("error", "warning" or "note"), written in its colour before the heading.
    """
    return _render("section.html", heading=heading, parts=parts, level=level)


def paragraph(text: str) -> Markup:
    """Return a paragraph."""
    return _render("paragraph.html", text=text)


def code(text: str) -> Markup:
    """Return text as it is typed, such as a command."""
    return _render("code.html", text=text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table; numbers are set to the right. Of very many rows the first are shown, and how many follow.

    Args:
        head: the name of each column.
        rows: a cell per column; whatever is neither a number nor `Markup` is shown as its text.
    """
    lines = list(rows)
    first = lines[0] if lines else head
    return _render(
        "table.html",
        head=head,
        right=[bool(lines) and _is_number(cell) for cell in first],
        rows=[[_cell(cell) for cell in row] for row in lines[:MOST_ROWS]],
        n_more=max(0, len(lines) - MOST_ROWS),
    )


def intervals(metrics: Mapping[str, tuple[float, float, float]]) -> list[tuple[str, float, str]]:
    """Return a row per metric: its name, its value, and its interval in words.

    Args:
        metrics: by name (value, low bound, high bound); NaN where it is not defined.
    """
    rows = ((name.replace("_", " "), *bounds) for name, bounds in metrics.items())
    return [
        (name, value, "not defined" if math.isnan(low) else f"{number(low)} to {number(high)}")
        for name, value, low, high in rows
    ]


def image(pixels: NDArray[np.uint8], caption: str, *, side: int = _SIDE) -> Markup:
    """Return a figure with an image, made small enough to travel in the page.

    Args:
        pixels: uint8 [H, W, C]; of four channels the first three are shown.
        caption: below the image, and what is read out where the image cannot be seen.
        side: the most pixels of its long side.
    """
    image = Image.fromarray(shown_as_rgb(pixels))
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return _figure(caption, file.getvalue(), "jpeg")


def drawing(png: bytes, caption: str) -> Markup:
    """Return a wide figure with a drawing.

    Args:
        png: the bytes of a PNG.
        caption: below the drawing, and what is read out where it cannot be seen.
    """
    return _figure(caption, png, "png", is_wide=True)


def missing_image(caption: str) -> Markup:
    """Return a figure instead of an image that cannot be shown; the caption says which."""
    return _figure(caption, b"", "")


def gallery(figures: Iterable[Markup]) -> Markup:
    """Return figures side by side."""
    return _render("gallery.html", figures=figures)


class _Cell(NamedTuple):
    text: str
    is_number: bool


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("foveal.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _render(template: str, **values: object) -> Markup:
    # A rendered template says by its `__html__` that it is HTML, so this escapes nothing a second time.
    return Markup.escape(_environment().get_template(template).make_module(values))


def _figure(caption: str, file: bytes, kind: str, *, is_wide: bool = False) -> Markup:
    data = base64.b64encode(file).decode()
    return _render("figure.html", caption=caption, data=data, kind=kind, is_wide=is_wide)


def _is_number(cell: object) -> TypeGuard[int | float]:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _cell(cell: object) -> _Cell:
    if _is_number(cell):
        return _Cell(number(cell), is_number=True)
    return _Cell(cell if isinstance(cell, Markup) else str(cell), is_number=False)
