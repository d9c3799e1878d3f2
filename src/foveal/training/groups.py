"""Groups of parameters: freezing, and what of a frozen body still moves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

from torch import Tensor, nn

from foveal.core.errors import InputError, UnknownNameError

Norm = Literal["train", "stats", "frozen"]
_BATCH_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
NORMALISATIONS = (
    *_BATCH_NORMALISATIONS,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.RMSNorm,
)


@runtime_checkable
class Grouped(Protocol):
    """A model that knows its groups, from the input to the output."""

    def groups(self) -> list[list[nn.Module]]:
        """Return the modules of each group."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """How much of a model is frozen.

    Attributes:
        n_frozen: how many groups, counted from the input.
        norm: what the normalisation layers of frozen groups do: `train` (weights and statistics follow the data, the
            fast.ai book's way), `stats` (statistics follow, weights stay), `frozen` (nothing moves, and no gradient
            runs through the frozen part at all).
        keep_statistics: batch normalisation goes on with the statistics that it has, also in groups that train.
    """

    n_frozen: int = 0
    norm: Norm = "frozen"
    keep_statistics: bool = False

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise UnknownNameError.of("way to freeze normalisation", self.norm, get_args(Norm))


def module_groups(model: nn.Module) -> list[list[nn.Module]]:
    """Return a model's groups; a model that does not know them is one group."""
    return model.groups() if isinstance(model, Grouped) else [[model]]


def parameter_groups(model: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of each group; those that belong to no module of a group go with the first."""
    groups = module_groups(model)
    placed = [[p for module in group for p in module.parameters()] for group in groups[1:]]
    later = {id(p) for group in placed for p in group}
    return [[p for p in model.parameters() if id(p) not in later], *placed]


def apply_freeze(model: nn.Module, freeze: Freeze) -> None:
    """Set which parameters receive gradients."""
    groups = parameter_groups(model)
    if not 0 <= freeze.n_frozen < len(groups):
        raise InputError(f"The model has {len(groups)} groups; between 0 and {len(groups) - 1} can be frozen.")
    norms = {id(p) for p in _parameters_of_norms(model)} if freeze.norm == "train" else set()
    for number, group in enumerate(groups):
        for parameter in group:
            parameter.requires_grad_(number >= freeze.n_frozen or id(parameter) in norms)


def set_training(model: nn.Module, freeze: Freeze) -> None:
    """Put a model into training mode but for what is frozen: with `norm="frozen"`, all of the frozen groups."""
    model.train()
    if freeze.norm == "frozen":
        for group in module_groups(model)[: freeze.n_frozen]:
            for module in group:
                module.eval()
    if freeze.keep_statistics:
        for module in model.modules():
            if isinstance(module, _BATCH_NORMALISATIONS):
                module.eval()


@contextlib.contextmanager
def keeping_statistics_of_one(model: nn.Module, n_items: int) -> Iterator[None]:
    """Go forward in the block although a batch may hold one item.

    Where that leaves one value per channel there is no variance, which torch refuses: there, batch normalisation goes
    on with the statistics that it has. One that processes share has more values than are here, and stays as it is.
    """
    own = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    norms = [m for m in model.modules() if isinstance(m, own) and m.training] if n_items == 1 else []
    hooks = [module.register_forward_pre_hook(_keep_if_one_value) for module in norms]
    try:
        yield
    finally:
        for module, hook in zip(norms, hooks, strict=True):
            hook.remove()
            module.train()


def _keep_if_one_value(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    module.train(inputs[0].numel() > inputs[0].shape[1])


def decayed_and_not(model: nn.Module, group: Sequence[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split a group's parameters that train into those with weight decay and those without (norms and biases)."""
    exempt = {id(p) for p in _parameters_of_norms(model)}
    exempt |= {id(p) for name, p in model.named_parameters() if name.rsplit(".", 1)[-1] == "bias"}
    trained = [p for p in group if p.requires_grad]
    return [p for p in trained if id(p) not in exempt], [p for p in trained if id(p) in exempt]


def _parameters_of_norms(model: nn.Module) -> list[nn.Parameter]:
    return [p for module in model.modules() if isinstance(module, NORMALISATIONS) for p in module.parameters()]
