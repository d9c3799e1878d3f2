"""Where a model looked: Grad-CAM over the body's feature map.

Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization".
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.models.vision import VisionModel


def grad_cam(model: VisionModel, image_B3HW: Tensor, output: int) -> NDArray[np.float32]:
    """Return how much each cell of the feature map speaks for one output, in [0, 1], float32 [B, h, w].

    Args:
        model: in evaluation mode.
        image_B3HW: prepared images.
        output: the number of the output; of heatmaps, the point.
    """
    with torch.enable_grad():
        maps = model.body(image_B3HW).detach().requires_grad_()
        answer = model[1](maps)
        chosen = answer.flatten(2).amax(dim=2)[:, output] if answer.ndim == 4 else answer[:, output]
        (slopes,) = torch.autograd.grad(chosen.sum(), maps)
    spoken = (slopes.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).clamp(min=0).detach()
    most = spoken.amax(dim=(1, 2), keepdim=True)
    cam: NDArray[np.float32] = torch.where(most > 0, spoken / most, 0.0).float().cpu().numpy()
    return cam
