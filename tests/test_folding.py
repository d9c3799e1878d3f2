"""Normalisation is folded into convolutions without a change of what is answered."""

import pytest
import torch
from torch import nn

from foveal.models.fusing import fuse_batchnorm
from foveal.models.vision import ModelSpec, build_model


def trained(arch):
    """A model whose normalisation layers have seen something."""
    model = build_model(ModelSpec(arch, 3, (64, 64))).train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.3, 0.3)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 3, 64, 64))
    return model.eval()


@pytest.mark.parametrize(
    "arch", ["resnet18", "tf_efficientnet_lite0", "mobilenetv3_small_050", "densenet121", "test_vit"]
)
def test_answers_stay(arch):
    model, inputs = trained(arch), torch.randn(4, 3, 64, 64)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    quick = fuse_batchnorm(model, torch.zeros(1, 3, 64, 64))
    with torch.no_grad():
        torch.testing.assert_close(quick(inputs), model(inputs), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("arch", ["resnet18", "tf_efficientnet_lite0"])
def test_no_normalisation_is_left(arch):
    quick = fuse_batchnorm(trained(arch), torch.zeros(1, 3, 64, 64))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in quick.modules())


class Shared(nn.Module):
    """What the convolution gives is read twice, or the convolution is used twice."""

    def __init__(self, *, twice):
        super().__init__()
        self.twice, self.conv, self.norm = twice, nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.other = nn.Conv2d(3, 3, 1)
        nn.init.constant_(self.norm.running_mean, 0.7)

    def forward(self, x):
        made = self.conv(x)
        return self.norm(made) + (self.conv(x) if self.twice == "used" else self.other(made))


@pytest.mark.parametrize("twice", ["used", "read"])
def test_what_others_read_too_is_left_alone(twice):
    model, inputs = Shared(twice=twice).eval(), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(fuse_batchnorm(model, inputs)(inputs), model(inputs))


def test_a_sum_that_no_layer_reads_is_noticed():
    class Hidden(Shared):
        def forward(self, x):
            made = self.conv(x)
            return self.norm(made) + made

    model, inputs = Hidden(twice="read").eval(), torch.randn(2, 3, 8, 8)
    assert fuse_batchnorm(model, inputs) is model
