"""The page of a studio, its script and its style."""

from __future__ import annotations

import importlib.resources

from foveal.reporting import page
from foveal.serve.assets import PageTexts

STATIC = importlib.resources.files("foveal.studio").joinpath("static")


def page_texts() -> PageTexts:
    """Return the page, and its script and style beside it."""
    html, script, style = (
        STATIC.joinpath(f"studio.{kind}").read_text(encoding="utf-8") for kind in ("html", "js", "css")
    )
    return PageTexts(html, script, page.STYLE + style)
