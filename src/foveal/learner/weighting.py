"""Weights per class of a learner's loss: from names to the loss, and back to names."""

from __future__ import annotations

from foveal.core.errors import InputError
from foveal.data.loaders import DataLoaders
from foveal.losses import Loss
from foveal.tasks.balance import ClassWeights, class_weights, weighted_loss
from foveal.tasks.kinds import kind_of
from foveal.training.checked_loss import weights_per_class


def choose_loss(dls: DataLoaders, loss_func: Loss | None, weights: ClassWeights | None) -> Loss:
    """Return the loss that trains: the one given, the task's with weights per class, or the task's.

    Args:
        dls: the loaders, whose training side `balanced` counts.
        loss_func: of (raw outputs, targets).
        weights: by name, or `balanced`.

    Raises:
        InputError: both are given, or the weights do not suit the task.
    """
    if weights is None:
        return loss_func if loss_func is not None else dls.loss_func
    if loss_func is not None:
        raise InputError(
            "`class_weights` weighs the classes in the task's own loss: give it or `loss_func`, not both. A loss of "
            "your own takes weights itself, in the order of dls.vocab."
        )
    task = dls.task
    return weighted_loss(task, class_weights(task, weights, dls.train.dataset.targets))


def named_weights(dls: DataLoaders, loss: Loss) -> dict[str, float]:
    """Return the weight of each class in a loss by name; of a loss without weights, and other tasks, nothing.

    Args:
        dls: the loaders.
        loss: trains.
    """
    weights = weights_per_class(loss)
    names = dls.task.names if weights and kind_of(dls.task).has_classes else ()
    return dict(zip(names, weights, strict=True)) if len(names) == len(weights) else {}
