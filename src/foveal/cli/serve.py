"""`foveal serve`: a model over HTTP, with a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.options import Device

Option = typer.Option
_COLLECT_LIMIT = "1GB"  # 10,000 photographs of phones
_LEAST_KEY = 16  # characters of a key; chosen by hand: 64 bits, were they hexadecimal
MaxQueue = Annotated[
    int | None,
    Option(min=1, metavar="N", help="Images at work at once; others are told to try again. (default: measured)"),
]
AllowHost = Annotated[
    list[str] | None, Option(metavar="NAME", help="A name by which the service may be asked, such as ml.example.com.")
]
AllowOrigin = Annotated[
    list[str] | None, Option(metavar="URL", help="A site whose pages may ask, such as https://example.com.")
]
Proxy = Annotated[
    list[str] | None, Option(metavar="ADDRESS", help="The address of a proxy whose X-Forwarded headers are believed.")
]
ApiKeyFile = Annotated[
    Path | None, Option(metavar="FILE", help="A file with keys, one a line, of which requests must bring one.")
]
Collect = Annotated[
    Path | None,
    Option(metavar="DIR", help="Keep images that users correct on the page in this folder, for the next training."),
]
Monitor = Annotated[
    Path | None,
    Option(metavar="DIR", help="Count in this folder what is answered, without images, for `foveal monitor`."),
]
Watch = Annotated[bool, Option("--watch", help="Load a model anew when its file changes; SIGHUP always does.")]
RootPath = Annotated[str, Option(metavar="PATH", help="The path at which a proxy has the service, such as /cats.")]


def serve(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL", help="A model.safetensors, or several: each at /models/NAME/.")
    ],
    *,
    host: Annotated[
        str, Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0 is every address of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(min=1, max=65535, metavar="PORT", help="The port.")] = 8000,
    workers: Annotated[int, Option(min=1, metavar="N", help="Processes that answer, each with the model.")] = 1,
    max_queue: MaxQueue = None,
    max_body: Annotated[str, Option(metavar="SIZE", help="The largest request, such as 20MB.")] = "20MB",
    max_pixels: Annotated[int, Option(min=1, metavar="N", help="The largest image, in pixels.")] = 25_000_000,
    device: Device = None,
    allow_host: AllowHost = None,
    allow_origin: AllowOrigin = None,
    proxy: Proxy = None,
    root_path: RootPath = "",
    api_key_file: ApiKeyFile = None,
    collect: Collect = None,
    collect_limit: Annotated[
        str, Option(metavar="SIZE", help="The most that --collect keeps, such as 1GB.")
    ] = _COLLECT_LIMIT,
    monitor: Monitor = None,
    watch: Watch = False,
) -> None:
    """Serve a model: a page at /, POST /predict, GET /model, /healthz, /readyz, /metrics, /openapi.json.

    Examples:
        foveal serve runs/train/model.safetensors

    More: docs/serving.md
    """
    from foveal.core import lazy
    from foveal.core.errors import InputError

    for package in ("uvicorn", "fastapi", "python_multipart", "prometheus_client"):
        lazy.require(package, extra="serve", purpose="Serving")
    from foveal.runs.parsing import parse_bytes
    from foveal.serve.run import serve as run
    from foveal.serve.service import ServeSettings

    if collect is None and collect_limit != _COLLECT_LIMIT:
        raise InputError(f"--collect-limit {collect_limit} bounds what --collect keeps: give --collect DIR with it.")
    settings = ServeSettings(
        model=models[0].absolute(),
        others=tuple(model.absolute() for model in models[1:]),
        host=host,
        port=port,
        workers=workers,
        max_queue=max_queue,
        max_body=parse_bytes(max_body),
        max_pixels=max_pixels,
        device=device,
        allow_hosts=tuple(allow_host or ()),
        allow_origins=tuple(allow_origin or ()),
        proxies=tuple(proxy or ()),
        root_path=parse_root_path(root_path),
        api_keys=read_keys(api_key_file) if api_key_file is not None else (),
        collect=None if collect is None else collect.absolute(),
        collect_bytes=parse_bytes(collect_limit),
        monitor=None if monitor is None else monitor.absolute(),
        watch=watch,
    )
    shown, named = f"[{host}]" if ":" in host else host, ", ".join(model.name for model in models)
    run(settings, lambda: typer.echo(f"Serving {named}: http://{shown}:{port}   (end it with Ctrl-C)"))


def parse_root_path(given: str) -> str:
    """Return the path at which a proxy has the service, without a slash at its end; nothing for none.

    Raises:
        InputError: it does not begin with a slash.
    """
    from foveal.core.errors import InputError

    path = given.rstrip("/")
    if path and not path.startswith("/"):
        raise InputError(f"--root-path begins with a slash, as /cats; got {given!r}.")
    return path


def read_keys(file: Path) -> tuple[str, ...]:
    """Return the keys in a file, one a line; blank lines and those that begin with # are left out.

    Raises:
        InputError: it cannot be read, or holds no key of at least 16 characters in each line.
    """
    from foveal.core.errors import InputError

    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"The keys in `{file}` cannot be read: {error}") from error
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if short := [at for at, key in enumerate(keys, 1) if len(key) < _LEAST_KEY or not key.isascii() or " " in key]:
        raise InputError(
            f"A key has at least {_LEAST_KEY} characters of ASCII and no space; key {short[0]} of `{file}` has not. "
            "One is made by: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    if not keys:
        raise InputError(f"`{file}` holds no key.")
    return keys
