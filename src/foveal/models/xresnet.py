"""XResNet: a residual network with the tricks of He et al. 2018, and the layers it is made of.

A stem of three 3x3 convolutions in place of one of 7x7, strides in the middle convolution of a bottleneck, an average
pool before the 1x1 convolution of a shortcut that shrinks, and a last normalisation in each block that begins at zero,
so that the block begins as its shortcut.

Source: He et al. 2018, "Bag of Tricks for Image Classification with Convolutional Neural Networks".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from foveal.core.errors import InputError
from foveal.models.cutting import CutNetwork

Activation = Callable[[], nn.Module]
LAYERS: dict[str, tuple[int, tuple[int, ...]]] = {
    "xresnet18": (1, (2, 2, 2, 2)),
    "xresnet34": (1, (3, 4, 6, 3)),
    "xresnet50": (4, (3, 4, 6, 3)),
    "xresnet101": (4, (3, 4, 23, 3)),
    "xresnet152": (4, (3, 8, 36, 3)),
    "xresnet18_deep": (1, (2, 2, 2, 2, 1, 1)),
    "xresnet34_deep": (1, (3, 4, 6, 3, 1, 1)),
    "xresnet50_deep": (4, (3, 4, 6, 3, 1, 1)),
}
"""By how much a block widens its output, and the number of blocks of each stage."""
_STEM = (32, 32, 64)
_WIDTHS = (64, 128, 256, 512, 256, 256)
_N_HEAD = 4
"""Children behind the last map: pool, flatten, dropout, linear."""


def relu() -> nn.Module:
    """Return the usual activation."""
    return nn.ReLU(inplace=True)


def conv_bn(
    n_in: int, n_out: int, *, kernel: int = 3, stride: int = 1, activation: Activation | None = relu, zero: bool = False
) -> nn.Sequential:
    """Return convolution -> batch normalisation [-> activation].

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        kernel: the convolution's side, odd; its padding keeps the size at stride 1.
        stride: of the convolution.
        activation: makes the last layer; None leaves it out.
        zero: the normalisation's weights begin at 0 in place of 1.
    """
    norm = nn.BatchNorm2d(n_out)
    nn.init.constant_(norm.weight, 0.0 if zero else 1.0)
    convolution = nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, norm, *([] if activation is None else [activation()]))


class XResBlock(nn.Module):
    """Convolutions beside a shortcut, then the activation of their sum.

    Attributes:
        convs: two of 3x3, or with `expansion` above 1 a bottleneck of 1x1, 3x3 and 1x1.
        shortcut: average pool where the block shrinks, 1x1 convolution where it has other channels; else nothing.
        act: the activation.
    """

    def __init__(
        self, expansion: int, n_in: int, n_out: int, *, stride: int = 1, activation: Activation = relu
    ) -> None:
        """Build the block.

        Args:
            expansion: how many times more channels its input and output have than its middle.
            n_in: channels of the input, over `expansion`.
            n_out: channels of the output, over `expansion`.
            stride: 2 halves the size of the map.
            activation: makes the activations.
        """
        super().__init__()
        before, after = n_in * expansion, n_out * expansion
        if expansion == 1:
            layers = [
                conv_bn(before, n_out, stride=stride, activation=activation),
                conv_bn(n_out, after, activation=None, zero=True),
            ]
        else:
            layers = [
                conv_bn(before, n_out, kernel=1, activation=activation),
                conv_bn(n_out, n_out, stride=stride, activation=activation),
                conv_bn(n_out, after, kernel=1, activation=None, zero=True),
            ]
        self.convs = nn.Sequential(*layers)
        shortcut: list[nn.Module] = [] if stride == 1 else [nn.AvgPool2d(stride, ceil_mode=True)]
        if before != after:
            shortcut.append(conv_bn(before, after, kernel=1, activation=None))
        self.shortcut = nn.Sequential(*shortcut)
        self.act = activation()

    def forward(self, map_BFhw: Tensor) -> Tensor:
        """Return the next map."""
        result: Tensor = self.act(self.convs(map_BFhw) + self.shortcut(map_BFhw))
        return result


class XResNet(nn.Sequential):
    """The whole network: stem, max pool, stages, pool, flatten, dropout, linear; weights are Kaiming-normal."""

    def __init__(
        self,
        expansion: int,
        layers: tuple[int, ...],
        *,
        n_out: int = 1000,
        n_in: int = 3,
        dropout: float = 0.0,
        activation: Activation = relu,
    ) -> None:
        """Build the network.

        Args:
            expansion: 1 for blocks of two convolutions, 4 for bottlenecks.
            layers: how many blocks each stage has.
            n_out: numbers per image.
            n_in: channels of the images.
            dropout: before the last layer.
            activation: makes the activations.
        """
        stem = [
            conv_bn(before, after, stride=2 if number == 0 else 1, activation=activation)
            for number, (before, after) in enumerate(pairwise((n_in, *_STEM)))
        ]
        widths = (_STEM[-1] // expansion, *_WIDTHS[: len(layers)])
        stages = [
            nn.Sequential(
                *(
                    XResBlock(
                        expansion,
                        before if block == 0 else after,
                        after,
                        stride=2 if block == 0 and number > 0 else 1,
                        activation=activation,
                    )
                    for block in range(n_blocks)
                )
            )
            for number, (n_blocks, (before, after)) in enumerate(zip(layers, pairwise(widths), strict=True))
        ]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(widths[-1] * expansion, n_out)]
        super().__init__(*stem, nn.MaxPool2d(3, stride=2, padding=1), *stages, *head)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network of `LAYERS` as a function that builds it; as a backbone it stands for its name.

    `xresnet18`, `xresnet34`, `xresnet50` and their kin are such (He et al. 2018, "Bag of Tricks for Image
    Classification with Convolutional Neural Networks", arXiv 1812.01187). There are no pretrained weights of them.

    Examples:
        >>> from foveal.vision.all import *
        >>> xresnet18(n_out=10)[-1]
        Linear(in_features=512, out_features=10, bias=True)
    """

    name: str

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(
        self,
        pretrained: bool = False,
        *,
        n_out: int = 1000,
        n_in: int = 3,
        c_in: int | None = None,
        p: float = 0.0,
        act_cls: Activation = relu,
    ) -> XResNet:
        """Return the whole network with random weights.

        Args:
            pretrained: only False: there are no weights whose origin can be checked.
            n_out: numbers per image.
            n_in: channels of the images.
            c_in: another name for `n_in`.
            p: the probability of the dropout before the last layer.
            act_cls: makes the activations.

        Raises:
            InputError: pretrained weights are wanted.
        """
        if pretrained:
            raise InputError(f"`{self.name}` has no pretrained weights here: use pretrained=False.")
        expansion, layers = LAYERS[self.name]
        n_channels = n_in if c_in is None else c_in
        return XResNet(expansion, layers, n_out=n_out, n_in=n_channels, dropout=p, activation=act_cls)


xresnet18, xresnet34, xresnet50 = Architecture("xresnet18"), Architecture("xresnet34"), Architecture("xresnet50")
xresnet101, xresnet152 = Architecture("xresnet101"), Architecture("xresnet152")
xresnet18_deep, xresnet34_deep = Architecture("xresnet18_deep"), Architecture("xresnet34_deep")
xresnet50_deep = Architecture("xresnet50_deep")


def body(name: str, n_channels: int = 3) -> CutNetwork:
    """Return a network of `LAYERS` up to its last map, with random weights.

    Args:
        name: in `LAYERS`.
        n_channels: of the images.
    """
    network = XResNet(*LAYERS[name], n_in=n_channels)
    return CutNetwork(OrderedDict(list(network.named_children())[:-_N_HEAD]))
