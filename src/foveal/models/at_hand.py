"""The backbones whose weights are on this machine already: those of packages, and what was fetched before."""

from __future__ import annotations

from pathlib import Path

from foveal.models import zoo
from foveal.models.offline import PACKAGES
from foveal.models.weights import torchvision_paths

_TORCHVISION = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_HUB_FOLDER = "models--timm--"
"""What huggingface_hub calls the folders of timm's models in its cache."""


def backbones_at_hand() -> list[str]:
    """Return their names: those of packages, torchvision's ResNets and timm's of the hub, each from small to large."""
    packaged = [arch for arch, package in PACKAGES.items() if package.is_installed]
    fetched = [name for name in _TORCHVISION if any(file.is_file() for file in torchvision_paths(name))]
    return [*packaged, *fetched, *_of_hub()]


def _of_hub() -> list[str]:
    from huggingface_hub.constants import HF_HUB_CACHE

    timm, found = zoo.timm_package(), list[tuple[int, str]]()
    for folder in Path(HF_HUB_CACHE).glob(f"{_HUB_FOLDER}*"):
        name = folder.name.removeprefix(_HUB_FOLDER)
        sizes = [file.stat().st_size for file in folder.glob("snapshots/*/model.safetensors") if file.is_file()]
        if sizes and timm.is_model(name):
            found.append((max(sizes), name))
    return [name for _, name in sorted(found)]
