"""A vision model: a backbone's body, then a head, and the groups in which its parameters are trained."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.core import runtime
from foveal.core.errors import InputError, UnknownNameError
from foveal.images.prepare import Statistics, standardise
from foveal.models import zoo
from foveal.models.head import HEADS, Bound, Range


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All that is needed to build a model again.

    Attributes:
        arch: timm's name of the backbone.
        n_outputs: numbers per image.
        input_size_hw: (height, width) of the input in pixels.
        y_range: (low, high) of the outputs, one pair for all or one bound per output.
        head: a name in `HEADS`.
        n_channels: of the images.
    """

    arch: str
    n_outputs: int
    input_size_hw: tuple[int, int]
    y_range: Range | None = None
    head: str = "pooled"
    n_channels: int = 3

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ModelSpec:
        """Rebuild it from `to_dict`."""
        height, width = stored["input_size_hw"]
        low_high = stored["y_range"]
        y_range = (_bound(low_high[0]), _bound(low_high[1])) if low_high is not None else None
        n_outputs, n_channels = int(stored["n_outputs"]), int(stored.get("n_channels", 3))
        return cls(str(stored["arch"]), n_outputs, (height, width), y_range, str(stored["head"]), n_channels)


def _bound(stored: Bound) -> Bound:
    return float(stored) if isinstance(stored, int | float) else tuple(map(float, stored))


class TimmNetwork(nn.Module):
    """The methods of timm's models that a body calls: a type only, for timm publishes none."""

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last map or tokens."""
        raise NotImplementedError

    def forward_intermediates(self, x: Tensor, *, output_fmt: str) -> tuple[Tensor, list[Tensor]]:
        """Return the last map or tokens, and the map of every stage.

        Args:
            x: images, float32 [B, 3, h, w].
            output_fmt: "NCHW", the form of the maps.
        """
        raise NotImplementedError


class Body(nn.Module):
    """A timm model without its classifier; returns a feature map [B, F, h, w].

    Attributes:
        network: the timm model.
        n_features: channels of its last map.
        multi_scale: put the last map, stretched, beside the last one of twice its size, as spatial heads need.
        statistics: what the body normalises its input with; None where that is done before, by loaders with `Normalize`
            or by a predictor's preparation.
    """

    def __init__(self, network: nn.Module, *, multi_scale: bool = False) -> None:
        super().__init__()
        self.network, self.multi_scale = cast("TimmNetwork", network), multi_scale
        self.n_features = int(getattr(network, "num_features", 0))
        self.statistics: Statistics | None = None

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Return the feature map; tokens and channels-last maps are brought into the same form."""
        if self.statistics is not None:
            image_B3HW = standardise(image_B3HW, self.statistics)
        if not self.multi_scale:
            return self._map(self.raw_features(image_B3HW))
        features, maps_BFhw = self.network.forward_intermediates(image_B3HW, output_fmt="NCHW")
        last = self._map(features)
        finer = next((map_BFhw for map_BFhw in reversed(maps_BFhw) if map_BFhw.shape[2] > last.shape[2]), None)
        if finer is None:
            return last
        return torch.cat([finer, F.interpolate(last, finer.shape[2:], mode="bilinear", align_corners=False)], dim=1)

    def _map(self, features: Tensor) -> Tensor:
        if features.ndim == 3:
            n_prefix = int(getattr(self.network, "num_prefix_tokens", 0))  # class and register tokens have no place
            return features[:, n_prefix:].transpose(1, 2).unsqueeze(-1)
        return features if features.shape[1] == self.n_features else features.permute(0, 3, 1, 2)

    def raw_features(self, image_B3HW: Tensor) -> Tensor:
        """Return timm's `forward_features`: a map [B, F, h, w] or [B, h, w, F], or tokens [B, n, F]."""
        return self.network.forward_features(image_B3HW)


class VisionModel(nn.Sequential):
    """Body, then head."""

    def __init__(self, body: Body, head: nn.Module, spec: ModelSpec) -> None:
        super().__init__(body, head)
        self.spec = spec

    @property
    def body(self) -> Body:
        """The backbone."""
        body = self[0]
        assert isinstance(body, Body)
        return body

    @property
    def linear(self) -> nn.Linear:
        """The linear layer of a linear head."""
        return next(layer for layer in self[1].modules() if isinstance(layer, nn.Linear))

    def apply_range(self, output: Tensor) -> Tensor:
        """Return a linear layer's outputs [B, n_outputs] after the layers behind it: in the range, if any."""
        for layer in list(self[1].children())[2:]:
            output = layer(output)
        return output

    def groups(self) -> list[list[nn.Module]]:
        """Return the modules of each group, first to last: the early half of the stages, the late half, the head."""
        early, late = _halves(self.body.network)
        return [early, late, [self[1]]]


def build_model(spec: ModelSpec, *, generator: torch.Generator | None = None) -> VisionModel:
    """Return a model with random weights.

    Args:
        spec: what to build.
        generator: draws the head's weights; torch's global one by default.

    Raises:
        UnknownNameError: there is no such head or backbone.
        InputError: the backbone does not suit the head.
    """
    if spec.head not in HEADS:
        raise UnknownNameError.of("head", spec.head, HEADS)
    network = zoo.build(spec.arch, image_size=spec.input_size_hw, n_channels=spec.n_channels)
    body = Body(network, multi_scale=spec.head == "spatial")
    n_map = _map_channels(body, spec)
    head = HEADS[spec.head](n_map, spec.n_outputs, y_range=spec.y_range, generator=generator)
    return VisionModel(body, head, spec)


def model_with_weights(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> VisionModel:
    """Return a model with given weights; it takes no memory before they are known to fit.

    Args:
        spec: what to build.
        tensors: a state dict.

    Raises:
        InputError: they do not fit.
    """
    with contextlib.suppress(NotImplementedError), torch.device("meta"):
        check_fit(build_model(spec), tensors)
    model = build_model(spec)
    check_fit(model, tensors)
    model.load_state_dict(dict(tensors))
    return model


def check_fit(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Compare names and shapes.

    Args:
        model: to be filled.
        tensors: a state dict from a file.

    Raises:
        InputError: they differ; the message names the first difference.
    """
    in_model = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    in_file = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if in_model == in_file:
        return
    name = min(name for name in in_model.keys() | in_file.keys() if in_model.get(name) != in_file.get(name))
    in_each = f"{in_file.get(name, 'absent')} in the file and {in_model.get(name, 'absent')} in the model"
    raise InputError(f"`{name}` is {in_each}.")


def pretrained_model(
    spec: ModelSpec, *, weights: str | os.PathLike[str] | None = None, generator: torch.Generator | None = None
) -> tuple[VisionModel, str]:
    """Return a model with a pretrained body and a fresh head, and where the weights came from.

    Args:
        spec: what to build.
        weights: a file of weights for the body; the backbone's usual ones by default.
        generator: draws the head's weights; torch's global one by default.

    Raises:
        ModelFileError: the weights cannot be had, or do not fit.
    """
    model = build_model(spec, generator=generator)
    body_weights = zoo.pretrained_weights(spec.arch, weights)
    zoo.load_into(model.body.network, body_weights)
    return model, body_weights.origin


def _map_channels(body: Body, spec: ModelSpec) -> int:
    """Return how many channels a body's map has, by a try: timm's `num_features` is not right for every family."""
    with runtime.evaluating(body), torch.no_grad():
        image = torch.zeros(1, spec.n_channels, *spec.input_size_hw)
        features = body.raw_features(image)
        if features.ndim == 4 and body.n_features not in {features.shape[1], features.shape[3]}:
            body.n_features = features.shape[1]
        if body.multi_scale and not hasattr(body.network, "forward_intermediates"):
            raise InputError("This backbone gives no map but its last one, which is too coarse for a spatial head.")
        return int(body(image).shape[1])


def _halves(network: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """Cut a network at the middle of its stages."""
    children = {name: child for name, child in network.named_children() if any(True for _ in child.parameters())}
    if "layer1" in children:
        late_names = {"layer3", "layer4"}
    else:
        for name, child in list(children.items()):
            if isinstance(child, nn.Sequential | nn.ModuleList) and len(child) > 1:
                del children[name]
                children |= {f"{name}.{number}": stage for number, stage in child.named_children()}
        stages = [name for name in children if "." in name] or list(children)
        cut = list(children).index(stages[len(stages) // 2])
        late_names = set(list(children)[cut:])
    early = [child for name, child in children.items() if name not in late_names]
    return early, [child for name, child in children.items() if name in late_names]
