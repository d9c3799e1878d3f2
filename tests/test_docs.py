"""The commands and the Python of the documentation run as they stand there."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import onnxruntime
import pandas as pd
import pytest
import torch

import foveal.vision.all as star
from exports import LAYOUTS
from foveal.cli import main
from foveal.core import storage
from foveal.course.events import COURSE_EVENTS
from foveal.images.decode import open_image
from foveal.images.prepare import IMAGENET, Preparation
from foveal.inference.exports import export_model
from foveal.inference.loading import load_learner
from foveal.inference.manifest import Manifest, TrainingPart
from foveal.inference.predictor import Predictor
from foveal.inference.territory import survey
from foveal.learner.vision import vision_learner
from foveal.models.vision import ModelSpec, build_model
from foveal.runs import folder as run_folder
from foveal.scale.resume_log import ResumeLog
from foveal.serve.http import app_of
from foveal.serve.service import ServeSettings
from foveal.sources.coco import write_coco
from foveal.sources.formats import TableColumns
from foveal.sources.recognise import read_source
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.single_label import CategoryBlock
from foveal.tasks.vocab import Vocab
from foveal.training.checkpoint import FILE as CHECKPOINT

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def data(scenes, tmp_path_factory):
    """One folder with the drawn scenes in every layout that the page shows."""
    root = tmp_path_factory.mktemp("docs")
    for name, draw in LAYOUTS.items():
        (root / name).mkdir()
        draw(root / name)
    shutil.copytree(scenes / "scenes", root / "images")
    shutil.copy(scenes / "scenes.csv", root / "table.csv")
    shutil.copy(scenes / "balloons.csv", root / "points.csv")
    table = pd.read_csv(root / "table.csv", keep_default_na=False)
    wide = table[["fname"]].assign(**{n: table["labels"].str.contains(n).astype(int) for n in ("house", "tree")})
    wide.loc[3, "tree"] = -1
    wide.to_csv(root / "wide.csv", index=False)
    rows = []
    for row in table.head(30).itertuples():
        file, names = root / "images" / row.fname, row.labels.split()
        rows.append((row.fname, open_image(file).size_hw, names))
        if len(names) == 1:
            folder = root / "folders" / ("valid" if row.Index % 2 else "train") / names[0]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder)
    names = sorted({name for _, _, found in rows for name in found})
    write_coco(root / "coco.json", rows, MultiLabel(Vocab(tuple(names))))
    tasks = [
        {
            "data": {"image": f"/data/upload/1/{at:08x}-{name}"},
            "annotations": [{"result": [{"type": "choices", "from_name": "kind", "value": {"choices": found}}]}],
        }
        for at, (name, _, found) in enumerate(rows)
    ]
    (root / "tasks.json").write_text(json.dumps(tasks))
    for part in ("images", "labels"):
        (root / "yolo" / part).mkdir(parents=True)
    for row in pd.read_csv(root / "points.csv").itertuples():
        shutil.copy(root / "images" / row.fname, root / "yolo" / "images")
        height, width = open_image(root / "images" / row.fname).size_hw
        line = f"0 .5 .5 .3 .3 {row.x / width} {row.y / height} 2"
        (root / "yolo" / "labels" / row.fname).with_suffix(".txt").write_text(line)
    return root


@pytest.fixture
def foveal(monkeypatch, capsys, data):
    monkeypatch.chdir(data)
    monkeypatch.setenv("FOVEAL_HOME", str(data / "home"))

    def call(line):
        monkeypatch.setattr("sys.argv", line.split())
        with pytest.raises(SystemExit) as stopped:
            main.run()
        printed = capsys.readouterr()
        assert not stopped.value.code, printed
        return printed.out

    return call


@pytest.mark.parametrize("command", [line for block in blocks("your-data.md", "sh") for line in block.splitlines()])
def test_every_source_of_the_page_is_read(command, foveal):
    assert "usable images: 0 errors" in foveal(command)


@pytest.mark.filterwarnings("ignore:The label", "ignore:There are")
def test_the_python_of_the_page_runs(data, monkeypatch, capsys):
    monkeypatch.chdir(data)
    for code in blocks("your-data.md", "python"):
        exec(compile(code, "your-data.md", "exec"), {})  # noqa: S102
    assert "'house'" in capsys.readouterr().out


@pytest.mark.parametrize(("page", "label"), [("grey.md", "stripes"), ("four-channels.md", "cutouts")])
def test_the_set_of_other_channels_is_drawn_trained_and_asked(page, label, foveal, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in blocks(page, "python"):
        exec(compile(code, page, "exec"), names)  # noqa: S102 -- it is ours
    shown = re.search(r"shape  # torch\.Size\(\[(.*)\]\)", (DOCS / page).read_text())[1]
    assert list(names["dls"].one_batch()[0].shape) == [int(n) for n in shown.split(", ")]
    assert names["learn"].validate()[1] == 1.0
    assert names["learn"].predict(f"{label}/down/1.png").label == "down"
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            printed = foveal(line)
    assert printed.count(": across  (across") == 20


def page_names(page, monkeypatch, tmp_path, home):
    """Run the Python of a page; return what it leaves, and the lines that say in a comment what they are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOVEAL_HOME", str(home))
    names = {}
    for code in blocks(page, "python"):
        exec(compile(code, page, "exec"), names)  # noqa: S102 -- it is ours
    return names


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def test_the_transform_of_ones_own_leaves_few_levels(monkeypatch, tmp_path, home):
    names = page_names("own-transform.md", monkeypatch, tmp_path, home)
    image = names["Posterise"](levels=2)(names["PILImage"].create(names["files"][0]))
    assert set(image.reshape(-1)) <= {0, 128}
    inputs = names["dls"].one_batch()[0]
    assert list(inputs.shape) == [8, 3, 48, 48]
    assert inputs.mean() < names["dls"].valid.one_batch()[0].mean()  # training is dimmed


def test_the_callback_of_ones_own_speaks_each_epoch(monkeypatch, tmp_path, home, capsys):
    names = page_names("own-callback.md", monkeypatch, tmp_path, home)
    printed = re.findall(r"epoch (\d): (0\.\d\d)", capsys.readouterr().out)
    assert [number for number, _ in printed] == ["0", "1"][: len(names["learn"].recorder.values)]
    assert printed
    cells = re.findall(r"^\| (`.+?) \|", (DOCS / "own-callback.md").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == set(COURSE_EVENTS) - {"begin_fit"}


def test_the_optimizer_of_ones_own_steps_by_the_rate(monkeypatch, tmp_path, home):
    names = page_names("own-optimizer.md", monkeypatch, tmp_path, home)
    learn = names["learn"]
    assert learn.opt.hypers[-1]["lr"] == 1e-4
    before = [p.detach().clone() for p in learn.model[1].parameters()]
    learn.fit(1, 1e-4, wd=0.0)
    moved = torch.cat([(a - b).abs().reshape(-1) for a, b in zip(before, learn.model[1].parameters(), strict=True)])
    steps = (moved / 1e-4).double()
    assert steps.max() > 0.9
    assert (steps - steps.round()).abs().max() < 0.05  # each step is one rate up or down


def test_the_head_of_ones_own_answers_from_the_file(monkeypatch, tmp_path, home):
    names = page_names("own-head.md", monkeypatch, tmp_path, home)
    file = names["get_image_files"](names["path"])[3]
    ours, theirs = names["learn"].predict(file), names["predictor"].predict(file)
    assert isinstance(names["predictor"].model[1], names["GatedHead"])
    assert torch.allclose(ours.values, theirs.values, atol=1e-6)


@pytest.mark.parametrize("layout", ["coco", "label-studio"])
@pytest.mark.parametrize("task", [MultiLabel(Vocab(("house", "tree"))), Points(1)])
def test_predictions_go_back_into_a_labelling_tool(layout, task, foveal, data):
    model = build_model(ModelSpec("resnet18", task.n_outputs, (32, 32), task.y_range))
    Predictor.of(model, task, Preparation.of((32, 32), "crop", IMAGENET)).save(data / "m.safetensors")
    foveal(f"foveal predict m.safetensors images --out out.json --layout {layout}")
    predictions = layout == "label-studio"
    nothing = TableColumns(empty="none") if task.kind == "multi-label" and layout == "coco" else None
    source = read_source(
        data / "out.json", images=data / "images", task=task.kind, predictions=predictions, columns=nothing
    )
    assert (source.task, len(source.items)) == (task.kind, 60)
    assert json.loads((data / "out.json").read_text())


def test_the_python_of_the_chapters_runs(monkeypatch, tmp_path_factory, capsys):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path_factory.getbasetemp() / "home"))
    names = {}
    for block in blocks("chapters.md", "python"):
        exec(block, names)  # noqa: S102 -- it is ours
    assert len(names["learn"].predictor().recommend(1, n=3)) == 3
    assert "FlattenedLoss of BCEWithLogitsLoss()" in (DOCS / "chapters.md").read_text()


@pytest.fixture(scope="module")
def handed_over(scenes, tmp_path_factory):
    """A folder with a model and images, as the page has them."""
    root = tmp_path_factory.mktemp("serving")
    shutil.copy(Path(__file__).parent / "golden" / "images-1.safetensors", root / "model.safetensors")
    (root / "images").mkdir()
    files = sorted((scenes / "scenes").glob("*.jpg"))[:6]
    for file in files:
        shutil.copy(file, root / "images")
    shutil.copy(files[0], root / "new.jpg")
    (root / "bad.jpg").write_bytes(b"x")
    return root


@pytest.mark.parametrize("line", [line for block in blocks("serving.md", "sh") for line in block.splitlines()])
def test_the_commands_for_handing_a_model_over_run(line, handed_over):
    if "--resume" in line:
        begun = ResumeLog(
            handed_over / "answers.csv", storage.file_hash(handed_over / "model.safetensors"), resume=False
        )
        begun.__exit__()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(["bash", "-ec", line], cwd=handed_over, check=True, env=os.environ | {"PATH": path})
    written = [word for word in line.split() if word.endswith((".csv", ".parquet", ".onnx", ".pt2", ".md"))]
    assert all((handed_over / name).stat().st_size > 100 for name in written)


def test_the_python_for_handing_a_model_over_runs(handed_over, monkeypatch, capsys):
    monkeypatch.chdir(handed_over)
    predictor = load_learner("model.safetensors", device="cpu")
    features = torch.from_numpy(predictor.embed(sorted(Path("images").glob("*.jpg"))).vectors)
    predictor.territory = survey(features).territory  # as models of `foveal train` have one
    predictor.training = predictor.training.model_copy(update={"known_within": 1.0})
    export_model(predictor, "model.onnx")
    assert [one.name for one in onnxruntime.InferenceSession("model.onnx").get_outputs()] == ["answers", "distance"]
    for code in blocks("serving.md", "python"):
        exec(compile(code, "serving.md", "exec"), {})  # noqa: S102 -- it is ours
    said = capsys.readouterr().out
    assert "Prediction(label=" in said
    assert "Refused(name='bad.jpg'" in said


def test_the_python_for_training_runs(scene_loaders):
    dls = scene_loaders(target=CategoryBlock, get_y=lambda r: "abcd"[len(r["labels"]) % 4], num_workers=0)
    names = {name: getattr(star, name) for name in star.__all__}
    names |= {"dls": dls, "learn": vision_learner(dls, "test_resnet", pretrained=False), "resnet18": "test_resnet"}
    found = blocks("training.md", "python")
    assert len(found) == 5
    for code in found:
        exec(compile(code, "training.md", "exec"), names)  # noqa: S102 -- it is ours


def test_the_python_for_scaling_runs(scenes, tmp_path, monkeypatch):
    frame = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)
    (tmp_path / "train").mkdir()
    frame["jpg"] = [(scenes / "scenes" / name).read_bytes() for name in frame.fname]
    frame.to_parquet(tmp_path / "train" / "0.parquet")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("scaling.md", "python")
    found = {}
    with pytest.warns(UserWarning, match="fewer than a batch"):
        exec(compile(code, "scaling.md", "exec"), found)  # noqa: S102 -- it is ours
    assert found["dls"].one_batch()[0].shape == (48, 3, 128, 128)


def test_the_package_that_extends_foveal_is_found_trained_and_reported(scenes, tmp_path):
    *module, trying = blocks("extending.md", "python")
    (project,) = blocks("extending.md", "toml")
    described = tomllib.loads(project)["project"]
    info = tmp_path / "site" / "foveal_ordinal-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: 1\n")
    points = "".join(
        f"[{g}]\n" + "".join(f"{n} = {v}\n" for n, v in e.items()) for g, e in described["entry-points"].items()
    )
    (info / "entry_points.txt").write_text(points)
    (info.parent / "foveal_ordinal.py").write_text("\n".join(module))
    shutil.copytree(scenes / "scenes", tmp_path / "graded")
    files = sorted(file.name for file in (tmp_path / "graded").glob("*.jpg"))
    lines = [f"{name} {('low', 'mid', 'high')[at % 3]}" for at, name in enumerate(files)]
    (tmp_path / "graded" / "GRADES.txt").write_text("\n".join(lines))
    paths = os.pathsep.join([str(info.parent), *sys.path])
    environment = os.environ | {"PYTHONPATH": paths, "FOVEAL_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", trying]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert "cannot be loaded" not in done.stderr
    assert "0 errors" in done.stdout
    assert "mean_grade_error" in (tmp_path / "run" / "summary.json").read_text()


def test_the_page_names_every_field_of_a_manifest():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", (DOCS / "serving.md").read_text(), re.MULTILINE)
    described = dict(rows)
    assert list(described) == ["format", "task", "preparation", "model", "training", "extra", "versions", "tensors"]
    assert set(described) == set(Manifest.model_fields)
    assert all(f"`{field}`" in described["training"] for field in TrainingPart.model_fields)


def test_the_list_of_files_in_the_architecture_is_current():
    command = [sys.executable, ROOT / "scripts" / "list_files", "--check"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stderr  # which says what mends it


def test_the_architecture_names_every_public_name_of_the_star_import():
    page = (ROOT / "ARCHITECTURE.md").read_text()
    missing = [name for name in star.__all__ if not re.search(rf"`[^`]*\b{name}\b[^`]*`", page)]
    assert not missing, f"ARCHITECTURE.md has no line for {', '.join(missing)}"


def test_the_gallery_is_drawn_by_its_code(monkeypatch, tmp_path, home):
    monkeypatch.setattr("warnings.filters", [])  # few images, as in the samples
    page_names("gallery.md", monkeypatch, tmp_path, home)
    drawn = {path.name for path in tmp_path.glob("*.png")}
    shown = set(re.findall(r"images/([\w-]+\.png)", (DOCS / "gallery.md").read_text()))
    assert drawn == shown - {"report.png", "page.png", "studio.png"}
    assert all((DOCS / "images" / name).is_file() for name in shown)


def test_the_page_of_files_names_every_file_of_a_run():
    text = (DOCS / "reference" / "files.md").read_text()
    assert set(re.findall(r"^\| `([\w.]+)` \|", text, flags=re.MULTILINE)) >= {*run_folder.ABOUT, CHECKPOINT}


def test_the_page_of_http_names_every_address_and_status(tmp_path):
    text = (DOCS / "reference" / "http.md").read_text()
    for bundle in ("images-1.safetensors", "ratings-1.safetensors"):
        collect = tmp_path if bundle.startswith("images") else None
        app = app_of(ServeSettings(model=ROOT / "tests" / "golden" / bundle, device="cpu", collect=collect))
        for path, methods in app.openapi()["paths"].items():
            for method, about in methods.items():
                assert f"`{method.upper()} {path}" in text, path
                assert all(status in text for status in about["responses"])
