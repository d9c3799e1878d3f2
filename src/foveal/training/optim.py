"""Optimizers: torch's, with the book's values; AdamW unless told otherwise."""

from __future__ import annotations

import contextlib
import inspect
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from foveal.core.arguments import check_number
from foveal.core.errors import InputError
from foveal.training.groups import Freeze, Freezer, parameter_groups, split_by_decay
from foveal.training.schedule import Point

# fastai's Adam, so that the book's recipe gives the book's numbers (tests/golden.json holds its schedules).
BETAS = (0.9, 0.99)  # decay of the averages of gradient and squared gradient, per step; a schedule moves the first
EPS = 1e-5  # added to the root of the averaged squared gradient, in units of the gradient
# As its authors and fastai have it: steps between two looks back, and the share of the way that is gone.
_LOOKAHEAD_STEPS = 6
_LOOKAHEAD_SHARE = 0.5
WEIGHT_DECAY = 0.01  # share of a weight that a step takes away, times the learning rate


@dataclass(frozen=True, slots=True)
class OptimizerAverages:
    """What an optimizer knows after a fit.

    Attributes:
        freeze, by_hand: what it trained; see `Freezer`.
        values: by the parameter's number among those that trained, and the average's name.
    """

    freeze: Freeze
    by_hand: Mapping[str, bool]
    values: Mapping[int, Mapping[str, Tensor]]

    def fits(self, freeze: Freeze, freezer: Freezer) -> bool:
        """Return whether the same parameters train.

        Args:
            freeze: of the next fit.
            freezer: knows what was set by hand.
        """
        return self.freeze == freeze and self.by_hand == freezer.by_hand


class _WithoutCompile(torch.optim.Optimizer):
    """Before one of torch's optimizers: it does without the wrappers that keep torch.compile out of it.

    They import `torch._dynamo`, which takes longer (1 to 6 s) than many a small fit; the sums are the same.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    def step(self, closure: Any = None) -> Any:
        """Return what torch's step returns."""
        plain: Any = inspect.unwrap(super().step)
        with torch.no_grad():
            return plain(self, closure)


class _DecayApart(_WithoutCompile):
    """Before one of torch's optimizers: its weight decay stands apart from the gradient."""

    def step(self, closure: Any = None) -> Any:
        """Return what torch's step returns, with weights shrunk before it."""
        with _decay_apart(self.param_groups):
            return super().step(closure)


class _SGD(_DecayApart, torch.optim.SGD):
    """torch's SGD with weight decay apart from the gradient."""


class _RMSProp(_DecayApart, torch.optim.RMSprop):
    """torch's RMSprop with weight decay apart from the gradient."""


class _Ranger(_WithoutCompile, torch.optim.RAdam):
    """torch's RAdam that goes halfway back to where it was, every six steps."""

    def step(self, closure: Any = None) -> Any:
        """Return what torch's step returns; every sixth one goes halfway back to where the weights were."""
        trained = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        starts = {p: p.detach().clone() for p in trained if "slow" not in self.state[p]}
        loss = super().step(closure)
        with torch.no_grad():
            for p in trained:
                kept = self.state[p]
                kept.setdefault("slow", starts.get(p))
                if int(kept["step"]) % _LOOKAHEAD_STEPS == 0:
                    kept["slow"].lerp_(p, _LOOKAHEAD_SHARE)
                    p.copy_(kept["slow"])
        return loss


@contextlib.contextmanager
def _decay_apart(groups: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Shrink weights by their decay, and let the block see none."""
    decays = [group["weight_decay"] for group in groups]
    with torch.no_grad():
        for group in groups:
            if group["weight_decay"]:
                trained = [p for p in group["params"] if p.grad is not None]
                torch._foreach_mul_(trained, 1 - group["lr"] * group["weight_decay"])
            group["weight_decay"] = 0.0
    try:
        yield
    finally:
        for group, decay in zip(groups, decays, strict=True):
            group["weight_decay"] = decay


class _AdamW(_WithoutCompile, torch.optim.AdamW):
    """torch's AdamW, fused on a CPU."""

    def step(self, closure: Any = None) -> Any:
        """Return what torch's step returns."""
        if closure is not None or any(p.device.type != "cpu" for group in self.param_groups for p in group["params"]):
            return super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                lists: list[list[Tensor]] = [[], [], [], [], [], []]
                self._init_group(group, *lists)  # type: ignore[no-untyped-call]
                (beta1, beta2), names = group["betas"], ("lr", "weight_decay", "eps", "amsgrad", "maximize")
                values = {name: group[name] for name in names}
                torch._foreach_add_(lists[-1], 1)
                torch._fused_adamw_(*lists, beta1=beta1, beta2=beta2, **values)
        return None


OptimizerFunction = Callable[..., torch.optim.Optimizer]
"""What builds an optimizer: called with groups of parameters, each with its `lr` and `weight_decay`, and `lr=`."""


def Adam(
    params: Any,
    lr: float = 1e-3,
    *,
    mom: float = BETAS[0],
    sqr_mom: float = BETAS[1],
    eps: float = EPS,
    wd: float = 0.01,
) -> torch.optim.Optimizer:
    """Return AdamW: Adam with weight decay apart from the gradient.

    Fits use it unless `opt_func` says otherwise, with fastai's values (Loshchilov and Hutter 2019, "Decoupled Weight
    Decay Regularization", arXiv 1711.05101).

    Args:
        params: parameters, or groups of them: dicts with `params`, and an `lr` and a `weight_decay` of their own.
        lr: learning rate.
        mom: decay of the average of the gradient, per step; a schedule moves it.
        sqr_mom: decay of the average of the squared gradient.
        eps: added to the root of the averaged squared gradient.
        wd: weight decay of groups that do not say.

    Raises:
        InputError: a number is out of its bounds, or there is nothing to train.

    Examples:
        The first step moves a weight by the learning rate, whatever the gradient.

        >>> from foveal.vision.all import *
        >>> weight = nn.Parameter(torch.tensor([1.0]))
        >>> opt = Adam([weight], lr=0.1, wd=0.0)
        >>> (3 * weight).backward()
        >>> opt.step()
        >>> weight.data
        tensor([0.9000])
    """
    _check_values(lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd)
    groups = _groups_of(params)
    return _AdamW(groups, lr=lr, betas=(mom, sqr_mom), eps=eps, weight_decay=wd, fused=_supports_fused(groups))


def SGD(params: Any, lr: float = 1e-3, *, mom: float = 0.0, wd: float = 0.0) -> torch.optim.Optimizer:
    """Return stochastic gradient descent, with weight decay apart from the gradient.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        mom: momentum; a schedule moves it where it is not 0. For a fit: `opt_func=partial(SGD, mom=0.9)`.
        wd: weight decay of groups that do not say.

    Raises:
        InputError: as of `Adam`.

    Examples:
        >>> from foveal.vision.all import *
        >>> weight = nn.Parameter(torch.tensor([1.0]))
        >>> opt = SGD([weight], lr=0.1)
        >>> (3 * weight).backward()
        >>> opt.step()
        >>> weight.data
        tensor([0.7000])
    """
    _check_values(lr=lr, mom=mom, wd=wd)
    return _SGD(_groups_of(params), lr=lr, momentum=mom, weight_decay=wd)


def RMSProp(
    params: Any, lr: float = 1e-3, *, mom: float = 0.0, sqr_mom: float = 0.99, eps: float = 1e-8, wd: float = 0.0
) -> torch.optim.Optimizer:
    """Return RMSProp, with weight decay apart from the gradient.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        mom: momentum; a schedule moves it where it is not 0.
        sqr_mom: decay of the average of the squared gradient.
        eps: added to its root.
        wd: weight decay of groups that do not say.

    Raises:
        InputError: as of `Adam`.

    Examples:
        >>> from foveal.vision.all import *
        >>> weight = nn.Parameter(torch.tensor([1.0]))
        >>> opt = RMSProp([weight], lr=0.01)
        >>> (3 * weight).backward()
        >>> opt.step()
        >>> weight.data
        tensor([0.9000])
    """
    _check_values(lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd)
    return _RMSProp(_groups_of(params), lr=lr, momentum=mom, alpha=sqr_mom, eps=eps, weight_decay=wd)


def ranger(
    params: Any, lr: float = 1e-3, *, mom: float = 0.95, sqr_mom: float = 0.99, eps: float = 1e-6, wd: float = 0.01
) -> torch.optim.Optimizer:
    """Return Lookahead over rectified Adam: every six steps the weights go halfway back to where they were.

    See Liu et al. 2020, "On the Variance of the Adaptive Learning Rate and Beyond" (arXiv 1908.03265), and Zhang et al.
    2019, "Lookahead Optimizer: k steps forward, 1 step back" (arXiv 1907.08610).

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        mom: decay of the average of the gradient, per step; a schedule moves it.
        sqr_mom: decay of the average of the squared gradient.
        eps: added to the root of the averaged squared gradient.
        wd: weight decay of groups that do not say, apart from the gradient.

    Raises:
        InputError: as of `Adam`.

    Examples:
        >>> from foveal.vision.all import *
        >>> weight = nn.Parameter(torch.tensor([1.0]))
        >>> opt = ranger([weight], lr=0.01, wd=0.0)
        >>> (3 * weight).backward()
        >>> opt.step()
        >>> weight.data
        tensor([0.9700])
    """
    _check_values(lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd)
    groups = _groups_of(params)
    return _Ranger(
        groups, lr=lr, betas=(mom, sqr_mom), eps=eps, weight_decay=wd, decoupled_weight_decay=True, foreach=False
    )


def OptimWrapper(params: Any, opt: OptimizerFunction, lr: float = 1e-3, **options: Any) -> torch.optim.Optimizer:
    """Return any optimizer of torch, for `opt_func=partial(OptimWrapper, opt=torch.optim.NAdam)`.

    The class itself will do, too: `opt_func=torch.optim.NAdam`.

    Args:
        params: parameters, or groups of them.
        opt: the optimizer's class.
        lr: learning rate.
        options: what else it takes.

    Raises:
        InputError: `opt` is no class or function.

    Examples:
        >>> from foveal.vision.all import *
        >>> opt = OptimWrapper(nn.Linear(3, 2).parameters(), torch.optim.NAdam, lr=0.01, eps=1e-5)
        >>> opt.param_groups[0]["lr"], opt.param_groups[0]["eps"]
        (0.01, 1e-05)
    """
    if not callable(opt):
        raise InputError(f"`opt` is a class of torch's optimizers, such as torch.optim.NAdam; got {opt!r}.")
    return opt(params, lr=lr, **options)


def build_optimizer(
    model: nn.Module, rates: Sequence[float], *, wd: float = WEIGHT_DECAY, opt_func: OptimizerFunction = Adam
) -> torch.optim.Optimizer:
    """Return an optimizer over the parameters that train, without decay on normalisation and biases.

    Args:
        model: parameters with `requires_grad` train.
        rates: a learning rate per group of the model.
        wd: weight decay.
        opt_func: builds it.

    Raises:
        InputError: no parameter trains, the weight decay is below 0, or what was built is no optimizer.
    """
    check_number("wd", wd, at_least=0)
    groups: list[dict[str, Any]] = []
    for rate, parameters in zip(rates, parameter_groups(model), strict=True):
        decayed, exempt = split_by_decay(model, parameters)
        for trained, decay in ((decayed, wd), (exempt, 0.0)):
            if trained:
                groups.append({"params": trained, "lr": rate, "weight_decay": decay, "full_lr": rate})
    if not groups:
        raise InputError(
            "There is nothing to train: every parameter has requires_grad=False. `learn.unfreeze()` trains all."
        )
    optimizer: object = opt_func(groups, lr=rates[-1])
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(
            f"`opt_func` builds an optimizer of torch from groups of parameters, as `Adam`, `torch.optim.SGD` and "
            f"`partial(OptimWrapper, opt=torch.optim.AdamW)` do; got {type(optimizer).__name__}."
        )
    return optimizer


def optimizer_text(opt_func: OptimizerFunction) -> str:
    """Return what names an optimizer and its options in a fingerprint."""
    options = opt_func.keywords if isinstance(opt_func, partial) else {}
    inner = opt_func.func if isinstance(opt_func, partial) else opt_func
    shown = ", ".join(f"{name}={getattr(value, '__name__', value)!s}" for name, value in sorted(options.items()))
    return f"{getattr(inner, '__name__', type(inner).__name__)}({shown})"


def set_rates(optimizer: torch.optim.Optimizer, point: Point) -> None:
    """Set rates and momentum to what a schedule says.

    Args:
        optimizer: by `build_optimizer`; momentum is moved where it has some.
        point: of the schedule.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * point.lr_factor
        if point.momentum is not None and "betas" in group:
            group["betas"] = (point.momentum, *group["betas"][1:])
        elif point.momentum is not None and group.get("momentum"):
            group["momentum"] = point.momentum


def momentum_of(group: Mapping[str, Any]) -> float:
    """Return the momentum of a group: the decay of the gradient's average; 0 without momentum."""
    return float(group["betas"][0] if "betas" in group else group.get("momentum", 0.0))


def _check_values(*, lr: object, mom: float, wd: float, sqr_mom: float = 0.0, eps: float = 0.0) -> None:
    """Refuse numbers out of their bounds; a rate may be a tensor, as torch takes it.

    Raises:
        InputError: one is, or is no number.
    """
    for name, value in (("lr", 0.0 if isinstance(lr, Tensor) else lr), ("eps", eps), ("wd", wd)):
        check_number(name, value, at_least=0)
    for name, value in (("mom", mom), ("sqr_mom", sqr_mom)):
        check_number(name, value, at_least=0, below=1)


def _groups_of(params: Any) -> list[dict[str, Any]]:
    """Return groups of parameters, each with a list of them: parameters alone are one group.

    Raises:
        InputError: there are no parameters.
    """
    given = [] if isinstance(params, Tensor) else list(params)
    groups = given if given and isinstance(given[0], Mapping) else [{"params": given}]
    listed = []
    for group in groups:
        inside = group.get("params", ()) if isinstance(group, Mapping) else ()
        listed.append({**group, "params": [inside] if isinstance(inside, Tensor) else list(inside)})
    if not all(group["params"] for group in listed):
        raise InputError(
            "`params` is a list of parameters, such as `model.parameters()`, or of dicts such as {'params': "
            f"model.parameters(), 'lr': 0.1}}, and none of them is empty; got {reprlib.repr(given)}."
        )
    return listed


def _supports_fused(groups: list[dict[str, Any]]) -> bool:
    parameters = (p[1] if isinstance(p, tuple) else p for group in groups for p in group["params"])  # or (name, p)
    return {p.device.type for p in parameters} <= {"cpu", "cuda", "mps"}
