"""Fused batch normalisation for inference: each layer's scale and shift go into the convolution before it."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import Tensor, nn

from foveal.core import runtime

_TOLERANCE = 1e-4
"""How far outputs may move, as a share of the largest; chosen by hand: fusing was seen to move 9e-6 of 7."""
_Pair = tuple[str, str]
"""The names of a convolution and of the normalisation layer behind it."""


def fuse_batchnorm(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Return a copy in evaluation mode with batch normalisation fused into the convolutions before it.

    Where there is nothing to fuse, or the outputs for `inputs` would change, the model itself is returned.

    Args:
        model: any module of one input.
        inputs: one batch to compare outputs on; of images float32 [B, 3, h, w].

    Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", 3.2.
    """
    with torch.no_grad(), runtime.evaluating(model):
        pairs, outputs = _find_pairs(model, inputs)
        if not pairs:
            return model
        fused = copy.deepcopy(model)
        for convolution, normalisation in pairs:
            _fuse_pair(fused, convolution, normalisation)
        tolerance = _TOLERANCE * float(outputs.abs().max())
        unchanged = torch.allclose(fused(inputs), outputs, rtol=_TOLERANCE, atol=tolerance)
    return fused if unchanged else model


def _find_pairs(model: nn.Module, inputs: Tensor) -> tuple[list[_Pair], Tensor]:
    """Return each convolution with the normalisation layer that alone reads its output, and the model's outputs."""
    convolved: dict[int, tuple[str, Tensor]] = {}
    n_calls: Counter[str] = Counter()
    n_reads: Counter[int] = Counter()
    pairs: list[_Pair] = []

    def before(name: str, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        n_calls[name] += 1
        normalises = isinstance(layer, nn.BatchNorm2d)
        n_reads[id(args[0])] += normalises or not list(layer.children())
        if normalises and id(args[0]) in convolved:
            pairs.append((convolved[id(args[0])][0], name))

    def after(name: str, layer: nn.Module, output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            convolved[id(output)] = (name, output)  # held, so that no later tensor gets its id
            n_reads[id(output)] = 0

    handles = []
    for name, layer in model.named_modules():
        handles.append(layer.register_forward_pre_hook(lambda layer, args, name=name: before(name, layer, args)))
        handles.append(layer.register_forward_hook(lambda layer, _, output, name=name: after(name, layer, output)))
    try:
        outputs = model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    ids = {name: key for key, (name, _) in convolved.items()}
    return [
        (convolution, normalisation)
        for convolution, normalisation in pairs
        if n_calls[convolution] == n_calls[normalisation] == n_reads[ids[convolution]] == 1
    ], outputs


def _fuse_pair(model: nn.Module, convolution: str, normalisation: str) -> None:
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
