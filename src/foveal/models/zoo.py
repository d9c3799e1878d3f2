"""Backbones by name: the only place that imports timm, and only when a model is built."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType

import torch
from torch import nn

from foveal.core.errors import InputError, UnknownNameError
from foveal.core.warn import warn
from foveal.images.prepare import IMAGENET, Statistics
from foveal.models import torchvision_networks, xresnet
from foveal.models.cutting import set_input_channels
from foveal.models.patches import fitted_size, patch_size

DEFAULT_ARCH = "tf_efficientnet_lite0"
"""The backbone that comes with the extra `offline`, so that training needs no network."""


UNUSED = "pre_logits"
"""What timm calls the layers between the last map and the classifier."""
_HUB = ("hf-hub:timm/", "hf_hub:timm/", "timm/")
"""What stands before a name of timm's where it is an address on the hub."""
_USUAL_HW = (224, 224)
"""Of networks of torchvision and ours: ImageNet's."""


def backbone_name(arch: str) -> str:
    """Return the name that a backbone is stored under: an old name of timm's becomes the present one, and is told.

    A name that timm does not know but torchvision does stands for torchvision's network.

    Args:
        arch: a name of timm's, torchvision's or ours.

    Raises:
        UnknownNameError: there is no such backbone.
    """
    timm = timm_package()

    arch = str(arch)  # of a `Backbone` too
    arch = next((arch.removeprefix(start) for start in _HUB if arch.startswith(start)), arch)
    if arch in xresnet.LAYERS or arch.startswith(torchvision_networks.PREFIX):
        return arch
    if arch in (renamed := timm.models.get_deprecated_models()):
        if renamed[arch] is None:
            raise UnknownNameError.of("backbone", arch, timm.list_models(), "timm has removed it.")
        warn(f"timm calls `{arch}` today `{renamed[arch]}`; that is used.")
        return str(renamed[arch])
    if not timm.is_model(arch):
        others = torchvision_networks.names()
        if arch in others:
            return torchvision_networks.backbone_name(arch)
        known = [*timm.list_models(), *others, *xresnet.LAYERS]
        raise UnknownNameError.of("backbone", arch, known, "Any timm model can be named.")
    return arch


def name_of(arch: object) -> str | None:
    """Return the name of a backbone given as a name or as a function of torchvision, timm or ours; else None.

    Args:
        arch: of any form.

    Raises:
        UnknownNameError: a name that no backbone has.
        InputError: a function of torchvision that is no backbone, or something that can be none.
    """
    if isinstance(arch, str):
        return backbone_name(arch)
    if isinstance(arch, nn.Module):
        return None
    if not callable(arch):
        raise InputError(
            "A backbone is a name such as 'resnet34', a function such as torchvision.models.resnet34, or a module; "
            f"got {type(arch).__name__}."
        )
    if isinstance(arch, xresnet.Architecture):
        return arch.name
    name = str(getattr(arch, "__name__", ""))
    if str(getattr(arch, "__module__", "")).startswith("timm.models.") and timm_package().is_model(name):
        return backbone_name(name)
    return torchvision_networks.name_of_function(arch)


def build(
    arch: str, *, n_classes: int = 0, image_size: tuple[int, int] | None = None, n_channels: int = 3
) -> nn.Module:
    """Return a backbone without pretrained weights.

    Args:
        arch: see `backbone_name`.
        n_classes: outputs of timm's classifier; 0 leaves the classifier out.
        image_size: (height, width) of the input in pixels, for backbones that are built for one size.
        n_channels: of the images.

    Raises:
        UnknownNameError: there is no such backbone.
    """
    timm, arch = timm_package(), backbone_name(arch)

    if arch in xresnet.LAYERS:
        return xresnet.body(arch, n_channels)
    if arch.startswith(torchvision_networks.PREFIX):
        network = torchvision_networks.build(arch.removeprefix(torchvision_networks.PREFIX))
        set_input_channels(network, n_channels)
        return network
    entry = timm.get_pretrained_cfg(arch)
    size = {}
    if image_size is not None and entry is not None and entry.fixed_input_size:
        with torch.device("meta"):
            patch = patch_size(timm.create_model(arch, pretrained=False, num_classes=0))
        size = {"img_size": fitted_size(image_size, patch)}
    model = timm.create_model(arch, pretrained=False, num_classes=n_classes, in_chans=n_channels, **size)
    assert isinstance(model, nn.Module)
    if n_classes == 0 and isinstance(getattr(model, UNUSED, None), nn.Module):
        setattr(model, UNUSED, nn.Identity())  # a VGG's has 100 million weights behind the map
    return model


def statistics_of(arch: str, n_channels: int = 3) -> Statistics:
    """Return the mean and standard deviation of pixels that a backbone was trained with, on the scale from 0 to 1.

    Args:
        arch: see `backbone_name`.
        n_channels: of the images; for other than three see `Statistics.for_channels`.
    """
    return _statistics_of_colours(arch).for_channels(n_channels)


def _statistics_of_colours(arch: str) -> Statistics:
    if arch.startswith(torchvision_networks.PREFIX):
        return torchvision_networks.statistics_of(arch.removeprefix(torchvision_networks.PREFIX))
    if arch in xresnet.LAYERS:
        return IMAGENET
    entry = timm_package().get_pretrained_cfg(arch)
    return Statistics(tuple(entry.mean), tuple(entry.std)) if entry else Statistics((0.5,) * 3, (0.5,) * 3)


def native_size(arch: str) -> tuple[int, int]:
    """Return the size of the images that a backbone was trained with, (height, width) in pixels.

    Args:
        arch: see `backbone_name`.

    Raises:
        UnknownNameError: there is no such backbone.
    """
    arch = backbone_name(arch)
    entry = None if arch in xresnet.LAYERS else timm_package().get_pretrained_cfg(arch)
    return _USUAL_HW if entry is None else (int(entry.input_size[-2]), int(entry.input_size[-1]))


def usual_size(arch: str) -> tuple[int, int]:
    """Return `native_size`, or that of most backbones for what names none: whatever is wrong, `build` says.

    Args:
        arch: as the user wrote it.
    """
    try:
        return native_size(arch)
    except UnknownNameError:
        return _USUAL_HW


def plain_name(arch: str) -> str:
    """Return a backbone's name without the tag that says which of several weights are meant."""
    return arch if arch.startswith(torchvision_networks.PREFIX) else arch.split(".", 1)[0]


def timm_package() -> ModuleType:
    """Return timm; in a kernel without ipywidgets the progress bars of a package that it imports would warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        return importlib.import_module("timm")
