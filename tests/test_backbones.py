"""Backbones of every form: torchvision's functions, old names, a user's networks, other numbers of channels."""

import re
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.models import adapt_input_conv
from torch import nn
from torchvision.models import detection

from foveal.core.errors import InputError, ModelFileError, UnknownNameError
from foveal.images.prepare import IMAGENET, Statistics
from foveal.inference.loading import load_learner
from foveal.learner.vision import vision_learner
from foveal.models import torchvision_networks, xresnet, zoo
from foveal.models.cutting import cut_network, find_body, set_input_channels
from foveal.models.head import HeadOptions, pooled_head
from foveal.models.vision import ModelSpec, build_model
from foveal.models.weights import Weights, load_into, pretrained_weights
from foveal.tasks.single_label import CategoryBlock

IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
MAPS = {
    "resnet18": lambda m, x: nn.Sequential(*list(m.children())[:-2])(x),
    "densenet121": lambda m, x: F.relu(m.features(x)),
    "squeezenet1_1": lambda m, x: m.features(x),
    "mobilenet_v3_small": lambda m, x: m.features(x),
    "regnet_y_400mf": lambda m, x: m.trunk_output(m.stem(x)),
    "shufflenet_v2_x0_5": lambda m, x: m.conv5(m.stage4(m.stage3(m.stage2(m.maxpool(m.conv1(x)))))),
    "swin_t": lambda m, x: m.permute(m.norm(m.features(x))),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_function_of_torchvision_is_the_same_network(name):
    """Its weights, under torchvision's names, give torchvision's last map."""
    function = getattr(torchvision.models, name)
    theirs = function(weights=None).eval()
    arch = zoo.name_of(function)
    ours = zoo.build(arch, image_size=(64, 64)).eval()
    load_into(ours, Weights(theirs.state_dict(), "torchvision"))
    with torch.no_grad():
        torch.testing.assert_close(ours.forward_features(IMAGE), MAPS[name](theirs, IMAGE))
    assert zoo.statistics_of(arch) == IMAGENET
    assert torchvision_networks.torchvision_name(arch) == name


@pytest.mark.parametrize("name", ["resnext50_32x4d", "wide_resnet50_2", "vgg11_bn", "vgg19", "alexnet", "googlenet"])
def test_weights_of_torchvision_have_names_and_shapes_of_its_network(name):
    with torch.device("meta"):
        options = {"init_weights": False} if name == "googlenet" else {}
        theirs = torchvision.models.get_model(name, weights=None, **options).state_dict()
        ours = zoo.build(zoo.name_of(name)).state_dict()
    head = ("fc.", "classifier.", "aux")
    assert {key: t.shape for key, t in ours.items()} == {
        key: t.shape for key, t in theirs.items() if not key.startswith(head)
    }


def test_weights_are_torchvisions_and_the_file_is_named(monkeypatch, tmp_path):
    def refuse(*_args, **_options):
        raise ConnectionError("no network")

    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    for function, file in (
        (torchvision.models.densenet121, "densenet121-a639ec97.pth"),
        (torchvision.models.vgg16_bn, "vgg16_bn-6c64b313.pth"),
        (torchvision.models.squeezenet1_0, "squeezenet1_0-b66bff10.pth"),
        (torchvision.models.resnet50, "resnet50-0676ba61.pth"),
    ):
        with pytest.raises(ModelFileError, match=re.escape(file)):
            pretrained_weights(zoo.name_of(function))


def test_weights_of_a_densenet_are_read_by_the_names_of_its_file(monkeypatch, tmp_path):
    """Torchvision's file calls `norm1` of a dense layer `norm.1`."""
    theirs = torchvision.models.densenet121(weights=None)
    old = {re.sub(r"(denselayer\d+\.\w+)(\d)\.", r"\1.\2.", name): t for name, t in theirs.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    torch.save(old, folder / "densenet121-a639ec97.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    weights = pretrained_weights("densenet121.tv_in1k")
    assert weights.origin == "torchvision IMAGENET1K_V1, densenet121-a639ec97.pth"
    model = zoo.build("densenet121.tv_in1k")
    load_into(model, weights)
    layer = model.features.denseblock1.denselayer1.norm1
    assert torch.equal(layer.weight, theirs.features.denseblock1.denselayer1.norm1.weight)


def test_names_and_functions_of_timm_torchvision_and_ours():
    assert zoo.name_of(timm.models.resnet34) == zoo.name_of(torchvision.models.resnet34) == "resnet34"
    assert zoo.name_of("alexnet") == "torchvision/alexnet"
    assert zoo.name_of(xresnet.xresnet50) == "xresnet50"
    assert zoo.name_of(lambda pretrained: None) is None
    for old, new in (
        ("convnext_small_in22k", "convnext_small.fb_in22k"),
        ("vit_base_patch16_224_in21k", "vit_base_patch16_224.augreg_in21k"),
        ("swin_base_patch4_window7_224_in22k", "swin_base_patch4_window7_224.ms_in22k"),
    ):
        with pytest.warns(UserWarning, match=re.escape(f"timm calls `{old}` today `{new}`")):
            assert zoo.name_of(old) == new
    with pytest.raises(UnknownNameError, match="Did you mean `squeezenet1_1`"):
        zoo.name_of("squeezenet11")
    with pytest.raises(InputError, match=r"no backbone for whole images"):
        zoo.name_of(detection.fasterrcnn_resnet50_fpn)
    with pytest.raises(InputError, match="arch=lambda pretrained: resnet34"):
        zoo.name_of(partial(torchvision.models.resnet34, weights=None))
    with pytest.raises(InputError, match="got int"):
        zoo.name_of(34)
    with pytest.raises(InputError, match="timm has its kind"):
        zoo.build("torchvision/vit_b_16")


@pytest.mark.parametrize("name", [name for name in xresnet.LAYERS if "deep" not in name])
def test_an_xresnet_has_as_many_weights_as_timms(name):
    """timm calls the same network resnet18d, ..., resnet152d."""
    with torch.device("meta"):
        ours, theirs = xresnet.Architecture(name)(), timm.create_model(f"{name[1:]}d")
    assert sorted(tuple(p.shape) for p in ours.parameters()) == sorted(tuple(p.shape) for p in theirs.parameters())


def test_a_block_of_an_xresnet_begins_as_its_shortcut():
    body = xresnet.body("xresnet18").eval()
    block = body[4][0]
    features = torch.rand(2, 64, 8, 8)
    assert torch.equal(block(features), block.act(features))
    halving = body[5][0]
    with torch.no_grad():
        pooled = F.avg_pool2d(features, 2)
        torch.testing.assert_close(halving(features), F.relu(halving.shortcut[1](pooled)))


def test_an_xresnet_trains_from_random_weights_only(scene_loaders):
    dls = scene_loaders()
    with pytest.raises(InputError, match=r"no pretrained weights for `xresnet18`.*pretrained=False"):
        vision_learner(dls, xresnet.xresnet18)
    learn = vision_learner(dls, xresnet.xresnet18, pretrained=False)
    assert learn.model[0][0][0].in_channels == 3
    assert len(learn.model[0]) == 8


@pytest.mark.parametrize("arch", ["resnet18", "torchvision/squeezenet1_1", "xresnet18", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("n_channels", [1, 2, 4, 6])
def test_other_channels_take_the_colours_weights_as_timm_does(arch, n_channels):
    def first_convolution(network):
        return next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))

    source = zoo.build(arch, image_size=(32, 32)).eval()
    ours = zoo.build(arch, image_size=(32, 32), n_channels=n_channels).eval()
    load_into(ours, Weights(source.state_dict(), "test"))
    weight = first_convolution(source).weight.detach()
    torch.testing.assert_close(first_convolution(ours).weight, adapt_input_conv(n_channels, weight.clone()))
    with torch.no_grad():
        if n_channels == 1:  # a grey image in three equal colours
            image = IMAGE[:, :1, :32, :32]
            torch.testing.assert_close(ours(image), source(image.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
        if n_channels == 6:
            image = IMAGE[:, :, :32, :32]
            torch.testing.assert_close(ours(image.repeat(1, 2, 1, 1)), source(image), rtol=1e-4, atol=1e-5)


def test_statistics_follow_the_channels():
    assert zoo.statistics_of("resnet18", 4) == Statistics((*IMAGENET.mean, 0.5), (*IMAGENET.std, 0.25))
    grey = zoo.statistics_of("resnet18", 1)
    assert grey.mean == pytest.approx([sum(IMAGENET.mean) / 3])
    model = build_model(ModelSpec("test_resnet", 2, (32, 32), n_channels=4)).eval()
    model.body.statistics = zoo.statistics_of("test_resnet", 4)
    with torch.no_grad():
        assert model(torch.rand(1, 4, 32, 32)).shape == (1, 2)
    with pytest.raises(InputError, match=r"have 3 channels and the model takes 4.*n_in=3"):
        model(IMAGE)


class Functional(nn.Module):
    """Pools in a function, as ShuffleNet does; or hides what it does from its children."""

    def __init__(self, *, hidden=False):
        super().__init__()
        self.stem, self.stage, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3), nn.Linear(6, 2)
        self.last, self.hidden = nn.Linear(2, 2), hidden
        if not hidden:
            del self.last

    def forward(self, x):
        x = self.stem(x)
        x = self.stage(x * 2 if self.hidden else x)
        x = self.fc(x.mean(dim=(2, 3)))
        return self.last(x) if self.hidden else x


def test_a_network_is_cut_where_its_last_map_is():
    pooled = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 8), nn.Linear(8, 2)
    )
    assert [type(part) for part in find_body(pooled, size_hw=(32, 32))] == [nn.Conv2d, nn.ReLU]
    functional = Functional()
    assert list(find_body(functional)) == [functional.stem, functional.stage]
    whole = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert find_body(whole) is whole
    with pytest.raises(InputError, match=r"no feature map that foveal finds.*cut=-2"):
        find_body(Functional(hidden=True))
    with pytest.raises(InputError, match="leaves nothing"):
        cut_network(pooled, -6)
    with pytest.raises(InputError, match="does not take an image of"):
        find_body(nn.Sequential(nn.Linear(5, 2)))
    with pytest.raises(InputError, match="takes 4 channels, not 3"):
        set_input_channels(nn.Conv2d(4, 2, 1), 1)


def test_a_user_s_networks_are_backbones(scene_loaders, tmp_path, capsys):
    dls = scene_loaders(size=32)
    n_out = dls.task.n_outputs
    calls = []

    def mine(pretrained):
        calls.append(pretrained)
        return Functional()

    learn = vision_learner(dls, mine, pretrained=False, lin_ftrs=[5])
    assert calls == [False]
    assert "Pixels reach your backbone from 0 to 1" in capsys.readouterr().out
    assert learn.model.body.statistics is None
    assert learn.model[1][3].in_features == 12
    assert vision_learner(dls, Functional, pretrained=False).model.body.n_features == 6
    learn.fit_one_cycle(1, 1e-3)
    file = learn.export(tmp_path / "mine.safetensors")
    with pytest.raises(ModelFileError, match=r"backbone or head.*model=create_vision_model"):
        load_learner(file)
    fresh = vision_learner(dls, mine, pretrained=False, lin_ftrs=[5]).model
    image = dls.valid.dataset.images[0]
    torch.testing.assert_close(load_learner(file, model=fresh).predict(image).values, learn.predict(image).values)
    cut = vision_learner(dls, torchvision.models.resnet18(weights=None), cut=-3, pretrained=False)
    assert cut.model.body.n_features == 256
    assert cut.model.body.statistics == IMAGENET
    whole = vision_learner(dls, timm.create_model("test_resnet"), pretrained=False).model.body
    assert not any(isinstance(layer, nn.Linear) for layer in whole.modules())
    assert whole.statistics == zoo.statistics_of("test_resnet")
    by_function = vision_learner(dls, "resnet18", cut=lambda m: nn.Sequential(m.conv1, m.bn1), pretrained=False)
    assert by_function.model(IMAGE).shape == (2, n_out)
    with pytest.raises(InputError, match="returned str"):
        vision_learner(dls, lambda: "resnet18")
    with pytest.raises(InputError, match="arch=lambda pretrained"):
        vision_learner(dls, lambda depth, width: None)
    with pytest.raises(InputError, match="load the file into your network yourself"):
        vision_learner(dls, mine, weights="w.pth")


def test_the_parts_of_a_body_are_its_networks(scene_loaders):
    learn = vision_learner(scene_loaders(), "resnet18", pretrained=False)
    body, network = learn.model[0], learn.model.body.network
    assert list(body) == [*list(network.children())[:8]]
    assert body[-1] is network.layer4
    assert body[-2] is network.layer3
    assert body[0] is network.conv1
    assert len(body) == 8
    early = body[:5]
    with torch.no_grad():
        torch.testing.assert_close(early.eval()(IMAGE).shape[1], 64)
    seen = []
    body[-1].register_forward_hook(lambda *call: seen.append(call[2].shape))
    learn.model.eval()(IMAGE)
    assert seen == [(2, 512, 2, 2)]
    body[0] = nn.Conv2d(3, 64, 3, padding=1)
    assert network.conv1.kernel_size == (3, 3)
    assert not learn.model.is_of_its_spec()


OPTIONS = [
    {"ps": 0.25, "lin_ftrs": [32, 16], "bn_final": True},
    {"ps": [0.0, 0.3, 0.0], "lin_ftrs": [32, 16], "concat_pool": False, "first_bn": False},
    {"lin_first": True, "lin_ftrs": []},
    {"lin_first": True, "lin_ftrs": [8], "cut": -3},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_model_with_options_is_loaded_as_it_was(options, scene_loaders, tmp_path):
    learn = vision_learner(scene_loaders(size=32), "test_resnet", pretrained=False, **options)
    file = learn.export(tmp_path / "m.safetensors")
    loaded = load_learner(file)
    assert repr(loaded.model) == repr(learn.model)
    image = learn.dls.valid.dataset.images[0]
    torch.testing.assert_close(loaded.predict(image).values, learn.predict(image).values)
    with pytest.raises(InputError, match=r"leave `ps` out"):
        vision_learner(learn.dls, str(file), ps=0.1)
    assert repr(vision_learner(learn.dls, str(file)).model) == repr(learn.model)


def test_the_layers_of_a_head():
    def form(head):
        return [
            f"{type(layer).__name__}"
            + (f" {layer.p}" if isinstance(layer, nn.Dropout) else "")
            + (f" {layer.in_features}-{layer.out_features}" if isinstance(layer, nn.Linear) else "")
            + (" bias" if isinstance(layer, nn.Linear) and layer.bias is not None else "")
            for layer in head
        ]

    books = ["ConcatPool", "BatchNorm1d", "Dropout 0.25", "Linear 8-512", "ReLU", "BatchNorm1d", "Dropout 0.5"]
    assert form(pooled_head(4, 3)) == [*books, "Linear 512-3"]
    options = HeadOptions((6,), (0.4,), concat_pool=False, first_bn=False, bn_final=True)
    expected = ["MeanPool", "Dropout 0.2", "Linear 4-6 bias", "ReLU", "BatchNorm1d", "Dropout 0.4", "Linear 6-3"]
    assert form(pooled_head(4, 3, options=options)) == [*expected, "BatchNorm1d"]
    options = HeadOptions((6,), (0.1, 0.2), lin_first=True)
    expected = ["ConcatPool", "Dropout 0.1", "Linear 8-6", "ReLU", "BatchNorm1d", "Dropout 0.2", "Linear 6-3 bias"]
    assert form(pooled_head(4, 3, options=options)) == expected
    with pytest.raises(InputError, match="has 2 dropouts"):
        HeadOptions((6,), (0.1, 0.2, 0.3))


def test_arguments_of_a_vision_learner(scene_loaders, tmp_path):
    dls = scene_loaders(size=32)
    build = partial(vision_learner, dls, "test_resnet", pretrained=False)
    names = len(dls.vocab)
    assert build(n_out=names).model[1][-1].out_features == names
    with pytest.raises(InputError, match=rf"`n_out` is 7, and the loaders' targets need {names}"):
        build(n_out=7)
    with pytest.raises(InputError, match="`n_in` is 1, and the loaders read images with n_channels=3"):
        build(n_in=1)
    with pytest.raises(UnknownNameError, match="Did you mean `metrics`"):
        build(metric=None)
    with pytest.raises(InputError, match=r"no argument `model_dir`.*path="):
        build(model_dir="models")
    with pytest.raises(InputError, match="layers of a `linear` head are fixed"):
        build(head="linear", ps=0.1)
    assert build(normalize=False).model.body.statistics is None
    assert build().model.body.statistics is not None
    learn = build(lr=0.01, wd=0.3, path=tmp_path, moms=(0.9, 0.8, 0.9), splitter=lambda m: [list(m.parameters())])
    assert (learn.lr, learn.wd, learn.path, learn.moms) == (0.01, 0.3, tmp_path, (0.9, 0.8, 0.9))
    ones = build(init=nn.init.ones_).model[1]
    assert (ones[3].weight == 1).all()
    torch.testing.assert_close(
        build(init=nn.init.orthogonal_, seed=3).model[1][3].weight,
        build(init=nn.init.orthogonal_, seed=3).model[1][3].weight,
        rtol=0,
        atol=0,
    )


def test_a_head_of_the_user_s_own(scene_loaders, tmp_path):
    dls = scene_loaders(size=32, target=CategoryBlock, get_y=lambda r: "ab"[len(r["labels"]) % 2])

    def head(n_features=96):
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_features, 2))

    mine = head()
    learn = vision_learner(dls, "test_resnet", custom_head=mine, pretrained=False)
    assert learn.model[1] is mine
    learn.fit(1)
    file = learn.export(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match=r"your own backbone or head"):
        load_learner(file)
    again = load_learner(file, model=vision_learner(dls, "test_resnet", custom_head=head(), pretrained=False).model)
    image = dls.valid.dataset.images[0]
    torch.testing.assert_close(again.predict(image).values, learn.predict(image).values)
    with pytest.raises(InputError, match=r"`ps` shapes the usual head"):
        vision_learner(dls, "test_resnet", custom_head=head(), ps=0.2, pretrained=False)
    with pytest.raises(InputError, match="does not take the backbone's feature map, which has 96 channels"):
        vision_learner(dls, "test_resnet", custom_head=head(95), pretrained=False)
    with pytest.raises(InputError, match="gives 3 numbers per image, and 2 are needed"):
        vision_learner(dls, "test_resnet", custom_head=nn.Sequential(head(), nn.Linear(2, 3)), pretrained=False)
    with pytest.raises(InputError, match=r"recipe='best' trains a head of its own kind"):
        vision_learner(dls, "test_resnet", custom_head=head(), recipe="best", pretrained=False)
    with pytest.raises(InputError, match=r"`custom_head` is a module"):
        vision_learner(dls, "test_resnet", custom_head=head, pretrained=False)
