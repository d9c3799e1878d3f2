"""Groups of parameters: freezing, what of a frozen body still moves, and what a user froze or thawed by hand.

A model's groups go from the input to the output; rates and freezing go by group. `requires_grad` that a user sets on a
parameter holds in every fit, until `learn.freeze`, `freeze_to` or `unfreeze` set it for all parameters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args, runtime_checkable
from weakref import WeakKeyDictionary

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
        keep_statistics: batch normalisation keeps the statistics that it has, also in groups that train.
    """

    n_frozen: int = 0
    norm: Norm = "frozen"
    keep_statistics: bool = False

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise UnknownNameError.of("way to freeze normalisation", self.norm, get_args(Norm))


Splitter = Callable[[Any], Iterable[Iterable[nn.Parameter]]]
"""A function of a model that returns its parameters in groups, from the input to the output."""
_SPLITTERS: WeakKeyDictionary[nn.Module, Splitter] = WeakKeyDictionary()
"""What models are split by in place of their own groups; not in the model, whose copies and files it is no part of."""


def split_with(model: nn.Module, splitter: Splitter) -> None:
    """Let a function split a model's parameters into groups from now on.

    Args:
        model: the model.
        splitter: returns each of its parameters in one group.

    Raises:
        InputError: it returns something else.
    """
    found = [p for group in splitter(model) for p in group]
    if not all(isinstance(p, nn.Parameter) for p in found):
        raise InputError("`splitter` returns groups of parameters: lambda m: [params(m[0]), params(m[1])].")
    known = {id(p) for p in model.parameters()}
    if len(found) != len(known) or {id(p) for p in found} != known:
        raise InputError(
            f"`splitter` must return each parameter of the model in one group: the model has {len(known)}, in its "
            f"groups there are {len(found)}."
        )
    _SPLITTERS[model] = splitter


def module_groups(model: nn.Module) -> list[list[nn.Module]]:
    """Return a model's groups; a model that does not know them is one group.

    Of a model that a function splits, a module is in the group of its own parameters.
    """
    if model in _SPLITTERS:
        numbers = {id(p): number for number, group in enumerate(parameter_groups(model)) for p in group}
        groups: list[list[nn.Module]] = [[] for _ in set(numbers.values())]
        for module in model.modules():
            for number in {numbers[id(p)] for p in module.parameters(recurse=False)}:
                groups[number].append(module)
        return groups
    return model.groups() if isinstance(model, Grouped) else [[model]]


def parameter_groups(model: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of each group; those that belong to no module of a group go with the first."""
    if model in _SPLITTERS:
        return [list(group) for group in _SPLITTERS[model](model)]
    groups = module_groups(model)
    later = [[p for module in group for p in module.parameters()] for group in groups[1:]]
    in_later = {id(p) for group in later for p in group}
    return [[p for p in model.parameters() if id(p) not in in_later], *later]


@dataclass(slots=True)
class Freezer:
    """Sets which parameters receive gradients, and respects those that a user set by hand.

    Attributes:
        by_hand: `requires_grad` of the parameters that a user set since the last `reset`, by name.
    """

    by_hand: dict[str, bool] = field(default_factory=dict)
    _applied: dict[str, bool] = field(default_factory=dict)

    def apply(self, model: nn.Module, freeze: Freeze) -> None:
        """Freeze a model but for what was set by hand: what differs from what was applied last.

        Args:
            model: has the same parameters each time.
            freeze: how much of it is frozen.

        Raises:
            InputError: there are not so many groups.
        """
        parameters = dict(model.named_parameters())
        for name, parameter in parameters.items():
            if parameter.requires_grad != self._applied.get(name, True):
                self.by_hand[name] = parameter.requires_grad
        apply_freeze(model, freeze)
        for name, requires_grad in self.by_hand.items():
            parameters[name].requires_grad_(requires_grad)
        self._applied = {name: parameter.requires_grad for name, parameter in parameters.items()}

    def reset(self, model: nn.Module, freeze: Freeze, by_hand: Mapping[str, bool] | None = None) -> None:
        """Freeze a model and forget what was set by hand.

        Args:
            model: the model.
            freeze: how much of it is frozen.
            by_hand: what counts as set by hand instead: of a file of weights, for instance.

        Raises:
            InputError: there are not so many groups; nothing is changed then.
        """
        apply_freeze(model, freeze)  # which refuses before anything is forgotten
        self.by_hand = dict(by_hand or {})
        self._applied = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        self.apply(model, freeze)


def apply_freeze(model: nn.Module, freeze: Freeze) -> None:
    """Set which parameters receive gradients, whatever a user set.

    Args:
        model: the model.
        freeze: how much of it is frozen.

    Raises:
        InputError: there are not so many groups.
    """
    groups = parameter_groups(model)
    if not 0 <= freeze.n_frozen < len(groups):
        raise InputError(f"The model has {len(groups)} groups; between 0 and {len(groups) - 1} can be frozen.")
    norms = {id(p) for p in _parameters_of_norms(model)} if freeze.norm == "train" else set()
    for number, group in enumerate(groups):
        for parameter in group:
            parameter.requires_grad_(number >= freeze.n_frozen or id(parameter) in norms)


def set_training(model: nn.Module, freeze: Freeze) -> None:
    """Put a model into training mode but for what is frozen: with `norm="frozen"`, all of the frozen groups.

    Args:
        model: the model.
        freeze: how much of it is frozen.
    """
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

    Where that leaves one value per channel there is no variance, which torch refuses: there, batch normalisation keeps
    the statistics that it has. One that processes share has more values than are here, and stays as it is.

    Args:
        model: in training mode.
        n_items: of the batch.
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


def split_by_decay(model: nn.Module, group: Sequence[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return a group's parameters that train, those with weight decay and those without it (norms and biases).

    Args:
        model: says which parameters belong to normalisation, and which are called bias.
        group: some of its parameters.
    """
    exempt = {id(p) for p in _parameters_of_norms(model)}
    exempt |= {id(p) for name, p in model.named_parameters() if name.rsplit(".", 1)[-1] == "bias"}
    trained = [p for p in group if p.requires_grad]
    return [p for p in trained if id(p) not in exempt], [p for p in trained if id(p) in exempt]


def _parameters_of_norms(model: nn.Module) -> list[nn.Parameter]:
    return [p for module in model.modules() if isinstance(module, NORMALISATIONS) for p in module.parameters()]
