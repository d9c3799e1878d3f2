"""Hooks on layers: what a layer returns, or the gradient of it, kept while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

from torch import Tensor, nn

from foveal.core.listing import L
from foveal.data.batches import Item

Kept = Callable[[nn.Module, Item, Item], Item]
"""What is kept of (the module, what it got, what it returned); with gradients, of those of both."""


class Hook:
    """Keeps, each time a module runs, what a function makes of it; a context manager that ends with its removal.

    Attributes:
        stored: what was kept last; None before.
        removed: whether it watches no more.
    """

    def __init__(
        self, m: nn.Module, hook_func: Kept, is_forward: bool = True, detach: bool = True, cpu: bool = False
    ) -> None:
        """Watch a module.

        Args:
            m: the module.
            hook_func: what is kept.
            is_forward: whether to watch what it returns, or its gradients.
            detach: keep tensors without their history.
            cpu: keep them on the CPU.
        """
        self.hook_func, self.detach, self.cpu = hook_func, detach, cpu
        self.stored: Item = None
        self.removed = False
        register = m.register_forward_hook if is_forward else m.register_full_backward_hook
        self._handle = register(self.hook_fn)

    def hook_fn(self, module: nn.Module, inputs: Item, outputs: Item) -> None:
        """Keep what the function makes of a run.

        Args:
            module: that ran.
            inputs: what it got, or the gradient of that.
            outputs: what it returned, or the gradient of that.
        """
        if self.detach:
            inputs, outputs = _detached(inputs, cpu=self.cpu), _detached(outputs, cpu=self.cpu)
        self.stored = self.hook_func(module, inputs, outputs)

    def remove(self) -> None:
        """Watch no more."""
        if not self.removed:
            self._handle.remove()
            self.removed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class Hooks:
    """Several hooks, one per module."""

    def __init__(
        self, ms: Iterable[nn.Module], hook_func: Kept, is_forward: bool = True, detach: bool = True, cpu: bool = False
    ) -> None:
        """Watch modules; see `Hook`.

        Args:
            ms: the modules.
            hook_func: see `Hook`.
            is_forward: see `Hook`.
            detach: see `Hook`.
            cpu: see `Hook`.
        """
        self.hooks = [Hook(m, hook_func, is_forward, detach, cpu) for m in ms]

    @property
    def stored(self) -> L[Item]:
        """What each keeps."""
        return L([hook.stored for hook in self.hooks], use_list=True)

    def __len__(self) -> int:
        return len(self.hooks)

    def __getitem__(self, index: int) -> Hook:
        return self.hooks[index]

    def remove(self) -> None:
        """Watch no more."""
        for hook in self.hooks:
            hook.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def hook_output(module: nn.Module, detach: bool = True, cpu: bool = False, grad: bool = False) -> Hook:
    """Return a hook that keeps what a module returns, or with `grad` the gradient of that.

    Args:
        module: is watched.
        detach: keep tensors without their history.
        cpu: keep them on the CPU.
        grad: see above.
    """
    return Hook(module, _returned, not grad, detach, cpu)


def hook_outputs(modules: Iterable[nn.Module], detach: bool = True, cpu: bool = False, grad: bool = False) -> Hooks:
    """Return hooks that keep what several modules return; see `hook_output`.

    Args:
        modules: are watched.
        detach: see `hook_output`.
        cpu: see `hook_output`.
        grad: see `hook_output`.
    """
    return Hooks(modules, _returned, not grad, detach, cpu)


def _returned(module: nn.Module, inputs: Item, outputs: Item) -> Item:
    del module, inputs
    return outputs


def _detached(value: Item, *, cpu: bool) -> Item:
    if isinstance(value, tuple | list):
        return type(value)(_detached(part, cpu=cpu) for part in value)
    if not isinstance(value, Tensor):
        return value
    return value.detach().cpu() if cpu else value.detach()
