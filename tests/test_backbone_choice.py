"""What a run trains where the settings leave it open: the backbone, the size of the images, the epochs."""

import json
from pathlib import Path

import pytest
import torch

from foveal.core.errors import InputError, ModelFileError
from foveal.inference.store import read_manifest
from foveal.models import at_hand, zoo
from foveal.models.at_hand import backbones_at_hand
from foveal.models.offline import PACKAGES, Package
from foveal.runs.backbone import size_of
from foveal.runs.image_settings import ImageRun
from foveal.tasks.kinds import TASKS

GOLDEN = Path(__file__).parent / "golden"


def settings(**values):
    return ImageRun.of(table="t.csv", **values)


def test_images_are_as_large_as_the_backbone_is_made_for(tmp_path):
    assert size_of(settings()) == (224, 224)
    assert size_of(settings(arch="tf_efficientnet_lite2")) == (260, 260)
    assert size_of(settings(arch="vit_small_patch14_dinov2")) == (518, 518)
    assert size_of(settings(arch="tf_efficientnet_lite2", size="128")) == (128, 128)
    assert size_of(settings(arch="no_such_backbone")) == (224, 224)  # refused by name where it is built
    bundle = str(GOLDEN / "images-1.safetensors")
    assert size_of(settings(arch=bundle)) == read_manifest(bundle).preparation.fit.size_hw
    with pytest.raises(ModelFileError, match="There is no"):
        size_of(settings(arch="absent.safetensors"))
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "resnet18", "pretrained_cfg": {"input_size": [3, 96, 160]}})
    )
    assert size_of(settings(arch="resnet18", weights=tmp_path)) == (96, 160)


def test_points_are_found_in_larger_images_unless_told_otherwise():
    assert size_of(settings(), "points") == (416, 416)
    assert size_of(settings(arch="vit_small_patch14_dinov2"), "points") == (518, 518)
    assert size_of(settings(size="128"), "points") == (128, 128)
    assert size_of(settings(recipe="book"), "points") == (224, 224)


@pytest.mark.parametrize(
    ("kind", "n", "side", "epochs"),
    [
        ("multi-label", 1096, 224, 0),
        ("multi-label", 1096, 128, 4),
        ("multi-label", 1501, 224, 4),
        ("single-label", 259, 200, 0),
        ("points", 589, 416, 0),
        ("points", 589, 224, 4),
        ("regression", 500, 224, 4),
    ],
)
def test_few_images_of_a_good_size_train_the_head_alone(kind, n, side, epochs):
    assert TASKS[kind].recipes["probe"].usual_epochs(n, (side, side)) == epochs
    assert TASKS[kind].recipes["book"].usual_epochs(n, (side, side)) > 0


def test_a_run_of_the_head_alone_is_a_whole_run(scenes, tmp_path, foveal):
    said = foveal(
        "train",
        scenes / "scenes.csv",
        "--images",
        scenes / "scenes",
        "--epochs",
        0,
        "--size",
        64,
        "--batch-size",
        16,
        "--out",
        tmp_path,
    ).out
    assert "The head alone was trained; with epochs=4 everything is trained after it." in said
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 1
    assert (tmp_path / "report.html").exists()
    with pytest.raises(InputError, match="--epochs 0 trains the head alone"):
        settings(epochs=0, recipe="book").check()


def test_auto_takes_the_backbone_with_the_least_loss(scenes, tmp_path, foveal, monkeypatch):
    """Of two, one of which has random weights for its file, the other wins; both are shown with loss and seconds."""
    archs = list(PACKAGES)[:2]
    monkeypatch.setattr("foveal.runs.backbone.backbones_at_hand", lambda: archs)
    bad = zoo.build(archs[0], n_classes=1000).state_dict()
    monkeypatch.setattr("foveal.models.weights._load_tensors", loaded_or(bad))
    options = ("--arch", "auto", "--size", 64, "--epochs", 0, "--batch-size", 16, "--out", tmp_path)
    said = foveal("train", scenes / "scenes.csv", "--images", scenes / "scenes", *options).out
    rows = [line.split() for line in said.splitlines() if line.startswith("  tf_efficientnet")]
    assert [row[0] for row in rows] == archs
    assert float(rows[1][4]) < float(rows[0][4])
    assert f"`{archs[1]}` has the least, and is trained" in said
    assert f'arch = "{archs[1]}"' in (tmp_path / "run.toml").read_text()
    with pytest.raises(InputError, match="name it with --arch, in place of auto"):
        settings(arch="auto", weights=tmp_path / "w.pth").check()


def loaded_or(tensors):
    from foveal.models import weights

    plain = weights._load_tensors

    def load(file, sha256=None):
        package = PACKAGES["tf_efficientnet_lite0"]
        if file.name != package.file:
            return plain(file, sha256)
        return back(package, tensors)

    return load


def back(package, tensors):
    """Tensors under the names of the package's file."""
    theirs = torch.load(package.path("tf_efficientnet_lite0"), map_location="cpu", weights_only=True)
    names = dict(zip(theirs, package.renamed(theirs), strict=True))
    return {name: tensors.get(names[name], theirs[name]) for name in theirs}


def test_what_is_at_hand_is_what_is_installed_or_was_fetched(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    assert backbones_at_hand() == list(PACKAGES)
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resnet34-b627a593.pth").write_bytes(b"")
    for name, size in (("vit_small_patch14_dinov2.lvd142m", 9), ("resnet10t.c3_in1k", 3), ("no_such_model", 1)):
        snapshot = tmp_path / "hf" / f"models--timm--{name}" / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").write_bytes(b"x" * size)
    monkeypatch.setattr(Package, "is_installed", False)
    assert backbones_at_hand() == ["resnet34", "resnet10t.c3_in1k", "vit_small_patch14_dinov2.lvd142m"]
    assert at_hand._HUB_FOLDER == "models--timm--"
