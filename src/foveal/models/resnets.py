"""Backbones that are also torchvision's functions: `resnet34` names one, `resnet34()` builds the whole network.

`resnet18`, `resnet34`, `resnet50`, `resnet101` and `resnet152` are residual networks of so many layers (He et al. 2016,
"Deep Residual Learning for Image Recognition", arXiv 1512.03385).
"""

from __future__ import annotations

from torch import nn

from foveal.core.errors import InputError
from foveal.models import torchvision_networks
from foveal.models.weights import torchvision_weights

_IMAGENET_CLASSES = 1000


class Backbone(str):
    """A backbone's name that is also torchvision's function: called, it returns the whole network.

    `vision_learner(dls, resnet34)` takes it as it takes any name of timm's.

    Examples:
        >>> from foveal.vision.all import *
        >>> resnet34 == "resnet34"
        True
        >>> resnet18(num_classes=10).fc
        Linear(in_features=512, out_features=10, bias=True)
    """

    __slots__ = ()

    def __call__(self, pretrained: bool = False, *, num_classes: int = 1000) -> nn.Module:
        """Return torchvision's network, classifier included.

        Args:
            pretrained: with torchvision's weights, for the 1,000 classes of ImageNet.
            num_classes: numbers per image.

        Raises:
            InputError: the weights are for another number of classes.
            ModelFileError: the weights cannot be had.
        """
        from torchvision.models import get_model

        name = torchvision_networks.torchvision_name(self)
        assert name is not None
        if pretrained and num_classes != _IMAGENET_CLASSES:
            raise InputError(
                f"The weights are for {_IMAGENET_CLASSES} classes; build it so, then replace its last layer."
            )
        network: nn.Module = get_model(name, weights=None, num_classes=num_classes)
        if pretrained:
            network.load_state_dict(torchvision_weights(name).tensors)
        return network


RESNETS = resnet18, resnet34, resnet50, resnet101, resnet152 = (
    Backbone("resnet18"),
    Backbone("resnet34"),
    Backbone("resnet50"),
    Backbone("resnet101"),
    Backbone("resnet152"),
)
