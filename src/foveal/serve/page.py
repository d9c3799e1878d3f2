"""The page of the service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from starlette.responses import Response

from foveal.serve.assets import PageTexts


def add_page(app: FastAPI, texts: PageTexts) -> None:
    """Add the page at `/`, and its script and style beside it.

    Args:
        app: what they are added to.
        texts: of the page.
    """
    for path, text, kind in (
        ("/", texts.html, "html"),
        ("/app.js", texts.script, "javascript"),
        ("/app.css", texts.style, "css"),
    ):
        app.add_api_route(path, _file(text, f"text/{kind}; charset=utf-8"), include_in_schema=False)


def _file(content: str, kind: str) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return answer
