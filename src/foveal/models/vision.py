"""A vision model: a backbone's body, then a head, and the groups in which its parameters are trained."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.core import runtime
from foveal.core.errors import InputError, UnknownNameError
from foveal.images.prepare import Statistics, standardise
from foveal.models import zoo
from foveal.models.cutting import cut_network
from foveal.models.head import BOOKS_HEAD, HEADS, Bound, HeadOptions, Range

OWN = "own"
"""The head of a spec whose model has the user's own head."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All that is needed to build a model again.

    Attributes:
        arch: the backbone, see `zoo.backbone_name`; what is shown of a network that the user wrote.
        n_outputs: numbers per image.
        input_size_hw: (height, width) of the input in pixels.
        y_range: (low, high) of the outputs, one pair for all or one bound per output.
        head: a name in `HEADS`, or `OWN`.
        n_channels: of the images.
        head_options: the layers of a pooled head.
        cut: how many children of the network the body keeps, as for `cut_network`; all up to the last map by default.
    """

    arch: str
    n_outputs: int
    input_size_hw: tuple[int, int]
    y_range: Range | None = None
    head: str = "pooled"
    n_channels: int = 3
    head_options: HeadOptions = BOOKS_HEAD
    cut: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values; what is usual is left out, so that older versions read it."""
        stored = asdict(self)
        for name, usual in (("n_channels", 3), ("head_options", asdict(BOOKS_HEAD)), ("cut", None)):
            if stored[name] == usual:
                del stored[name]
        return stored

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ModelSpec:
        """Rebuild it from `to_dict`."""
        height, width = stored["input_size_hw"]
        low_high = stored["y_range"]
        y_range = (_bound(low_high[0]), _bound(low_high[1])) if low_high is not None else None
        options: dict[str, Any] = dict(stored.get("head_options") or {})
        options |= {name: tuple(value) for name, value in options.items() if isinstance(value, list)}
        return cls(
            str(stored["arch"]),
            int(stored["n_outputs"]),
            (height, width),
            y_range,
            str(stored["head"]),
            int(stored.get("n_channels", 3)),
            HeadOptions(**options),
            stored.get("cut"),
        )


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
    """A network without its classifier; returns a feature map [B, F, h, w].

    `body[-1]`, `body[:4]`, `len(body)` and iteration give the network's parts in order, as of an `nn.Sequential`; what
    comes after the map is not among them.

    Attributes:
        network: the network, most often timm's.
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
        self._unused: frozenset[str] = frozenset()

    def _part_names(self) -> list[str]:
        return [name for name, _ in self.network.named_children() if name not in self._unused]

    def __len__(self) -> int:
        return len(self._part_names())

    def __iter__(self) -> Iterator[nn.Module]:
        return (self.network.get_submodule(name) for name in self._part_names())

    @overload
    def __getitem__(self, index: int) -> nn.Module: ...
    @overload
    def __getitem__(self, index: slice) -> nn.Sequential: ...
    def __getitem__(self, index: int | slice) -> nn.Module:
        parts = list(self)
        return nn.Sequential(*parts[index]) if isinstance(index, slice) else parts[index]

    def __setitem__(self, index: int, part: nn.Module) -> None:
        self.network.set_submodule(self._part_names()[index], part)

    def note_unused(self, image_BCHW: Tensor) -> Tensor:
        """Return the raw features of an image, and leave the network's parts that it does not need out of the body's.

        Raises:
            InputError: the network does not take the image.
        """
        used: set[str] = set()
        handles = [
            module.register_forward_pre_hook(lambda *_, name=name: used.add(name))
            for name, child in self.network.named_children()
            for module in child.modules()
        ]
        try:
            features = self.raw_features(image_BCHW)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            form = " x ".join(str(n) for n in image_BCHW.shape[1:])
            raise InputError(f"The backbone does not take an image of {form}: {str(error).splitlines()[0]}") from error
        finally:
            for handle in handles:
                handle.remove()
        self._unused = frozenset(name for name, _ in self.network.named_children() if name not in used)
        return features

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Return the feature map; tokens and channels-last maps are brought into the same form."""
        if self.statistics is not None:
            if image_B3HW.shape[1] != len(self.statistics.mean):
                n_images, n_model = image_B3HW.shape[1], len(self.statistics.mean)
                raise InputError(
                    f"The images have {n_images} channels and the model takes {n_model}: give vision_learner "
                    f"n_in={n_images}."
                )
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
        """Return what the network makes of images: a map [B, F, h, w] or [B, h, w, F], or tokens [B, n, F]."""
        whole = not hasattr(self.network, "forward_features")
        features: Tensor = self.network(image_B3HW) if whole else self.network.forward_features(image_B3HW)
        return features


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
        return [group for group in (*_halves(self.body.network), [self[1]]) if group]

    def is_of_its_spec(self) -> bool:
        """Whether `build_model` makes the same layers: not where layers are a user's or were changed."""
        try:
            with contextlib.suppress(NotImplementedError), torch.device("meta"):
                return repr(build_model(self.spec)) == repr(self)
            with torch.random.fork_rng(devices=[]):
                return repr(build_model(self.spec)) == repr(self)
        except InputError:
            return False


def build_model(
    spec: ModelSpec, *, head: nn.Module | None = None, generator: torch.Generator | None = None
) -> VisionModel:
    """Return a model with random weights.

    Args:
        spec: what to build.
        head: a module that takes the map, in place of the spec's.
        generator: draws the head's weights; torch's global one by default.

    Raises:
        UnknownNameError: there is no such head or backbone.
        InputError: the backbone does not suit the head.
    """
    return assemble(_network(spec), spec, head=head, generator=generator)


def assemble(
    network: nn.Module, spec: ModelSpec, *, head: nn.Module | None = None, generator: torch.Generator | None = None
) -> VisionModel:
    """Return a model of a network and the head of a spec.

    Args:
        network: takes images and returns a map, or has timm's `forward_features`.
        spec: what is built; its backbone is the network.
        head: a module that takes the map, in place of the spec's.
        generator: draws the head's weights; torch's global one by default.

    Raises:
        UnknownNameError: there is no such head.
        InputError: the network does not suit the images or the head.
    """
    if head is None and spec.head not in HEADS:
        raise UnknownNameError.of("head", spec.head, HEADS)
    if spec.head != "pooled" and spec.head_options != BOOKS_HEAD:
        raise InputError(f"The layers of a `{spec.head}` head are fixed; those of head='pooled' can be chosen.")
    body = Body(network, multi_scale=spec.head == "spatial")
    n_map = _map_channels(body, spec)
    if head is None:
        options = {"options": spec.head_options} if spec.head == "pooled" else {}
        head = HEADS[spec.head](n_map, spec.n_outputs, y_range=spec.y_range, generator=generator, **options)
    else:
        _try_head(head, body, spec, n_map)
    return VisionModel(body, head, spec)


def _try_head(head: nn.Module, body: Body, spec: ModelSpec, n_map: int) -> None:
    """Refuse a head that does not take the body's map."""
    try:
        with runtime.evaluating(body), runtime.evaluating(head), torch.no_grad():
            output = head(body(torch.zeros(1, spec.n_channels, *spec.input_size_hw)))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise InputError(
            f"The head does not take the backbone's feature map, which has {n_map} channels: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if output.ndim == 2 and output.shape[1] != spec.n_outputs:
        raise InputError(f"The head gives {output.shape[1]} numbers per image, and {spec.n_outputs} are needed.")


def _network(spec: ModelSpec) -> nn.Module:
    network = zoo.build(spec.arch, image_size=spec.input_size_hw, n_channels=spec.n_channels)
    return network if spec.cut is None else cut_network(network, spec.cut)


def model_with_weights(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> VisionModel:
    """Return a model with given weights; it takes no memory before they are known to fit.

    Args:
        spec: what to build.
        tensors: a state dict.

    Raises:
        InputError: they do not fit.
    """
    unused = f"0.network.{zoo.UNUSED}."
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(unused)}  # of version 0.1
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
    spec: ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = None,
    head: nn.Module | None = None,
    generator: torch.Generator | None = None,
) -> tuple[VisionModel, str]:
    """Return a model with a pretrained body and a fresh head, and where the weights came from.

    Args:
        spec: what to build.
        weights: a file of weights for the body; the backbone's usual ones by default.
        head: a module that takes the map, in place of the spec's.
        generator: draws the head's weights; torch's global one by default.

    Raises:
        ModelFileError: the weights cannot be had, or do not fit.
    """
    model = assemble(_network(spec), spec, head=head, generator=generator)
    body_weights = zoo.pretrained_weights(spec.arch, weights)
    zoo.load_into(model.body.network, body_weights)
    return model, body_weights.origin


def _map_channels(body: Body, spec: ModelSpec) -> int:
    """Return how many channels a body's map has, by a try: timm's `num_features` is not right for every family."""
    with runtime.evaluating(body), torch.no_grad():
        image = torch.zeros(1, spec.n_channels, *spec.input_size_hw)
        features: object = body.note_unused(image)
        if not isinstance(features, Tensor) or features.ndim not in {3, 4}:
            form = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise InputError(f"A backbone returns a feature map [B, F, h, w]; this one returns {form}. Give `cut`.")
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
