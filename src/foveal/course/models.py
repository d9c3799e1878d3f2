"""The course's functions that build and take apart models: `create_body`, `create_head`, `create_vision_model`, ..."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from foveal.core import runtime
from foveal.core.errors import InputError
from foveal.core.listing import L
from foveal.course.layers import AdaptiveConcatPool2d, Flatten
from foveal.learner.vision_model import Arch, ModelOptions, Start, new_model
from foveal.models.cutting import Cut, CutNetwork, chained_parts
from foveal.models.head import HeadOptions, Range, SigmoidRange, dense_layers
from foveal.models.vision import VisionModel

Init = Callable[[Tensor], object] | None
_SIZE = 224
"""Pixels of a side of the images that a backbone is built for, where it is built for one size."""
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_POOLS = (
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
)


def create_body(arch: Arch, n_in: int = 3, pretrained: bool = True, cut: Cut | None = None) -> nn.Module:
    """Return a backbone without pooling and classifier: [B, n_in, h, w] -> a map [B, F, h', w'].

    Where its parts follow each other, as those of a ResNet do, it is an `nn.Sequential` of them. Pixels are not
    normalised.

    Args:
        arch: a name, a function of torchvision or timm, a function of `pretrained`, or a module; see `vision_learner`.
        n_in: channels of the images.
        pretrained: whether its weights are the usual pretrained ones.
        cut: how many children of the network it keeps, or a function of the network; up to the last map by default.

    Raises:
        UnknownNameError: there is no such backbone.
        ModelFileError: the weights cannot be had.

    Examples:
        >>> from foveal.vision.all import *
        >>> body = create_body("tf_efficientnet_lite0")
        >>> body(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 1280, 2, 2])
    """
    body = _model(arch, 1, {"normalize": False}, n_in=n_in, pretrained=pretrained, cut=cut).body
    body.set_pooling(())
    image = torch.zeros(1, n_in, _SIZE, _SIZE)
    parts = body.network if isinstance(body.network, CutNetwork) else chained_parts(body.network, image)
    if parts is not None:
        with runtime.evaluating(body), torch.no_grad():
            if torch.equal(parts.eval()(image), body(image)):
                return parts.train()
    return body


def create_head(
    nf: int,
    n_out: int,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    pool: bool = True,
    concat_pool: bool = True,
    first_bn: bool = True,
    bn_final: bool = False,
    lin_first: bool = False,
    y_range: Range | None = None,
) -> nn.Sequential:
    """Return the layers that make outputs of a feature map, pooling first; the weights begin as torch's layers do.

    They are pool -> batch normalisation -> dropout -> linear -> ReLU -> batch normalisation -> dropout -> linear.

    Args:
        nf: channels of the map.
        n_out: numbers per item.
        lin_ftrs: widths of the hidden layers; [512] by default.
        ps: the probability of the last dropout, of which the others are half; or one per layer.
        pool: whether it begins by pooling and flattening.
        concat_pool: pools max and mean, 2 `nf` numbers; else the mean alone.
        first_bn: whether normalisation comes first.
        bn_final: whether normalisation comes last.
        lin_first: each linear layer before its normalisation and dropout.
        y_range: squeezes outputs into (low, high).

    Raises:
        InputError: a dropout or a width cannot be, or there are not as many dropouts as layers.

    Examples:
        >>> from foveal.vision.all import *
        >>> head = create_head(nf=16, n_out=2, lin_ftrs=[8])
        >>> head(torch.zeros(4, 16, 7, 7)).shape
        torch.Size([4, 2])
        >>> [layer.p for layer in head if isinstance(layer, nn.Dropout)]
        [0.25, 0.5]
    """
    hidden = (512,) if lin_ftrs is None else tuple(lin_ftrs)
    dropout = tuple(ps) if isinstance(ps, Sequence) else (float(ps),)
    options = HeadOptions(hidden, dropout, concat_pool, first_bn, bn_final, lin_first)
    pools = [AdaptiveConcatPool2d() if concat_pool else nn.AdaptiveAvgPool2d(1), Flatten()] if pool else []
    layers = dense_layers(nf * 2 if concat_pool else nf, n_out, options)
    return nn.Sequential(*pools, *layers, *([] if y_range is None else [SigmoidRange(*y_range)]))


def create_vision_model(
    arch: Arch,
    n_out: int,
    pretrained: bool = True,
    cut: Cut | None = None,
    n_in: int = 3,
    init: Init = nn.init.kaiming_normal_,
    custom_head: nn.Module | None = None,
    concat_pool: bool = True,
    *,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    first_bn: bool = True,
    bn_final: bool = False,
    lin_first: bool = False,
    y_range: Range | None = None,
) -> VisionModel:
    """Return body and head as `vision_learner` puts them together; pixels are not normalised.

    Args:
        arch: see `vision_learner`.
        n_out: numbers per image.
        pretrained: whether the body's weights are the usual pretrained ones.
        cut: see `create_body`.
        n_in: channels of the images.
        init: fills the head's weights; None for torch's own.
        custom_head: a module that takes the body's map.
        concat_pool: see `create_head`, as the others.
        lin_ftrs: see `create_head`.
        ps: see `create_head`.
        first_bn: see `create_head`.
        bn_final: see `create_head`.
        lin_first: see `create_head`.
        y_range: see `create_head`.

    Raises:
        UnknownNameError: there is no such backbone.
        ModelFileError: the weights cannot be had.
        InputError: the parts do not suit each other, or there is a `custom_head` beside what shapes the usual one.

    Examples:
        >>> from foveal.vision.all import *
        >>> model = create_vision_model("tf_efficientnet_lite0", n_out=2)
        >>> model(torch.zeros(4, 3, 64, 64)).shape
        torch.Size([4, 2])
    """
    options = ModelOptions(normalize=False, init=init)
    shape = ModelOptions(
        concat_pool=concat_pool, lin_ftrs=lin_ftrs, ps=ps, first_bn=first_bn, bn_final=bn_final, lin_first=lin_first
    )
    usual = ModelOptions(concat_pool=True, lin_ftrs=None, ps=0.5, first_bn=True, bn_final=False, lin_first=False)
    if custom_head is None:
        options |= shape
    else:
        if shape != usual:
            raise InputError("Leave out what shapes the usual head, or `custom_head`.")
        options["custom_head"] = custom_head
    return _model(arch, n_out, options, n_in=n_in, pretrained=pretrained, cut=cut, y_range=y_range)


create_cnn_model = create_vision_model


def _model(
    arch: Arch,
    n_out: int,
    options: ModelOptions,
    *,
    n_in: int,
    pretrained: bool,
    cut: Cut | None,
    y_range: Range | None = None,
) -> VisionModel:
    if n_in != 3:
        options["n_in"] = n_in
    if cut is not None:
        options["cut"] = cut
    return new_model(arch, n_out, (_SIZE, _SIZE), options, Start(pretrained), y_range=y_range).model


def params(m: nn.Module) -> list[nn.Parameter]:
    """Return all parameters of a module; what a `splitter` returns is made of them.

    Examples:
        >>> from foveal.vision.all import *
        >>> [list(parameter.shape) for parameter in params(nn.Linear(3, 2))]
        [[2, 3], [2]]
    """
    return list(m.parameters())


def trainable_params(m: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a module that receive gradients."""
    return [parameter for parameter in m.parameters() if parameter.requires_grad]


def default_split(m: Any) -> L[list[nn.Parameter]]:
    """Return the parameters of a model's first part, and those of the others: of its body and its head."""
    return L([params(m[0]), [parameter for part in list(m)[1:] for parameter in part.parameters()]])


def in_channels(m: nn.Module) -> int:
    """Return how many channels the first convolution takes.

    Raises:
        InputError: it has no convolution.
    """
    for layer in m.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return layer.in_channels
    raise InputError(f"`{type(m).__name__}` has no convolution.")


def model_sizes(m: nn.Module, size: tuple[int, int] = (64, 64)) -> list[torch.Size]:
    """Return the shape of what each child of a module returns for one image.

    Args:
        m: takes images.
        size: (height, width) of the image.
    """
    shapes: list[torch.Size] = []
    handles = [child.register_forward_hook(lambda _, __, output: shapes.append(output.shape)) for child in m.children()]
    device = next((parameter.device for parameter in m.parameters()), torch.device("cpu"))
    try:
        with runtime.evaluating(m), torch.no_grad():
            m(torch.zeros(1, in_channels(m), *size, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def num_features_model(m: nn.Module) -> int:
    """Return how many channels a body's last map has, for images of 64 x 64 pixels or what it takes above that.

    Raises:
        InputError: it does not take images.
    """
    size, reason = 64, None
    while size <= 512:
        try:
            return int(model_sizes(m, (size, size))[-1][1])
        except RuntimeError as error:
            size, reason = size * 2, error
    raise InputError(f"`{type(m).__name__}` does not take images: {reason}") from reason


def has_pool_type(m: nn.Module) -> bool:
    """Return whether a module pools, itself or in a part of it."""
    return any(isinstance(layer, _POOLS) for layer in m.modules())


def init_default(m: nn.Module, func: Init = nn.init.kaiming_normal_) -> nn.Module:
    """Return a layer whose weight was filled, and its bias set to 0.

    Args:
        m: a layer.
        func: fills the weight; None leaves the layer as it is.
    """
    if func is not None:
        if isinstance(getattr(m, "weight", None), Tensor):
            func(m.get_parameter("weight"))
        if isinstance(bias := getattr(m, "bias", None), Tensor):
            nn.init.zeros_(bias)
    return m


def apply_init(m: nn.Module, func: Init = nn.init.kaiming_normal_) -> None:
    """Call `init_default` for all layers of a module that train, but for normalisation.

    Args:
        m: any module.
        func: fills a weight.
    """
    for layer in m.modules():
        own = list(layer.parameters(recurse=False))
        if own and not isinstance(layer, _NORMS) and all(parameter.requires_grad for parameter in own):
            init_default(layer, func)
