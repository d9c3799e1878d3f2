"""Inference without batch normalisation: each layer's scale and shift go into the convolution before it."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from foveal.core import runtime

_ALIKE = 1e-4
_Pair = tuple[str, str]


def fuse_batchnorm(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Return a copy in evaluation mode whose convolutions do what the normalisation layers behind them did.

    Where there is nothing to fold, or the copy would answer otherwise for `inputs`, the model itself is returned.
    Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", 3.2.
    """
    with torch.no_grad(), runtime.evaluating(model):
        found, outputs = _pairs(model, inputs)
        if not found:
            return model
        quick = copy.deepcopy(model)
        for convolution, normalisation in found:
            _fold(quick, convolution, normalisation)
        same = torch.allclose(quick(inputs), outputs, rtol=_ALIKE, atol=_ALIKE * float(outputs.abs().max()))
    return quick if same else model


def _pairs(model: nn.Module, inputs: Tensor) -> tuple[list[_Pair], Tensor]:
    """Return convolutions and the normalisation layers that alone read what they give, and the model's outputs."""
    made: dict[int, tuple[str, Tensor]] = {}
    calls: Counter[str] = Counter()
    read: Counter[int] = Counter()
    pairs: list[_Pair] = []

    def before(name: str, layer: nn.Module, given: tuple[Any, ...]) -> None:
        calls[name] += 1
        normalises = isinstance(layer, nn.BatchNorm2d)
        read[id(given[0])] += normalises or not list(layer.children())
        if normalises and id(given[0]) in made:
            pairs.append((made[id(given[0])][0], name))

    def after(name: str, layer: nn.Module, given: Any, output: Any) -> None:
        del given
        if isinstance(layer, nn.Conv2d):
            made[id(output)] = (name, output)  # held, so that no later tensor gets its id
            read[id(output)] = 0

    handles = []
    for name, layer in model.named_modules():
        handles.append(layer.register_forward_pre_hook(lambda layer, given, name=name: before(name, layer, given)))
        handles.append(layer.register_forward_hook(lambda layer, given, out, name=name: after(name, layer, given, out)))
    try:
        outputs = model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    ids = {name: key for key, (name, _) in made.items()}
    return [
        (convolution, normalisation)
        for convolution, normalisation in pairs
        if calls[convolution] == calls[normalisation] == read[ids[convolution]] == 1
    ], outputs


def _fold(model: nn.Module, convolution: str, normalisation: str) -> None:
    conv, norm = model.get_submodule(convolution), model.get_submodule(normalisation)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - norm.running_mean.double() * scale
    bias = shift if conv.bias is None else shift + conv.bias.double() * scale
    conv.weight.copy_(conv.weight.double() * scale.reshape(-1, 1, 1, 1))
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    # timm's layers hold the activation that follows.
    model.set_submodule(normalisation, getattr(norm, "act", None) or nn.Identity())
