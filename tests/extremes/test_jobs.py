"""The jobs after training, and both sides of every bound of rows: see `grid`."""

import itertools
import subprocess
import sys
import time

import pytest
from starlette.testclient import TestClient

from extremes import sources
from extremes.grid import ARCH, FULL, foveal, judge_run
from foveal.serve.http import app_of
from foveal.serve.service import ServeSettings

pytestmark = pytest.mark.filterwarnings("ignore")  # what is worth a note is not judged here

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
        "--no-embed-images",
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


@pytest.mark.parametrize("target", [target for target, rows in FORMS if rows == 2], ids=str)
def test_a_model_of_two_images_is_served(target, weights, tmp_path):
    options = sources.write_source(tmp_path, target, 2, side="half", group="none", images="1 x 1")
    how = ["--size", 8, "--arch", ARCH, "--weights", weights, "--epochs", 1, "--precision", "fp32"]
    assert foveal("train", *options, *how, "--out", tmp_path / "run")[0] == 0
    with TestClient(app_of(ServeSettings(model=tmp_path / "run" / "model.safetensors"))) as client:
        kind = {"Content-Type": "image/png", "Host": "localhost"}
        for image in sorted((tmp_path / "images").iterdir()):
            answer = client.post("/predict", content=image.read_bytes(), headers=kind)
            assert answer.status_code == 200, answer.text
        assert client.get("/model", headers={"Host": "localhost"}).status_code == 200


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


# What no training can use, with the words that name it.
WRONG = {
    "no label": (("multi-label", "no label"), {}, [], "no label was found"),
    "blank numbers": (("regression", "blank"), {}, [], "not known for any"),
    "infinite numbers": (("regression", "infinite"), {}, [], "not finite"),
    "numbers beyond 32 bits": (("regression", "1e300"), {}, [], "may not exceed 1e"),
    "numbers too close for 32 bits": (("regression", "around 1e12"), {}, [], "32-bit numbers lie"),
    "infinite points": (("points", "infinite"), {}, [], "not finite"),
    "half a point": (("points", "half a point"), {}, [], "only one of its coordinates"),
    "no point": (("points", "missing"), {}, [], "is not known for any"),
    "one row": (("multi-label", "several"), {"n_rows": 1}, [], "needs two items at least"),
    "one group": (("multi-label", "several"), {"group": "one"}, [], "belong to one group"),
    "one group on both sides": (("points", "usual"), {"group": "one", "side": "half"}, [], "group on both sides"),
    "more folds than rows": (("multi-label", "several"), {"n_rows": 3}, ["--folds", 5], "5 folds need as many"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("recipe", ["probe", "book"])
def test_check_and_train_refuse_in_the_same_words_before_anything_is_written(name, recipe, weights, tmp_path):
    target, source, more, words = WRONG[name]
    how = {"n_rows": 40, "side": "by foveal", "group": "none", "images": "40 x 30"} | source
    options = sources.write_source(tmp_path, target, **how)
    out = tmp_path / "run"
    code, refused = foveal(
        "train", *options, *more, "--arch", ARCH, "--weights", weights, "--recipe", recipe, "--out", out
    )
    assert code == 2
    assert words in refused
    assert not out.exists()
    checked, found = foveal("check", *options, *more)
    assert checked == 1
    assert words in found


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--seed", 2**63),
        ("--seed", 2**70),
        ("--seed", -(2**63) - 1),
        ("--lr", 0),
        ("--lr", "inf"),
        ("--batch-size", 0),
        ("--epochs", -1),
    ],
)
def test_settings_out_of_range_are_refused_by_name(option, value, tmp_path):
    options = sources.write_source(tmp_path, ("points", "usual"), 4, side="half", group="none", images="40 x 30")
    code, refused = foveal("train", *options, option, value, "--out", tmp_path / "run")
    assert code == 2
    assert option in refused
    assert not (tmp_path / "run").exists()


def test_the_last_seed_of_several_is_a_seed_too(tmp_path):
    options = sources.write_source(tmp_path, ("points", "usual"), 4, side="half", group="none", images="40 x 30")
    code, refused = foveal("train", *options, "--seed", 2**63 - 2, "--seeds", 5, "--out", tmp_path / "run")
    assert code == 2
    assert "A seed is a whole number" in refused


@pytest.mark.parametrize("again", ["resume", "the same folder"])
def test_a_run_killed_before_its_first_checkpoint_begins_again(again, scenes, tmp_path):
    """A real process, killed as soon as its folder is there; nothing of worth is lost, so nothing stands in the way."""
    out = tmp_path / "run"
    words = [
        scenes / "scenes.csv",
        "--images",
        scenes / "scenes",
        "--size",
        64,
        "--epochs",
        1,
        "--empty",
        "none",
        "--out",
        out,
    ]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "foveal", "train", *map(str, words)], stdout=subprocess.DEVNULL
    )
    while not (out / "split.csv").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (out / "checkpoint.safetensors").exists()
    refused = foveal("train", *words[:-1], tmp_path)  # a folder with something else in it is never taken
    assert refused[0] == 2
    assert "is not an empty folder" in refused[1]
    code, printed = foveal("train", "--resume", out) if again == "resume" else foveal("train", *words)
    assert code == 0, printed
    assert "begins again" in printed or again != "resume"
    judge_run(out)
    code, printed = foveal("train", "--resume", out)
    assert code == 0  # so that a script can repeat one line
    assert "has ended" in printed
    assert foveal("train", *words)[0] == 2
