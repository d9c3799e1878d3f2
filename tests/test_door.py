"""The Python door gives what the command gives, to the last bit; what a run does not use is refused by name."""

import importlib
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

import foveal as library
from foveal.core.errors import InputError, UnknownNameError
from foveal.runs.door import settings_for
from foveal.runs.folder import stem_of
from foveal.runs.image_settings import ImageRun
from foveal.runs.images import loaders, read
from foveal.runs.settings import RUNS, load_settings, make_settings, option

GOLDEN = Path(__file__).parent / "golden" / "runs-0.1"


def tensors(file):
    with safe_open(file, framework="np") as stored:
        return {name: stored.get_tensor(name).tobytes() for name in stored.keys()}  # noqa: SIM118 -- no mapping


@pytest.fixture(scope="module")
def sources(scenes, tmp_path_factory):
    """Tables of each task over the drawn scenes, and of ratings, with the settings that each needs."""
    folder = tmp_path_factory.mktemp("tables")
    labels = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)
    labels = labels[labels.labels != ""]
    labels.to_csv(folder / "labels.csv", index=False)
    labels.assign(labels=labels.labels.str.split().str[0]).to_csv(folder / "one.csv", index=False)
    shutil.copy(scenes / "balloons.csv", folder / "points.csv")
    rng = np.random.default_rng(0)
    rows = [(f"u{rng.integers(20)}", f"i{rng.integers(15)}", int(rng.integers(1, 6))) for _ in range(400)]
    pd.DataFrame(rows, columns=["user", "item", "rating"]).to_csv(folder / "ratings.csv", index=False)
    # Which precision is the fastest is measured, so two runs may differ in it.
    common = {"images": str(scenes / "scenes"), "size": 32, "epochs": 1, "precision": "fp32"}
    return {
        "several labels": (folder / "labels.csv", common | {"task": "multi-label"}),
        "one label": (folder / "one.csv", common | {"task": "single-label", "recipe": "book"}),
        "points": (folder / "points.csv", common | {"points": "x,y"}),
        "numbers": (folder / "points.csv", common | {"targets": "x,y"}),
        "ratings": (folder / "ratings.csv", {"task": "rating", "factors": 4, "epochs": 1}),
    }


@pytest.mark.filterwarnings(
    "ignore:.*items to train on, fewer than a batch",
    "ignore:.*occurs in validation only",
    "ignore:Left out. radius of points",  # too few balloons to validate on
)
@pytest.mark.parametrize("what", ["several labels", "one label", "points", "numbers", "ratings"])
def test_python_gives_what_the_command_gives(what, sources, tmp_path, foveal):
    table, settings = sources[what]
    words = [part for name, value in settings.items() for part in (option(name), str(value))]
    foveal("train", table, *words, "--out", tmp_path / "command")
    run = library.train(table, out=tmp_path / "python", **settings)
    command = library.Run(tmp_path / "command")
    assert tensors(run.folder / "model.safetensors") == tensors(command.folder / "model.safetensors")
    assert run.predictions.equals(command.predictions)
    assert {name: one.value for name, one in run.metrics.items()} == pytest.approx(
        {name: one.value for name, one in command.metrics.items()}, nan_ok=True
    )
    assert run.settings == command.settings


@pytest.mark.filterwarnings("ignore:.*items to train on, fewer than a batch")
def test_a_run_is_read_from_its_folder(sources, tmp_path, foveal):
    table, settings = sources["several labels"]
    run = library.train(table, out=tmp_path / "run", **settings)
    assert set(run.predictions.columns) >= {"fname", "labels"} or len(run.predictions.columns) > 2
    assert run.metrics["f1"].low <= run.metrics["f1"].value <= run.metrics["f1"].high
    assert list(run.history.columns)[:4] == ["epoch", "is_probe", "train_loss", "valid_loss"]
    assert run.predictor().predict(Path(settings["images"]) / run.predictions.fname[0]).label is not None
    assert run.report(out=tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert run.report(by=["is_valid"]).is_file()
    assert all(issue.confidence <= 1 for issue in run.label_issues())
    assert run.compare(run).n == len(run.predictions)
    assert library.compare(run, run.folder).left_out == 0
    assert repr(run).startswith(f"Run('{run.folder}': mean_average_precision")
    assert "<img" in run._repr_html_()
    side = library.evaluate(run.folder / "model.safetensors", table, images=settings["images"])
    assert side.split == "valid"
    assert side.metrics["f1"] == pytest.approx(run.metrics["f1"].value)
    assert "has ended" in foveal("train", "--resume", run.folder).out
    sides = pd.read_csv(table, keep_default_na=False)
    sides["is_valid"] = ["test" if at % 3 == 0 else "train" for at in range(len(sides))]
    sides.to_csv(run.folder.parent / "sides.csv", index=False)
    held_out = library.evaluate(
        run.folder / "model.safetensors", run.folder.parent / "sides.csv", split="test", images=settings["images"]
    )
    assert (held_out.split, len(held_out.predictions.labels)) == ("test", len(range(0, len(sides), 3)))


def test_check_gives_what_the_command_gives(scenes, foveal):
    audit = library.check(scenes / "scenes.csv", images=scenes / "scenes", empty="none")
    assert not audit.errors
    assert audit.figures["items"] == 60
    again = library.check(scenes / "scenes.csv", images=scenes / "scenes", empty="error")
    assert {finding.rule for finding in again.errors} == {"no label"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"siez": 64}, "There is no setting `siez`. Did you mean `size`?"),
        ({"user": "a"}, "--user is not used with tasks of images; it belongs to --task rating"),
        ({"task": "rating", "time": 3}, "--time is not used with --task rating; it belongs to tasks of images"),
        ({"task": "ratings"}, "There is no task `ratings`. Did you mean `rating`?"),
        ({"empty": "nnoe"}, "--empty nnoe: Input should be 'skip', 'none' or 'error'. Did you mean `none`?"),
        ({"epochs": -1, "lr": -1}, "--epochs -1: .*; --lr -1: "),
        ({"size": "12o"}, "--size is a number of pixels or HEIGHTxWIDTH, like 128 or 240x320; got '12o'"),
        ({"time": 1, "epochs": 2}, "--time and --epochs both say how long to train"),
        ({"recipe": "probe", "freeze_epochs": 1}, "--freeze-epochs belongs to --recipe book"),
    ],
)
def test_settings_are_refused_by_name(given, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        make_settings(table="t.csv", **given)


@pytest.mark.parametrize(
    ("source", "given", "message"),
    [
        (
            "several labels",
            {"flip_pairs": "a:b"},
            "`flip_pairs` is not used with task multi-label; it belongs to points",
        ),
        (
            "points",
            {"label_delimiter": ","},
            "`label_delimiter` is not used with task points; it belongs to multi-label",
        ),
        ("points", {"min_scale": 0.8}, "`min_scale` is not used with task points; it belongs to multi-label, single-l"),
        ("points", {"task": "single-label"}, "`task='single-label'` cannot be learned from this source"),
    ],
)
def test_what_a_task_does_not_use_is_refused(source, given, message, sources, tmp_path):
    table, settings = sources[source]
    with pytest.raises(InputError, match=re.escape(message)):
        library.train(table, out=tmp_path / "run", **settings | given)
    assert not (tmp_path / "run").exists()


def test_a_run_toml_with_what_is_not_used_is_refused(tmp_path):
    (tmp_path / "run.toml").write_text('[data]\ntable = "t.csv"\n[task]\ntask = "rating"\n[training]\ntime = 3.0\n')
    with pytest.raises(InputError, match="--time is not used with --task rating"):
        load_settings(tmp_path / "run.toml")
    (tmp_path / "run.toml").write_text('[data]\ntable = "t.csv"\n[training]\nepoch = 3\n')
    with pytest.raises(UnknownNameError, match=r"no setting `epoch`. Did you mean `epochs`\?"):
        load_settings(tmp_path / "run.toml")


def test_every_setting_is_described_and_has_one_place():
    for kind in RUNS:
        settings = RUNS[kind].settings
        assert len(settings.fields()) == sum(
            len(info.annotation.model_fields) for info in settings.model_fields.values()
        )
        assert all(field.description for _, field in settings.fields().values()), kind


def test_settings_survive_the_file(tmp_path):
    settings = make_settings(table="t.csv", points=["x", "y"], flip_pairs="a:b", size="64x48", measured={0: "bf16"})
    settings.save(tmp_path / "run.toml")
    again = load_settings(tmp_path / "run.toml")
    assert isinstance(again, ImageRun)
    assert again.given() == settings.given() | {"table": Path("t.csv").absolute()}


def test_settings_of_version_0_1_load():
    labels, ratings = (load_settings(GOLDEN / name / "run.toml") for name in ("labels", "ratings"))
    assert labels.given() == {
        "table": Path("/data/scenes.csv"),
        "images": Path("/data/scenes"),
        "empty": "none",
        "size": (32, 32),
        "epochs": 1,
        "measured": {0: labels.get("measured")[0]},
    }
    assert ratings.given() == {"table": Path("/data/ratings.csv"), "factors": 4, "epochs": 1}
    assert ratings.kind == "rating"


def test_run_folders_of_version_0_1_load(tmp_path):
    run = library.Run(GOLDEN / "labels")
    assert run.metrics["mean_average_precision"].value == pytest.approx(0.6372519841269841)
    assert len(run.predictions) == 12
    assert run.interpretation().confusion_matrix().sum() == 12 * run.interpretation().predictions.task.n_outputs
    assert run.report(out=tmp_path / "r.html", embed_images=False).is_file()
    assert run.compare(run).n == 12
    ratings = library.Run(GOLDEN / "ratings")
    user, item = ratings.predictions.iloc[0, :2]
    assert ratings.predictor().predict(user, item).label == pytest.approx(ratings.predictions.prediction[0], abs=1e-5)
    assert set(library.Run(GOLDEN / "seeds")._summary["runs"]) == {"seed-0", "seed-1"}


@pytest.mark.filterwarnings("ignore:There are 44 items to train on", "default:.* no image is shown")
def test_a_report_of_somebody_elses_run_shows_no_images_from_outside_of_its_folder(scenes, tmp_path, foveal):
    """A run folder names its images; one that was sent here could name any."""
    images = tmp_path / "images"
    shutil.copytree(scenes / "scenes", images)
    shutil.copy(scenes / "scenes.csv", tmp_path / "t.csv")
    settings = ("--images", images, "--size", 32, "--recipe", "probe", "--epochs", 0, "--out", tmp_path / "run")
    foveal("train", tmp_path / "t.csv", *settings)
    shown, page = "largest losses first", tmp_path / "page.html"
    foveal("report", tmp_path / "run", "--out", page)
    assert shown in page.read_text()
    stated = (tmp_path / "run" / "run.toml").read_text()
    for elsewhere in (tmp_path / "other", Path("/")):
        (tmp_path / "run" / "run.toml").write_text(stated.replace(f'"{images}"', f'"{elsewhere}"'))
        assert (
            "no image is shown. If you trust the run: --embed-images"
            in foveal("report", tmp_path / "run", "--out", page).err
        )
        assert shown not in page.read_text()
    foveal("report", tmp_path / "run", "--out", page, "--embed-images")
    assert shown in page.read_text()


def test_old_names_warn():
    with pytest.warns(DeprecationWarning, match="`foveal.errors` is now `foveal.core.errors`"):
        from foveal.errors import PictureError
    assert PictureError is library.ImageError
    with pytest.warns(DeprecationWarning, match="`foveal.PictureError` is now `foveal.ImageError`"):
        assert library.PictureError is library.ImageError
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert library.Run is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[data]\ntable = "t.csv"\n[foo]\nsize = 64\n', "`foo` is no table of a run.toml"),
        ('[data]\ntable = "t.csv"\nsize = 64\n', "`size` stands in the table [data]; it belongs into [training]"),
        ("data = 3\n", "`data` is no table of a run.toml"),
        ('[data]\ntable = "t.csv"\n[task]\npoints = 5\n', "Names are a list of text"),
        ('[data]\ntable = "t.csv"\n[training]\nfold = 2\n', "fold 2 does not exist"),
        ('[data]\ntable = "t.csv"\ncls = 3\n', "There is no setting `cls`"),
    ],
)
def test_what_stands_wrong_in_a_run_toml_is_refused_with_its_name(text, message, tmp_path):
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        load_settings(tmp_path / "run.toml")
    assert str(tmp_path / "run.toml") in str(refused.value)


def test_what_is_given_beside_a_run_toml_takes_the_place_of_what_it_excludes(tmp_path):
    before = make_settings(table=tmp_path / "t.csv", epochs=3, folds=3, fold=1, split_seed=4, measured={0: "bf16"})
    before.save(tmp_path / "run.toml")
    after = settings_for(tmp_path / "run.toml", {"time": 1, "folds": 2})
    assert after.given() == {"table": tmp_path / "t.csv", "time": 1.0, "folds": 2, "measured": {0: "bf16"}}
    assert "measured" not in settings_for(tmp_path / "run.toml", {"size": 64}).given()
    assert settings_for(tmp_path / "run.toml", {}).given() == before.given()


def test_settings_of_another_verb_are_refused(scenes, tmp_path):
    with pytest.raises(InputError, match="The source is the first argument"):
        library.train(scenes / "scenes.csv", table="other.csv")
    with pytest.raises(InputError, match="`lr` is not used by `foveal check`; it belongs to `foveal train`"):
        library.check(scenes / "scenes.csv", lr=3.0)
    model = GOLDEN.parent / "images-1.safetensors"
    with pytest.raises(InputError, match="`folds` is not used by `foveal evaluate`"):
        library.evaluate(model, scenes / "scenes.csv", folds=3)


def test_a_run_is_called_like_its_source(monkeypatch, tmp_path):
    (tmp_path / "photos.v2").mkdir()
    monkeypatch.chdir(tmp_path / "photos.v2")
    assert [stem_of(Path(name)) for name in (".", "..", "a.csv", "../x/b.csv")] == ["photos", tmp_path.name, "a", "b"]
    assert stem_of(Path("/")) == "run"


def test_names_that_moved_to_another_module_are_found():
    with pytest.warns(
        DeprecationWarning, match=r"foveal.data.block.PointBlock` is now `foveal.tasks.points.PointBlock"
    ):
        from foveal.data.block import PointBlock
    assert PointBlock is library.PointBlock
    with pytest.warns(DeprecationWarning, match="foveal.rng"):
        from foveal.rng import check_seed
    assert check_seed(3) == 3
    with pytest.raises(ImportError, match=r"`foveal\.train` is a function now"):
        importlib.import_module("foveal.train.loop")
    assert callable(library.train)


def test_only_a_batch_size_that_was_chosen_is_compared_with_the_images(scenes, tmp_path):
    table = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)[:16]
    table.assign(labels=["a", "b"] * 8).drop(columns="is_valid").to_csv(tmp_path / "few.csv", index=False)
    options = {"images": scenes / "scenes", "size": 32}
    for chosen, n in (({}, 12), ({"batch_size": "auto"}, 12), ({"batch_size": 4}, 4)):
        settings = settings_for(tmp_path / "few.csv", options | chosen)
        with warnings.catch_warnings(action="error"):
            assert loaders(settings, read(settings)).bs == n
    settings = settings_for(tmp_path / "few.csv", options | {"batch_size": 32})
    with pytest.warns(UserWarning, match="There are 12 items to train on, fewer than a batch of 32"):
        loaders(settings, read(settings))
