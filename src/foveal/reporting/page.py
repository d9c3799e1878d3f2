"""The parts of every HTML page that foveal writes: one style, escaped text, images inside the file.

A page needs no network, works in light and dark, on a phone and on paper. Whatever comes from data goes through
`escape`, so that names with markup in them stay text.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STYLE = """
:root { color-scheme: light dark; --ink: #1d1f21; --soft: #5f6368; --ground: #ffffff; --card: #f4f5f7; --line: #dcdfe4;
  --error: #b3261e; --warning: #8a5a00; --note: #33658a; --right: #007a5a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a0a5ab; --ground: #17191b; --card: #212427;
  --line: #373b40; --error: #ff8a80; --warning: #ffc166; --note: #8ec5ee; --right: #3fbf9a; } }
body { margin: 2rem auto; padding: 0 1rem; max-width: 62rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p.lead { color: var(--soft); } .error { color: var(--error); } .warning { color: var(--warning); }
.note { color: var(--note); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .8rem .3rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
td:first-child { min-width: 6.5rem; } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.images { display: flex; flex-wrap: wrap; gap: .6rem; } figure { margin: 0; background: var(--card); padding: .4rem;
  border-radius: .4rem; width: 9.5rem; } figure img { width: 100%; border-radius: .2rem; display: block; }
figure.wide { width: auto; background: #fff; } figure.wide img { width: auto; max-width: 100%; }
pre { background: var(--card); padding: .7rem; border-radius: .4rem; overflow-x: auto; }
figcaption { font-size: .78rem; color: var(--soft); overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; } figure { break-inside: avoid; } }
"""


MOST_ROWS = 1000
"""Rows of a table that are shown: a page of ten such tables is still under 5 MB."""


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page; `parts` are HTML already."""
    head = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'unsafe-inline'\"><style>{STYLE}</style></head><body><main>"
    )
    return head + "\n".join(parts) + "</main></body></html>\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; numbers are set to the right. Of very many rows the first are shown, and how many follow."""
    lines = list(rows)
    more = len(lines) - MOST_ROWS
    lines = lines[:MOST_ROWS]
    right = [bool(lines) and _is_number(cell) for cell in (lines[0] if lines else head)]
    kinds = (' class="number"' if number else "" for number in right)
    names = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, head, strict=True))
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in lines)
    rest = f"<p>… and {more:,} more.</p>" if more > 0 else ""
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>{rest}"


def number(value: float, digits: int = 3) -> str:
    """Return a number as people read it, with so many digits where it is small."""
    if isinstance(value, int):
        return str(value)
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return "not defined" if math.isnan(value) else f"{value:.{digits}g}"
    return f"{value:.{digits if abs(value) < 10 else 1}f}"


def intervals(figures: Mapping[str, tuple[float, float, float]]) -> list[tuple[str, float, str]]:
    """Return rows of figures, each with its low and high bound."""
    rows = ((name.replace("_", " "), *bounds) for name, bounds in figures.items())
    return [
        (name, value, "not defined" if math.isnan(low) else f"{number(low)} to {number(high)}")
        for name, value, low, high in rows
    ]


def image(pixels: NDArray[np.uint8], caption: str, *, side: int = 300) -> str:
    """Return a figure with an image, uint8 [H, W, 3], made small enough to travel in the page."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return _figure(file.getvalue(), "jpeg", caption)


def drawing(png: bytes, caption: str) -> str:
    """Return a wide figure with a drawing."""
    return _figure(png, "png", caption, ' class="wide"')


def _figure(file: bytes, kind: str, caption: str, attributes: str = "") -> str:
    data, said = base64.b64encode(file).decode(), escape(caption)
    image = f'<img alt="{said}" src="data:image/{kind};base64,{data}">'
    return f"<figure{attributes}>{image}<figcaption>{said}</figcaption></figure>"


def _is_number(cell: object) -> TypeGuard[int | float]:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _cell(cell: object) -> str:
    return f'<td class="number">{number(cell)}</td>' if _is_number(cell) else f"<td>{escape(str(cell))}</td>"
