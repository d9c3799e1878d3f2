"""The heads that stand on a backbone's feature map: the fast.ai book's, a linear one, and heatmaps for points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from foveal.core.errors import InputError

Bound = float | tuple[float, ...]
Range = tuple[Bound, Bound]
_BATCHNORM_BIAS = 1e-3
"""The first bias of the head's batch normalisation; fastai's."""
_RANGE_START = 0.1
"""What the last layer's first weights are multiplied by under a range; chosen by hand."""
_FINAL_MOMENTUM = 0.01
"""Of the batch normalisation behind the last layer; fastai's."""


class ConcatPool(nn.Module):
    """Max and mean over the map, side by side: [B, F, h, w] -> [B, 2F]."""

    def forward(self, map_BFhw: Tensor) -> Tensor:
        """Return the maxima, then the means, [B, 2F]."""
        return torch.cat([map_BFhw.amax(dim=(2, 3)), map_BFhw.mean(dim=(2, 3))], dim=1)


class SigmoidRange(nn.Module):
    """Squeeze outputs into (low, high)."""

    def __init__(self, low: Bound, high: Bound) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, output: Tensor) -> Tensor:
        """Return the outputs in their range; where the bounds are several, each in its own."""
        low, high = (torch.as_tensor(bound, device=output.device) for bound in (self.low, self.high))
        return sigmoid_range(output, low, high)


def sigmoid_range(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Return `sigmoid(x)` stretched to (low, high), which it never quite reaches.

    Args:
        x: any shape.
        low: the lower bound, one number or a tensor that broadcasts.
        high: the upper bound.

    Examples:
        >>> from foveal.vision.all import *
        >>> sigmoid_range(torch.tensor([-100.0, 0.0, 100.0]), 0, 5.5)
        tensor([0.0000, 2.7500, 5.5000])
    """
    return torch.sigmoid(x) * (high - low) + low


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """How the layers of a pooled head are built; the book's head by default.

    Attributes:
        hidden: widths of the hidden layers.
        dropout: the probability of each dropout, one more than hidden layers; or one for the last, of which the others
            are half. Where it is 0 there is no such layer.
        concat_pool: max and mean over the map side by side, or the mean alone.
        first_bn: whether batch normalisation comes first.
        bn_final: whether batch normalisation comes after the last linear layer.
        lin_first: each hidden layer's normalisation and dropout follow it in place of going before.
    """

    hidden: tuple[int, ...] = (512,)
    dropout: tuple[float, ...] = (0.5,)
    concat_pool: bool = True
    first_bn: bool = True
    bn_final: bool = False
    lin_first: bool = False

    def __post_init__(self) -> None:
        n = len(self.hidden) + 1
        if len(self.dropout) not in {1, n}:
            raise InputError(
                f"A head of {len(self.hidden)} hidden layers has {n} dropouts: give one probability, or {n}; got "
                f"{len(self.dropout)}."
            )
        if not all(0 <= p < 1 for p in self.dropout) or not all(width >= 1 for width in self.hidden):
            raise InputError(f"Dropout is from 0 to below 1, and a layer is at least 1 wide; got {self!r}.")

    @property
    def dropouts(self) -> tuple[float, ...]:
        """The probability of each dropout."""
        if len(self.dropout) > 1:
            return self.dropout
        return (self.dropout[0] / 2,) * len(self.hidden) + self.dropout


BOOKS_HEAD = HeadOptions()


def dense_layers(n_pooled: int, n_outputs: int, options: HeadOptions) -> list[nn.Module]:
    """Return the layers of a head behind its pooling, with torch's first weights.

    Args:
        n_pooled: numbers per image after pooling.
        n_outputs: numbers per image.
        options: which layers.
    """
    widths, drops, layers = (n_pooled, *options.hidden, n_outputs), options.dropouts, list[nn.Module]()
    if options.lin_first:
        layers += _dropout(drops[0])
    for number, (before, after) in enumerate(pairwise(widths)):
        last = number == len(options.hidden)
        normalises = (number > 0 or options.first_bn) and not (last and options.lin_first)
        linear = nn.Linear(before, after, bias=not normalises)
        activation = [] if last else [nn.ReLU(inplace=True)]
        if not options.lin_first:
            layers += [*_batchnorm(before, normalises), *_dropout(drops[number]), linear, *activation]
        else:
            drop = [] if last else _dropout(drops[number + 1])
            layers += [linear, *activation, *_batchnorm(after, normalises), *drop]
    return [*layers, nn.BatchNorm1d(n_outputs, momentum=_FINAL_MOMENTUM)] if options.bn_final else layers


def _batchnorm(width: int, wanted: bool) -> list[nn.Module]:
    layer = nn.BatchNorm1d(width)
    nn.init.constant_(layer.bias, _BATCHNORM_BIAS)
    return [layer] if wanted else []


def _dropout(probability: float) -> list[nn.Module]:
    return [nn.Dropout(probability)] if probability else []


def pooled_head(
    n_features: int,
    n_outputs: int,
    *,
    y_range: Range | None = None,
    options: HeadOptions = BOOKS_HEAD,
    is_pooled: bool = False,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Return pool -> BatchNorm -> Dropout -> Linear -> ReLU -> BatchNorm -> Dropout -> Linear [-> range].

    Weights are Kaiming-normal, the BatchNorm biases 1e-3. With a range, the last layer begins at a tenth, so that
    training begins in the range's middle.

    Args:
        n_features: channels of the feature map.
        n_outputs: numbers per image.
        y_range: (low, high) of the outputs, one pair for all or one bound per output; no range by default.
        options: other layers than the book's.
        is_pooled: whether the body pools by itself, to so many numbers.
        generator: draws the weights; torch's global one by default.
    """
    pool: nn.Module = nn.Identity() if is_pooled else ConcatPool() if options.concat_pool else MeanPool()
    n_pooled = 2 * n_features if isinstance(pool, ConcatPool) else n_features
    layers = [pool, *dense_layers(n_pooled, n_outputs, options)]
    linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
    for linear in linears:
        nn.init.kaiming_normal_(linear.weight, generator=generator)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
    if y_range is not None:
        linears[-1].weight.data.mul_(_RANGE_START)
        layers.append(SigmoidRange(*y_range))
    return nn.Sequential(*layers)


class MeanPool(nn.Module):
    """Mean over the map: [B, F, h, w] -> [B, F]."""

    def forward(self, map_BFhw: Tensor) -> Tensor:
        """Return the means, [B, F]."""
        return map_BFhw.mean(dim=(2, 3))


def linear_head(
    n_features: int,
    n_outputs: int,
    *,
    y_range: Range | None = None,
    is_pooled: bool = False,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Return mean pool -> Linear [-> range], which a probe fits exactly. It begins at zero.

    Args:
        n_features: channels of the feature map.
        n_outputs: numbers per image.
        y_range: as for `pooled_head`.
        is_pooled: as for `pooled_head`.
        generator: not used, for nothing is drawn.
    """
    del generator
    linear = nn.Linear(n_features, n_outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    layers: list[nn.Module] = [nn.Identity() if is_pooled else MeanPool(), linear]
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


def initialise(head: nn.Module, init: Callable[[Tensor], object] | None) -> None:
    """Draw a head's first weights anew; its biases become 0, its normalisation stays.

    Args:
        head: any module.
        init: fills a weight in place, such as `nn.init.xavier_normal_`; None draws as torch does.
    """
    for layer in head.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            if init is None:
                layer.reset_parameters()
                continue
            init(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


HEADS = {"pooled": pooled_head, "linear": linear_head, "spatial": spatial_head}
