"""Cutting a network: its layers up to the last feature map, without pooling and classifier, and its first convolution.

A network is cut between its direct children, where each is proven to take what the one before returned.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from foveal.core import runtime
from foveal.core.errors import InputError

Cut = int | Callable[[nn.Module], nn.Module]
"""How many children a body keeps (negative: how many it drops), or a function that returns the body."""
_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_TRACE_HW = (224, 224)
"""The size of the images that a network is traced on: what most networks were made for."""


class CutNetwork(nn.Sequential):
    """The first children of a network, under the names that they have there."""

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last map."""
        result: Tensor = self(x)
        return result


def cut_network(network: nn.Module, cut: Cut) -> nn.Module:
    """Return a network up to a cut.

    Args:
        network: any module.
        cut: see `Cut`.

    Raises:
        InputError: nothing is left of it, or the function returns no module.
    """
    if callable(cut):
        body: object = cut(network)
        if not isinstance(body, nn.Module):
            raise InputError(f"`cut` returns the body, a module; got {type(body).__name__}.")
        return body
    children = list(network.named_children())
    if not (kept := children[:cut]):
        raise InputError(f"cut={cut} leaves nothing of a network with {len(children)} children.")
    return CutNetwork(OrderedDict(kept))


def find_body(network: nn.Module, *, n_channels: int = 3, size_hw: tuple[int, int] = _TRACE_HW) -> nn.Module:
    """Return a network without pooling and classifier, found by a pass over one image.

    A network with `forward_features`, as timm's have, is returned itself; it loses its classifier.

    Args:
        network: takes images.
        n_channels: of the images.
        size_hw: (height, width) of the image of the pass.

    Raises:
        InputError: it has no feature map at the end of a chain of its children.
    """
    if hasattr(network, "forward_features"):
        if callable(reset := getattr(network, "reset_classifier", None)):
            reset(0)
        return network
    image = torch.zeros(1, n_channels, *size_hw)
    chain, output = _trace_chain(network, image)
    if _is_map(output):
        return network
    if (parts := _parts_to_map(network, chain)) is not None:
        return parts
    with_weights = [name for name, child in network.named_children() if any(True for _ in child.parameters())]
    raise InputError(
        f"`{type(network).__name__}` has no feature map that foveal finds: its parts {', '.join(with_weights)} do not "
        "follow each other. Say where it ends: cut=-2 keeps all children but the last two, cut=lambda m: m.features "
        "returns the body."
    )


def chained_parts(network: nn.Module, image_BCHW: Tensor) -> CutNetwork | None:
    """Return a network's children up to the last map, where each takes what the one before returned; else None.

    Args:
        network: takes images and pools.
        image_BCHW: a batch to try.
    """
    return _parts_to_map(network, _trace_chain(network, image_BCHW)[0])


def _parts_to_map(network: nn.Module, chain: list[tuple[str, nn.Module, object]]) -> CutNetwork | None:
    kept = OrderedDict[str, nn.Module]()
    pooled = False
    for name, child, result in chain:
        if pooled := isinstance(child, _POOLS) or not _is_map(result):
            break
        kept[name] = child
    with_weights = [name for name, child in network.named_children() if any(True for _ in child.parameters())]
    behind = [name for name in with_weights if name not in kept and name not in _TRAINING_ONLY]
    # Where the chain ends without pooling, a function pools: then nothing may follow but one classifier.
    return CutNetwork(kept) if kept and (pooled or len(behind) <= 1) else None


_TRAINING_ONLY = {"aux1", "aux2", "AuxLogits"}
"""Classifiers beside a network's last one, which torchvision's Inception networks have for their training."""


def _is_map(output: object) -> bool:
    return isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1


def _trace_chain(network: nn.Module, image: Tensor) -> tuple[list[tuple[str, nn.Module, object]], object]:
    """Return the children that follow each other from the input on, with what each returned, and the network's output.

    A child follows if it takes nothing but what the one before returned, and runs once.

    Raises:
        InputError: the network does not take the image.
    """
    calls: list[tuple[str, nn.Module, tuple[object, ...], object]] = []

    def note(name: str, child: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        calls.append((name, child, inputs, output))

    handles = [
        child.register_forward_hook(lambda child, inputs, output, name=name: note(name, child, inputs, output))
        for name, child in network.named_children()
    ]
    try:
        with runtime.evaluating(network), torch.no_grad():
            output: object = network(image)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise InputError(
            f"`{type(network).__name__}` does not take an image of {list(image.shape[1:])}: {error}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    chain: list[tuple[str, nn.Module, object]] = []
    last: object = image
    for name, child, inputs, result in calls:
        if len(inputs) != 1 or inputs[0] is not last or any(child is earlier for _, earlier, _ in chain):
            break
        chain.append((name, child, result))
        last = result
    return chain, output


def set_input_channels(network: nn.Module, n_channels: int) -> None:
    """Let a network take images of another number of channels: its first convolution is replaced, weights adapted.

    Args:
        network: changed in place.
        n_channels: of the images.

    Raises:
        InputError: its first convolution is not one of three colours.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            if layer.in_channels == n_channels:
                return
            if layer.in_channels != 3 or layer.groups != 1:
                raise InputError(f"The first convolution, `{name}`, takes {layer.in_channels} channels, not 3.")
            first = _with_channels(layer, n_channels)
            network.set_submodule(name, first)
            return
    raise InputError(f"`{type(network).__name__}` has no convolution whose channels could be set to {n_channels}.")


def _with_channels(layer: nn.Conv2d, n_channels: int) -> nn.Conv2d:
    made = copy.deepcopy(layer)
    made.in_channels = n_channels
    made.weight = nn.Parameter(adapt_channels(layer.weight.detach(), n_channels))
    return made


def adapt_channels(weight_O3kk: Tensor, n_channels: int) -> Tensor:
    """Return a first convolution's weights for images of another number of channels, as timm does it.

    For one channel they are summed over the colours; for others they are repeated, and scaled so that activations keep
    their size.

    Args:
        weight_O3kk: for three colours.
        n_channels: of the images.
    """
    if n_channels == 1:
        return weight_O3kk.sum(dim=1, keepdim=True)
    repeated = weight_O3kk.repeat(1, math.ceil(n_channels / 3), 1, 1)[:, :n_channels]
    return repeated * (3 / n_channels)
