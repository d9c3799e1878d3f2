"""Opens a studio and serves its page until it is told to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from foveal.runs.image_settings import ImageRun
from foveal.serve.run import check_free, run_app
from foveal.studio.http import studio_app
from foveal.studio.studio import open_studio

HOST = "127.0.0.1"


def run_studio(
    settings: ImageRun, names: Sequence[str], *, arch: str | None, port: int, tell: Callable[[str, str], None]
) -> None:
    """Serve the page of a studio until SIGTERM or an interrupt.

    Args:
        settings: name the folder or table, and how it is read.
        names: of classes or points, where nothing is labelled yet.
        arch: the backbone that looks at the images; the largest on this machine by default.
        port: where to listen, on this machine alone.
        tell: called with a line for the user, and the page's address once it can be opened, else nothing.

    Raises:
        InputError: it cannot be read, another studio is open on it, or the port is taken.
    """
    check_free(HOST, port)
    studio = open_studio(settings, arch)
    desk = studio.desk
    if names:
        if desk.marks.purpose is not None:
            desk.add_names(names, "")
        else:
            desk.begin(settings.task.task, names)
    given, address = settings.data.table, f"http://{HOST}:{port}/"

    def ready() -> None:
        tell(f"The studio of {given}: {address}   (end it with Ctrl-C)", address)

    def ended() -> None:
        kept = (
            "Nothing was decided."
            if studio.written is None
            else f"{studio.written.n:,} labels in {studio.written.path}."
        )
        tell(f"{kept} To go on: foveal studio {given}", "")

    run_app(studio_app(studio, ready, ended), host=HOST, port=port)
