"""The jobs after training, and both sides of every bound of rows: see `grid`."""

import itertools

import pytest

from extremes import sources
from extremes.grid import ARCH, FULL, foveal, judge_run

pytestmark = pytest.mark.filterwarnings("default")

FORMS = [
    *itertools.product(
        [("multi-label", "several"), ("single-label", "two classes"), ("points", "usual"), ("regression", "usual")],
        [2, 40],
    )
]


@pytest.mark.parametrize(("target", "rows"), FORMS, ids=str)
def test_the_jobs_after_training(target, rows, weights, tmp_path):
    """Report, compare, export, every form of answer, folds and seeds, on two rows and on forty."""
    options = sources.write_source(tmp_path, target, rows, side="half", group="none", images="40 x 30")
    how = [
        "--size",
        32,
        "--arch",
        ARCH,
        "--weights",
        weights,
        "--epochs",
        1,
        "--batch-size",
        8,
        "--precision",
        "fp32",
        "--no-pictures",
    ]
    out = tmp_path / "run"
    assert foveal("train", *options, *how, "--out", out)[0] == 0
    model = out / "model.safetensors"
    assert foveal("report", out, "--out", tmp_path / "again.html")[0] == 0
    assert foveal("compare", out, out)[0] in {0, 2}
    assert foveal("info", model)[0] == 0
    assert foveal("export", model, "--to", "torch-export", "--out", tmp_path / "model.pt2")[0] == 0
    for form in (["--out", tmp_path / "a.csv"], ["--out", tmp_path / "a.jsonl"], ["--out", tmp_path / "shards"], []):
        code, printed = foveal("predict", model, tmp_path / "images", *form)
        assert code in {0, 2}, printed
    for several in (["--folds", 2], ["--seeds", 2]):
        code, printed = foveal("train", *options, *how, *several, "--out", tmp_path / several[0][2:])
        assert code in {0, 2}, printed
        if code == 0:
            assert (tmp_path / several[0][2:] / "summary.json").exists()


LARGE = [
    *itertools.product(
        [("points", "usual"), ("multi-label", "several"), ("regression", "usual")], [1023, 1024, 1025, 1026, 5000]
    )
]
CHOSEN = (
    LARGE
    if FULL
    else [(("points", "usual"), 1025), (("points", "missing but for two"), 2100), (("multi-label", "several"), 1026)]
)


@pytest.mark.parametrize(("target", "rows"), CHOSEN, ids=str)
def test_on_both_sides_of_every_bound_of_rows(target, rows, weights, tmp_path):
    options = sources.write_source(tmp_path, target, rows, side="one to validate", group="none", images="40 x 30")
    how = ["--size", 16, "--arch", ARCH, "--weights", weights, "--epochs", 1, "--precision", "fp32"]
    code, printed = foveal("train", *options, *how, "--out", tmp_path / "run")
    assert code == 0, printed
    judge_run(tmp_path / "run", rows)
