"""The heads that stand on a backbone's feature map: the fast.ai book's, a linear one, and heatmaps for points."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Bound = float | tuple[float, ...]
Range = tuple[Bound, Bound]
_BATCHNORM_BIAS = 1e-3
"""The first bias of the head's batch normalisation; fastai's."""
_RANGE_START = 0.1
"""What the last layer's first weights are multiplied by under a range; chosen by hand."""


class ConcatPool(nn.Module):
    """Max and mean over the map, side by side: [B, F, h, w] -> [B, 2F]."""

    def forward(self, map_BFhw: Tensor) -> Tensor:
        """Pool."""
        return torch.cat([map_BFhw.amax(dim=(2, 3)), map_BFhw.mean(dim=(2, 3))], dim=1)


class SigmoidRange(nn.Module):
    """Squeeze outputs into (low, high)."""

    def __init__(self, low: Bound, high: Bound) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, output: Tensor) -> Tensor:
        """Squeeze; where the bounds are several, each output into its own."""
        low, high = (torch.as_tensor(bound, device=output.device) for bound in (self.low, self.high))
        return sigmoid_range(output, low, high)


def sigmoid_range(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Return `sigmoid(x)` stretched to (low, high).

    Args:
        x: any shape.
        low: the lower bound, one number or a tensor that broadcasts.
        high: the upper bound.
    """
    return torch.sigmoid(x) * (high - low) + low


def pooled_head(
    n_features: int,
    n_outputs: int,
    *,
    y_range: Range | None = None,
    n_hidden: int = 512,
    dropout: float = 0.5,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Return pool -> BatchNorm -> Dropout -> Linear -> ReLU -> BatchNorm -> Dropout -> Linear [-> range].

    Weights are Kaiming-normal, the BatchNorm biases 1e-3. With a range, the last layer begins at a tenth, so that
    training begins in the range's middle.

    Args:
        n_features: channels of the feature map.
        n_outputs: numbers per image.
        y_range: (low, high) of the outputs, one pair for all or one bound per output; no range by default.
        n_hidden: width of the hidden layer.
        dropout: the probability of the second dropout; the first one's is half of it.
        generator: draws the weights; torch's global one by default.
    """
    layers: list[nn.Module] = [
        ConcatPool(),
        nn.BatchNorm1d(2 * n_features),
        nn.Dropout(dropout / 2),
        nn.Linear(2 * n_features, n_hidden, bias=False),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(n_hidden),
        nn.Dropout(dropout),
        nn.Linear(n_hidden, n_outputs, bias=False),
    ]
    if y_range is not None:
        layers.append(SigmoidRange(*y_range))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
        elif isinstance(layer, nn.BatchNorm1d):
            nn.init.constant_(layer.bias, _BATCHNORM_BIAS)
    if y_range is not None:
        last = layers[-2]
        assert isinstance(last, nn.Linear)
        last.weight.data.mul_(_RANGE_START)
    return nn.Sequential(*layers)


class MeanPool(nn.Module):
    """Mean over the map: [B, F, h, w] -> [B, F]."""

    def forward(self, map_BFhw: Tensor) -> Tensor:
        """Pool."""
        return map_BFhw.mean(dim=(2, 3))


def linear_head(
    n_features: int,
    n_outputs: int,
    *,
    y_range: Range | None = None,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Return mean pool -> Linear [-> range], which a probe fits exactly. It begins at zero.

    Args:
        n_features: channels of the feature map.
        n_outputs: numbers per image.
        y_range: as for `pooled_head`.
        generator: not used, for nothing is drawn.
    """
    del generator
    linear = nn.Linear(n_features, n_outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    layers: list[nn.Module] = [MeanPool(), linear]
    return nn.Sequential(*layers, *([] if y_range is None else [SigmoidRange(*y_range)]))


def spatial_head(
    n_features: int,
    n_outputs: int,
    *,
    y_range: Range | None = None,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Return BatchNorm -> 1x1 convolution: heatmaps [B, K, h, w], one per point. It begins at zero.

    Args:
        n_features: channels of the feature map.
        n_outputs: 2 K numbers, x and y of each of the K points.
        y_range: not used: a soft-argmax stays within the image by itself.
        generator: not used, for nothing is drawn.
    """
    del generator, y_range
    layer = nn.Conv2d(n_features, n_outputs // 2, kernel_size=1)
    nn.init.zeros_(layer.weight)
    return nn.Sequential(nn.BatchNorm2d(n_features), layer)


HEADS = {"pooled": pooled_head, "linear": linear_head, "spatial": spatial_head}
