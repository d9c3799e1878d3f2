"""Torchvision's networks as backbones: what they are called here, how they are built, and their weights' files.

Networks that timm has with the same layers and the same names are timm's here; others are built by torchvision itself
and called `torchvision/NAME`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from foveal.core.errors import InputError, UnknownNameError
from foveal.images.prepare import IMAGENET, Statistics
from foveal.models.cutting import find_body

PREFIX = "torchvision/"
_SAME_IN_TIMM = re.compile(
    r"(?:resnext|wide_resnet)(?:50|101)_\w+|densenet(?:121|161|169|201)|vgg(?:11|13|16|19)(?:_bn)?"
)
"""Networks that timm has under the same name, with the tag `tv_in1k` for these weights."""
_TAG = ".tv_in1k"
_RESNETS = re.compile(r"resnet(?:18|34|50|101|152)")
"""Those that have torchvision's weights under their plain name here."""
_HALF = Statistics((0.5,) * 3, (0.5,) * 3)
_STATISTICS = {"googlenet": _HALF, "inception_v3": _HALF}
"""Of networks that are not trained with ImageNet's own mean and standard deviation."""
_OPTIONS: dict[str, dict[str, object]] = {
    "googlenet": {"init_weights": False, "aux_logits": False},
    "inception_v3": {"init_weights": False, "aux_logits": False},
}


def names() -> list[str]:
    """Return torchvision's networks that classify images."""
    from torchvision import models

    listed: list[str] = models.list_models(module=models)
    return listed


def backbone_name(name: str) -> str:
    """Return what a torchvision network is called as a backbone: timm's name where it is the same, else ours.

    Args:
        name: torchvision's, such as "densenet121".

    Raises:
        UnknownNameError: torchvision has no such network.
    """
    if name not in names():
        raise UnknownNameError.of("torchvision network", name, names())
    if _RESNETS.fullmatch(name):
        return name
    return f"{name}{_TAG}" if _SAME_IN_TIMM.fullmatch(name) else f"{PREFIX}{name}"


def name_of_function(function: Callable[..., Any]) -> str | None:
    """Return the backbone that a function of torchvision stands for; None for other functions.

    Raises:
        InputError: it is torchvision's, but no network that classifies images.
    """
    if isinstance(function, partial):
        if str(getattr(function.func, "__module__", "")).startswith("torchvision."):
            name = getattr(function.func, "__name__", "...")
            raise InputError(
                f"Give torchvision's function itself, arch={name}, or what builds your variant: "
                f"arch=lambda pretrained: {name}(weights='DEFAULT' if pretrained else None)."
            )
        return None
    module, name = str(getattr(function, "__module__", "")), str(getattr(function, "__name__", ""))
    if not module.startswith("torchvision."):
        return None
    if module.count(".") != 2 or isinstance(function, type) or name not in names():
        raise InputError(
            f"`{module}.{name}` is no backbone for whole images. torchvision's classifiers are, such as "
            "arch=torchvision.models.resnet34, and every name that timm knows."
        )
    return backbone_name(name)


def torchvision_name(arch: str) -> str | None:
    """Return torchvision's name of a backbone whose weights are torchvision's, or None."""
    if arch.startswith(PREFIX):
        return arch.removeprefix(PREFIX)
    name = arch.removesuffix(_TAG)
    same = _RESNETS.fullmatch(name) or (arch.endswith(_TAG) and _SAME_IN_TIMM.fullmatch(name))
    return name if same else None


def build(name: str) -> nn.Module:
    """Return a torchvision network, with random weights and without pooling and classifier.

    Args:
        name: torchvision's.

    Raises:
        UnknownNameError: torchvision has no such network.
        InputError: it has no feature map.
    """
    from torchvision import models

    if name not in names():
        raise UnknownNameError.of("torchvision network", name, names())
    if name.startswith(("vit_", "maxvit_")):
        raise InputError(
            f"torchvision's `{name}` has no feature map to cut out; timm has its kind: arch='vit_base_patch16_224', "
            "'maxvit_tiny_tf_224'."
        )
    network: nn.Module = models.get_model(name, weights=None, **_OPTIONS.get(name, {}))
    return find_body(network)


def statistics_of(name: str) -> Statistics:
    """Return what pixels are normalised with for a torchvision network."""
    return _STATISTICS.get(name, IMAGENET)


def weights_address(name: str) -> str:
    """Return the address of a network's weights: torchvision's first version of those of ImageNet."""
    from torchvision.models import get_model_weights

    weights = list(get_model_weights(name))
    return str(next((one for one in weights if one.name == "IMAGENET1K_V1"), weights[0]).url)


def renamed(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by the names of today's layers: torchvision's files of DenseNets are from before 2018.

    Args:
        name: of the network.
        tensors: of the file.
    """
    if not name.startswith("densenet"):
        return dict(tensors)
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", key): tensor for key, tensor in tensors.items()}
