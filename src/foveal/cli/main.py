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
from typing import Any

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
from foveal.cli.help import HelpfulCommand, HelpfulGroup, groups_of
from foveal.cli.next import label_next
from foveal.cli.similar import similar
from foveal.core import distributed, timing
from foveal.core.errors import FovealError, ProcessEndedError
from foveal.core.registry import load_plugins
from foveal.core.spelling import as_options

app = typer.Typer(
    name="foveal",
    cls=HelpfulGroup,
    help="From a folder or a table of images to a trained, explained and served model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_OF_THE_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE}
)
"""Errors of files that are the machine's, and tell all by themselves: a full disk, rights, too many open files."""


_WITH_SETTINGS: dict[str, Callable[..., None]] = {}
_DATA, _TRAIN, _USE = "Look at data and label it", "Train and read the results", "Use a model"


def _add_verb(verb: Callable[..., None], panel: str) -> None:
    """Add a command whose options are settings of a run; they are made once it is called, as that takes pydantic.

    Args:
        verb: takes the settings that were given as `given`, and arguments of its own.
        panel: the group of verbs that it is listed in.
    """
    _WITH_SETTINGS[verb.__name__] = verb

    @app.command(
        verb.__name__,
        cls=HelpfulCommand,
        rich_help_panel=panel,
        help=verb.__doc__,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    )
    def call(context: typer.Context) -> None:
        from foveal.cli.run_options import run_verb

        if code := run_verb(verb, context):
            raise typer.Exit(code)


def _add(name: str, verb: Callable[..., None], panel: str) -> None:
    app.command(name, cls=HelpfulCommand, rich_help_panel=panel)(verb)


_add("demo", demo.demo, _DATA)
_add_verb(check.check, _DATA)
_add_verb(studio.studio, _DATA)
_add("next", label_next, _DATA)
_add("similar", similar, _DATA)
_add_verb(train.train, _TRAIN)
_add_verb(evaluate.evaluate, _TRAIN)
_add_verb(report.report, _TRAIN)
_add("compare", compare.compare, _TRAIN)
_add("set", decide.set_decision, _TRAIN)
_add("port", port.port, _TRAIN)
_add("predict", predict.predict, _USE)
_add("info", info.info, _USE)
_add("serve", serve.serve, _USE)
_add("export", export.export, _USE)
_add("monitor", monitor.monitor, _USE)
for _name, _verb in load_plugins("foveal.verbs"):  # a package may add verbs for models of its own kinds
    assert callable(_verb)
    _add(_name, _verb, _USE)


@app.callback(invoke_without_command=True)
def root(*, version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    """From a folder or a table of images to a trained, explained and served model."""
    if version:
        typer.echo(f"foveal {__version__}")
        raise typer.Exit


def commands() -> dict[str, dict[str, Any]]:
    """Return the click command of each verb, with all of its options, by its group and its name."""
    from foveal.cli.run_options import command_of

    program: Any = typer.main.get_command(app)
    full = {name: command_of(verb, program.context_settings) for name, verb in _WITH_SETTINGS.items()}
    return {
        title: {name: full.get(name, program.commands[name]) for name in names}
        for title, names in groups_of(program).items()
    }


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
        with timing.spent(), as_options():
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
