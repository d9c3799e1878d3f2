"""The page of the service: a frame that all kinds of models share, and the section, script and style of one kind."""

from __future__ import annotations

import importlib.resources
from collections.abc import Awaitable, Callable
from importlib.resources.abc import Traversable

from fastapi import FastAPI
from starlette.responses import Response

from foveal.reporting import page

STATIC = importlib.resources.files("foveal.serve").joinpath("static")
_SECTION = "<!-- section -->"  # where the section of a kind stands in the frame


def add_page(app: FastAPI, folder: Traversable, name: str) -> None:
    """Add the page at `/`, and its script and style beside it.

    Args:
        app: what they are added to.
        folder: holds NAME.html (a part of the page), NAME.js and NAME.css. The script follows the frame's and calls
            `start` with a function that is called once `model` is filled.
        name: of the kind's files.
    """

    def read(place: Traversable, file: str) -> str:
        return place.joinpath(file).read_text(encoding="utf-8")

    frame = read(STATIC, "index.html").replace(_SECTION, read(folder, f"{name}.html"))
    script = read(STATIC, "app.js") + read(folder, f"{name}.js")
    style = page.STYLE + read(STATIC, "app.css") + read(folder, f"{name}.css")
    for path, text, kind in (("/", frame, "html"), ("/app.js", script, "javascript"), ("/app.css", style, "css")):
        app.add_api_route(path, _file(text, f"text/{kind}; charset=utf-8"), include_in_schema=False)


def _file(content: str, kind: str) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return answer
