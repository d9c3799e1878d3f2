"""Backbones: weights land in the right place, and what is missing is said."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage import data as skimage_data
from sklearn.datasets import load_sample_image

from foveal.core.errors import ModelFileError, UnknownNameError
from foveal.images.prepare import IMAGENET, Preparation, collate
from foveal.models import zoo
from foveal.models.offline import PACKAGES, Package
from foveal.models.vision import ModelSpec, build_model, pretrained_model
from foveal.models.weights import load_into, pretrained_weights
from foveal.training.groups import Freeze, apply_freeze, parameter_groups, set_training, split_by_decay

# ImageNet's classes (from 0) of which a photograph shows one.
PHOTOGRAPHS = {
    "chelsea": ({281, 282, 285}, skimage_data.chelsea),  # tabby, tiger cat, Egyptian cat
    "coffee": ({504, 967, 968}, skimage_data.coffee),  # mug, espresso, cup
    "camera": ({872}, skimage_data.camera),  # tripod
    "rocket": ({657, 744, 812}, skimage_data.rocket),  # missile, projectile, space shuttle
    "flower": ({985}, lambda: load_sample_image("flower.jpg")),  # daisy
    "china": ({442, 497, 663, 668, 698}, lambda: load_sample_image("china.jpg")),  # bell cote, church, ..., palace
}


@pytest.fixture(scope="module")
def classifier():
    return classifier_of("tf_efficientnet_lite0")


def classifier_of(arch):
    model = zoo.build(arch, n_classes=1000).eval()
    load_into(model, pretrained_weights(arch))
    return model


def shares(model, statistics, size_hw=(224, 224)):
    """The probability that each photograph's own classes get."""
    preparation = Preparation.of(size_hw, "crop", statistics)
    pixels = collate([preparation.image(image()).pixels for _, image in PHOTOGRAPHS.values()])
    with torch.no_grad():
        probability = model(preparation.normalise(pixels)).softmax(dim=1)
    right = [row[sorted(classes)].sum() for row, (classes, _) in zip(probability, PHOTOGRAPHS.values(), strict=True)]
    return torch.stack(right), probability.argmax(dim=1).tolist()


def test_the_offline_backbone_names_ordinary_photographs(classifier):
    right, best = shares(classifier, zoo.statistics_of("tf_efficientnet_lite0"))
    for (name, (classes, _)), found in zip(PHOTOGRAPHS.items(), best, strict=True):
        assert found in classes, name
    # A slip in the statistics or in the padding of the convolutions costs confidence before it costs answers.
    with_imagenets, _ = shares(classifier, IMAGENET)
    plain = zoo.build("efficientnet_lite0", n_classes=1000).eval()
    plain.load_state_dict(classifier.state_dict())
    without_padding, _ = shares(plain, zoo.statistics_of("tf_efficientnet_lite0"))
    assert right.log().mean() > with_imagenets.log().mean()
    assert right.log().mean() > without_padding.log().mean()


@pytest.mark.parametrize("arch", ["tf_efficientnet_lite1", "tf_efficientnet_lite2"])
def test_the_larger_offline_backbones_name_them_too(arch):
    right, best = shares(classifier_of(arch), zoo.statistics_of(arch))
    assert sum(found in classes for found, (classes, _) in zip(best, PHOTOGRAPHS.values(), strict=True)) >= 4
    assert right.mean() > 0.6  # of 1,000 classes
    assert right.median() > 0.8


def test_the_offline_file_is_checked(tmp_path, monkeypatch):
    for arch, package in PACKAGES.items():
        changed = tmp_path / package.file
        changed.write_bytes(package.path(arch).read_bytes()[:-1] + b"x")
        monkeypatch.setattr(Package, "path", lambda self, arch, changed=changed: changed)
        with pytest.raises(ModelFileError, match="SHA-256"):
            pretrained_weights(arch)
        monkeypatch.undo()


def test_absent_weights_are_named_with_the_ways_out(monkeypatch, tmp_path):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    with pytest.raises(ModelFileError, match=r"resnet18-f37072fd.pth.*pretrained=False") as caught:
        pretrained_weights("resnet18")
    assert str(tmp_path) in str(caught.value)
    absent = replace(PACKAGES["tf_efficientnet_lite0"], module="not_installed_here")
    monkeypatch.setitem(PACKAGES, "tf_efficientnet_lite0", absent)
    with pytest.raises(ModelFileError, match=r"foveal\[offline\]"):
        pretrained_weights("tf_efficientnet_lite0")


def _no_network(*_args, **_options):
    raise ConnectionError("no network")


def test_a_weights_file_of_the_users(tmp_path):
    source = zoo.build("resnet18")
    for file, save in ((tmp_path / "w.pth", torch.save), (tmp_path / "w.safetensors", save_file)):
        save(source.state_dict(), file)
        model, found = pretrained_model(ModelSpec("resnet18", 3, (64, 64)), weights=file)
        assert found.origin == str(file)
        assert torch.equal(model.body.network.conv1.weight, source.conv1.weight)
    with pytest.raises(ModelFileError, match=r"do not fit.*Its tensors are those of `resnet18`"):
        pretrained_model(ModelSpec("resnet34", 3, (64, 64)), weights=tmp_path / "w.pth")
    (tmp_path / "bad.pth").write_bytes(b"junk")
    with pytest.raises(ModelFileError, match="cannot be loaded"):
        pretrained_weights("resnet18", tmp_path / "bad.pth")


def test_a_weights_file_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ModelFileError, match="cannot be loaded"):
        pretrained_weights("resnet18", tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_unknown_backbones_get_the_near_match():
    with pytest.raises(UnknownNameError, match="Did you mean `resnet50`"):
        zoo.build("resnet_50")


@pytest.mark.parametrize(
    "arch",
    ["resnet18", "tf_efficientnet_lite0", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto"],
)
def test_every_family_ends_in_a_map_and_three_groups(arch):
    model = build_model(ModelSpec(arch, 5, (64, 96)))
    with torch.no_grad():
        assert model.eval()(torch.zeros(2, 3, 64, 96)).shape == (2, 5)
    groups = parameter_groups(model)
    assert len(groups) == 3
    placed = [id(p) for group in groups for p in group]
    assert sorted(placed) == sorted(id(p) for p in model.parameters())
    assert all(groups)


@pytest.mark.parametrize("arch", ["resnet18", "resnet34", "resnet50"])
def test_groups_and_heads_are_the_books(arch, golden):
    model = build_model(ModelSpec(arch, 20, (64, 64)))
    groups = parameter_groups(model)
    assert [len(group) for group in groups] == golden[arch]["groups_n_tensors"]
    assert [sum(p.numel() for p in group) for group in groups] == golden[arch]["groups_n_params"]
    if arch == "resnet18":
        exempt = sum(p.numel() for group in groups for p in split_by_decay(model, group)[1])
        assert exempt == golden[arch]["no_wd_params"]
        apply_freeze(model, Freeze(2, "train"))
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == golden[arch]["trainable_when_frozen"]
    first = model[1][3].weight.detach()
    assert float(first.std()) == pytest.approx(np.sqrt(2 / first.shape[1]), rel=0.02)
    assert (model[1][1].bias == 1e-3).all()


@pytest.mark.parametrize("norm", ["train", "stats", "frozen"])
def test_frozen_normalisation_does_what_it_says(norm):
    model = build_model(ModelSpec("resnet18", 2, (32, 32)))
    freeze = Freeze(2, norm)
    apply_freeze(model, freeze)
    set_training(model, freeze)
    layer = model.body.network.bn1
    before = layer.running_mean.clone()
    model(torch.randn(4, 3, 32, 32)).sum().backward()
    assert (layer.running_mean != before).any() == (norm != "frozen")
    assert (layer.weight.grad is not None) == (norm == "train")
    assert model.body.network.conv1.weight.grad is None
    assert model[1][3].weight.grad is not None
