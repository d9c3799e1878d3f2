"""Runs the service: one process or several that answer until they are told to end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from foveal.core.errors import FovealError, InputError
from foveal.inference.loading import load_predictor
from foveal.serve.hosting import SETTINGS, Hosting, WatchedFiles
from foveal.serve.protocol import BoundedHttp
from foveal.serve.service import ServeSettings

_SECONDS_TO_END = 30  # for requests in work when the service is told to end; chosen by hand
_SECONDS_TO_BEGIN = 120  # for a process to load its models, also where the machine has other work; chosen by hand
_IDLE_SECONDS = 5  # until an idle connection is closed: uvicorn's default
_BACKLOG = 256  # connections that wait to be accepted: as many as there are slots at most
_USUAL: dict[str, Any] = {
    "http": BoundedHttp,
    "access_log": False,
    "server_header": False,
    "log_level": "warning",
    "timeout_keep_alive": _IDLE_SECONDS,
    "backlog": _BACKLOG,
    "proxy_headers": False,  # the service reads them itself, while it still knows who connected
}


def serve(settings: ServeSettings, ready: Callable[[], None]) -> None:
    """Serve bundles until SIGTERM or an interrupt; requests in work are finished.

    SIGHUP loads the bundles anew, and so does a changed file where the settings say so; no request is dropped.

    Args:
        settings: what is served, and where.
        ready: called when the bundles are loaded and the address is free.

    Raises:
        ModelFileError: a bundle cannot be loaded.
        InputError: the address is taken or does not exist, or two models have one name.
    """
    check_free(settings.host, settings.port)
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, _end)  # uvicorn raises it again once it has ended
    if settings.workers > 1:
        with tempfile.TemporaryDirectory(prefix="foveal-") as folder:
            _Workers(settings, Path(folder), ready).run()
        return
    app = Hosting(settings)
    ready()
    uvicorn.run(app, **_options(settings))


def run_app(app: Any, *, host: str, port: int) -> None:
    """Serve an application of this machine until SIGTERM or an interrupt; requests in work are finished.

    Args:
        app: ASGI.
        host: where to listen.
        port: where to listen.
    """
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, _end)
    uvicorn.run(app, host=host, port=port, **_USUAL, timeout_graceful_shutdown=_SECONDS_TO_END)


def _options(settings: ServeSettings) -> dict[str, Any]:
    return _USUAL | {
        "host": settings.host,
        "port": settings.port,
        "timeout_worker_healthcheck": _SECONDS_TO_BEGIN,
        "timeout_graceful_shutdown": _SECONDS_TO_END,
    }


def _end(*_: object) -> None:
    sys.exit(0)


class _Workers(Multiprocess):
    """Processes that all answer with the same bundles: copies, made as the service starts or is told to load anew."""

    def __init__(self, settings: ServeSettings, folder: Path, ready: Callable[[], None]) -> None:
        """Check and copy the bundles, and take the address.

        Args:
            settings: with more than one worker.
            folder: for the copies.
            ready: called when the bundles are read.
        """
        self._settings, self._folder, self._n_copied = settings, folder, 0
        self._pin()
        self._files = WatchedFiles(settings.models)
        ready()
        config = uvicorn.Config(
            "foveal.serve.hosting:hosting_from_environment",
            factory=True,
            workers=settings.workers,
            **_options(settings),
        )
        super().__init__(config, sockets=[config.bind_socket()])

    def _pin(self) -> None:
        """Copy the bundles, so that a process that starts later has the same ones."""
        self._settings.of_each()
        self._n_copied += 1
        copies = []
        for at, file in enumerate(self._settings.models):
            load_predictor(file, device=self._settings.device)  # so that it is refused here, and only once
            copies.append(self._folder / f"{self._n_copied}-{at}.safetensors")
            shutil.copyfile(file, copies[-1])
        pinned = self._settings.model_copy(update={"loaded_from": tuple(copies)})
        os.environ[SETTINGS] = pinned.model_dump_json()

    def handle_hup(self) -> None:
        """Load the bundles anew: one process after the other is replaced by one that is ready."""
        try:
            self._pin()
        except (FovealError, OSError) as error:
            print(f"foveal: not loaded anew, the models from before stay: {error}", file=sys.stderr)  # noqa: T201
            return
        super().handle_hup()

    def keep_subprocess_alive(self) -> None:
        """Replace processes that have died, and look whether the files have changed."""
        super().keep_subprocess_alive()
        if self._settings.watch and self._files.have_changed():
            self.handle_hup()


def check_free(host: str, port: int) -> None:
    """Refuse an address that is taken or does not exist.

    Raises:
        InputError: it is.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(f"The service cannot listen on {host}:{port}: {error}. Choose another --port.") from error
