"""The `foveal` command: its verbs, ours and those of plugins, and how errors end it."""

from __future__ import annotations

import atexit
import errno
import io
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import typer

from foveal import __version__
from foveal.cli import (
    check,
    compare,
    decide,
    demo,
    evaluate,
    export,
    info,
    monitor,
    port,
    predict,
    report,
    serve,
    studio,
    train,
)
from foveal.cli.next import label_next
from foveal.cli.similar import similar
from foveal.core import distributed, timing
from foveal.core.errors import FovealError, ProcessEndedError
from foveal.core.registry import load_plugins

app = typer.Typer(
    name="foveal",
    help="From a folder or a table of images to a trained, explained and served model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
_OF_THE_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE}
)
"""Errors of files that are the machine's, and tell all by themselves: a full disk, rights, too many open files."""


def _add_verb(verb: Callable[..., None]) -> None:
    """Add a command whose options are settings of a run; they are made once it is called, as that takes pydantic.

    Args:
        verb: takes the settings that were given as `given`, and arguments of its own.
    """

    @app.command(
        verb.__name__,
        help=verb.__doc__,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    )
    def call(context: typer.Context) -> None:
        from foveal.cli.run_options import run_verb

        if code := run_verb(verb, context):
            raise typer.Exit(code)


_add_verb(check.check)
_add_verb(train.train)
app.command("predict")(predict.predict)
_add_verb(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("export")(export.export)
app.command("info")(info.info)
app.command("set")(decide.set_decision)
_add_verb(report.report)
app.command("serve")(serve.serve)
app.command("next")(label_next)
app.command()(similar)
_add_verb(studio.studio)
app.command("monitor")(monitor.monitor)
app.command("demo")(demo.demo)
app.command("port")(port.port)
for _name, _verb in load_plugins("foveal.verbs"):  # a package may add verbs for models of its own kinds
    assert callable(_verb)
    app.command(_name)(_verb)


@app.callback(invoke_without_command=True)
def root(*, version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    """From a folder or a table of images to a trained, explained and served model."""
    if version:
        typer.echo(f"foveal {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command, and end the process."""
    code: object = 0
    try:
        run()
    except SystemExit as ended:
        code = ended.code
    if code is not None and not isinstance(code, int):
        raise SystemExit(code)
    # Taking torch and its like apart piece by piece would take a second; what asked to be done at the end is done.
    atexit._run_exitfuncs()  # noqa: SLF001 -- what Python itself calls at this point
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def run() -> None:
    """Run the command; what the user can mend ends with one message and exit code 2."""
    warnings.showwarning = _note
    for stream in (sys.stdout, sys.stderr):  # names of files and classes that the terminal cannot show are no error
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("default", category=DeprecationWarning, module=r"foveal\b")
    if distributed.has_given_up():
        sys.exit(2)
    if not distributed.is_first():
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- to the end of the process
    try:
        with timing.spent():
            app()
    except ProcessEndedError:
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("foveal: interrupted.", err=True)
        sys.exit(130)
    except Exception as error:
        is_first, message = distributed.give_up(), _message_of(error)
        if message is None:
            raise
        if is_first:
            typer.echo(f"foveal: {message}", err=True)
        sys.exit(2)


def _message_of(error: Exception) -> str | None:
    """Return what is printed instead of a traceback; None of an error that nobody expected."""
    if isinstance(error, FovealError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        where = "" if error.filename is None else f"`{error.filename}`: "
        return f"{where}{error.strerror}."
    return None


def _note(message: Warning | str, *_: object, **__: object) -> None:
    if distributed.is_first():
        typer.echo(f"note: {message}", err=True)
