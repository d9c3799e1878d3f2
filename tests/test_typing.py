"""What an editor and mypy see: a user's script passes `--strict`, a misspelt argument does not."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import foveal
from foveal.cli.run_options import NOT_OPTIONS, OPTIONS
from foveal.runs.settings import RUNS

HERE = Path(__file__).parent
STUB = ast.parse((Path(foveal.__file__).parent / "__init__.pyi").read_text())


def options(verb):
    fields = ((name, panel) for kind in RUNS for name, (panel, _) in RUNS[kind].settings.fields().items())
    return {name for name, panel in fields if OPTIONS[verb](name, panel)} - NOT_OPTIONS


def mypy(file, tmp_path):
    options = ["--strict", "--no-error-summary", "--cache-dir", tmp_path / "cache"]
    command = [sys.executable, "-m", "mypy", *options, "--config-file", HERE.parent / "pyproject.toml", file]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE / "typing", check=False)
    return [line for line in done.stdout.splitlines() if ": error:" in line]


def test_a_users_script_passes(tmp_path):
    assert mypy("good.py", tmp_path) == []


def test_mistakes_are_seen(tmp_path):
    lines = (HERE / "typing" / "bad.py").read_text().splitlines()
    expected = {number for number, line in enumerate(lines, start=1) if line.endswith("# error")}
    assert {int(re.match(r"bad.py:(\d+)", line)[1]) for line in mypy("bad.py", tmp_path)} == expected


def test_the_stub_names_what_the_package_has():
    imported = {alias.asname for node in STUB.body if isinstance(node, ast.ImportFrom) for alias in node.names} - {
        None,
        "_PathLike",
    }
    functions = {node.name for node in STUB.body if isinstance(node, ast.FunctionDef)}
    assert imported | functions | {"__version__"} == set(foveal.__all__)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("train", options("train") | {"out", "resume"}),
        ("check", options("check")),
        ("evaluate", options("evaluate") | {"split"}),
    ],
)
def test_the_stub_has_every_setting(name, settings):
    (function,) = (node for node in STUB.body if isinstance(node, ast.FunctionDef) and node.name == name)
    assert {argument.arg for argument in function.args.kwonlyargs} == settings
