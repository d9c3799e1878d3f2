"""The course's backbones by name, with torchvision's weights; called, each returns torchvision's whole network."""

from __future__ import annotations

from foveal.models.resnets import Backbone, resnet18, resnet34, resnet50, resnet101, resnet152
from foveal.models.xresnet import (
    xresnet18,
    xresnet18_deep,
    xresnet34,
    xresnet34_deep,
    xresnet50,
    xresnet50_deep,
    xresnet101,
    xresnet152,
)

alexnet = Backbone("torchvision/alexnet")
densenet121, densenet161 = Backbone("densenet121.tv_in1k"), Backbone("densenet161.tv_in1k")
densenet169, densenet201 = Backbone("densenet169.tv_in1k"), Backbone("densenet201.tv_in1k")
squeezenet1_0, squeezenet1_1 = Backbone("torchvision/squeezenet1_0"), Backbone("torchvision/squeezenet1_1")
vgg11_bn, vgg13_bn = Backbone("vgg11_bn.tv_in1k"), Backbone("vgg13_bn.tv_in1k")
vgg16_bn, vgg19_bn = Backbone("vgg16_bn.tv_in1k"), Backbone("vgg19_bn.tv_in1k")

__all__ = [
    "alexnet",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "squeezenet1_0",
    "squeezenet1_1",
    "vgg11_bn",
    "vgg13_bn",
    "vgg16_bn",
    "vgg19_bn",
    "xresnet18",
    "xresnet18_deep",
    "xresnet34",
    "xresnet34_deep",
    "xresnet50",
    "xresnet50_deep",
    "xresnet101",
    "xresnet152",
]
