"""Grad-CAM: how much each cell of the body's feature map contributes to an output.

Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization".
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.models.vision import VisionModel


def grad_cam(model: VisionModel, image_B3HW: Tensor, output: int) -> NDArray[np.float32]:
    """Return how much each cell of the feature map contributes to one output, in [0, 1], float32 [B, h, w].

    Args:
        model: in evaluation mode.
        image_B3HW: prepared images, float32 [B, C, H, W].
        output: the number of the output; of heatmaps, the number of the point.
    """
    with torch.enable_grad():
        map_BFhw = model.body(image_B3HW).detach().requires_grad_()
        outputs = model[1](map_BFhw)
        score_B = outputs.flatten(2).amax(dim=2)[:, output] if outputs.ndim == 4 else outputs[:, output]
        (gradient,) = torch.autograd.grad(score_B.sum(), map_BFhw)
    contribution = (gradient.mean(dim=(2, 3), keepdim=True) * map_BFhw).sum(dim=1).clamp(min=0).detach()
    largest = contribution.amax(dim=(1, 2), keepdim=True)
    cam: NDArray[np.float32] = torch.where(largest > 0, contribution / largest, 0.0).float().cpu().numpy()
    return cam
