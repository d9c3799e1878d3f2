"""A task and a source format that another package adds go all the way, and no file of foveal knows them."""

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch

import foveal as library
import outside
from foveal.core.errors import InputError
from foveal.core.registry import Registry
from foveal.sources.recognise import read_source
from foveal.tasks.kinds import TASKS, TaskKind
from foveal.testing import check_task


@pytest.fixture(scope="module", autouse=True)
def registered():
    outside.register()


@pytest.fixture(scope="module")
def graded(scenes, tmp_path_factory):
    """A table that grades the drawn scenes by how many things they show."""
    folder = tmp_path_factory.mktemp("graded")
    frame = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)
    n = frame.labels.str.split().str.len().clip(upper=2)
    pd.DataFrame({"fname": frame.fname, "grade": n.map({0: "0-none", 1: "1-one", 2: "2-some"})}).to_csv(
        folder / "grades.csv", index=False
    )
    return folder / "grades.csv"


@pytest.fixture(scope="module")
def run(graded, scenes, tmp_path_factory):
    return library.train(
        graded,
        images=scenes / "scenes",
        task="ordinal",
        label_column="grade",
        size=32,
        epochs=1,
        batch_size=16,
        out=tmp_path_factory.mktemp("runs") / "ordinal",
    )


def test_the_task_keeps_the_contract():
    task = outside.OrdinalBlock().bind(["a", "b", "c"])
    check_task(task, ["a", "c"])
    output = torch.tensor([[2.0, -2.0], [3.0, 1.0]])
    assert task.decode(task.activate(output), None) == ["b", "c"]
    assert float(task.loss(output, torch.tensor([1, 2]))) < float(task.loss(output, torch.tensor([2, 0])))


@pytest.mark.parametrize(
    ("new", "old"),
    [("missing_target", "unknown"), ("report_metrics", "figures"), ("metrics_by_output", "parts")],
)
def test_a_task_of_version_0_1_is_refused_with_the_new_name(new, old):
    members = dict(vars(outside.Ordinal))
    members[old] = members.pop(new)
    for name in ("__dict__", "__weakref__", *outside.Ordinal.__slots__):
        members.pop(name, None)
    earlier = type("Earlier", (), members | {"__slots__": ("vocab", "decision")})
    message = rf"`Earlier` has no `{new}`, which every task needs. It is what `{old}` was in version 0.1"
    with pytest.raises(InputError, match=message):
        TaskKind(task=earlier, describe=str)
    with pytest.raises(InputError, match=message):
        check_task(object.__new__(earlier), [])


def test_a_kind_without_a_recipe_is_refused():
    with pytest.raises(InputError, match="`ordinal` has no recipe book"):
        TaskKind(task=outside.Ordinal, describe=str, recipes={"probe": None})


def test_it_is_audited_trained_and_reported(run, graded, scenes):
    audit = library.check(graded, images=scenes / "scenes", task="ordinal", label_column="grade")
    assert not audit.errors
    assert set(run.metrics) == {"mean_grade_error"}
    assert run.metrics["mean_grade_error"].value <= 1.0
    assert set(run.metrics_by_output.index) <= {"0-none", "1-one", "2-some"}
    assert "What is confused" in (page := (run.folder / "report.html").read_text())
    assert "Each of the grades" in page
    assert run.interpretation().confusion_matrix().sum() == len(run.predictions)
    assert run.compare(run).differences[0].metric == "mean_grade_error"
    with pytest.raises(
        InputError, match=r"A search for wrong labels is for tasks of .*single-label.*this task is ordinal"
    ):
        run.label_issues()


def test_its_card_its_onnx_file_and_its_answers(run, scenes, tmp_path, foveal):
    assert "Grades an image from 0-none to 2-some." in foveal("info", run.folder / "model.safetensors").out
    answer = run.predictor().predict(scenes / "scenes" / "scene_0000.jpg")
    foveal("export", run.folder / "model.safetensors", "--out", tmp_path / "model.onnx")
    described = json.loads((tmp_path / "model.onnx.json").read_text())
    assert described["answers"] == "the probability of reaching each grade but the first"
    foveal(
        "predict", run.folder / "model.safetensors", scenes / "scenes" / "scene_0000.jpg", "--out", tmp_path / "a.csv"
    )
    row = pd.read_csv(tmp_path / "a.csv").iloc[0]
    assert row.predicted == answer.label
    assert row["at least 1-one"] == pytest.approx(float(answer.values[0]), abs=1e-5)


def test_the_service_answers_for_it(run, scenes):
    from fastapi.testclient import TestClient

    from foveal.serve.http import app_of
    from foveal.serve.service import ServeSettings

    with TestClient(
        app_of(ServeSettings(model=run.folder / "model.safetensors")), base_url="http://localhost"
    ) as client:
        about = client.get("/model").json()
        image = (scenes / "scenes" / "scene_0000.jpg").read_bytes()
        answer = client.post("/predict", content=image, headers={"Content-Type": "image/jpeg"}).json()["answers"][0]
        assert client.get("/").status_code == 200
    assert (about["kind"], about["decides"]) == ("ordinal", False)
    assert answer["labels"] == [run.predictor().predict(scenes / "scenes" / "scene_0000.jpg").label]


def test_a_format_is_recognised_before_those_that_are_less_sure(scenes, tmp_path):
    shutil.copytree(scenes / "scenes", tmp_path / "graded")
    (tmp_path / "graded" / "GRADES.txt").write_text("scene_0000.jpg low\nscene_0001.jpg high\n")
    source = read_source(tmp_path / "graded")
    assert (source.kind, source.task, [item.label for item in source.items]) == (
        "graded folder",
        "ordinal",
        ["low", "high"],
    )
    assert read_source(scenes / "scenes").kind == "images"


def test_a_package_is_found_by_its_entry_point(tmp_path):
    (tmp_path / "theirs.py").write_text("import runpy, outside\noutside.register()\n")
    info = tmp_path / "theirs-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[foveal.tasks]\ntheirs = theirs\nbroken = no_such_module\n")
    code = "from foveal.tasks.kinds import TASKS; print(TASKS['ordinal'].name, 'rating' in TASKS)"
    here = str(outside.__file__).rsplit("/", 1)[0]
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {here!r}]; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["ordinal", "True"]
    assert "The plug-in `theirs's no_such_module` cannot be loaded" in done.stderr


def test_two_values_of_one_name_are_refused():
    registry = Registry("thing", group="foveal.none")
    registry.add("a", 1)
    registry.add("a", 1)
    with pytest.raises(InputError, match="The thing `a` is registered already"):
        registry.add("a", 2)
    with pytest.raises(InputError, match=r"There is no thing `b`.*Known: a"):
        registry["b"]
    assert list(registry) == ["a"]
    assert TASKS.find("nothing of the kind") is None
