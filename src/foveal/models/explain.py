"""Grad-CAM: how much each cell of the body's feature map contributes to an output.

Of networks whose features are pooled from tokens, the tokens that enter the last block take the map's place: after it,
the class token no longer depends on the others.

Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization".
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foveal.core.errors import InputError
from foveal.models.body import Body
from foveal.models.vision import VisionModel


def grad_cam(model: VisionModel, image_B3HW: Tensor, output: int) -> NDArray[np.float32]:
    """Return how much each cell of the feature map contributes to one output, in [0, 1], float32 [B, h, w].

    Args:
        model: in evaluation mode.
        image_B3HW: prepared images, float32 [B, C, H, W].
        output: the number of the output; of heatmaps, the number of the point.

    Raises:
        InputError: the network's features have no places.
    """
    body = model.body
    if not body.has_map:
        raise InputError(f"`{model.spec.arch}` hands on class tokens alone, which do not show where it looked.")
    with torch.enable_grad():
        if body.pooling:
            image_B3HW = body.prepared(image_B3HW)
            features, finer, kept = _features(body, image_B3HW)
            outputs = model[1](body.pooled(features, finer, image_B3HW.shape[2:]))
        else:
            kept = body(image_B3HW).detach().requires_grad_()
            outputs = model[1](kept)
        score_B = outputs.flatten(2).amax(dim=2)[:, output] if outputs.ndim == 4 else outputs[:, output]
        (gradient,) = torch.autograd.grad(score_B.sum(), kept)
    kept = kept.detach()
    if body.pooling:
        gradient, kept = (body.as_map(one, image_B3HW.shape[2:]) for one in (gradient, kept))
    contribution = (gradient.mean(dim=(2, 3), keepdim=True) * kept).sum(dim=1).clamp(min=0)
    largest = contribution.amax(dim=(1, 2), keepdim=True)
    cam: NDArray[np.float32] = torch.where(largest > 0, contribution / largest, 0.0).float().cpu().numpy()
    return cam


def _features(body: Body, image_B3HW: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return raw features, the finer map, and what gradients are taken of: the last map, or the last block's tokens."""
    blocks, kept = getattr(body.network, "blocks", None), list[Tensor]()
    if not isinstance(blocks, nn.Sequential | nn.ModuleList):
        features, finer = body.features(image_B3HW, body.pooling)
        features = features.detach().requires_grad_()
        return features, finer, features

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        kept.append(inputs[0].detach().requires_grad_())
        return (kept[-1], *inputs[1:])

    handle = blocks[-1].register_forward_pre_hook(keep)
    try:
        features, finer = body.features(image_B3HW, body.pooling)
    finally:
        handle.remove()
    if features.ndim == 4:  # a map, as of MobileNetV4, whose blocks are stages
        features = features.detach().requires_grad_()
        return features, finer, features
    return features, finer, kept[-1]
