"""A message names arguments to those who call from Python, and options to those who give a command."""

import re

import pandas as pd
import pytest

import foveal as library
from foveal.core.errors import InputError
from foveal.core.spelling import as_options, errors_spelled, in_command, spelled
from foveal.runs.door import write_clean
from foveal.runs.settings import all_settings, arguments_of_python, option


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("say --images instead.", "say `images` instead."),
        ("--time and --epochs both say", "`time` and `epochs` both say"),
        ("--epochs 0 trains the head", "`epochs=0` trains the head"),
        ("--size 12o: a number", "`size='12o'`: a number"),
        ("give --freeze-epochs or --recipe book.", "give `freeze_epochs` or `recipe='book'`."),
        ("`--on-bad skip` leaves them out", "`on_bad='skip'` leaves them out"),
        ("(--valid-column)", "(`valid_column`)"),
        ("--format NAME says otherwise", "`format=NAME` says otherwise"),
        ("--label-delimiter ' ' splits them", "`label_delimiter=' '` splits them"),
        ("--task single-label learns which", "`task='single-label'` learns which"),
        ("--items none.", "`items='none'`."),
        ("--seeds --folds", "`seeds` `folds`"),
        ("`foveal check t.csv --empty none` reads it", "`foveal check t.csv --empty none` reads it"),
        ("Resume it with: foveal train --resume runs/a", "Resume it with: foveal train --resume runs/a"),
        ("--processes 2", "--processes 2"),
        ("a -- b", "a -- b"),
    ],
)
def test_options_become_arguments(text, expected):
    known = arguments_of_python()
    assert spelled(text, known) == expected
    assert spelled(expected, known) == expected
    with as_options():
        assert in_command()
        assert spelled(text, known) == text
    assert not in_command()


def test_every_setting_is_an_argument():
    for name in all_settings():
        assert spelled(f"{option(name)} is not used.", arguments_of_python()) == f"`{name}` is not used."


def test_an_error_keeps_its_class_its_attributes_and_its_place():
    error = library.ImageError("a.jpg", "is too small; say --size 32.")
    message = re.escape("a.jpg: is too small; say `size=32`.")
    with pytest.raises(library.ImageError, match=message) as caught, errors_spelled(arguments_of_python):
        raise error
    assert caught.value is error
    assert caught.value.path == "a.jpg"


@pytest.fixture
def table(scenes, tmp_path):
    frame = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)[:8]
    frame = frame.drop(columns="is_valid")
    frame.assign(fname=[str(scenes / "scenes" / name) for name in frame.fname]).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def test_python_reads_arguments_and_the_command_options(table, tmp_path, foveal):
    for call, argument in {
        lambda: library.check(table, epochs=3): "`epochs` is not used by `foveal check`; it belongs to `foveal train`",
        lambda: library.train(table, size="12o"): "`size` is a number of pixels",
        lambda: library.train(table, time=1, epochs=2): "`time` and `epochs` both say how long to train",
        lambda: library.train(table, task="rating", folds=2): "`folds` is not used with `task='rating'`",
        lambda: library.train(table, empty="error"): "say `empty='none'`",
        library.train: "or `resume=RUN`",
        lambda: library.evaluate(tmp_path / "m.safetensors", folds=2): "`folds` is not used by `foveal evaluate`",
        lambda: write_clean(table, None, "a.csv", lr=1): "`lr` is not used by `foveal check`",
    }.items():
        with pytest.raises(InputError, match=re.escape(argument)) as caught:
            call()
        assert "--" not in str(caught.value)
    said = foveal("train", table, "--time", 1, "--epochs", 2, code=2).err
    assert "--time and --epochs both say how long to train" in said
    hints = [finding.hint for finding in library.check(table, empty="none").findings]
    assert "The table works on this machine only; say `images` instead." in hints
    assert "say --images instead" in foveal("check", table, "--empty", "none").out


def test_what_resumes_a_run_is_named_as_the_caller_does_it(tmp_path, foveal):
    (tmp_path / "run.toml").write_text('[data]\ntable = "t.csv"\n')
    with pytest.raises(
        InputError, match=re.escape(f'has not ended. Resume it with: foveal.train(resume="{tmp_path}")')
    ):
        library.Run(tmp_path)
    said = foveal("report", tmp_path, code=2).err
    assert f"has not ended. Resume it with: foveal train --resume {tmp_path}" in said
