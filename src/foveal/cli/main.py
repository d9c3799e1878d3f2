"""The `foveal` command: its verbs, ours and those of plugins, and how errors end it."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import typer

from foveal import __version__
from foveal.cli import check, compare, demo, evaluate, export, info, predict, report, serve, train
from foveal.cli.settings import with_settings
from foveal.core import distributed, timing
from foveal.core.errors import FovealError, ProcessEndedError
from foveal.core.registry import resolve
from foveal.runs.settings import RUNS

app = typer.Typer(
    name="foveal",
    help="From a folder or a table of images to a trained, explained and served model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command("check")(with_settings(check.check, check.SETTINGS))
app.command("train")(with_settings(train.train))
app.command("predict")(predict.predict)
app.command("evaluate")(with_settings(evaluate.evaluate, evaluate.SETTINGS))
app.command("compare")(compare.compare)
app.command("export")(export.export)
app.command("info")(info.info)
app.command("report")(with_settings(report.report, report.SETTINGS))
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
for _kind in RUNS:
    for _name, _reference in RUNS[_kind].verbs.items():
        app.command(_name)(resolve(_reference))


@app.callback(invoke_without_command=True)
def root(*, version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    """From a folder or a table of images to a trained, explained and served model."""
    if version:
        typer.echo(f"foveal {__version__}")
        raise typer.Exit


def run() -> None:
    """Run the command; what the user can mend ends with one message and exit code 2."""
    warnings.showwarning = _note
    if distributed.has_given_up():
        sys.exit(2)
    if not distributed.is_first():
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- to the end of the process
    try:
        with timing.spent():
            app()
    except ProcessEndedError:
        sys.exit(1)
    except FovealError as error:
        if distributed.give_up():
            typer.echo(f"foveal: {error}", err=True)
        sys.exit(2)
    except Exception:
        distributed.give_up()
        raise
    except KeyboardInterrupt:
        typer.echo("foveal: interrupted.", err=True)
        sys.exit(130)


def _note(message: Warning | str, *_: object, **__: object) -> None:
    if distributed.is_first():
        typer.echo(f"note: {message}", err=True)
