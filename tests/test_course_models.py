"""The course's layers and functions of models: the same numbers as torch's layers, torchvision's networks, the papers."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from foveal.core.errors import InputError, UnknownNameError
from foveal.course import backbones, layers, models
from foveal.course.layers import NormType, PoolType
from foveal.inference.loading import load_learner
from foveal.learner.learner import Learner
from foveal.learner.vision import vision_learner
from foveal.models import zoo
from foveal.models.module import Module
from foveal.models.vision import Body
from foveal.training.groups import parameter_groups

MAP = torch.randn(2, 6, 4, 5, generator=torch.Generator().manual_seed(0))


def test_layers_that_reshape():
    assert layers.Flatten()(MAP).shape == (2, 120)
    assert layers.Flatten(full=True)(MAP).shape == (240,)
    assert layers.View(4, 60)(MAP).shape == (4, 60)
    assert torch.equal(layers.ResizeBatch(3, 40)(MAP), MAP.reshape(2, 3, 40))
    assert torch.equal(layers.Lambda(torch.relu)(MAP), MAP.clamp(min=0))
    assert torch.equal(layers.PartialLambda(torch.clamp, min=0.5)(MAP), MAP.clamp(min=0.5))
    assert "relu" in repr(layers.Lambda(torch.relu))


def test_layers_that_pool():
    most, mean = MAP.amax(dim=(2, 3)), MAP.mean(dim=(2, 3))
    torch.testing.assert_close(layers.AdaptiveConcatPool2d()(MAP).flatten(1), torch.cat([most, mean], dim=1))
    assert layers.AdaptiveConcatPool2d((2, 1))(MAP).shape == (2, 12, 2, 1)
    torch.testing.assert_close(layers.PoolFlatten()(MAP), mean)
    torch.testing.assert_close(layers.PoolFlatten(PoolType.Max)(MAP), most)
    torch.testing.assert_close(layers.PoolFlatten(PoolType.Cat)(MAP), torch.cat([most, mean], dim=1))
    torch.testing.assert_close(layers.AdaptiveAvgPool()(MAP).flatten(1), mean)
    with pytest.raises(UnknownNameError, match="no pool type `Mean`"):
        layers.PoolFlatten("Mean")


def test_a_convolution_its_normalisation_and_its_activation():
    layer = layers.ConvLayer(6, 8, stride=2)
    assert [type(part) for part in layer] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    conv, norm = layer[0], layer[1]
    assert conv.bias is None
    assert (norm.bias == 1e-3).all()
    limit = math.sqrt(6 / (6 * 9))  # of Kaiming's uniform
    assert float(conv.weight.detach().abs().max()) == pytest.approx(limit, rel=0.05)
    torch.testing.assert_close(layer(MAP), F.relu(norm(F.conv2d(MAP, conv.weight, stride=2, padding=1))))
    last = layers.ConvLayer(6, 8, norm_type=NormType.BatchZero, act_cls=None, bn_1st=False)
    assert [type(part) for part in last] == [nn.Conv2d, nn.BatchNorm2d]
    assert not last(MAP).detach().sub(1e-3).any()
    order = layers.ConvLayer(6, 8, bn_1st=False, act_cls=layers.Mish, norm_type=NormType.Instance)
    assert [type(part) for part in order] == [nn.Conv2d, nn.Mish, nn.InstanceNorm2d]
    plain = layers.ConvLayer(6, 8, norm_type=None, bias_std=0, groups=2, xtra=nn.Dropout())
    assert [type(part) for part in plain] == [nn.Conv2d, nn.ReLU, nn.Dropout]
    assert not plain[0].bias.any()
    spectral = layers.ConvLayer(6, 8, norm_type=NormType.Spectral).eval()
    for _ in range(300):  # power iteration: one step each
        spectral.train()(MAP)
    assert float(torch.linalg.matrix_norm(spectral[0].weight.detach().flatten(1), 2)) == pytest.approx(1, rel=1e-3)
    assert layers.ConvLayer(6, 3, ks=2, stride=2, transpose=True)(MAP).shape == (2, 3, 8, 10)
    assert layers.ConvLayer(6, 3, ndim=1)(MAP.flatten(2)).shape == (2, 3, 20)
    with pytest.raises(InputError, match="`ndim` is 1, 2 or 3"):
        layers.ConvLayer(6, 3, ndim=4)


def test_a_linear_layer_with_normalisation_and_dropout():
    def kinds(layer):
        return [type(part) for part in layer]

    assert kinds(layers.LinBnDrop(4, 3)) == [nn.BatchNorm1d, nn.Linear]
    assert kinds(layers.LinBnDrop(4, 3, p=0.1, act=nn.ReLU())) == [nn.BatchNorm1d, nn.Dropout, nn.Linear, nn.ReLU]
    first = layers.LinBnDrop(4, 3, p=0.1, act=nn.ReLU(), lin_first=True)
    assert kinds(first) == [nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout]
    assert first[2].num_features == 3
    assert first[0].bias is None
    assert layers.LinBnDrop(4, 3, bn=False)[0].bias is not None


def test_a_simple_cnn():
    cnn = layers.SimpleCNN([3, 8, 16, 2])
    assert cnn(torch.rand(4, 3, 28, 28)).shape == (4, 2)
    assert [len(part) for part in cnn] == [3, 3, 2, 2]  # the last convolution has no normalisation
    assert [part[0].stride for part in list(cnn)[:3]] == [(2, 2)] * 3
    assert not any(isinstance(m, nn.BatchNorm2d) for m in layers.SimpleCNN([3, 8, 2], bn=False).modules())
    with pytest.raises(InputError, match="2 convolutions need 2"):
        layers.SimpleCNN([3, 8, 2], strides=[1])


def test_attention_is_the_papers():
    layer = layers.SelfAttention(16).eval()
    x = torch.randn(2, 16, 3, 4)
    assert torch.equal(layer(x), x)
    nn.init.constant_(layer.gamma, 0.7)
    flat = x.flatten(2)
    f, g, h = (
        torch.einsum("oi,bin->bon", conv.weight[:, :, 0], flat) for conv in (layer.query, layer.key, layer.value)
    )
    share = torch.einsum("bfi,bfj->bij", f, g).softmax(dim=1)  # of place i in what place j receives
    expected = 0.7 * torch.einsum("bci,bij->bcj", h, share) + flat
    torch.testing.assert_close(layer(x), expected.view_as(x))


def test_layers_that_find_the_input_of_all():
    conv = nn.Conv2d(6, 6, 1)
    torch.testing.assert_close(layers.SequentialEx(conv, layers.MergeLayer())(MAP), conv(MAP) + MAP)
    dense = layers.SequentialEx(conv, nn.ReLU(), layers.MergeLayer(dense=True))
    torch.testing.assert_close(dense(MAP), torch.cat([F.relu(conv(MAP)), MAP], dim=1))
    with pytest.raises(InputError, match="SequentialEx"):
        nn.Sequential(conv, layers.MergeLayer())(MAP)


def test_small_functions():
    x = torch.tensor([-100.0, 0.0, 100.0])
    torch.testing.assert_close(layers.sigmoid(x), torch.tensor([1e-7, 0.5, 1 - 1e-7]))
    block = layers.ResBlock(4, 16, 32, stride=2, act_cls=nn.SiLU)
    assert block(torch.rand(1, 64, 8, 8)).shape == (1, 128, 4, 4)
    with pytest.raises(UnknownNameError, match="no argument of ResBlock `sa`"):
        layers.ResBlock(1, 4, 4, sa=True)


def test_a_module_needs_no_call_of_its_parent():
    class Mine(Module):
        def __init__(self):
            self.layer = nn.Linear(2, 1)

        def forward(self, x):
            return self.layer(x)

    class Called(Module):
        def __init__(self):
            self.layer = nn.Linear(2, 1)
            super().__init__()

    assert len(list(Mine().parameters())) == len(list(Called().parameters())) == 2


@pytest.mark.parametrize(
    ("arch", "n_features"), [("resnet18", 512), (torchvision.models.squeezenet1_1, 512), (backbones.xresnet18, 512)]
)
def test_a_body_is_a_sequence_of_parts(arch, n_features):
    body = models.create_body(arch, pretrained=False)
    assert isinstance(body, nn.Sequential)
    assert models.num_features_model(body) == n_features
    assert not any(isinstance(part, nn.AdaptiveAvgPool2d | nn.Linear) for part in body.modules())
    assert body(torch.rand(2, 3, 64, 64)).shape[:2] == (2, n_features)


def test_a_body_is_torchvisions_without_pooling_and_classifier():
    theirs = torchvision.models.resnet18(weights=None)
    parts = nn.Sequential(*list(theirs.children())[:-2]).eval()
    image = torch.rand(1, 3, 64, 64)
    for body in (
        models.create_body(theirs),
        models.create_body(theirs, cut=-2),
        models.create_body(lambda pretrained: theirs, pretrained=False),
    ):
        assert len(body) == 8
        torch.testing.assert_close(body.eval()(image), parts(image))
    tokens = models.create_body("vit_tiny_patch16_224", pretrained=False)
    assert isinstance(tokens, Body)
    assert tokens(torch.rand(1, 3, 224, 224)).shape == (1, 192, 14, 14)
    assert models.in_channels(models.create_body("resnet18", n_in=1, pretrained=False)) == 1


def test_a_head_is_the_courses():
    torch.manual_seed(0)  # of some draws every unit of the narrow head is below 0
    head = models.create_head(512, 10)
    kinds = [nn.BatchNorm1d, nn.Dropout, nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in head] == [layers.AdaptiveConcatPool2d, layers.Flatten, *kinds]
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.25, 0.5]
    assert [tuple(layer.weight.shape) for layer in head if isinstance(layer, nn.Linear)] == [(512, 1024), (10, 512)]
    assert head.eval()(torch.rand(3, 512, 2, 2)).shape == (3, 10)
    bounded = models.create_head(8, 2, lin_ftrs=[5, 4], ps=[0.1, 0, 0.2], concat_pool=False, y_range=(0, 5)).eval()
    answers = bounded(1e4 * torch.randn(9, 8, 2, 2))
    assert 0 <= answers.min() < answers.max() <= 5
    assert sum(isinstance(layer, nn.Dropout) for layer in bounded) == 2
    assert isinstance(models.create_head(8, 2, pool=False)[0], nn.BatchNorm1d)
    assert isinstance(models.create_head(8, 2, bn_final=True)[-1], nn.BatchNorm1d)


def test_body_and_head_are_trained_by_a_learner(scene_loaders):
    dls = scene_loaders(size=32)
    body = models.create_body("test_resnet", pretrained=False)
    model = nn.Sequential(body, models.create_head(models.num_features_model(body), dls.task.n_outputs, [8]))
    models.apply_init(model[1], nn.init.kaiming_normal_)
    learn = Learner(dls, model, splitter=models.default_split, lr=1e-2)
    learn.freeze()
    assert [len(group) for group in parameter_groups(model)] == [len(models.params(body)), len(models.params(model[1]))]
    assert {id(p) for p in models.params(model[1])} <= {id(p) for p in models.trainable_params(model)}
    before = body[0].weight.clone() if hasattr(body[0], "weight") else next(body.parameters()).clone()
    learn.fit(1)
    assert torch.equal(before, body[0].weight if hasattr(body[0], "weight") else next(body.parameters()))


def test_a_vision_model_fills_a_bundle_of_layers_of_ones_own(scene_loaders, tmp_path):
    dls = scene_loaders(size=32)

    def mine(pretrained=False):
        return layers.SimpleCNN([3, 8, 16], bn=True)

    learn = vision_learner(dls, mine, pretrained=False, lin_ftrs=[8])
    learn.fit(1)
    file = learn.export(tmp_path / "m.safetensors")
    build = partial(models.create_vision_model, mine, dls.task.n_outputs, pretrained=False)
    image = dls.valid.dataset.images[0]
    answer = load_learner(file, model=build(lin_ftrs=[8])).predict(image)
    torch.testing.assert_close(answer.values, learn.predict(image).values)
    with pytest.raises(InputError, match="Leave out what shapes the usual head"):
        build(custom_head=nn.Flatten(), ps=0.1)
    head = nn.Sequential(layers.PoolFlatten(), nn.Linear(16, dls.task.n_outputs))
    assert build(custom_head=head)[1] is head


def test_what_is_known_of_a_network():
    network = torchvision.models.resnet18(weights=None)
    assert models.has_pool_type(network)
    assert not models.has_pool_type(network.layer1)
    sizes = models.model_sizes(nn.Sequential(*list(network.children())[:-2]), (64, 64))
    assert [tuple(size) for size in sizes[-4:]] == [(1, 64, 16, 16), (1, 128, 8, 8), (1, 256, 4, 4), (1, 512, 2, 2)]
    layer = models.init_default(nn.Linear(3, 2), nn.init.ones_)
    assert (layer.weight == 1).all()
    assert not layer.bias.any()
    frozen = nn.Linear(3, 2).requires_grad_(requires_grad=False)
    before = frozen.weight.clone()
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), frozen)
    models.apply_init(net, nn.init.zeros_)
    assert not net[0].weight.any()
    assert net[1].weight.all()
    assert torch.equal(frozen.weight, before)


def test_names_are_functions_too():
    assert backbones.resnet34 == "resnet34"
    network = backbones.squeezenet1_1(num_classes=7)
    assert isinstance(network, torchvision.models.SqueezeNet)
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 7)
    with pytest.raises(InputError, match="for 1000 classes"):
        backbones.resnet18(pretrained=True, num_classes=7)
    for name in backbones.__all__:
        arch = getattr(backbones, name)
        assert zoo.name_of(arch) in {name, f"{name}.tv_in1k", f"torchvision/{name}"}
    with pytest.raises(InputError, match="no pretrained weights here"):
        backbones.xresnet50(pretrained=True)
    assert backbones.xresnet18(n_out=3, act_cls=layers.Mish)(torch.rand(2, 3, 32, 32)).shape == (2, 3)
