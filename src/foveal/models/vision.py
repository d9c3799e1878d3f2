"""A vision model: a backbone's body, then a head, and the groups in which its parameters are trained."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from foveal.core import runtime
from foveal.core.errors import InputError, UnknownNameError
from foveal.models import zoo
from foveal.models.body import Body, Pooling, pooling_of
from foveal.models.cutting import cut_network
from foveal.models.head import BOOKS_HEAD, HEADS, Bound, HeadOptions, MeanPool, Range
from foveal.models.stages import halves
from foveal.models.weights import Weights, load_into, pretrained_weights

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
        pooling: what the head reads, see `Body`: pools of the features, or the map where it is empty; None for what
            the network is known for, which is decided when it is built.
    """

    arch: str
    n_outputs: int
    input_size_hw: tuple[int, int]
    y_range: Range | None = None
    head: str = "pooled"
    n_channels: int = 3
    head_options: HeadOptions = BOOKS_HEAD
    cut: int | None = None
    pooling: Pooling | None = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values; what is usual is left out, so that older versions read it."""
        stored = asdict(self)
        for name, usual in (
            ("n_channels", 3),
            ("head_options", asdict(BOOKS_HEAD)),
            ("cut", None),
            ("pooling", ()),
        ):
            if stored[name] == usual:
                del stored[name]
        return stored

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ModelSpec:
        """Return the description that `to_dict` returned."""
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
            tuple(stored.get("pooling", ())),
        )


def _bound(stored: Bound) -> Bound:
    return float(stored) if isinstance(stored, int | float) else tuple(map(float, stored))


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

    def read(self, pooling: Pooling) -> None:
        """Let a linear head read other pools of the features; it begins at zero then.

        Args:
            pooling: see `Body`.
        """
        image = torch.zeros(1, self.spec.n_channels, *self.spec.input_size_hw, device=self.linear.weight.device)
        self.body.set_pooling(pooling)
        with runtime.evaluating(self.body), torch.no_grad():
            n_features = int(self.body(image).shape[1])
        self._reshape_head(pooling, n_features)

    def _reshape_head(self, pooling: Pooling, n_features: int) -> None:
        """Give a linear head other features; its parameters stay the same objects, which an optimizer may hold."""
        self.spec, layer = replace(self.spec, pooling=pooling), self.linear
        head = self[1]
        assert isinstance(head, nn.Sequential)
        head[0] = nn.Identity() if pooling else MeanPool()
        layer.in_features = n_features
        layer.weight.data = layer.weight.data.new_zeros(layer.out_features, n_features)
        layer.bias.data.zero_()

    def read_as(self, state_dict: Mapping[str, Any], prefix: str = "") -> None:
        """Let a linear head read the pools that saved weights read; the weights themselves are not taken.

        Args:
            state_dict: of such a model.
            prefix: of its names.
        """
        weight, pools = state_dict.get(f"{prefix}1.1.weight"), state_dict.get(f"{prefix}0.pools")
        pooling = () if pools is None else pooling_of(pools)
        if self.spec.head == "linear" and weight is not None and pooling != self.spec.pooling:
            self.body.set_pooling(pooling)
            self._reshape_head(pooling, int(weight.shape[1]))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        self.read_as(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *others)

    def apply_range(self, output: Tensor) -> Tensor:
        """Return a linear layer's outputs [B, n_outputs] after the layers behind it: in the range, if any."""
        for layer in list(self[1].children())[2:]:
            output = layer(output)
        return output

    def groups(self) -> list[list[nn.Module]]:
        """Return the modules of each group, first to last: the early half of the stages, the late half, the head."""
        return [group for group in (*halves(self.body.network), [self[1]]) if group]

    def is_of_its_spec(self) -> bool:
        """Return whether `build_model` makes the same layers: not where layers are a user's or were changed."""
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
    n_map = _choose_pooling(body, spec)
    spec = replace(spec, pooling=body.pooling)
    if head is None:
        options: dict[str, Any] = {"options": spec.head_options} if spec.head == "pooled" else {}
        if body.pooling:
            options["is_pooled"] = True
        head = HEADS[spec.head](n_map, spec.n_outputs, y_range=spec.y_range, generator=generator, **options)
    else:
        _try_head(head, body, spec, n_map)
    return VisionModel(body, head, spec)


def _try_head(head: nn.Module, body: Body, spec: ModelSpec, n_map: int) -> None:
    """Refuse a head that does not take the body's map.

    Raises:
        InputError: it does not, or gives another number of outputs.
    """
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
) -> tuple[VisionModel, Weights]:
    """Return a model with a pretrained body and a fresh head, and the weights that the body has.

    Args:
        spec: what to build.
        weights: a file of weights for the body; the backbone's usual ones by default.
        head: a module that takes the map, in place of the spec's.
        generator: draws the head's weights; torch's global one by default.

    Raises:
        ModelFileError: the weights cannot be had, or do not fit.
    """
    model = assemble(_network(spec), spec, head=head, generator=generator)
    found = pretrained_weights(spec.arch, weights)
    load_into(model.body.network, found, spec.arch)
    return model, found


def _choose_pooling(body: Body, spec: ModelSpec) -> int:
    """Return of how many channels or numbers it is what the head reads, once the body was told to return it.

    They are counted by a try: timm's `num_features` is not right for every family.

    Raises:
        InputError: the backbone returns no map, or none that is fine enough.
    """
    image = torch.zeros(1, spec.n_channels, *spec.input_size_hw)
    with runtime.evaluating(body), torch.no_grad():
        features: object = body.note_unused(image)
        if spec.head in {"linear", "pooled"} and not body.has_places(features):
            body.read_own_alone(features)
            return int(body(image).shape[1])
        if not isinstance(features, Tensor) or features.ndim not in {3, 4} or not body.has_places(features):
            form = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise InputError(f"A backbone returns a feature map [B, F, h, w]; this one returns {form}. Give `cut`.")
        if features.ndim == 4 and body.n_features not in {features.shape[1], features.shape[3]}:
            body.n_features = features.shape[1]
        if body.multi_scale and not hasattr(body.network, "forward_intermediates"):
            raise InputError("This backbone gives no map but its last one, which is too coarse for a spatial head.")
        # On the device "meta" there are no numbers to tell pools apart by; such a model is never trained.
        reads_pools = spec.head in {"linear", "pooled"} and not features.is_meta
        usual: Pooling = ()
        if reads_pools:
            prepared = body.prepared(image)
            found = body.available(features, prepared.shape[2:])
            usual = body.usual_pooling(found)
            if spec.head == "linear":  # the only one that a probe fits to pools
                body.note_candidates(prepared, features, found)
        if spec.pooling is not None:
            usual = spec.pooling
        elif spec.head == "pooled":
            # It reads maximum and mean of a map; of tokens, what the network pools to stands beside their mean.
            usual = (usual[0], "mean") if features.ndim == 3 and usual not in {(), ("mean",)} else ()
        body.set_pooling(usual)
        return int(body(image).shape[1])
