"""A matrix of families of backbones, with random weights at their native shape: sizes, files, heads, export."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import save_file

from foveal.core.errors import InputError, ModelFileError
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.labels import ColReader
from foveal.data.splits.splitters import IndexSplitter
from foveal.geometry.resize import Resize
from foveal.images.prepare import Statistics
from foveal.inference.explain import overlay
from foveal.inference.exports import TOLERANCE, export_model
from foveal.inference.loading import load_learner
from foveal.learner.vision import vision_learner
from foveal.models import zoo
from foveal.models.body import POOLS
from foveal.models.patches import fitted_size, patch_size
from foveal.models.vision import ModelSpec, build_model, pretrained_model
from foveal.models.weights import hub_config, pretrained_weights
from foveal.tasks.points import PointBlock
from foveal.tasks.single_label import CategoryBlock
from foveal.training.groups import parameter_groups

FULL = os.environ.get("FOVEAL_FAMILIES") == "full"
FAMILIES = {
    "vit_small_patch14_dinov2.lvd142m": ("class",),
    "vit_small_patch14_reg4_dinov2.lvd142m": ("class",),
    "vit_small_patch16_dinov3.lvd1689m": ("mean",),
    "convnext_tiny.dinov3_lvd1689m": ("own",),
    "vit_base_patch16_siglip_224.webli": ("own",),
    "vit_base_patch32_clip_224.openai": ("class",),
    "eva02_tiny_patch14_224.mim_in22k": ("own",),
    "swinv2_tiny_window8_256.ms_in1k": (),
    "tiny_vit_5m_224.dist_in22k": ("own",),
    "mobilenetv4_conv_small.e2400_r224_in1k": ("own",),
    "convnextv2_atto.fcmae_ft_in1k": ("own",),
    "resnet18": (),
    "resnet50d.ra2_in1k": (),
}
"""Families, and what of their features their own classifier reads; nothing where it is the mean over the map."""


def sizes_of(arch):
    """The native size, a smaller one, and one that is not square."""
    height, width = zoo.native_size(arch)
    return [(height, width), (height // 2, width // 2), (height // 2, width)] if FULL else [(height // 2, width)]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """A backbone's name, and a folder with files of random weights of its native shape."""
    arch, folder = request.param, tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    network = timm.create_model(arch, pretrained=False)
    tensors = {name: t.contiguous() for name, t in network.state_dict().items()}
    entry = timm.get_pretrained_cfg(arch)
    config = {
        "architecture": arch.split(".")[0],
        "pretrained_cfg": {"tag": entry.tag, "input_size": list(entry.input_size), "mean": list(entry.mean)},
    }
    config["pretrained_cfg"]["std"] = list(entry.std)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    torch.save({"state_dict": {f"module.{name}": t for name, t in tensors.items()}}, folder / "checkpoint.pth")
    return arch, folder


def spec_of(arch, size_hw, head="linear", n_outputs=3):
    return ModelSpec(arch, n_outputs, size_hw, head=head, pooling=None)


def test_features_are_those_that_the_networks_own_classifier_reads(family):
    """From a file at any size: timm's pre-logits, as timm itself loads the file at that size."""
    arch, folder = family
    for size_hw in sizes_of(arch):
        model, _ = pretrained_model(spec_of(arch, size_hw), weights=folder)
        assert model.body.pooling == FAMILIES[arch]
        fitted = fitted_size(size_hw, patch_size(model.body.network))
        options = {"img_size": fitted} if timm.get_pretrained_cfg(arch).fixed_input_size else {}
        overlay = {"file": str(folder / "model.safetensors")}
        theirs = timm.create_model(arch, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay, **options)
        image = torch.rand(2, 3, *fitted, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            pooled = model[1][0](model.eval().body(image))
            theirs = theirs.eval()
            expected = theirs.forward_head(theirs.forward_features(image), pre_logits=True)
        torch.testing.assert_close(pooled, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def loaders(scenes):
    """A function that builds loaders of 12 images to train on and 4 to validate, not square."""

    def build(arch, target):
        frame = pd.read_csv(scenes / "balloons.csv", keep_default_na=False)[:16]
        frame["half"] = np.where(frame["x"] < frame["x"].median(), "left", "right")
        labels = (lambda r: [r["x"], r["y"]]) if target is PointBlock else ColReader("half")
        block = DataBlock(
            (ImageBlock, target),
            get_x=ColReader("fname", pref=scenes / "scenes"),
            get_y=labels,
            splitter=IndexSplitter(range(4)),
            item_tfms=Resize(small(arch), method="squish"),
        )
        return block.dataloaders(frame, bs=4)

    return build


def small(arch):
    """A size that is not square, of whole patches of 14 and 16 or windows of 8 by 4."""
    return (84, 126) if "patch14" in arch else (128, 192)


def test_a_probe_the_last_block_a_bundle_and_an_explanation(family, loaders, tmp_path):
    arch, folder = family
    dls = loaders(arch, CategoryBlock)
    learn = vision_learner(dls, arch, head="linear", weights=folder, seed=0)
    body = learn.model.body
    learn.probe()
    assert learn.model.body.pooling in (*body.candidates, ())
    assert learn.model.spec.pooling == body.pooling

    before = {name: p.detach().clone() for name, p in learn.model.named_parameters()}
    learn.freeze_to(-2)
    learn.fit(1, 1e-2)
    changed = {name for name, p in learn.model.named_parameters() if not torch.equal(p, before[name])}
    late = {id(p) for group in parameter_groups(learn.model)[1:] for p in group}
    assert changed
    assert changed <= {name for name, p in learn.model.named_parameters() if id(p) in late}

    saved = learn.save(tmp_path / "weights")
    learn.export(tmp_path / "model.safetensors")
    again = load_learner(tmp_path / "model.safetensors")
    image = dls.valid.dataset.images[0]
    assert torch.equal(again.predict(image).values, learn.predict(image).values)
    fresh = vision_learner(dls, arch, head="linear", weights=folder, seed=1).load(saved)
    assert torch.equal(fresh.predict(image).values, learn.predict(image).values)
    further = vision_learner(dls, str(tmp_path / "model.safetensors"))
    assert torch.equal(further.predict(image).values, learn.predict(image).values)
    assert further.model.body.candidates == body.candidates

    shown, label = overlay(learn.predictor(), image)
    assert shown.shape == (*small(arch), 3)
    assert label in dls.vocab


def test_a_spatial_head_finds_points_on_the_grid_of_patches(family, loaders):
    arch, folder = family
    dls = loaders(arch, PointBlock)
    learn = vision_learner(dls, arch, head="spatial", weights=folder, seed=0)
    learn.probe()
    height, width = small(arch)
    with torch.no_grad():
        heat = learn.model.eval()(torch.zeros(1, 3, height, width))
    assert heat.shape[2] / heat.shape[3] == pytest.approx(height / width, rel=0.35)  # strides round small maps
    assert min(heat.shape[2:]) > 3
    point = learn.predict(dls.valid.dataset.images[0]).label
    assert np.isfinite(point).all()


def test_groups_go_from_patches_over_blocks_to_the_head(family):
    arch, _ = family
    with torch.device("meta"):
        model = build(arch)
    names = {id(p): name for name, p in model.named_parameters()}
    early, late, head = ([names[id(p)] for p in group] for group in parameter_groups(model))
    assert head == ["1.1.weight", "1.1.bias"]
    assert any(name.startswith(FIRST) for name in early)
    assert not any(name.startswith(FIRST) for name in late)
    numbers = [numbers_of(group) for group in (early, late)]
    assert max(numbers[0]) < min(numbers[1])
    after = ("0.network.norm", "0.network.fc_norm", "0.network.attn_pool", "0.network.conv_head", "0.network.head.")
    assert not any(name.startswith(after) for name in early if "norm_pre" not in name)


FIRST = tuple(f"0.network.{name}." for name in ("patch_embed", "stem", "conv1", "conv_stem"))


def numbers_of(names):
    """The numbers of the stages or blocks that parameters belong to."""
    stages = (
        ("blocks.", "stages.", "layers.") if any("layers." in n for n in names) else ("blocks.", "stages.", "layer")
    )
    parts = (name.removeprefix("0.network.") for name in names)
    return [int(p.removeprefix(s).split(".")[0]) for p in parts for s in stages if p.startswith(s)]


def build(arch):
    return build_model(ModelSpec(arch, 3, zoo.native_size(arch), head="linear"))


EXPORTED = [
    arch for arch in FAMILIES if FULL or arch.split("_")[0] in {"swinv2", "eva02", "mobilenetv4"} or "reg4" in arch
]


@pytest.mark.parametrize("arch", EXPORTED)
def test_onnx_answers_as_the_model_does(arch, loaders, tmp_path):
    dls = loaders(arch, CategoryBlock)
    learn = vision_learner(dls, arch, head="linear", pretrained=False, seed=0)
    torch.nn.init.normal_(learn.model.linear.weight)
    found = export_model(learn.predictor(), tmp_path / "model.onnx", images=dls.valid.dataset.images)
    assert max(found.differences.values()) < TOLERANCE


def test_a_file_in_three_layouts_is_the_same_and_says_what_it_is(family):
    arch, folder = family
    config = hub_config(folder)
    entry = timm.get_pretrained_cfg(arch)
    assert (config.arch, config.size_hw) == (f"{arch.split('.')[0]}.{entry.tag}", tuple(entry.input_size[1:]))
    assert config.statistics == Statistics(tuple(entry.mean), tuple(entry.std))
    read = [pretrained_weights(arch, path).tensors for path in (folder, folder / "checkpoint.pth")]
    assert read[0].keys() == read[1].keys()
    assert all(torch.equal(read[0][name], read[1][name]) for name in read[0])


def test_a_file_for_another_backbone_says_which(family, tmp_path):
    arch, folder = family
    other = "resnet34" if arch != "resnet34" else "resnet18"
    with pytest.raises(ModelFileError, match=f"holds weights of `{arch.split('.')[0]}"):
        pretrained_model(spec_of(other, (64, 64)), weights=folder)
    with pytest.raises(ModelFileError, match=r"Its tensors are those of `") as told:
        pretrained_model(spec_of(other, (64, 64)), weights=folder / "checkpoint.pth")
    named = str(told.value).split("Its tensors are those of ")[1].split(": name")[0]
    tensors = pretrained_weights(arch, folder / "checkpoint.pth").tensors
    with torch.device("meta"):
        one = timm.create_model(named.split("`")[1], num_classes=1000)
    assert sorted(t.shape for t in one.state_dict().values() if t.ndim == 4) == sorted(
        t.shape for t in tensors.values() if t.ndim == 4
    )


def test_the_books_head_reads_what_a_family_of_tokens_is_known_for_beside_the_mean(family):
    arch, _ = family
    model = build_model(ModelSpec(arch, 3, small(arch), pooling=None))
    known = FAMILIES[arch]
    is_tokens = ("vit" in arch and "tiny_vit" not in arch) or "eva" in arch
    assert model.spec.pooling == ((*known, "mean") if is_tokens and known != ("mean",) else ())
    assert model.eval()(torch.zeros(1, 3, *small(arch))).shape == (1, 3)


def test_a_network_of_ones_own_with_a_head_of_another_form_is_taken(loaders):
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3, stride=4)

        def forward_features(self, x):
            return self.conv(x)

        def forward_head(self, x):
            return x.mean(dim=(2, 3))

    learn = vision_learner(loaders("resnet18", CategoryBlock), Own(), head="linear", normalize=False)
    learn.probe()
    assert learn.model.body.pooling == ()


@pytest.mark.parametrize("arch", ["pit_ti_224", "crossvit_9_240"])
def test_a_network_that_hands_on_class_tokens_alone_is_read_by_its_own_pooling(arch, scenes, tmp_path):
    frame = pd.read_csv(scenes / "balloons.csv", keep_default_na=False)[:12]
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_x=ColReader("fname", pref=scenes / "scenes"),
        get_y=lambda row: "left" if row["x"] < 60 else "right",
        splitter=IndexSplitter(range(2)),
        item_tfms=Resize(zoo.native_size(arch)),
    )
    dls = block.dataloaders(frame, bs=4)
    learn = vision_learner(dls, arch, head="linear", pretrained=False, seed=0)
    learn.probe()
    assert learn.model.spec.pooling == ("own",)
    learn.export(tmp_path / "model.safetensors")
    image = dls.valid.dataset.images[0]
    again = load_learner(tmp_path / "model.safetensors")
    assert torch.equal(again.predict(image).values, learn.predict(image).values)
    assert not again.supports_explain
    with pytest.raises(InputError, match="class tokens alone"):
        overlay(again, image)
    with pytest.raises(InputError, match="returns a feature map"):
        build_model(ModelSpec(arch, 2, zoo.native_size(arch), head="spatial"))


def test_parts_stand_in_one_order():
    assert POOLS == ("own", "class", "mean", "max", "finer")
