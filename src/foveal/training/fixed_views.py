"""Training the head of a frozen body on views: each image is drawn so many times, and the body sees each view once.

Epoch e of a fit with k views trains on view e modulo k of every image, in an order of its own. The first k epochs are
those of a fit without views, number for number; later ones run the head alone. What the body returns is pooled as the
head begins, and kept in memory, of the validation side too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import nn

from foveal.core import distributed, runtime
from foveal.core.errors import InputError
from foveal.core.rng import order_for
from foveal.data.batchers import ImageBatcher
from foveal.data.batches import Batch
from foveal.data.loader import DataLoader
from foveal.models.vision import VisionModel
from foveal.training.callbacks.extras import CutMix, MixUp
from foveal.training.groups import Freeze, parameter_groups

_MOST_MEMORY = 0.5  # of what is free, for features; chosen by hand, so that there is room for the fit itself


@dataclass(slots=True, eq=False)
class FixedViews:
    """The batches of a fit, of features in place of images.

    Attributes:
        model: a frozen body, then a head.
        loaders: of the training and the validation side.
        n_views: of each image of the training side.
        first_epoch: the number of the fit's first epoch in the life of the learner, which names the random draws.
        precision: of the body's forward passes.
    """

    model: VisionModel
    loaders: Sequence[DataLoader]
    n_views: int
    first_epoch: int
    precision: runtime.Precision
    _views: dict[int, Batch] = field(default_factory=dict)
    _valid: list[Batch] = field(default_factory=list)

    @property
    def head(self) -> nn.Module:
        """What is trained on features: the head but for what pools them."""
        head = self.model[1]
        return nn.Sequential(*islice(head, _n_pooling(head), None)) if isinstance(head, nn.Sequential) else head

    def train(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yield the batches of an epoch.

        Args:
            epoch: its number in the life of the learner.
            first: the number of the first batch, where an epoch is resumed.
        """
        loader = self.loaders[0]
        view = (epoch - self.first_epoch) % self.n_views if loader.shuffle else 0
        if view == epoch - self.first_epoch:
            for number, batch in enumerate(self._drawn(view)):
                if first <= number < len(loader):
                    yield batch
            return
        if view not in self._views:  # resumed after the epoch that drew it
            for _ in self._drawn(view):
                pass
        made = self._views[view]
        order = (
            torch.from_numpy(order_for(loader.seed, epoch, len(made))) if loader.shuffle else torch.arange(len(made))
        )
        for at in torch.split(order[: len(loader) * loader.batch_size], loader.batch_size)[first:]:
            yield Batch(
                tuple(part[at].to(loader.device) for part in made.parts), [made.indices[i] for i in at.tolist()]
            )

    def valid(self) -> Iterator[Batch]:
        """Yield the batches of a validation pass; the body sees them in the first one."""
        device = self.loaders[1].device
        if self._valid:
            for batch in self._valid:
                yield Batch(tuple(part.to(device) for part in batch.parts), batch.indices)
            return
        kept = []
        for batch in self.loaders[1].shard_batches():
            yield (made := self._of(batch))
            kept.append(_on_cpu(made))
        self._valid = kept

    def _drawn(self, view: int) -> Iterator[Batch]:
        """Yield the batches of a view in the order of its first epoch, and keep them once all are there.

        Behind them come the images that a last partial batch would have held, which that epoch leaves out.
        """
        loader, epoch, kept = self.loaders[0], self.first_epoch + view, list[Batch]()
        left_out = loader.slots(epoch)[len(loader) * loader.batch_size :]
        groups = [*loader.groups(epoch), *([left_out] if left_out else [])]
        for batch in loader.batcher.batches(groups, (loader.seed, epoch) if loader.shuffle else None):
            made = self._of(batch)
            kept.append(_on_cpu(made))
            if len(kept) == 1:
                self._refuse_large(kept[0], sum(map(len, groups)))
            yield made
        self._views[view] = Batch.joined(kept)

    def _of(self, batch: Batch) -> Batch:
        body, head = self.model.body, self.model[1]
        with torch.no_grad(), runtime.evaluating(body), runtime.autocast(self.precision, self.loaders[0].device):
            features = body(batch.inputs)
            if isinstance(head, nn.Sequential):
                for layer in islice(head, _n_pooling(head)):
                    features = layer(features)
        return Batch((features, batch.targets), batch.indices)

    def _refuse_large(self, batch: Batch, n: int) -> None:
        each = batch.inputs[0].numel() * batch.inputs.element_size()
        needed, free = each * (n * self.n_views + self.loaders[1].n), runtime.free_memory(torch.device("cpu"))
        if needed > _MOST_MEMORY * free:
            raise InputError(
                f"The features of {self.n_views} views of {n:,} images take {needed / 2**30:.1f} GiB, and "
                f"{free / 2**30:.1f} GiB of memory are free, of which they may take half: take fewer `views`, or none."
            )


def refuse_views(model: nn.Module, loader: DataLoader, freeze: Freeze, callbacks: Sequence[object]) -> None:
    """Refuse views where what the body returns would not be the same in each epoch.

    Args:
        model: that is trained.
        loader: of the training side.
        freeze: how much of it is frozen; what was thawed by hand receives gradients.
        callbacks: of the fit.

    Raises:
        InputError: the body moves, or what is trained on is no view of one image.
    """
    if not isinstance(model, VisionModel) or not isinstance(loader.batcher, ImageBatcher):
        raise InputError("`views` are of images, for a body and a head as `vision_learner` makes them.")
    moves = any(parameter.requires_grad for parameter in model.body.parameters())
    if freeze.n_frozen < len(parameter_groups(model)) - 1 or moves or freeze.norm != "frozen":
        raise InputError(
            "`views` train the head on what a frozen body returns, and here the body changes: call `learn.freeze()` "
            "first, or leave `views` out."
        )
    mixing = [type(callback).__name__ for callback in callbacks if isinstance(callback, MixUp | CutMix)]
    if mixing:
        raise InputError(f"{mixing[0]} mixes images, and with `views` the body sees each image once, alone: drop one.")
    if distributed.world_size() > 1:
        raise InputError("`views` are kept in the memory of one process: train with --processes 1, or without them.")


def _n_pooling(head: nn.Sequential) -> int:
    """Return how many layers at the beginning of a head have nothing to learn and nothing to draw."""
    for n, layer in enumerate(head):
        if isinstance(layer, nn.Dropout) or next(iter(layer.state_dict()), None) is not None:
            return n
    return len(head)


def _on_cpu(batch: Batch) -> Batch:
    return Batch(tuple(part.cpu() for part in batch.parts), batch.indices)
