"""The page's texts: a frame for all kinds of models, the section and script of one kind, and a source of answers."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from typing import NamedTuple

from foveal.inference.predictor import Predictor
from foveal.reporting import page
from foveal.tasks.confidence import radius_note
from foveal.tasks.kinds import kind_of

STATIC = importlib.resources.files("foveal.serve").joinpath("static")
_SECTION = "<!-- section -->"  # where the section of a kind stands in the frame


class PageTexts(NamedTuple):
    """A page, and its script and style, `app.js` and `app.css` beside it."""

    html: str
    script: str
    style: str


def page_texts(folder: Traversable, name: str, scripts: Sequence[str] = ()) -> PageTexts:
    """Return the page of a kind of models.

    Args:
        folder: holds NAME.html (a part of the page), NAME.js and NAME.css. The script calls `start` with a function
            that is called once `model` is filled.
        name: of the kind's files.
        scripts: of the frame's folder, which say where the model and its answers come from: they define `loadModel`,
            `fault`, and what the script of the kind calls.
    """

    def read(place: Traversable, file: str) -> str:
        return place.joinpath(file).read_text(encoding="utf-8")

    frame = read(STATIC, "index.html").replace(_SECTION, read(folder, f"{name}.html"))
    script = "".join(read(STATIC, file) for file in ("app.js", *scripts)) + read(folder, f"{name}.js")
    return PageTexts(frame, script, page.STYLE + read(STATIC, "app.css") + read(folder, f"{name}.css"))


def page_model(predictor: Predictor) -> dict[str, object]:
    """Return what the page of images needs to know of a model, whoever answers for it."""
    task = predictor.task
    return {
        "names": list(task.names),
        "thresholds": dict(zip(task.names, task.decision.thresholds, strict=False)),
        "decides": kind_of(task).has_thresholds,
        "explains": False,
        "collects": False,
        "radius_note": radius_note(task),
        "skeleton": [list(pair) for pair in getattr(task, "skeleton", ())],
    }
