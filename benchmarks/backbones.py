"""Backbones beside each other: parameters, native size, time of an image on one processor, licence of the weights.

    python benchmarks/backbones.py

The time does not depend on the weights, so these are random. Images are taken eight at a time, at the native size and
at 224 x 224 pixels (or the nearest whole patches), in fp32 with one thread; the least of three.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import timm
import torch

from foveal.models import zoo
from foveal.models.patches import fitted_size, patch_size
from foveal.models.vision import ModelSpec, build_model

ARCHS = (
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
    "resnet18",
    "resnet34",
    "resnet50",
    "mobilenetv4_conv_small.e2400_r224_in1k",
    "mobilenetv4_hybrid_medium.ix_e550_r256_in1k",
    "convnextv2_atto.fcmae_ft_in1k",
    "convnext_tiny.dinov3_lvd1689m",
    "tiny_vit_5m_224.dist_in22k",
    "swinv2_tiny_window8_256.ms_in1k",
    "vit_tiny_patch16_224.augreg_in21k",
    "vit_small_patch14_dinov2.lvd142m",
    "vit_small_patch16_dinov3.lvd1689m",
    "vit_base_patch32_clip_224.openai",
    "vit_base_patch16_siglip_224.webli",
    "eva02_tiny_patch14_224.mim_in22k",
)
_BATCH = 8


def milliseconds(arch: str, size_hw: tuple[int, int]) -> float:
    """Return the time of one image."""
    model = build_model(ModelSpec(arch, 2, size_hw, head="linear", pooling=None)).eval()
    images = torch.rand(_BATCH, 3, *size_hw).contiguous(memory_format=torch.channels_last)
    seconds = []
    with torch.inference_mode():
        for _ in range(3):
            began = time.process_time()
            model(images)
            seconds.append(time.process_time() - began)
    return 1000 * min(seconds) / _BATCH


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    print("| backbone | million parameters | native size | ms there | ms at about 224 | licence of the weights |")
    print("|---|---|---|---|---|---|")
    for arch in ARCHS:
        native = zoo.native_size(arch)
        with torch.device("meta"):
            network = timm.create_model(arch, num_classes=0)
        usual = fitted_size((224, 224), patch_size(network))
        n = sum(p.numel() for p in network.parameters()) / 1e6
        licence = timm.get_pretrained_cfg(arch).license or "not stated"
        times = f"{milliseconds(arch, native):.0f} | {milliseconds(arch, usual):.0f}"
        print(f"| `{arch}` | {n:.1f} | {native[0]} | {times} | {licence} |", flush=True)


if __name__ == "__main__":
    main()
