"""Runs the service: one process or several that answer until they are told to end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import uvicorn

from foveal.core.errors import InputError
from foveal.serve.http import SETTINGS, app_of
from foveal.serve.service import ServeSettings

_SECONDS_TO_END = 30  # for requests in work when the service is told to end; chosen by hand
_IDLE_SECONDS = 5  # until an idle connection is closed: uvicorn's default
_BACKLOG = 256  # connections that wait to be accepted: as many as there are slots at most


def serve(settings: ServeSettings, ready: Callable[[], None]) -> None:
    """Serve a bundle until SIGTERM or an interrupt; requests in work are finished.

    Args:
        settings: what is served, and where.
        ready: called when the bundle is loaded and the address is free.

    Raises:
        ModelFileError: the bundle cannot be loaded.
        InputError: the address is taken or does not exist.
    """
    _check_free(settings.host, settings.port)
    app = app_of(settings)
    ready()
    os.environ[SETTINGS] = settings.model_dump_json()
    several = settings.workers > 1  # then each process builds its own application
    uvicorn.run(
        "foveal.serve.http:app_from_environment" if several else app,
        factory=several,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_SECONDS_TO_END,
        backlog=_BACKLOG,
    )


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(f"The service cannot listen on {host}:{port}: {error}. Choose another --port.") from error
