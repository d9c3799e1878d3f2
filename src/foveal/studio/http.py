"""The addresses of a studio, for its page on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, JsonValue
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from foveal import __version__
from foveal.core.errors import FovealError
from foveal.evaluation.writers import LAYOUTS
from foveal.runs import folder as run
from foveal.serve.admission import RequestRefusedError
from foveal.serve.guard import Guard, Rules, error_response
from foveal.serve.measures import Measures
from foveal.serve.page import add_page
from foveal.studio import jpegs, views
from foveal.studio.assets import page_texts
from foveal.studio.studio import Studio
from foveal.studio.writing import export

_WAIT_SECONDS = 2.0  # that a page may wait for news in one request; short, so that the studio ends soon
_MOST_LISTED = 500  # images in one answer
Position = Annotated[int, Query(ge=0)]


class Who(BaseModel):
    """Who asks.

    Attributes:
        session: a page, by a name of its own.
    """

    model_config = ConfigDict(extra="forbid")

    session: str


class Which(Who):
    """Who asks, and about which image.

    Attributes:
        image: its number.
    """

    image: int


class Decision(Which):
    """What a session decided about an image.

    Attributes:
        label: a class, a list of classes, a list of points (x, y) or null; null takes the label away.
        left_out: whether the image is left out; null leaves that as it is.
        is_right: whether its label was looked at and found right.
        together_with: the number of an image that stays on its side of the split.
    """

    label: JsonValue = None
    left_out: bool | None = None
    is_right: bool = False
    together_with: int | None = None


class Beginning(Who):
    """What is labelled, or further classes.

    Attributes:
        task: the kind; null where it was chosen before.
        remove: a class that no image has, to be removed.
        names: of the classes or points.
    """

    names: list[str]
    task: str | None = None
    remove: str | None = None


class Wanted(BaseModel):
    """What is to be written.

    Attributes:
        format: "csv", "jsonl", "parquet", or a layout of a labelling tool.
    """

    model_config = ConfigDict(extra="forbid")

    format: str


def studio_app(studio: Studio, ready: Callable[[], None], ended: Callable[[], None]) -> FastAPI:
    """Return the application of a studio, which starts and stops with its lifespan.

    Args:
        studio: that it is about.
        ready: called as it starts.
        ended: called once all is written.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        studio.start()
        ready()
        yield
        await asyncio.to_thread(studio.stop)
        ended()

    app = FastAPI(title="foveal studio", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    rules = Rules(hosts=frozenset({"localhost"}), origins=frozenset(), keys=())
    app.add_middleware(Guard, measures=Measures(), rules=rules)
    for error in (FovealError, HTTPException, OSError, RequestValidationError):
        app.add_exception_handler(error, _refused)
    add_page(app, page_texts())
    _add_reading(app, studio)
    _add_decisions(app, studio)
    _add_results(app, studio)
    return app


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return error_response(RequestRefusedError(error.status_code, str(error.detail)))
    if isinstance(error, OSError):
        return error_response(RequestRefusedError(507, f"It could not be written: {error.strerror or error}."))
    if isinstance(error, RequestValidationError):
        odd = error.errors()[0]
        return error_response(RequestRefusedError(422, f"{'.'.join(map(str, odd['loc']))}: {odd['msg']}"))
    return error_response(RequestRefusedError(422, str(error)))


def _add_reading(app: FastAPI, studio: Studio) -> None:
    desk = studio.desk

    @app.get("/state", summary="All that every view shows; waits for something newer than `since`, two seconds.")
    def state(session: str, since: int = -1) -> dict[str, object]:
        desk.wait(since, _WAIT_SECONDS)
        return views.state_of(studio, session)

    @app.get("/next", summary="The images that a session should label next.")
    def following(session: str, k: Annotated[int, Query(ge=1, le=50)] = 6) -> list[dict[str, object]]:
        return [views.image_of(studio, at) for at in desk.next_for(session, k)]

    @app.get("/images", summary="A window of the images that a filter lets through.")
    def images(
        show: Literal["all", "labelled", "open", "left out"] = "all",
        of: str = "",
        text: str = "",
        start: Position = 0,
        n: Annotated[int, Query(ge=1, le=_MOST_LISTED)] = 100,
    ) -> dict[str, object]:
        found = views.chosen(studio, show, of, text)
        return {"n": len(found), "images": [views.image_of(studio, at) for at in found[start : start + n]]}

    @app.get("/images/{at}", summary="An image, its label and what is answered.")
    def one(at: int) -> dict[str, object]:
        return views.image_of(studio, desk.position(at))

    def jpeg(get: Callable[..., jpegs.Jpeg], at: int) -> Response:
        made = get(desk.collection.images[desk.position(at)].file)
        return Response(made.content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})

    @app.get("/small/{at}", response_class=Response, summary="A tile of an image, JPEG.")
    def small(at: int) -> Response:
        return jpeg(jpegs.small, at)

    @app.get("/large/{at}", response_class=Response, summary="An image to look at, JPEG.")
    def large(at: int) -> Response:
        return jpeg(jpegs.large, at)

    @app.get("/issues", summary="Labels that are probably wrong, the likeliest first.")
    def issues() -> list[dict[str, object]]:
        return views.issues_of(studio)

    @app.get("/copies", summary="Images that show the same, and images unlike the rest.")
    def copies() -> dict[str, object]:
        return views.copies_of(studio)


def _add_decisions(app: FastAPI, studio: Studio) -> None:
    desk = studio.desk

    @app.post("/begin", summary="Say what is labelled, or add classes.")
    def begin(given: Beginning) -> dict[str, object]:
        if given.task is not None:
            desk.begin(given.task, given.names)
        elif given.remove is not None:
            desk.remove_name(given.remove, given.session)
        else:
            desk.add_names(given.names, given.session)
        return views.state_of(studio, given.session)

    @app.post("/decide", summary="Decide about an image; it is on disk when this is answered.")
    def decide(given: Decision) -> dict[str, object]:
        if given.left_out is not None:
            desk.leave_out(given.image, given.left_out, given.session)
        elif given.together_with is not None:
            desk.keep_together(given.image, given.together_with, given.session)
        elif given.is_right:
            desk.confirm(given.image, given.session)
        else:
            desk.label(given.image, given.label, given.session)
        return views.image_of(studio, given.image)

    @app.post("/later", summary="Do not label an image now.")
    def later(given: Which) -> dict[str, object]:
        desk.release(desk.position(given.image), given.session)
        return {}

    @app.post("/back", summary="Take back the last decision of a session.")
    def back(given: Who) -> dict[str, object]:
        entry = desk.take_back(given.session)
        return {"images": [] if entry is None else list(desk.positions(entry.images))}


def _add_results(app: FastAPI, studio: Studio) -> None:
    @app.post("/look-for-copies", summary="Begin to look for copies.")
    def look_for_copies() -> dict[str, object]:
        studio.look_for_copies()
        return views.copies_of(studio)

    @app.post("/export", summary="Write the labels in a format beside the images.")
    def write(wanted: Wanted) -> dict[str, object]:
        desk, collection, is_layout = studio.desk, studio.desk.collection, wanted.format in LAYOUTS
        ending = f"{wanted.format}.json" if is_layout else f"exported.{wanted.format}"
        path = collection.journal.parent / f"{collection.given.stem}.{ending}"
        marks = desk.snapshot()
        unreadable = marks.labels.keys() & desk.refused.keys() - marks.left_out if is_layout else set[str]()
        marks.left_out |= unreadable  # a layout has the size of each image
        return {
            "path": str(path),
            "n": export(path, wanted.format, collection, marks),
            "unreadable": sorted(unreadable),
        }

    @app.post("/train", summary="Train fully on the labels so far.")
    def train() -> dict[str, object]:
        return studio.train().state()

    @app.get("/train", summary="The run at work, or the last one.")
    def trained() -> dict[str, object]:
        return {} if studio.training is None else studio.training.state()

    @app.get("/hand-over/{file}", response_class=FileResponse, summary="The model or the report of the last run.")
    def hand_over(file: Literal["model", "report"]) -> FileResponse:
        if studio.training is None or studio.training.is_at_work:
            raise HTTPException(404, "There is no run that has ended.")
        name = run.MODEL if file == "model" else run.REPORT
        path = studio.training.folder / name
        if not path.is_file():
            raise HTTPException(404, f"The run has no {name}.")
        return FileResponse(path, filename=name)
