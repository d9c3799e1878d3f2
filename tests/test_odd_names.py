"""Names that are no UTF-8, files that are no files, images that nobody expects: named, and the rest goes through."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from foveal.audit.inspection import inspect
from foveal.core.errors import ImageError, InputError
from foveal.core.storage import require_writable
from foveal.core.tables import write_table
from foveal.evaluation.writers import row_of
from foveal.geometry.homography import Homography
from foveal.images.decode import open_image
from foveal.inference.prediction import Prediction
from foveal.scale.resume_log import ResumeLog
from foveal.sources.delimited import read_delimited
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab

GOLDEN = Path(__file__).parent / "golden"
ODD = os.fsdecode(b"caf\xe9.jpg")


@pytest.fixture
def folders(tmp_path, scenes):
    """Two class folders, one with a name of another encoding."""
    for at, file in enumerate(sorted((scenes / "scenes").glob("*.jpg"))[:12]):
        (tmp_path / "set" / "ab"[at % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "set" / "ab"[at % 2])
    try:
        shutil.copy(file, tmp_path / "set" / "a" / ODD)
    except (OSError, UnicodeError):
        pytest.skip("this file system has names of UTF-8 alone")
    return tmp_path / "set"


def run(*words, env=None):
    command = [sys.executable, "-m", "foveal", *map(str, words)]
    return subprocess.run(command, capture_output=True, env=os.environ | (env or {}), check=False, timeout=300)


def test_a_name_of_another_encoding_goes_through_all_jobs(folders, tmp_path):
    for environment in ({}, {"PYTHONIOENCODING": "utf-8"}, {"PYTHONIOENCODING": "cp1252"}):
        done = run("check", folders, "--html", tmp_path / "audit.html", env=environment)
        assert done.returncode == 0, done.stderr
    options = ("--size", 32, "--epochs", 1, "--out", tmp_path / "run")
    done = run("train", folders, *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
    assert run("report", tmp_path / "run").returncode == 0
    assert json.loads((tmp_path / "run" / "audit.json").read_text(encoding="utf-8"))
    done = run("predict", tmp_path / "run" / "model.safetensors", folders / "a", "--out", tmp_path / "answers.csv")
    assert done.returncode == 0, done.stderr
    assert "caf\\xe9.jpg" in (tmp_path / "answers.csv").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
def test_what_is_no_file_is_not_read(tmp_path, foveal, scenes):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
        with pytest.raises(ImageError, match="a pipe or a device, not a file"):
            open_image(path)
    for file in sorted((scenes / "scenes").glob("*.jpg"))[:6]:
        shutil.copy(file, tmp_path)
    names = [file.name for file in tmp_path.glob("*.jpg") if file.name != "pipe.jpg"]
    rows = [f"{name},{'ab'[at % 2]},{at % 3 == 0}" for at, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("\n".join(["fname,label,is_valid", *rows, "pipe.jpg,a,False", "/dev/zero,b,False"]))
    printed = foveal("check", tmp_path / "t.csv", "--images", tmp_path, code=1).out
    assert "2 errors" in printed
    assert "a pipe or a device" in printed


@pytest.mark.parametrize("size_wh", [(1, 600), (2000, 3), (1, 1), (3000, 1)])
def test_thin_images_are_measured(tmp_path, size_wh):
    file = tmp_path / "thin.png"
    Image.new("RGB", size_wh, (9, 100, 200)).save(file)
    found = inspect(file, file.read_bytes(), "")
    assert (found.fault, found.size_hw) == ("", size_wh[::-1])


def test_an_error_that_nobody_expects_is_the_images_own(tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    Image.new("RGB", (20, 20)).save(file)
    for error in (MemoryError(), RuntimeError("odd")):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr("foveal.audit.inspection._sharpness", fail)
        assert "cannot be measured" in inspect(file, file.read_bytes(), "").fault


def test_a_target_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        require_writable(tmp_path / "folder.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        require_writable(tmp_path / "file" / "answers.csv")
    require_writable(tmp_path / "new" / "answers.csv")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_list_of_refused_images_takes_no_file_of_the_users(tmp_path):
    notes = tmp_path / "mine.refused.csv"
    notes.write_text("notes of mine")
    with pytest.raises(InputError, match=r"mine\.refused\.csv` is in the way"):
        ResumeLog(tmp_path / "mine.csv", "hash", resume=False)
    assert notes.read_text() == "notes of mine"
    notes.write_text("fname,refused\na.jpg,damaged\n")
    with ResumeLog(tmp_path / "mine.csv", "hash", resume=False) as log:
        log.add({"fname": "b.jpg"})
        assert log.finish() == (1, 0)
    assert not notes.exists()


def test_a_job_that_is_started_again_and_again_ends_with_0(tmp_path, foveal, scenes):
    model, out = GOLDEN / "images-1.safetensors", tmp_path / "a.csv"
    images = [str(file) for file in sorted((scenes / "scenes").glob("*.jpg"))[:3]]
    assert "3 of 3 images answered" in foveal("predict", model, *images, "--out", out, "--resume").out
    before = out.read_bytes()
    assert "there is nothing to do" in foveal("predict", model, *images, "--out", out, "--resume").out
    assert out.read_bytes() == before
    (tmp_path / "b.csv.partial").write_text("x\n")
    damaged = foveal("predict", model, *images, "--out", tmp_path / "b.csv", "--resume", code=2)
    assert "b.csv.partial` is damaged in line 1" in damaged.err


@pytest.mark.parametrize(
    "task", [MultiLabel(Vocab(("fname", "predicted", "cat"))), SingleLabel(Vocab(("fname", "predicted", "cat")))]
)
def test_classes_called_like_columns_take_no_column_away(task):
    values = torch.tensor([0.9, 0.1, 0.2])
    label = task.decode(values[None], Homography.stack([Homography()]))[0]
    row = row_of(Path("cat.jpg"), Prediction(label, task.encode(label), values), task)
    assert list(row) == ["fname", "predicted", "class fname", "class predicted", "cat"]
    assert (row["fname"], row["predicted"]) == ("cat.jpg", "fname")
    assert [row[name] for name in list(row)[2:]] == pytest.approx(values.tolist())
    assert list(task.to_json(values, label)["probabilities"]) == ["fname", "predicted", "cat"]


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "@SUM", "-1-1", "+x", "\tx", "'=x", "''@", "-", "=", "--1"])
def test_a_table_for_people_holds_no_formula_and_is_read_back_truly(text, tmp_path):
    rows = [{"fname": text, text: 0.5, "labels": f"a {text}"}, {"fname": "-1.5", text: -2.0, "labels": "'tis"}]
    write_table(tmp_path / "t.csv", rows)
    with (tmp_path / "t.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not any(cell[:1] in "=+-@\t" and cell not in ("-1.5", "-2.0") for cell in cells)
    found, _ = read_delimited(tmp_path / "t.csv")
    assert found.columns[1] == text.strip()
    assert found.fname.tolist() == [text, "-1.5"]
    assert found.labels.tolist() == [f"a {text}", "'tis"]
