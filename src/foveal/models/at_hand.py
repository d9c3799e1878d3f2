"""The backbones whose weights are on this machine already: those of packages, and what was fetched before."""

from __future__ import annotations

from pathlib import Path

import torch

from foveal.core import download
from foveal.models import torchvision_networks, zoo
from foveal.models.offline import PACKAGES

_TORCHVISION = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_HUB_FOLDER = "models--timm--"
"""What huggingface_hub calls the folders of timm's models in its cache."""


def backbones_at_hand() -> list[str]:
    """Return their names: those of packages, torchvision's ResNets and timm's of the hub, each from small to large."""
    packaged = [arch for arch, package in PACKAGES.items() if package.is_installed]
    fetched = [name for name in _TORCHVISION if _is_fetched(name)]
    return [*packaged, *fetched, *_of_hub()]


def _is_fetched(name: str) -> bool:
    file = torchvision_networks.weights_address(name).rsplit("/", 1)[1]
    folders = (Path(torch.hub.get_dir()) / "checkpoints", download.cache_folder() / "weights")
    return any((folder / file).is_file() for folder in folders)


def _of_hub() -> list[str]:
    from huggingface_hub.constants import HF_HUB_CACHE

    timm, found = zoo.timm_package(), list[tuple[int, str]]()
    for folder in Path(HF_HUB_CACHE).glob(f"{_HUB_FOLDER}*"):
        name = folder.name.removeprefix(_HUB_FOLDER)
        sizes = [file.stat().st_size for file in folder.glob("snapshots/*/model.safetensors") if file.is_file()]
        if sizes and timm.is_model(name):
            found.append((max(sizes), name))
    return [name for _, name in sorted(found)]
