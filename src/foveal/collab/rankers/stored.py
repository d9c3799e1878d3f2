"""Ranking models as tensors and settings, as a bundle holds them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from foveal.collab.rankers.als import Als
from foveal.collab.rankers.base import Kind, LearnsFrom, Ranker
from foveal.collab.rankers.blend import Blend
from foveal.collab.rankers.ease import Ease, EaseByUsers
from foveal.collab.rankers.items import ItemNeighbours
from foveal.collab.rankers.popularity import Popularity
from foveal.core.errors import InputError


class ModelPart(BaseModel):
    """What a bundle says of one ranking model.

    Attributes:
        kind: of the model.
        settings: that it was made with.
        weight: of its scores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    settings: dict[str, float]
    weight: float = 1.0


class RankerPart(BaseModel):
    """What a bundle says of the ranking models that recommend.

    Attributes:
        models: whose scores are added.
        learns_from: what they read of a user: what they had, or what they liked.
        liked_from: the rating from which on an item is liked; None where there are no ratings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[ModelPart, ...] = Field(min_length=1)
    learns_from: LearnsFrom
    liked_from: float | None


_DESCRIBED: dict[Kind, tuple[set[str], dict[str, tuple[torch.dtype, int]]]] = {
    Ease.kind: ({"penalty"}, {"weights": (torch.float16, 2)}),
    EaseByUsers.kind: ({"penalty"}, {"columns": (torch.float16, 2)}),
    ItemNeighbours.kind: ({"shrink"}, {"neighbours": (torch.int64, 2), "similarities": (torch.float32, 2)}),
    Als.kind: ({"unseen", "penalty"}, {"of_items": (torch.float32, 2)}),
    Popularity.kind: (set(), {"counts": (torch.float32, 1)}),
}
"""Settings of each kind, and its tensors' types and numbers of dimensions."""


def part_of(blend: Blend, learns_from: LearnsFrom, liked_from: float | None) -> RankerPart:
    """Return the description of ranking models in a bundle.

    Args:
        blend: the models.
        learns_from: what they read of a user.
        liked_from: the rating from which on an item is liked.
    """
    models = [
        ModelPart(
            kind=model.kind,
            settings={name: float(value) for name, value in model.settings.items()},
            weight=weight,
        )
        for model, weight in zip(blend.models, blend.weights, strict=True)
    ]
    return RankerPart(models=tuple(models), learns_from=learns_from, liked_from=liked_from)


def tensors_of(blend: Blend) -> dict[str, Tensor]:
    """Return what a bundle holds of ranking models, by the number of the model and the name of the tensor."""
    pairs = ((at, model.tensors()) for at, model in enumerate(blend.models))
    return {f"{at}.{name}": tensor for at, tensors in pairs for name, tensor in tensors.items()}


def blend_of(part: RankerPart, tensors: Mapping[str, Tensor], n_items: int) -> Blend:
    """Return the ranking models that a bundle holds.

    Args:
        part: their description.
        tensors: as `tensors_of` returned them.
        n_items: how many items the bundle's task has, the unknown one included.

    Raises:
        InputError: the tensors do not fit the description.
    """
    models: list[Ranker] = []
    for at, one in enumerate(part.models):
        own = {name.removeprefix(f"{at}."): tensor for name, tensor in tensors.items() if name.startswith(f"{at}.")}
        models.append(_model(one, own, n_items))
    return Blend(models, [one.weight for one in part.models])


def _model(part: ModelPart, tensors: Mapping[str, Tensor], n_items: int) -> Ranker:
    settings, wanted = _DESCRIBED[part.kind]
    if {name: (tensor.dtype, tensor.ndim) for name, tensor in tensors.items()} != wanted:
        raise InputError("its ranking model does not have the tensors of its kind.")
    if set(part.settings) != settings or any(len(tensor) != n_items for tensor in tensors.values()):
        raise InputError(f"its ranking model does not fit its settings, or the {n_items} items of its task.")
    if part.kind == Ease.kind:
        if tensors["weights"].shape[1] != n_items:
            raise InputError("its ranking model's weights are not [items, items].")
        return Ease(tensors["weights"].float(), **part.settings)
    if part.kind == EaseByUsers.kind:
        return EaseByUsers(tensors["columns"].float().T.contiguous(), **part.settings)
    if part.kind == ItemNeighbours.kind:
        near, similar = tensors["neighbours"], tensors["similarities"]
        if near.shape != similar.shape or (near.numel() and (int(near.min()) < 0 or int(near.max()) >= n_items)):
            raise InputError("its ranking model names neighbours that are no items.")
        return ItemNeighbours(near, similar, **part.settings)
    if part.kind == Als.kind:
        return Als(tensors["of_items"], **part.settings)
    return Popularity(tensors["counts"])
