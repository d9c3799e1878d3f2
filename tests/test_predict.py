"""`foveal predict`: any number of images, interrupted and resumed, none lost and none twice."""

import csv
import io
import json
import os
import shutil
import tracemalloc
from itertools import islice, repeat
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from foveal.cli.asked import Asked
from foveal.core import storage
from foveal.core.errors import InputError
from foveal.images.prepare import IMAGENET, Preparation
from foveal.inference.loading import load_learner
from foveal.inference.predictor import Predictor
from foveal.models.vision import ModelSpec, build_model
from foveal.scale.resume_log import ResumeLog
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.vocab import Vocab

MODEL = Path(__file__).parent / "golden" / "images-1.safetensors"


@pytest.fixture
def files(scenes, tmp_path):
    """Good images, and a bad one in the middle."""
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"x")
    good = sorted((scenes / "scenes").glob("*.jpg"))[:20]
    return [*good[:7], bad, *good[7:]]


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_an_interrupted_prediction_goes_on_where_it_was(files, tmp_path, foveal, monkeypatch, suffix):
    whole, broken = tmp_path / f"whole{suffix}", tmp_path / f"broken{suffix}"
    foveal("predict", MODEL, *files, "--out", whole, "--batch-size", 4, code=1)

    def stopped(names):
        yield from islice(names, 13)
        raise KeyboardInterrupt

    monkeypatch.setattr("foveal.cli.predict.images_asked", lambda names, _: Asked(stopped(map(Path, names)), None))
    said = foveal("predict", MODEL, *files, "--out", broken, "--batch-size", 4, code=130)
    monkeypatch.undo()
    assert "--resume" in said.err
    assert not broken.exists()
    partial = tmp_path / f"broken{suffix}.partial"
    with partial.open("a") as file:
        file.write('{"fname": "half a li')  # the process was killed while it wrote
    said = foveal("predict", MODEL, *files, "--out", broken, "--batch-size", 4, "--resume", code=1)
    assert "Going on after" in said.err
    assert not partial.exists()
    if suffix == ".parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(broken), pd.read_parquet(whole), atol=1e-6)
        assert len(pd.read_parquet(whole)) == 20
    else:
        rows = [
            read(path) if suffix == ".csv" else list(map(json.loads, path.read_text().splitlines()))
            for path in (whole, broken)
        ]
        assert len(rows[0]) == 20
        for first, again in zip(*rows, strict=True):
            assert (first["fname"], first["predicted"]) == (again["fname"], again["predicted"])
            for name in ("ant", "bee", "cat"):
                assert float(first[name]) == pytest.approx(float(again[name]), abs=1e-6)
    (refused,) = read(tmp_path / "broken.refused.csv")
    assert refused == {"fname": str(tmp_path / "bad.jpg"), "refused": "text, not an image."}


def test_what_was_begun_with_other_images_or_another_model_does_not_go_on(files, tmp_path, foveal):
    out = tmp_path / "out.csv"
    with ResumeLog(out, "another model", resume=False) as resume_log:
        resume_log.add({"fname": "a.jpg"})
    assert "another model" in foveal("predict", MODEL, files[0], "--out", out, "--resume", code=2).err
    with ResumeLog(out, storage.file_hash(MODEL), resume=False) as resume_log:
        resume_log.add({"fname": "a.jpg"})
    said = foveal("predict", MODEL, files[0], "--out", out, "--resume", code=2).err
    assert "begun with other images" in said
    assert "--resume needs an --out" in foveal("predict", MODEL, files[0], "--resume", code=2).err


def test_a_list_may_come_on_stdin(files, tmp_path, foveal, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{file}\n" for file in files)))
    foveal("predict", MODEL, "-", "--out", tmp_path / "out.csv", code=1)
    assert [row["fname"] for row in read(tmp_path / "out.csv")] == [
        str(file) for file in files if "bad" not in file.name
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "no image in the list" in foveal("predict", MODEL, "-", code=2).err


def test_answers_come_in_constant_memory(scenes):
    predictor = load_learner(MODEL)
    file = scenes / "scenes" / "scene_0001.jpg"
    answers = predictor.predict_batch(repeat(file))  # endless: it would never end if it were read ahead
    next(islice(answers, 100, None))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    next(islice(answers, 600, None))
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    answers.close()
    assert grown < 2 << 20


def test_nothing_is_answered_before_all_that_was_named_is_found(files, tmp_path, foveal):
    (tmp_path / "empty").mkdir()
    said = foveal("predict", MODEL, files[0], tmp_path / "empty", "--out", tmp_path / "o.csv", code=2)
    assert "no image in" in said.err
    assert not list(tmp_path.glob("o.csv*"))


def test_names_and_classes_may_be_anything(files, tmp_path, foveal):
    odd = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    odd.write_bytes(files[0].read_bytes())
    torch.manual_seed(0)
    network = build_model(ModelSpec("test_efficientnet", 2, (32, 32), None, "linear"))
    task = MultiLabel(Vocab(("accepted", "refused")))
    Predictor.of(network, task, Preparation.of((32, 32), "crop", IMAGENET)).save(tmp_path / "m.safetensors")
    for suffix in (".csv", ".jsonl", ".parquet"):
        said = foveal("predict", tmp_path / "m.safetensors", odd, files[0], "--out", tmp_path / f"o{suffix}").out
        assert "2 of 2 images answered" in said
    assert [row["fname"] for row in read(tmp_path / "o.csv")] == [f"{tmp_path}/caf\\xe9.jpg", str(files[0])]
    foveal("predict", MODEL, tmp_path / "bad.jpg", "--out", tmp_path / "none.parquet", code=1)
    assert len(pd.read_parquet(tmp_path / "none.parquet")) == 0


def test_a_device_that_is_not_there_is_said(files, foveal):
    assert "no device `tpu`" in foveal("predict", MODEL, files[0], "--device", "tpu", code=2).err


def test_a_journal_is_json_lines(tmp_path):
    with ResumeLog(tmp_path / "a.jsonl", "m", resume=False) as resume_log:
        resume_log.add({"fname": "å.jpg", "x": 0.1})
        resume_log.refuse("b.jpg", "it is damaged")
    lines = [json.loads(line) for line in resume_log.path.read_text().splitlines()]
    assert lines == [{"by": "m"}, {"row": {"fname": "å.jpg", "x": 0.1}}, {"refused": ["b.jpg", "it is damaged"]}]
    with pytest.raises(InputError, match="another model"):
        ResumeLog(tmp_path / "a.jsonl", "n", resume=True)
    with ResumeLog(tmp_path / "a.jsonl", "m", resume=True) as resume_log:
        assert resume_log.done == 2
        assert resume_log.finish() == (1, 1)


@pytest.mark.parametrize("out", [None, "a.csv", "a.json"])
def test_each_image_that_is_answered_is_drawn(files, tmp_path, foveal, out):
    (tmp_path / "more").mkdir()
    shutil.copy(files[0], tmp_path / "more")
    images = [*files[:9], tmp_path / "more" / files[0].name]
    foveal("predict", MODEL, *images, "--draw", tmp_path / "drawn", *(["--out", tmp_path / out] if out else []), code=1)
    names = {file.stem for file in images} - {"bad"}
    assert {file.name for file in (tmp_path / "drawn").iterdir()} == {f"{name}.png" for name in names} | {
        f"{files[0].stem}-2.png"
    }
    with Image.open(tmp_path / "drawn" / f"{files[0].stem}.png") as drawn, Image.open(files[0]) as image:
        assert max(drawn.size) > 800
        assert drawn.width / drawn.height == pytest.approx(image.width / image.height, rel=0.15)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layout", "coco", "--out", "a.csv"], "--layout coco says what a .json holds"),
        (["--shard-size", "10"], "--shard-size 10 is for answers in a folder"),
        (["--engine", "ray", "--out", "a.csv"], "--engine ray is for answers in a folder"),
        (["--draw", "drawn", "--out", "shards"], "--draw drawn is not for an --out that is a folder"),
    ],
)
def test_an_option_that_is_not_used_is_refused(words, message, files, foveal):
    assert message in foveal("predict", MODEL, files[0], *words, code=2).err


def test_options_of_exports_and_reports_that_are_not_used_are_refused(tmp_path, foveal):
    ratings = MODEL.with_name("ratings-1.safetensors")
    said = foveal("export", ratings, "--images", MODEL.parent, "--out", tmp_path / "m.onnx", code=2).err
    assert "There is no image" in said or "(--images) is for models of images" in said
    assert "--layout coco" in foveal("report", tmp_path, "--layout", "coco", code=2).err
