"""The whole way: a table goes in, a trained model that can be asked comes out, in Python and on the command line."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from foveal import Run
from foveal.vision.all import *


def in_a_fresh_process(*arguments, cwd=None):
    command = [sys.executable, "-W", "error", "-m", "foveal", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


QUICK = ("--size", "64", "--epochs", "1", "--batch-size", "16", "--lr", "5e-3")


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    table = scenes / "scenes.csv"
    arguments = ("--images", scenes / "scenes", "--empty", "none", *QUICK, "--out", folder)
    return folder, in_a_fresh_process("train", table, *arguments)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_fills_its_folder(run):
    folder, printed = run
    assert {path.name for path in folder.iterdir()} == {
        "run.toml",
        "audit.json",
        "split.csv",
        "held_out.safetensors",
        "history.jsonl",
        "summary.json",
        "predictions.csv",
        "model.safetensors",
        "predictions.safetensors",
        "samples.png",
        "report.html",
    }
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["task"], summary["n_train"], summary["n_valid"], summary["n_outputs"]) == ("multi-label", 48, 12, 8)
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in history] == [0, 0]
    assert "epoch  train_loss  valid_loss  mean_average_precision" in printed
    with Image.open(folder / "samples.png") as sheet:
        assert sheet.width > 400


def test_a_fresh_process_gives_the_numbers_of_the_run(run, scenes, tmp_path, foveal):
    folder, _ = run
    stored = rows_of(folder / "predictions.csv")
    files = [scenes / "scenes" / row["fname"] for row in stored]
    for name, command in (("again.csv", in_a_fresh_process), ("again.jsonl", foveal), ("again.parquet", foveal)):
        command("predict", folder / "model.safetensors", *files, "--out", tmp_path / name, "--batch-size", "5")
    again = {
        "csv": rows_of(tmp_path / "again.csv"),
        "jsonl": [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()],
        "parquet": pd.read_parquet(tmp_path / "again.parquet").to_dict("records"),
    }
    for rows in again.values():
        for before, after in zip(stored, rows, strict=True):
            assert before["predicted"] == after["predicted"]
            assert set(before["prediction_set"].split()) == set(after["prediction_set"].split())
            for name in set(before) - {"fname", "predicted", "prediction_set", "truth", "loss"}:
                assert float(after[name]) == pytest.approx(float(before[name]), abs=1e-5)


def test_evaluate_gives_the_scores_of_the_run(run, scenes, foveal):
    folder, _ = run
    arguments = (scenes / "scenes.csv", "--images", scenes / "scenes", "--empty", "none")
    found = json.loads(foveal("evaluate", folder / "model.safetensors", *arguments).out)
    stored = json.loads((folder / "summary.json").read_text())["metrics"]
    assert found["n"] == 12
    assert found["metrics"]["mean_average_precision"] == pytest.approx(stored["mean_average_precision"], abs=1e-6)


def test_predictions_have_the_truth_and_names_that_join(run, scenes):
    folder, _ = run
    table = pd.read_csv(scenes / "scenes.csv", keep_default_na=False).set_index("fname")
    rows = pd.read_csv(folder / "predictions.csv", keep_default_na=False)
    sides = pd.read_csv(folder / "split.csv").set_index("fname")
    assert set(sides.index) == set(table.index)
    assert (rows.fname.map(sides.split) == "valid").all()
    assert [set(text.split()) for text in rows.truth] == [set(table.labels[name].split()) for name in rows.fname]
    interpretation = Run(folder).interpretation()
    assert rows.loss.tolist() == pytest.approx(interpretation.losses.tolist())


def test_a_run_is_evaluated_on_its_own_validation_side(run, foveal, tmp_path):
    folder, _ = run
    found = json.loads(foveal("evaluate", folder, "--out", tmp_path / "answers.csv").out)
    summary = json.loads((folder / "summary.json").read_text())
    stored = summary["metrics"]
    assert (found["split"], found["n"]) == ("valid", 12)
    assert found["metrics"]["mean_average_precision"] == pytest.approx(stored["mean_average_precision"], abs=1e-6)
    assert found["intervals"].keys() == summary["intervals"].keys()
    for name, bounds in summary["intervals"].items():
        assert found["intervals"][name] == pytest.approx(bounds, abs=1e-6)
    again, before = rows_of(tmp_path / "answers.csv"), rows_of(folder / "predictions.csv")
    assert [list(row) for row in again] == [list(row) for row in before]
    for now, then in zip(again, before, strict=True):
        assert [now[name] for name in ("fname", "predicted", "truth")] == [
            then[name] for name in ("fname", "predicted", "truth")
        ]
        assert float(now["loss"]) == pytest.approx(float(then["loss"]), abs=1e-5)


def test_the_answers_of_an_evaluation_join_with_its_table(run, scenes, foveal, tmp_path):
    folder, _ = run
    arguments = (scenes / "scenes.csv", "--images", scenes / "scenes", "--empty", "none", "--split", "all")
    foveal("evaluate", folder / "model.safetensors", *arguments, "--out", tmp_path / "answers.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    labels = {row["fname"]: row["labels"] for row in rows_of(scenes / "scenes.csv")}
    assert {row["fname"]: set(row["truth"].split()) for row in rows} == {k: set(v.split()) for k, v in labels.items()}
    refused = foveal("evaluate", folder, "--out", "answers.json", code=2)
    assert "must end in .csv, .jsonl or .parquet" in refused.err
    (tmp_path / "answers.csv").mkdir()
    assert "is a folder" in foveal("evaluate", folder, "--out", tmp_path / "answers.csv", code=2).err


def test_a_run_repeats_from_its_settings(run, tmp_path, foveal, monkeypatch):
    folder, _ = run
    stored = tomllib.loads((folder / "run.toml").read_text())
    assert stored["training"]["batch_size"] == 16
    assert set(stored["training"]["measured"]) == {"0"}  # a repeated run measures no precision anew
    monkeypatch.chdir(tmp_path)
    foveal("train", folder / "run.toml", "--out", tmp_path / "again")
    first, again = (rows_of(place / "predictions.csv") for place in (folder, tmp_path / "again"))
    for before, after in zip(first, again, strict=True):
        assert float(after["tree"]) == pytest.approx(float(before["tree"]), abs=1e-5)


def test_bad_images_are_named_and_the_rest_is_answered(run, scenes, tmp_path, foveal):
    folder, _ = run
    (tmp_path / "bad.jpg").write_bytes(b"")
    good = scenes / "scenes" / "scene_0001.jpg"
    done = foveal("predict", folder / "model.safetensors", good, tmp_path / "bad.jpg", code=1)
    assert done.out.startswith(f"{good}: ")
    assert f"refused: {tmp_path / 'bad.jpg'}: the file is empty" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label-column", "lables"], "no column `lables`. Did you mean `labels`"),
        (["--epochs", "-1"], "--epochs -1"),
        (["--size", "big"], "128 or 240x320"),
        (["--task", "multi_label"], "Did you mean `multi-label`"),
        (["--arch", "resnet-18"], "Did you mean `resnet18`"),
        (["--precision", "fp-16"], "Did you mean `fp16`"),
        (["--images", "nowhere"], "no folder `nowhere`"),
        (["--empty", "error"], "say --empty none"),
        (["--points", "x,yy"], "no column `x`"),
    ],
)
def test_wrong_input_ends_with_one_message_and_nothing_written(scenes, tmp_path, foveal, arguments, message):
    given = {"--batch-size": 16, "--images": scenes / "scenes", "--empty": "none", "--out": tmp_path / "out"}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    done = foveal("train", scenes / "scenes.csv", *(part for pair in given.items() for part in pair), code=2)
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(scenes, tmp_path, foveal):
    (tmp_path / "mine.txt").touch()
    done = foveal("train", scenes / "scenes.csv", "--out", tmp_path, code=2)
    assert "exists already" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_points_are_trained_and_judged_in_source_pixels(scenes, tmp_path, foveal):
    arguments = ("--points", "x,y", "--images", scenes / "scenes", *QUICK, "--out", tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = foveal("train", scenes / "balloons.csv", *arguments, "--batch-size", "4")
    assert "Left out: radius of points. A radius needs 9 images with a known place or more; there are 3." in done.err
    scores = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    assert 0 < scores["median_error_pixels"] < 300
    assert 0 < scores["mean_point_median_error_pixels"] < 150
    truth = pd.read_csv(scenes / "balloons.csv").query("is_valid")
    found = pd.read_csv(tmp_path / "run" / "predictions.csv")
    distance = np.hypot(found["x"].to_numpy() - truth["x"], found["y"].to_numpy() - truth["y"])
    assert np.median(distance) == pytest.approx(scores["median_error_pixels"], rel=1e-6)


def test_the_books_cells(scenes, tmp_path):
    path = Path(scenes)
    df = pd.read_csv(path / "scenes.csv", keep_default_na=False)

    def get_x(r):
        return path / "scenes" / r["fname"]

    def get_y(r):
        return [name for name in r["labels"].split(" ") if name]

    def splitter(df):
        train = df.index[~df["is_valid"]].tolist()
        valid = df.index[df["is_valid"]].tolist()
        return train, valid

    dblock = DataBlock(
        blocks=(ImageBlock, MultiCategoryBlock),
        splitter=splitter,
        get_x=get_x,
        get_y=get_y,
        item_tfms=RandomResizedCrop(64, min_scale=0.35),
    )
    dls = dblock.dataloaders(df, bs=16)
    learn = vision_learner(dls, "tf_efficientnet_lite0", metrics=partial(accuracy_multi, thresh=0.2))
    learn.fine_tune(1, base_lr=3e-3, freeze_epochs=1)
    loss, value = learn.validate()
    learn.metrics = partial(accuracy_multi, thresh=0.9)
    again, other = learn.validate()
    assert loss == again
    assert value != other
    preds, targs = learn.get_preds()
    assert preds.shape == targs.shape == (dls.valid.n, 8)
    assert 0 <= preds.min() <= preds.max() <= 1
    answer = learn.predict(get_x(df.iloc[0]))
    exported = learn.export(tmp_path / "model.safetensors")
    assert torch.equal(load_learner(exported).predict(get_x(df.iloc[0])).values, answer.values)
    onwards = vision_learner(dls, str(exported))
    torch.testing.assert_close(onwards.get_preds()[0], preds)
    learn.show_results(max_n=2)
    plt.close("all")


def test_the_same_seed_trains_the_same_model(scenes):
    df = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)

    def train():
        block = DataBlock(
            (ImageBlock, MultiCategoryBlock),
            get_x=ColReader("fname", pref=scenes / "scenes"),
            get_y=ColReader("labels", label_delim=" "),
            splitter=ColSplitter(),
            item_tfms=Resize(32),
            batch_tfms=aug_transforms(),
        )
        torch.manual_seed(1)
        learn = vision_learner(block.dataloaders(df, bs=16, seed=1), "resnet18", pretrained=False, seed=1)
        learn.fit(1)
        return learn.get_preds()[0]

    torch.testing.assert_close(train(), train(), atol=1e-6, rtol=0)


def test_one_label_on_real_photographs(photographs):
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        splitter=RandomSplitter(seed=42),
        get_y=using_attr(RegexLabeller(r"(.+)_\d+.jpg$"), "name"),
        item_tfms=RandomResizedCrop(96, min_scale=0.5),
        batch_tfms=[Flip()],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dls = block.dataloaders(photographs / "pets_mini" / "images", bs=32)
    torch.manual_seed(0)
    learn = vision_learner(dls, metrics=error_rate, seed=0)
    learn.fine_tune(2, 5e-3, freeze_epochs=2)
    assert learn.validate()[1] < 0.75  # guessing errs in 36 of 37
    assert learn.predict(dls.valid.dataset.images[0]).label in dls.vocab


def test_a_run_of_relative_paths_whose_head_was_widened_resumes_bit_exactly(scenes, tmp_path):
    shutil.copytree(scenes / "scenes", tmp_path / "images")
    shutil.copy(scenes / "scenes.csv", tmp_path / "train.csv")
    words = "train train.csv --images images --empty none --size 48 --epochs 3 --batch-size 8 --precision fp32 --out"
    begin = [sys.executable, "-m", "foveal", *words.split()]

    def done(command):
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr

    done([*begin, "whole"])
    stopped = subprocess.Popen([*begin, "stopped"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    history, until = tmp_path / "stopped" / "history.jsonl", time.monotonic() + 300
    while not history.is_file() or len(history.read_text().splitlines()) < 2:  # the probe, and the first epoch
        assert time.monotonic() < until
        assert stopped.poll() is None
        time.sleep(0.05)
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait(300)
    assert not (tmp_path / "stopped" / "summary.json").exists()
    done([sys.executable, "-m", "foveal", "train", "--resume", "stopped"])
    whole, again = (load_learner(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    assert whole.model.spec.pooling, "the probe lets the head read more than the map"
    for (name, before), after in zip(whole.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(before, after), name
    first, second = ((tmp_path / name / "predictions.csv").read_text() for name in ("whole", "stopped"))
    assert first == second
