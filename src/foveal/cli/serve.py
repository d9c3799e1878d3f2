"""`foveal serve`: a model over HTTP, with a page."""

from __future__ import annotations

from typing import Annotated

import typer

from foveal.cli.options import Device, Model

Option = typer.Option


def serve(
    model: Model,
    *,
    host: Annotated[str, Option(help="Where to listen; 0.0.0.0 is every address of this machine.")] = "127.0.0.1",
    port: Annotated[int, Option(min=1, max=65535, help="The port.")] = 8000,
    workers: Annotated[int, Option(min=1, help="Processes that answer, each with the model.")] = 1,
    max_queue: Annotated[
        int | None, Option(min=1, help="Images at work at once; others are told to try again. (default: measured)")
    ] = None,
    max_body: Annotated[str, Option(help="The largest request, such as 20MB.")] = "20MB",
    device: Device = None,
) -> None:
    """Serve a model: a page at /, POST /predict, GET /model, /healthz, /readyz, /metrics, /openapi.json."""
    from foveal.core import lazy

    for package in ("uvicorn", "fastapi", "python_multipart", "prometheus_client"):
        lazy.require(package, extra="serve", purpose="Serving")
    from foveal.runs.parsing import parse_bytes
    from foveal.serve.run import serve as run
    from foveal.serve.service import ServeSettings

    settings = ServeSettings(
        model=model.absolute(),
        host=host,
        port=port,
        workers=workers,
        max_queue=max_queue,
        max_body=parse_bytes(max_body),
        device=device,
    )
    shown = f"[{host}]" if ":" in host else host
    run(settings, lambda: typer.echo(f"Serving {model.name}: http://{shown}:{port}   (end it with Ctrl-C)"))
