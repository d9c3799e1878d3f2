"""The course's layers by name: `Flatten`, `Lambda`, `ConvLayer`, `LinBnDrop`, `ResBlock`, `SimpleCNN`, ...

What normalises a convolution is a `NormType`:

>>> from foveal.vision.all import *
>>> [kind.name for kind in NormType]
['Batch', 'BatchZero', 'Weight', 'Spectral', 'Instance', 'InstanceZero']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from itertools import pairwise
from typing import Any, Literal, Never

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from foveal.core.errors import InputError, UnknownNameError
from foveal.models import xresnet
from foveal.models.module import Module

NormType = Enum("NormType", "Batch BatchZero Weight Spectral Instance InstanceZero")
"""What normalises a convolution: `Zero` ones begin at weight 0, `Weight` and `Spectral` are of its weights."""
PoolType = Enum("PoolType", [("Avg", "Avg"), ("Max", "Max"), ("Cat", "Cat")])
"""How a map becomes one number per channel: its mean, its maximum, or both."""
Mish = nn.Mish
_BIAS = 1e-3
"""The first bias of the course's normalisation layers."""
_CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_AVG_POOLS = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
_RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU)


class Lambda(Module):
    """A function as a layer, for `nn.Sequential`.

    Examples:
        >>> from foveal.vision.all import *
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), Lambda(lambda x: x.mean(dim=(2, 3))))
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 8])
    """

    def __init__(self, func: Callable[[Tensor], Tensor]) -> None:
        self.func = func

    def forward(self, x: Tensor) -> Tensor:
        """Return what the function makes of `x`."""
        return self.func(x)

    def extra_repr(self) -> str:
        """Return the function's name."""
        return str(getattr(self.func, "__name__", self.func))


class PartialLambda(Lambda):
    """A function as a layer, with some of its keywords fixed."""

    def __init__(self, func: Callable[..., Tensor], **kwargs: Any) -> None:
        self.func, self.kwargs = func, kwargs

    def forward(self, x: Tensor) -> Tensor:
        """Return what the function makes of `x` with these keywords."""
        result: Tensor = self.func(x, **self.kwargs)
        return result


class Flatten(Module):
    """Bring a batch to one row per item, [B, ...] to [B, n], or with `full` to one row in all.

    Examples:
        >>> from foveal.vision.all import *
        >>> Flatten()(torch.zeros(2, 8, 4, 4)).shape
        torch.Size([2, 128])
    """

    def __init__(self, full: bool = False) -> None:
        self.full = full

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, n] of [B, ...], or [n] with `full`."""
        return x.reshape(-1) if self.full else x.flatten(1)


class View(Module):
    """Another shape of the whole batch."""

    def __init__(self, *size: int) -> None:
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return the batch in that shape."""
        return x.view(self.size)


class ResizeBatch(View):
    """Another shape of each item."""

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, *size]."""
        return x.view(len(x), *self.size)


class AdaptiveConcatPool2d(Module):
    """Max and mean over the map, side by side: [B, F, h, w] -> [B, 2F, size, size].

    Examples:
        >>> from foveal.vision.all import *
        >>> AdaptiveConcatPool2d()(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])).flatten()
        tensor([6., 3.])
    """

    def __init__(self, size: int | tuple[int, int] | None = None) -> None:
        self.size = size or 1
        self.ap, self.mp = nn.AdaptiveAvgPool2d(self.size), nn.AdaptiveMaxPool2d(self.size)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima, then the means, [B, 2F, size, size]."""
        return torch.cat([self.mp(x), self.ap(x)], dim=1)


def AdaptiveAvgPool(sz: int = 1, ndim: int = 2) -> nn.Module:
    """Return a layer that takes the mean over a map, in `sz` parts a side.

    Args:
        sz: sides of the result.
        ndim: dimensions of the map, 1 to 3.

    Raises:
        InputError: there are not 1 to 3 dimensions.
    """
    pool: nn.Module = _for_dimensions(_AVG_POOLS, ndim)(sz)
    return pool


def PoolFlatten(pool_type: PoolType = PoolType.Avg) -> nn.Sequential:
    """Return pool -> flatten: [B, F, h, w] -> [B, F], or [B, 2F] for `PoolType.Cat`.

    `PoolType`, of `foveal.course.layers`, is `Avg`, `Max` or `Cat`, max and mean side by side.

    Raises:
        UnknownNameError: there is no such pool.

    Examples:
        >>> from foveal.vision.all import *
        >>> PoolFlatten()(torch.ones(2, 8, 4, 4)).shape
        torch.Size([2, 8])
    """
    pools = {
        PoolType.Avg: nn.AdaptiveAvgPool2d,
        PoolType.Max: nn.AdaptiveMaxPool2d,
        PoolType.Cat: AdaptiveConcatPool2d,
    }
    if pool_type not in pools:
        raise UnknownNameError.of("pool type", pool_type, PoolType)
    return nn.Sequential(pools[pool_type](1), Flatten())


def BatchNorm(nf: int, ndim: int = 2, norm_type: NormType = NormType.Batch, **kwargs: Any) -> nn.Module:
    """Return batch normalisation with a first bias of 1e-3.

    Args:
        nf: channels.
        ndim: dimensions of the map, 1 to 3.
        norm_type: `NormType.BatchZero` begins at weight 0 in place of 1.
        kwargs: of torch's layer.

    Raises:
        InputError: there are not 1 to 3 dimensions.
    """
    layer: nn.Module = _for_dimensions(_BATCH, ndim)(nf, **kwargs)
    return _begin_norm(layer, zero=norm_type is NormType.BatchZero)


def InstanceNorm(nf: int, ndim: int = 2, norm_type: NormType = NormType.Instance, **kwargs: Any) -> nn.Module:
    """Return instance normalisation with weights and a first bias of 1e-3.

    Args:
        nf: channels.
        ndim: dimensions of the map, 1 to 3.
        norm_type: `NormType.InstanceZero` begins at weight 0 in place of 1.
        kwargs: of torch's layer.

    Raises:
        InputError: there are not 1 to 3 dimensions.
    """
    layer: nn.Module = _for_dimensions(_INSTANCE, ndim)(nf, **{"affine": True, **kwargs})
    return _begin_norm(layer, zero=norm_type is NormType.InstanceZero)


def _begin_norm(layer: nn.Module, *, zero: bool) -> nn.Module:
    if isinstance(layer.weight, Tensor) and isinstance(layer.bias, Tensor):
        nn.init.constant_(layer.bias, _BIAS)
        nn.init.constant_(layer.weight, 0.0 if zero else 1.0)
    return layer


def _for_dimensions(layers: dict[int, Any], ndim: int) -> Any:
    """Return the layer's class for maps of `ndim` dimensions.

    Raises:
        InputError: there are not 1 to 3 dimensions.
    """
    if ndim not in layers:
        raise InputError(f"`ndim` is 1, 2 or 3; got {ndim!r}.")
    return layers[ndim]


class ConvLayer(nn.Sequential):
    """Convolution -> normalisation -> activation.

    Examples:
        >>> from foveal.vision.all import *
        >>> ConvLayer(3, 8, stride=2)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 8, 16, 16])
        >>> [type(layer).__name__ for layer in ConvLayer(3, 8, norm_type=NormType.Instance, act_cls=None)]
        ['Conv2d', 'InstanceNorm2d']
    """

    def __init__(
        self,
        ni: int,
        nf: int,
        ks: int = 3,
        stride: int = 1,
        padding: int | None = None,
        bias: bool | None = None,
        ndim: int = 2,
        norm_type: NormType | None = NormType.Batch,
        bn_1st: bool = True,
        act_cls: Callable[[], nn.Module] | None = nn.ReLU,
        transpose: bool = False,
        init: Callable[[Tensor], object] | Literal["auto"] | None = "auto",
        xtra: nn.Module | None = None,
        bias_std: float = 0.01,
        **kwargs: Any,
    ) -> None:
        """Build the layers.

        Args:
            ni: channels of the input.
            nf: channels of the output.
            ks: the convolution's side.
            stride: of the convolution; 2 halves the size of the map.
            padding: by default what keeps the size at stride 1, and 0 when transposed.
            bias: whether the convolution has one; by default where no normalisation follows.
            ndim: dimensions of the map, 1 to 3.
            norm_type: what normalises, a `NormType`; None for nothing.
            bn_1st: normalisation before the activation, or after it.
            act_cls: makes the activation; None for none.
            transpose: a transposed convolution.
            init: fills the weights; "auto" is Kaiming's uniform before a rectifier, else torch's own.
            xtra: a layer at the end.
            bias_std: of the first biases; 0 begins at 0.
            kwargs: of torch's convolution, such as `groups`.

        Raises:
            InputError: there are not 1 to 3 dimensions, or `init` cannot fill a weight.
        """
        padding = padding if padding is not None else 0 if transpose else (ks - 1) // 2
        batch = norm_type in {NormType.Batch, NormType.BatchZero}
        instance = norm_type in {NormType.Instance, NormType.InstanceZero}
        bias = not (batch or instance) if bias is None else bias
        kind = _for_dimensions(_TRANSPOSED if transpose else _CONVS, ndim)
        conv = kind(ni, nf, kernel_size=ks, bias=bias, stride=stride, padding=padding, **kwargs)
        activation = None if act_cls is None else act_cls()
        _initialise_convolution(conv, activation, init, bias_std)
        if norm_type in {NormType.Weight, NormType.Spectral}:
            conv = (weight_norm if norm_type is NormType.Weight else spectral_norm)(conv)
        rest: list[nn.Module] = [] if activation is None else [activation]
        if norm_type is not None and (batch or instance):
            norm = (BatchNorm if batch else InstanceNorm)(nf, norm_type=norm_type, ndim=ndim)
            rest = [norm, *rest] if bn_1st else [*rest, norm]
        super().__init__(conv, *rest, *([] if xtra is None else [xtra]))


def _initialise_convolution(conv: nn.Module, activation: nn.Module | None, init: object, bias_std: float) -> None:
    """Fill the weights and the bias of a convolution.

    Raises:
        InputError: `init` is neither a function nor "auto" nor None.
    """
    if init == "auto":
        init = nn.init.kaiming_uniform_ if isinstance(activation, _RECTIFIERS) else None
    elif init is not None and not callable(init):
        raise InputError(f"`init` is a function that fills a weight, 'auto' or None; got {init!r}.")
    if callable(init):
        init(conv.get_parameter("weight"))
    if isinstance(conv.bias, Tensor):
        nn.init.normal_(conv.bias, 0.0, bias_std)


class LinBnDrop(nn.Sequential):
    """Batch normalisation -> dropout -> linear [-> activation], or with `lin_first` the linear layer first."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        bn: bool = True,
        p: float = 0.0,
        act: nn.Module | None = None,
        lin_first: bool = False,
    ) -> None:
        """Build the layers.

        Args:
            n_in: numbers per item of the input.
            n_out: numbers per item of the output.
            bn: whether it normalises.
            p: the probability of the dropout; 0 for none.
            act: the activation.
            lin_first: linear and activation before normalisation and dropout.
        """
        layers = [BatchNorm(n_out if lin_first else n_in, ndim=1)] if bn else []
        if p:
            layers.append(nn.Dropout(p))
        linear = [nn.Linear(n_in, n_out, bias=not bn), *([] if act is None else [act])]
        super().__init__(*(linear + layers if lin_first else layers + linear))


def ResBlock(
    expansion: int,
    ni: int,
    nf: int,
    stride: int = 1,
    *,
    act_cls: Callable[[], nn.Module] = xresnet.relu,
    **unknown: Never,
) -> xresnet.XResBlock:
    """Return a residual block: convolutions beside a shortcut, then the activation of their sum.

    It begins as its shortcut (He et al. 2016, arXiv 1512.03385; He et al. 2018, arXiv 1812.01187).

    Args:
        expansion: 1 for two convolutions of 3x3, 4 for a bottleneck; `ni` and `nf` are multiplied by it.
        ni: channels of the input, over `expansion`.
        nf: channels of the output, over `expansion`.
        stride: 2 halves the size of the map.
        act_cls: makes the activations.
        unknown: there are no others.

    Raises:
        UnknownNameError: an argument is not among these.

    Examples:
        >>> from foveal.vision.all import *
        >>> ResBlock(1, 8, 16, stride=2)(torch.zeros(2, 8, 32, 32)).shape
        torch.Size([2, 16, 16, 16])
    """
    for name in unknown:
        hint = "timm builds other residual blocks: timm.create_model('seresnet50'), 'resnext50_32x4d', ..."
        raise UnknownNameError.of("argument of ResBlock", name, ("expansion", "ni", "nf", "stride", "act_cls"), hint)
    return xresnet.XResBlock(expansion, ni, nf, stride=stride, activation=act_cls)


def SimpleCNN(
    filters: Sequence[int],
    kernel_szs: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    bn: bool = True,
) -> nn.Sequential:
    """Return convolutions one after the other, the last without normalisation, then mean and flatten.

    Args:
        filters: channels of the images and of each map; the last is the number of outputs.
        kernel_szs: sides of the convolutions, 3 by default.
        strides: of the convolutions, 2 by default.
        bn: whether the others normalise.

    Raises:
        InputError: there are not as many `kernel_szs` and `strides` as convolutions.

    Examples:
        >>> from foveal.vision.all import *
        >>> SimpleCNN([3, 8, 16, 2])(torch.zeros(4, 3, 32, 32)).shape
        torch.Size([4, 2])
    """
    n = len(filters) - 1
    kernels, steps = kernel_szs or [3] * n, strides or [2] * n
    if len(kernels) != n or len(steps) != n:
        raise InputError(f"{n} convolutions need {n} `kernel_szs` and `strides`; got {len(kernels)} and {len(steps)}.")
    layers = [
        ConvLayer(before, after, ks, stride=stride, norm_type=NormType.Batch if bn and at < n - 1 else None)
        for at, ((before, after), ks, stride) in enumerate(zip(pairwise(filters), kernels, steps, strict=True))
    ]
    return nn.Sequential(*layers, PoolFlatten())


class SelfAttention(Module):
    """Each place of a map looks at all others; begins as the identity.

    Source: Zhang et al. 2018, "Self-Attention Generative Adversarial Networks".
    """

    def __init__(self, n_channels: int) -> None:
        self.query, self.key, self.value = (
            spectral_norm(nn.Conv1d(n_channels, n, 1, bias=False))
            for n in (n_channels // 8, n_channels // 8, n_channels)
        )
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape [B, F, h, w]."""
        flat_BFn = x.flatten(2)
        attention_Bnn = F.softmax(self.query(flat_BFn).transpose(1, 2) @ self.key(flat_BFn), dim=1)
        result_BFn: Tensor = self.gamma * (self.value(flat_BFn) @ attention_Bnn) + flat_BFn
        return result_BFn.view_as(x)


class SequentialEx(nn.Sequential):
    """Layers one after the other, each of which finds the input of the whole as `x.orig`, as `MergeLayer` does."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's output."""
        result: Any = x
        for layer in self:
            result.orig = x
            following = layer(result)
            result.orig = None  # else the graph would hold the tensor by itself
            result = following
        output: Tensor = result
        return output


class MergeLayer(Module):
    """Within `SequentialEx`: the sum with its input, or with `dense` both side by side."""

    def __init__(self, dense: bool = False) -> None:
        self.dense = dense

    def forward(self, x: Any) -> Tensor:
        """Return the sum, or both side by side.

        Raises:
            InputError: it is not inside `SequentialEx`.
        """
        original: Tensor | None = getattr(x, "orig", None)
        if original is None:
            raise InputError("`MergeLayer` belongs into `SequentialEx(...)`, whose input it adds.")
        return torch.cat([x, original], dim=1) if self.dense else x + original


def sigmoid(input: Tensor, eps: float = 1e-7) -> Tensor:
    """Return the sigmoid, kept away from 0 and 1.

    Args:
        input: any shape.
        eps: how far.
    """
    return input.sigmoid().clamp(eps, 1 - eps)


def sequential(*layers: nn.Module) -> nn.Sequential:
    """Return layers one after the other, as `nn.Sequential` does.

    Examples:
        >>> from foveal.vision.all import *
        >>> sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """
    return nn.Sequential(*layers)
