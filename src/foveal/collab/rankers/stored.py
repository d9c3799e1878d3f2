"""Ranking models as tensors and settings, as a bundle holds them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from foveal.collab.rankers.als import Als
from foveal.collab.rankers.base import Kind, LearnsFrom, Ranker
from foveal.collab.rankers.items import Ease, ItemNeighbours
from foveal.collab.rankers.popularity import Popularity
from foveal.core.errors import InputError


class RankerPart(BaseModel):
    """What a bundle says of its ranking model.

    Attributes:
        kind: of the model.
        settings: that it was made with.
        learns_from: what it reads of a user: what they had, or what they liked.
        liked_from: the rating from which on an item is liked; None where there are no ratings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    settings: dict[str, float]
    learns_from: LearnsFrom
    liked_from: float | None


def ranker_of(part: RankerPart, tensors: Mapping[str, Tensor], n_items: int) -> Ranker:
    """Return the ranking model that a bundle holds.

    Args:
        part: its description.
        tensors: as `Ranker.tensors` returned them.
        n_items: how many items the bundle's task has, the unknown one included.

    Raises:
        InputError: the tensors do not fit the description.
    """
    shapes: dict[str, dict[str, tuple[torch.dtype, int]]] = {
        Ease.kind: {"weights": (torch.float32, 2)},
        ItemNeighbours.kind: {"neighbours": (torch.int64, 2), "similarities": (torch.float32, 2)},
        Als.kind: {"of_items": (torch.float32, 2)},
        Popularity.kind: {"counts": (torch.float32, 1)},
    }
    wanted = shapes[part.kind]
    found = {name: (tensor.dtype, tensor.ndim) for name, tensor in tensors.items()}
    settings = {
        Ease.kind: {"penalty"},
        ItemNeighbours.kind: {"shrink"},
        Als.kind: {"unseen", "penalty"},
        Popularity.kind: set(),
    }
    if found != wanted or set(part.settings) != settings[part.kind]:
        raise InputError("its ranking model does not have the tensors and settings of its kind.")
    if any(len(tensor) != n_items for tensor in tensors.values()):
        raise InputError(f"its ranking model does not know the {n_items} items of its task.")
    if part.kind == Ease.kind:
        if tensors["weights"].shape[1] != n_items:
            raise InputError("its ranking model's weights are not [items, items].")
        return Ease(tensors["weights"], **part.settings)
    if part.kind == ItemNeighbours.kind:
        near, similar = tensors["neighbours"], tensors["similarities"]
        if near.shape != similar.shape or (near.numel() and (int(near.min()) < 0 or int(near.max()) >= n_items)):
            raise InputError("its ranking model names neighbours that are no items.")
        return ItemNeighbours(near, similar, **part.settings)
    if part.kind == Als.kind:
        return Als(tensors["of_items"], **part.settings)
    return Popularity(tensors["counts"])
